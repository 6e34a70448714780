//! Sets: is every added element there, once, from its acknowledgement on, and nothing else?
//!
//! The vocabulary is that of [`duress_history::set`]: elements are only added, and a read is answered with the whole set.
//!
//! By element, with the names of Jepsen's `set-full` if it has one. An element is *known* from the earlier of
//! two events: its add was acknowledged, or a read that has it was answered.
//! - *Lost write*: a read that began when the element was known lacks it, and so does every read that began
//!   later.
//! - *Stale read*: a read that began when the element was known lacks it, and one that began later has it.
//! - *Duplicate*: one answer has the element twice.
//! - *Phantom*, *aborted*, *future read*: a read has an element that was never added, whose adds all failed, or whose add
//!   began only after the read was answered.
//!
//! And by read:
//! - *Nonlinearizable*: each of two reads has an element that the other lacks, so that they did not see
//!   prefixes of one order; or a read has an element and lacks another that had been acknowledged before the
//!   add of the first began.
//!
//! A set is linearizable exactly when none of these is found. Sort its reads by inclusion, and put each element between
//! the reads that lack it and those that have it: that is an order that explains every answer, and wherever real time
//! demands another order of two operations, one of the above is the reason.
//!
//! **Stale reads.** If reads may be old, a read that lacks a known element proves nothing, and is only
//! counted. But reads see prefixes of one order all the same, and once everything is healed and replicas have
//! had their time, the last read at each replica has every known element: otherwise the element is *lost* if
//! no replica has it, and the replicas have *diverged* if one has.
//!
//! **Eventual consistency.** The same, but reads need not see prefixes of one order.

mod elements;
mod facts;
mod prefixes;
mod report;

use std::sync::atomic::{AtomicBool, Ordering};

use duress_history::set::{Set, SetOp};
use duress_history::{Allowed, Completion, Consistency, Operation};

use crate::delivery::happened;
use crate::findings::Findings;
use crate::replicas::{ReplicaRead, Replicas};
use crate::verdict::{AnomalyKind, CheckReport, Details, Reason, Verdict};
use facts::Facts;
use report::Durations;
pub use report::{Missing, SetCounts, SetReport};

/// Checks each set of `operations`, which are in order of invocation, against its promise.
///
/// `settled` is the index from which the final phase begins: everything is healed, clients add nothing more,
/// and replicas have had the time that they need to agree. `None` if there is no such phase; it matters only
/// if reads may be stale. `interrupt` may be set at any time; sets not decided then are `Unknown`. Time O(n
/// log n) in the operations and in the elements of all answers together.
#[must_use]
pub fn check_set(
    operations: &[Operation<Set>],
    promise: Consistency,
    settled: Option<u64>,
    interrupt: &AtomicBool,
) -> CheckReport {
    let mut findings = Findings::new(move |kind| match (promise, kind) {
        (Consistency::Linearizable, _) => Allowed::No,
        (_, AnomalyKind::StaleRead) => Allowed::Yes,
        _ => Allowed::No,
    });
    let mut reasons = Vec::new();
    let (mut counts, mut missing, mut compared) = (SetCounts::default(), Durations::default(), 0);
    let replicas = settled.map(|settled| Replicas::new(settled, reads(operations)));
    let sets = if u32::try_from(operations.len()).is_ok() {
        Facts::by_key(operations)
    } else {
        reasons.push(Reason::TooLong { key: None, operations: operations.len() as u64 });
        Vec::new()
    };
    let keys = sets.len() as u64;
    for facts in sets {
        if interrupt.load(Ordering::Relaxed) {
            reasons.push(Reason::Interrupted { key: None, explored: 0, reached: None });
            break;
        }
        counts.add(&facts);
        let mut own =
            elements::Elements { facts: &facts, promise, replicas: replicas.as_ref(), missing: &mut missing };
        let checked = own.check(&mut counts, &mut findings);
        compared += u64::from(checked.replicas > 1);
        reasons.extend(checked.reasons);
        if checked.sound && promise != Consistency::Eventual {
            prefixes::disagreements(&facts, &mut findings);
        }
    }
    let convergence = replicas.filter(|_| promise != Consistency::Linearizable).map(|replicas| {
        let (convergence, open) = replicas.compared(compared);
        reasons.extend(open);
        convergence
    });
    if reasons.is_empty() {
        let (all, happened) = (operations.len() as u64, happened(operations));
        reasons.extend(Reason::nothing_shown(all, happened, counts.reads));
    }
    let (anomalies, found) = findings.finish();
    CheckReport {
        verdict: Verdict::new(anomalies, reasons),
        keys,
        operations: operations.len() as u64,
        details: Details::Set(SetReport { promise, counts, missing: missing.finish(), convergence, found }),
    }
}

fn reads(operations: &[Operation<Set>]) -> impl Iterator<Item = ReplicaRead<'_>> {
    operations.iter().filter(|operation| matches!(operation.action.op, SetOp::Read(_))).map(|operation| {
        let answered = matches!(operation.completion, Completion::Ok { .. });
        let object = operation.action.key.as_ref();
        ReplicaRead { object, node: operation.node.as_ref(), index: operation.index, answered }
    })
}
