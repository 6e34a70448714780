//! The search for a smaller plan that fails at least as often.

use std::fmt::Debug;

use duress_nemesis::ScheduledFault;

use super::candidates::{
    Candidate, cut_after, fewer_keys, fewer_nodes, fewer_processes, with_faults, without_idle_time,
};
use crate::plan::Plan;
use crate::trial::Proportion;

/// How often a plan fails, found out by running it.
#[expect(async_fn_in_trait, reason = "a search runs on one thread")]
pub trait Rates {
    /// The error.
    type Error: Debug;

    /// Runs `plan` until it is known whether it fails in `wanted.found` of `wanted.of` runs; the answer has
    /// as many runs as that took. `None` if the budget ran out.
    ///
    /// # Errors
    /// When it cannot be run.
    async fn rate(&mut self, plan: &Plan, wanted: Proportion) -> Result<Option<Proportion>, Self::Error>;

    /// When the anomaly of the newest run of the smallest plan was complete, in milliseconds, where its witness says.
    fn anomaly_ms(&self) -> Option<u64>;

    /// Whether the target takes `plan` at all.
    fn takes(&self, plan: &Plan) -> bool;

    /// A part was removed, or could not be.
    fn tried(&mut self, what: &str, rate: Proportion, kept: bool);
}

/// A plan that was shrunk.
#[derive(Clone, Debug, PartialEq)]
pub struct Shrunk {
    /// The smallest plan that was found.
    pub plan: Plan,
    /// The removed parts, in order.
    pub steps: Vec<String>,
    /// Whether nothing smaller is left to try; otherwise the budget ran out.
    pub complete: bool,
}

/// In how many of how many runs a candidate must fail, where the plan before failed at `rate`: the rarer, the more runs.
#[must_use]
pub fn wanted(rate: Proportion) -> Proportion {
    let of: u32 = match rate.rate() {
        rate if rate >= 0.9 => 3,
        rate if rate >= 0.5 => 5,
        _ => 8,
    };
    let found = (rate.rate() * f64::from(of) - 1e-9).ceil().max(1.0);
    // At most `of`, since a rate is at most 1.
    Proportion { found: found as u32, of }
}

/// Whether `rate`, which was measured for it, is as often as `wanted`; `None` while more runs can still
/// decide it.
#[must_use]
pub fn decided(rate: Proportion, wanted: Proportion) -> Option<bool> {
    let left = wanted.of.saturating_sub(rate.of);
    match rate.found {
        found if found >= wanted.found => Some(true),
        found if found + left < wanted.found => Some(false),
        _ => None,
    }
}

/// A search in progress.
struct Search<'r, R> {
    rates: &'r mut R,
    wanted: Proportion,
    plan: Plan,
    steps: Vec<String>,
}

/// The budget ran out.
struct TimeIsUp;

/// Either the time is up, or something went wrong.
type Stopped<E> = Result<TimeIsUp, E>;

/// Shrinks `plan`, which fails at `rate`.
///
/// Faults are removed by delta debugging: halves first, then smaller parts, until no single one can be
/// removed.
/// Source: A. Zeller and R. Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", IEEE Transactions on Software
/// Engineering 28 (2002), 183–200.
///
/// # Errors
/// Those of `rates`.
pub async fn shrink<R: Rates>(plan: Plan, rate: Proportion, rates: &mut R) -> Result<Shrunk, R::Error> {
    let mut search = Search { rates, wanted: wanted(rate), plan, steps: Vec::new() };
    let complete = match search.run().await {
        Ok(()) => true,
        Err(Ok(TimeIsUp)) => false,
        Err(Err(error)) => return Err(error),
    };
    Ok(Shrunk { plan: search.plan, steps: search.steps, complete })
}

