//! Counts, latencies and availability.

use std::collections::BTreeMap;

use duress_history::{Completion, NodeId, Operation, Payload};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Latencies beyond an hour count as an hour.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;

/// The most characters of the words of a reason: those around a quoted line of a client program, and the line.
const WORDS_CHARS: usize = 400;

/// How many operations ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Happened.
    pub ok: u64,
    /// Did not happen.
    pub fail: u64,
    /// May have happened.
    pub info: u64,
}

impl Counts {
    fn add<A>(&mut self, completion: &Completion<A>) {
        match completion {
            Completion::Ok { .. } => self.ok += 1,
            Completion::Fail { .. } => self.fail += 1,
            Completion::Info { .. } => self.info += 1,
        }
    }

    /// Returns the total.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.ok + self.fail + self.info
    }
}

/// One kind of operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kind {
    /// By outcome.
    pub counts: Counts,
    /// Median latency of those that happened, in microseconds.
    pub p50_us: u64,
    /// 99th percentile, in microseconds.
    pub p99_us: u64,
    /// The slowest, in microseconds.
    pub max_us: u64,
}

/// The availability of one node, as its clients saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Availability {
    /// By outcome.
    pub counts: Counts,
    /// Thousandths of the run's 100 ms slots in which an operation on this node happened.
    pub available_permille: u64,
    /// The longest time between two operations that happened, in milliseconds, the run's ends included.
    pub longest_gap_ms: u64,
}

/// All figures of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStatistics {
    /// All operations.
    pub counts: Counts,
    /// By `f`.
    pub by_f: BTreeMap<String, Kind>,
    /// By node.
    pub by_node: BTreeMap<NodeId, Availability>,
    /// Reasons of failed and unknown operations, most frequent first.
    pub reasons: Vec<(String, u64)>,
    /// The words of the first operation of each reason, where there are any; none in the records of earlier versions.
    #[serde(default)]
    pub first_words: BTreeMap<String, String>,
    /// When the last operation ended, in milliseconds since clients began.
    pub lasted_ms: u64,
    /// When the first operation happened, in milliseconds since clients began.
    pub first_ok_ms: Option<u64>,
}

/// The width of the slots that availability is counted in.
const SLOT_NS: u64 = 100_000_000;

/// Computes the figures; `until_ns` is when clients stopped, so that final reads do not count as availability.
#[must_use]
pub fn statistics<A: Payload>(operations: &[Operation<A>], until_ns: u64) -> RunStatistics {
    let mut tally = Tally { until_ns, ..Tally::default() };
    for operation in operations {
        tally.count(&operation.outline());
    }
    tally.finish()
}

/// The figures of a run while its operations are counted.
#[derive(Default)]
struct Tally {
    until_ns: u64,
    all: RunStatistics,
    latencies: BTreeMap<&'static str, Histogram<u64>>,
    ok_times: BTreeMap<NodeId, Vec<u64>>,
    reasons: BTreeMap<String, u64>,
}

