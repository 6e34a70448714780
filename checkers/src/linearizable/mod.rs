//! Linearizability: is there one order of all operations that agrees with real time and with every answer?
//!
//! A history is linearizable when each operation can be given one moment between its invocation and its
//! completion such that, taken in the order of these moments, every answer equals that of the sequential
//! object. An operation that failed did not happen; one of unknown outcome may have happened at any moment
//! after its invocation, or never.
//!
//! Sources:
//! - Herlihy, Wing: "Linearizability: a correctness condition for concurrent objects", TOPLAS 1990 (the definition;
//!   locality: a history is linearizable when its restriction to each object is);
//! - Wing, Gong: "Testing and verifying concurrent objects", JPDC 1993 (the search);
//! - Lowe: "Testing for linearizability", CCPE 2017 (configurations remembered, just-in-time linearization);
//! - Horn, Kroening: "Faster linearizability checking via P-compositionality", FORTE 2015 (one search per key);
//! - Gibbons, Korach: "Testing shared memories", SIAM J. Comput. 1997 (near-linear where values are unique).
//!
//! In reading order:
//! - `call`: an operation as the algorithms see it; registers, compare-and-set registers and locks are one machine;
//! - `source`: an operation of any of the vocabularies; `partition`: a history taken apart by key;
//! - `crashed`: facts about operations of unknown outcome that need no search;
//! - `chains`: near-linear, if every value is written once; `search`: everything else, along a `walk` of the
//!   events, by `choices` that `steps` carry out and a `memo` of failures; `trails`, `deferred`,
//!   `window` and `overwritten` decide cases that need no search;
//! - `witness`: a violation minimized, soundly; `explain`: named, and explained in sentences, by
//!   `replacement` if one operation replaced a value that another saw, by `orders` if only trying all of them
//!   shows it.
//!
//! A history in which clients read objects, and no answer shows their state (no read and no compare-and-set
//! succeeded, no lock was taken), is unknown, and so is one without operations.
//!
//! A failed compare-and-set does not count as an observation that the value was another one: many systems
//! answer so after a time-out or a lost election too. Knossos does the same. If the recorder received the
//! value that was there instead ([`OpError::saw`](duress_history::OpError)), which a target promises or does
//! not, it counts as a read of that value.

pub(crate) mod call;
mod chains;
mod choices;
mod crashed;
mod deferred;
mod explain;
mod memo;
mod orders;
mod overwritten;
pub(crate) mod partition;
mod replacement;
mod report;
mod search;
pub(crate) mod source;
mod steps;
#[cfg(test)]
mod tests;
mod trails;
mod walk;
mod window;
mod witness;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use duress_history::mutex::Mutex;
use duress_history::register::{CasRegister, Register};
use duress_history::{Assumed, Operation};
use rayon::prelude::*;

use crate::verdict::{Anomaly, CheckReport, Details, Reached, Reason, Verdict};
use call::{Call, Problem};
pub(crate) use explain::{anomaly, objects, shown, value_text};
use partition::{Interned, Partition};
pub use report::{Convergence, RegisterReport, Skipped, Statistics};
use search::{Decision, Undecided};
use source::{Action, End};

/// The limits of a check before it answers `Unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Configurations that may be explored for one key.
    pub configurations_max: u64,
    /// Bytes that remembered configurations may take, for all keys together.
    pub memory_bytes_max: usize,
}

impl Default for Budget {
    /// Two hundred million configurations a key, and two gigabytes.
    fn default() -> Self {
        Self { configurations_max: 200_000_000, memory_bytes_max: 2 << 30 }
    }
}

/// The shared state of the search on every key: the budget, its remainder, and whether to stop.
#[derive(Clone, Copy)]
pub(crate) struct Limits<'a> {
    pub(crate) budget: &'a Budget,
    pub(crate) memory_bytes: &'a AtomicUsize,
    pub(crate) interrupt: &'a AtomicBool,
}

impl Limits<'_> {
    pub(crate) fn interrupted(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed)
    }
}

/// Checks each register of `operations`, which are in order of invocation, on its own and in parallel.
///
/// `assumed` gives the registers' initial value, and whether a read that answers null saw an empty register,
/// or proves nothing and is counted as skipped. A register is empty as long as nothing was written, whatever
/// its initial value. `interrupt` may be set at any time; keys not decided then are `Unknown`.
#[must_use]
pub fn check_registers(
    operations: &[Operation<Register>],
    assumed: &Assumed,
    budget: &Budget,
    interrupt: &AtomicBool,
) -> CheckReport {
    check(partition::registers(operations, assumed), budget, interrupt)
}

/// Checks the one register of `operations`, which are in order of invocation, or, where they name several, each of them.
///
/// See [`check_registers`] for `assumed` and `interrupt`.
#[must_use]
pub fn check_cas_register(
    operations: &[Operation<CasRegister>],
    assumed: &Assumed,
    budget: &Budget,
    interrupt: &AtomicBool,
) -> CheckReport {
    check(partition::cas_register(operations, assumed), budget, interrupt)
}

/// Checks each lock of `operations`, which are in order of invocation; it is free at first.
///
/// A lock knows no owner: any process may release what another acquired.
#[must_use]
pub fn check_mutex(operations: &[Operation<Mutex>], budget: &Budget, interrupt: &AtomicBool) -> CheckReport {
    check(partition::mutex(operations, &Assumed::default()), budget, interrupt)
}