impl<R: Rates> Search<'_, R> {
    async fn run(&mut self) -> Result<(), Stopped<R::Error>> {
        self.cut().await?;
        self.fewer_faults().await?;
        self.cut().await?;
        for smaller in [without_idle_time, fewer_nodes, fewer_processes, fewer_keys] {
            while let Some(candidate) = smaller(&self.plan) {
                if !self.attempt(candidate).await? {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Takes away what comes after the anomaly.
    async fn cut(&mut self) -> Result<(), Stopped<R::Error>> {
        if let Some(candidate) = self.rates.anomaly_ms().and_then(|at| cut_after(&self.plan, at)) {
            self.attempt(candidate).await?;
        }
        Ok(())
    }

    /// Takes the candidate in the place of the plan if it fails as often.
    async fn attempt(&mut self, candidate: Candidate) -> Result<bool, Stopped<R::Error>> {
        let Candidate { plan, what } = candidate;
        if plan.validate().is_err() || !self.rates.takes(&plan) {
            return Ok(false);
        }
        let rate = self.rates.rate(&plan, self.wanted).await.map_err(Err)?.ok_or(Ok(TimeIsUp))?;
        let kept = decided(rate, self.wanted) == Some(true);
        self.rates.tried(&what, rate, kept);
        if kept {
            self.plan = plan;
            self.steps.push(what);
        }
        Ok(kept)
    }

    async fn fewer_faults(&mut self) -> Result<(), Stopped<R::Error>> {
        let mut parts = 2;
        while !self.plan.schedule.is_empty() {
            let faults = self.plan.schedule.clone();
            parts = parts.min(faults.len());
            let size = faults.len().div_ceil(parts);
            let mut smaller = false;
            for part in (0..faults.len()).step_by(size) {
                let end = (part + size).min(faults.len());
                let rest: Vec<ScheduledFault> = [&faults[..part], &faults[end..]].concat();
                let (count, left) = (end - part, rest.len());
                let what = format!("{count} of {} faults, which leaves {left}", faults.len());
                if self.attempt(Candidate { plan: with_faults(&self.plan, &rest), what }).await? {
                    smaller = true;
                    break;
                }
            }
            if smaller {
                parts = (parts - 1).max(2);
            } else if size == 1 {
                break;
            } else {
                parts *= 2;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A plan fails for certain while it has the faults that begin at these times, and so many processes.
    struct Fake {
        needed: Vec<u64>,
        processes: usize,
        anomaly_ms: Option<u64>,
        runs: u32,
        runs_max: u32,
    }

    impl Rates for Fake {
        type Error = std::convert::Infallible;

        async fn rate(&mut self, plan: &Plan, wanted: Proportion) -> Result<Option<Proportion>, Self::Error> {
            let has =
                |start: &u64| plan.schedule.iter().any(|fault| fault.stop_ms - fault.start_ms == *start);
            let fails = self.needed.iter().all(has) && plan.concurrency >= self.processes;
            let mut rate = Proportion::default();
            while decided(rate, wanted).is_none() {
                if self.runs == self.runs_max {
                    return Ok(None);
                }
                self.runs += 1;
                rate.of += 1;
                rate.found += u32::from(fails);
            }
            Ok(Some(rate))
        }

        fn anomaly_ms(&self) -> Option<u64> {
            self.anomaly_ms
        }

        fn takes(&self, _: &Plan) -> bool {
            true
        }

        fn tried(&mut self, _: &str, _: Proportion, _: bool) {}
    }

    /// Returns a plan of so many faults, each of which is known by its length in milliseconds: 1, 2, 3, …
    fn plan(faults: u64) -> Plan {
        let fault = |at: u64| {
            json!({
                "id": at, "start_ms": 2000 + at * 1000, "stop_ms": 2000 + at * 1000 + at,
                "kind": "kill", "targets": {"nodes": ["n1"]},
            })
        };
        let host = |name: &str, last: u8| json!({"name": name, "address": format!("10.77.0.{last}")});
        let schedule: Vec<_> = (1..=faults).map(fault).collect();
        let plan = json!({
            "version": 2, "target": "store", "settings": {"mode": "raft", "options": {}, "bug": null},
            "nodes": [host("n1", 1), host("n2", 2), host("n3", 3)], "clients": [host("c1", 101)],
            "workload": {"name": "register", "keys": 8}, "concurrency": 24, "rate_hz": null,
            "time_limit_ms": 60_000, "operation_timeout_ms": 1000, "seed": 1, "faults": "kill",
            "fault_interval_ms": 1000, "schedule": schedule,
            "arena": {"port": "tun", "data": "tmpfs"},
        });
        serde_json::from_value(plan).unwrap()
    }

    fn shrunk(fake: &mut Fake) -> Shrunk {
        let whole = Proportion { found: 5, of: 5 };
        futures_util::future::FutureExt::now_or_never(shrink(plan(20), whole, fake)).unwrap().unwrap()
    }

    fn lengths(plan: &Plan) -> Vec<u64> {
        plan.schedule.iter().map(|fault| fault.stop_ms - fault.start_ms).collect()
    }

    #[test]
    fn what_is_needed_stays_and_nothing_else() {
        let mut fake = Fake { needed: vec![3, 11], processes: 6, anomaly_ms: None, runs: 0, runs_max: 1000 };
        let shrunk = shrunk(&mut fake);
        assert_eq!(lengths(&shrunk.plan), [3, 11]);
        assert_eq!((shrunk.plan.concurrency, shrunk.complete), (6, true));
        assert_eq!(shrunk.plan.workload.options["keys"], 1);
        // The first begins at once, and clients go on for a moment after the last.
        assert_eq!(shrunk.plan.schedule[0].start_ms, 1500);
        assert_eq!(shrunk.plan.time_limit_ms, shrunk.plan.schedule[1].stop_ms + 3000);
        assert_eq!(shrunk.plan.validate(), Ok(()));
    }

    #[test]
    fn what_came_after_the_anomaly_goes_first() {
        let mut fake =
            Fake { needed: vec![2], processes: 24, anomaly_ms: Some(5500), runs: 0, runs_max: 1000 };
        let shrunk = shrunk(&mut fake);
        assert_eq!(shrunk.steps[0], "what came after the anomaly, from 8.5 s on");
        assert_eq!((lengths(&shrunk.plan), shrunk.plan.concurrency), (vec![2], 24));
    }

    #[test]
    fn what_fails_without_faults_keeps_none() {
        let mut fake = Fake { needed: vec![], processes: 3, anomaly_ms: Some(900), runs: 0, runs_max: 1000 };
        let shrunk = shrunk(&mut fake);
        assert_eq!((lengths(&shrunk.plan), shrunk.plan.time_limit_ms), (vec![], 3900));
    }

    #[test]
    fn a_search_that_runs_out_of_time_has_the_smallest_so_far() {
        let mut fake = Fake { needed: vec![3], processes: 24, anomaly_ms: None, runs: 0, runs_max: 4 };
        let shrunk = shrunk(&mut fake);
        assert!(!shrunk.complete);
        assert!(lengths(&shrunk.plan).contains(&3) && shrunk.plan.schedule.len() < 20, "{:?}", shrunk.steps);
    }

    #[test]
    fn the_rarer_an_anomaly_the_more_runs_decide() {
        let of = |found, of| wanted(Proportion { found, of });
        assert_eq!(of(5, 5), Proportion { found: 3, of: 3 });
        assert_eq!(of(3, 5), Proportion { found: 3, of: 5 });
        assert_eq!(of(1, 5), Proportion { found: 2, of: 8 });
        assert_eq!(of(0, 5), Proportion { found: 1, of: 8 });
        let two_of_four = |found, of| decided(Proportion { found, of }, Proportion { found: 2, of: 4 });
        assert_eq!(
            (two_of_four(2, 2), two_of_four(0, 3), two_of_four(1, 3)),
            (Some(true), Some(false), None)
        );
    }
}
