//! Rates, latencies and availability in slots of time.

use hdrhistogram::Histogram;
use serde::Serialize;

use super::history::{Ending, RunHistory};

/// About how many slots a run is cut into.
const SLOTS: u64 = 240;
/// Lengths of slots that a person can think in, in milliseconds.
const LENGTHS_MS: [u64; 14] =
    [50, 100, 200, 250, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 300_000, 600_000];
/// Latencies beyond an hour count as an hour; in microseconds.
const LATENCY_MAX: u64 = 3_600_000_000;

/// The quantiles that are drawn.
pub const QUANTILES: [f64; 4] = [0.5, 0.95, 0.99, 1.0];

/// One kind of operation, slot by slot.
#[derive(Clone, Debug, Serialize)]
pub struct FunctionSeries {
    /// Its name.
    pub name: String,
    /// How many ended so, by slot of their end.
    pub ok: Vec<u32>,
    /// How many ended so.
    pub fail: Vec<u32>,
    /// How many ended so, those that never ended included, by slot of their invocation.
    pub info: Vec<u32>,
    /// For each of [`QUANTILES`], the latency of successful operations, in microseconds; `None` without any.
    pub latency: Vec<Vec<Option<u64>>>,
}

/// Everything in slots.
#[derive(Clone, Debug, Serialize)]
pub struct Series {
    /// How long a slot is, in milliseconds.
    pub slot_ms: u64,
    /// How many there are.
    pub slots: usize,
    /// By function, and last all together.
    pub functions: Vec<FunctionSeries>,
    /// By node, how many operations happened and how many did not or may not have, slot by slot.
    pub nodes: Vec<Vec<(u32, u32)>>,
}

struct Slots {
    series: FunctionSeries,
    latencies: Vec<Option<Histogram<u64>>>,
}

/// Cuts `history` into slots.
#[must_use]
pub fn series(history: &RunHistory) -> Series {
    let lasted_ms = history.lasted / 1_000_000 + 1;
    let fits = |length: &&u64| lasted_ms.div_ceil(**length) <= SLOTS;
    let slot_ms = LENGTHS_MS.iter().find(fits).copied().unwrap_or(lasted_ms.div_ceil(SLOTS));
    let slots = usize::try_from(lasted_ms.div_ceil(slot_ms)).unwrap_or(1);
    let names = history.functions.iter().map(String::as_str).chain(["all"]);
    let mut functions: Vec<Slots> = names.map(|name| Slots::new(name, slots)).collect();
    let mut nodes = vec![vec![(0, 0); slots]; history.nodes.len()];
    let all = functions.len() - 1;
    for operation in &history.operations {
        let slot = (operation.end / 1_000_000 / slot_ms) as usize;
        let took = (operation.end - operation.start) / 1000;
        for function in [usize::from(operation.function), all] {
            functions[function].add(slot, operation.ending, took);
        }
        if let Some(node) = history.lanes[operation.lane as usize].node {
            let (happened, others) = &mut nodes[usize::from(node)][slot];
            *(if operation.ending == Ending::Ok { happened } else { others }) += 1;
        }
    }
    Series { slot_ms, slots, functions: functions.into_iter().map(Slots::done).collect(), nodes }
}

impl Slots {
    fn new(name: &str, slots: usize) -> Self {
        let zeros = || vec![0; slots];
        let series = FunctionSeries {
            name: name.to_owned(),
            ok: zeros(),
            fail: zeros(),
            info: zeros(),
            latency: vec![vec![None; slots]; QUANTILES.len()],
        };
        Self { series, latencies: vec![None; slots] }
    }

    fn add(&mut self, slot: usize, ending: Ending, took_us: u64) {
        match ending {
            Ending::Ok => {
                self.series.ok[slot] += 1;
                let histogram = self.latencies[slot].get_or_insert_with(|| {
                    Histogram::new_with_bounds(1, LATENCY_MAX, 2).expect("the bounds are in order")
                });
                histogram.saturating_record(took_us);
            }
            Ending::Fail => self.series.fail[slot] += 1,
            Ending::Info | Ending::Open => self.series.info[slot] += 1,
        }
    }

    fn done(mut self) -> FunctionSeries {
        for (slot, histogram) in self.latencies.iter().enumerate() {
            let Some(histogram) = histogram else { continue };
            for (line, quantile) in self.series.latency.iter_mut().zip(QUANTILES) {
                line[slot] = Some(histogram.value_at_quantile(quantile));
            }
        }
        self.series
    }
}

#[cfg(test)]
mod tests {
    use super::super::history::{Lane, Operation};
    use super::*;

    #[test]
    fn slots_hold_every_operation_once() {
        let operations: Vec<_> = (0..1000_u64)
            .map(|at| Operation {
                index: at,
                start: at * 10_000_000,
                end: at * 10_000_000 + 2_000_000,
                lane: 0,
                function: 0,
                ending: if at % 10 == 9 { Ending::Info } else { Ending::Ok },
                error: None,
                value: "".into(),
            })
            .collect();
        let history = RunHistory {
            lasted: operations.last().expect("a thousand").end,
            operations,
            lanes: vec![Lane { process: 0, node: Some(0) }],
            nodes: vec!["n1".into()],
            functions: vec!["read".into()],
            ..RunHistory::default()
        };
        let series = series(&history);
        assert_eq!((series.slot_ms, series.slots), (50, 200));
        let read = &series.functions[0];
        assert_eq!([&read.ok, &read.info].map(|counts| counts.iter().sum::<u32>()), [900, 100]);
        let (happened, others) =
            series.nodes[0].iter().fold((0, 0), |sum, slot| (sum.0 + slot.0, sum.1 + slot.1));
        assert_eq!((happened, others), (900, 100));
        let median = read.latency[0][0].expect("the first slot has some");
        assert!((1990..=2010).contains(&median), "{median} µs");
    }
}