/// The result for one key.
#[derive(Default)]
pub(crate) struct KeyReport {
    pub(crate) anomalies: Vec<Anomaly>,
    pub(crate) reasons: Vec<Reason>,
    pub(crate) operations: u64,
    /// How many operations succeeded, and how many of their answers show the object's state.
    pub(crate) happened: u64,
    pub(crate) observed: u64,
    pub(crate) skipped: Skipped,
    pub(crate) statistics: Statistics,
}

fn check(parts: Vec<Partition<'_>>, budget: &Budget, interrupt: &AtomicBool) -> CheckReport {
    check_parts(&parts, budget, interrupt, check_key)
}

/// Checks every part by `check_key` and adds up.
pub(crate) fn check_parts<'a>(
    parts: &[Partition<'a>],
    budget: &Budget,
    interrupt: &AtomicBool,
    check_key: impl Fn(&Partition<'a>, Limits<'_>) -> KeyReport + Sync,
) -> CheckReport {
    let memory_bytes = AtomicUsize::new(0);
    let limits = Limits { budget, memory_bytes: &memory_bytes, interrupt };
    // Collected in the order of `parts`, which is by key: the report does not depend on which thread was faster.
    let reports: Vec<KeyReport> = parts.par_iter().map(|part| check_key(part, limits)).collect();
    let (keys, mut operations) = (reports.len() as u64, 0);
    let mut total = RegisterReport::default();
    let (mut anomalies, mut reasons) = (Vec::new(), Vec::new());
    let (mut happened, mut observed) = (0, 0);
    for report in reports {
        operations += report.operations;
        happened += report.happened;
        observed += report.observed;
        total.skipped.add(report.skipped);
        let (sum, one) = (&mut total.statistics, report.statistics);
        sum.keys_by_chains += one.keys_by_chains;
        sum.keys_by_search += one.keys_by_search;
        sum.configurations += one.configurations;
        sum.configurations_of_one_key_max = sum.configurations_of_one_key_max.max(one.configurations);
        anomalies.extend(report.anomalies);
        reasons.extend(report.reasons);
    }
    let all = parts.iter().map(|part| part.operations.len() as u64).sum();
    if reasons.is_empty() && (all == 0 || parts.iter().any(asks)) {
        reasons.extend(Reason::nothing_shown(all, happened, observed));
    }
    CheckReport {
        verdict: Verdict::new(anomalies, reasons),
        keys,
        operations,
        details: Details::Registers(total),
    }
}

/// Whether clients asked for the object's state: a history of writes alone leaves no question unanswered.
fn asks(part: &Partition<'_>) -> bool {
    part.operations.iter().any(|source| !matches!(source.action, Action::Write(_) | Action::Cas(..)))
}

/// Numbers the operations of one key, and counts them; `None` if the report says why the key cannot be decided.
pub(crate) fn begin<'a>(part: &Partition<'a>, limits: Limits<'_>) -> (Option<Interned<'a>>, KeyReport) {
    let key = part.key.cloned();
    let mut report = KeyReport::default();
    if limits.interrupted() {
        report.reasons.push(Reason::Interrupted { key, explored: 0, reached: None });
        return (None, report);
    }
    let Some(interned) = part.intern() else {
        let operations = part.operations.len() as u64;
        report.reasons.push(Reason::TooLong { key, operations });
        return (None, report);
    };
    report.skipped = interned.skipped;
    report.happened = interned.happened;
    report.operations = interned.problem.calls.len() as u64;
    let shows = |call: &&Call| call.complete.is_some() && call.effect.observed().is_some();
    report.observed = interned.problem.calls.iter().filter(shows).count() as u64;
    (Some(interned), report)
}

/// Decides whether the operations of one key are linearizable.
pub(crate) fn check_key(part: &Partition<'_>, limits: Limits<'_>) -> KeyReport {
    let (interned, mut report) = begin(part, limits);
    let Some(interned) = interned else { return report };
    let reduced = crashed::reduce(&interned.problem);
    report.skipped.unobserved = reduced.unobserved;
    report.operations -= reduced.unobserved;

    if let Some(answer) = chains::check(&interned.problem, &reduced) {
        report.statistics.keys_by_chains = 1;
        if let Err(violation) = answer {
            let small = witness::of_chain(&interned.problem, &violation, limits);
            report.anomalies.push(anomaly(part, &interned, small));
        }
        return report;
    }
    report.statistics.keys_by_search = 1;
    let (decision, explored) = search::search(&interned.problem, &reduced, limits);
    report.statistics.configurations = explored;
    match decision {
        Decision::Linearizable => {}
        Decision::Stuck { rank } => {
            let small = witness::of_prefix(&interned.problem, rank, limits);
            report.anomalies.push(anomaly(part, &interned, small));
        }
        Decision::Undecided { why, rank } => {
            let (key, reached) = (part.key.cloned(), Some(reached(part, &interned.problem, rank)));
            let bytes_max = limits.budget.memory_bytes_max;
            report.reasons.push(match why {
                Undecided::Configurations => Reason::Configurations { key, explored, reached },
                Undecided::Memory => Reason::Memory { key, explored, reached, bytes_max },
                Undecided::Interrupted => Reason::Interrupted { key, explored, reached },
            });
        }
    }
    report
}

/// The prefix of `part` that ends before the event of rank `rank`.
fn reached(part: &Partition<'_>, problem: &Problem, rank: u32) -> Reached {
    let mut reached = Reached { completed: 0, of: 0, index: 0 };
    for call in &problem.calls {
        let (Some(complete), End::Ok { index, .. } | End::Fail { index, .. }) =
            (call.complete, part.operations.get(call.source as usize).end)
        else {
            continue;
        };
        reached.of += 1;
        if complete < rank {
            reached.completed += 1;
            reached.index = reached.index.max(index);
        }
    }
    reached
}