impl Tally {
    fn count(&mut self, operation: &Operation<&'static str>) {
        let Self { until_ns, all, latencies, ok_times, reasons } = self;
        all.counts.add(&operation.completion);
        all.by_f.entry(operation.action.to_owned()).or_default().counts.add(&operation.completion);
        if let Some(node) = &operation.node {
            all.by_node.entry(node.clone()).or_default().counts.add(&operation.completion);
        }
        match &operation.completion {
            Completion::Ok { time, .. } => {
                let histogram = latencies.entry(operation.action).or_insert_with(|| {
                    Histogram::new_with_bounds(1, LATENCY_NS_MAX, 2).expect("the bounds are in order")
                });
                histogram.saturating_record((time - operation.time).min(LATENCY_NS_MAX));
                if let Some(node) = &operation.node
                    && *time <= *until_ns
                {
                    ok_times.entry(node.clone()).or_default().push(*time);
                }
                let first = time / 1_000_000;
                all.first_ok_ms = Some(all.first_ok_ms.map_or(first, |before| before.min(first)));
                all.lasted_ms = all.lasted_ms.max(time / 1_000_000);
            }
            Completion::Fail { error, .. } | Completion::Info { error, .. } => {
                let kind = match error {
                    None if matches!(operation.completion, Completion::Info { at: None, .. }) => {
                        "no answer before the history ends"
                    }
                    None => "no reason given",
                    Some(error) => error.kind.as_deref().unwrap_or("of no kind"),
                };
                *reasons.entry(kind.to_owned()).or_default() += 1;
                if let Some(error) = error.as_ref().filter(|_| !all.first_words.contains_key(kind)) {
                    // A recorder may begin with the kind.
                    let words = error.text.strip_prefix(kind).and_then(|rest| rest.strip_prefix(": "));
                    let words = beginning(words.unwrap_or(&error.text));
                    all.first_words.extend((!words.is_empty()).then(|| (kind.to_owned(), words)));
                }
            }
        }
    }

    fn finish(self) -> RunStatistics {
        let Self { until_ns, mut all, latencies, mut ok_times, reasons } = self;
        for (f, histogram) in latencies {
            let kind = all.by_f.entry(f.to_owned()).or_default();
            kind.p50_us = histogram.value_at_quantile(0.5) / 1000;
            kind.p99_us = histogram.value_at_quantile(0.99) / 1000;
            kind.max_us = histogram.max() / 1000;
        }
        for (node, times) in &mut ok_times {
            times.sort_unstable();
            let entry = all.by_node.entry(node.clone()).or_default();
            let mut slots: Vec<u64> = times.iter().map(|time| time / SLOT_NS).collect();
            slots.dedup();
            entry.available_permille = (slots.len() as u64 * 1000) / (until_ns.div_ceil(SLOT_NS)).max(1);
            let mut last = 0;
            for time in times.iter().copied().chain([until_ns]) {
                entry.longest_gap_ms = entry.longest_gap_ms.max(time.saturating_sub(last) / 1_000_000);
                last = time;
            }
        }
        all.reasons = reasons.into_iter().collect();
        all.reasons.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        all
    }
}

/// Returns the beginning of what a client or a node said, in one line for a terminal.
fn beginning(text: &str) -> String {
    let printable = |letter: char| if letter.is_control() { '·' } else { letter };
    let mut short: String = text.chars().take(WORDS_CHARS).map(printable).collect();
    if text.chars().nth(WORDS_CHARS).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::tests::reads;

    #[test]
    fn operations_are_counted_by_outcome_by_reason_and_by_node() {
        let figures = statistics(&reads(), 1_000_000_000);
        assert_eq!(figures.counts, Counts { ok: 5, fail: 2, info: 2 });
        let read = &figures.by_f["read"];
        assert_eq!((read.counts, read.max_us / 1000), (figures.counts, 150));
        assert!((10..=11).contains(&(read.p50_us / 1000)), "{read:?}");
        let (first, second) = (&figures.by_node["n1"], &figures.by_node["n2"]);
        assert_eq!(
            (first.available_permille, first.longest_gap_ms),
            (300, 650),
            "reads at the end do not count"
        );
        assert_eq!(first.counts, Counts { ok: 4, fail: 1, info: 0 });
        assert_eq!((second.counts.info, second.available_permille), (2, 0));
        let reasons = [("no reason given", 2), ("no answer before the history ends", 1), ("precondition", 1)];
        assert_eq!(figures.reasons, reasons.map(|(why, count)| (why.to_owned(), count)));
        assert_eq!((figures.lasted_ms, figures.first_ok_ms), (1110, Some(20)));
        assert_eq!(
            figures.first_words,
            BTreeMap::from([("precondition".to_owned(), "it was not so".to_owned())])
        );
        assert_eq!(beginning("a\u{1b}[2J\nb"), "a·[2J·b");
    }
}
