//! Counters: does every read lie in the range that adds allow?
//!
//! The vocabulary is that of [`duress_history::counter`]. A counter is 0 at first. An add that was
//! acknowledged took effect between its invocation and its answer, one of unknown outcome at any time after
//! its invocation, or never.
//!
//! Take two reads, the first answered before the second began. Their difference is the sum of the adds that
//! took effect between them. An add that began after the first read was answered, and was acknowledged before
//! the second began, surely did; one that began before the second was answered, and was not acknowledged
//! before the first began, may have. So the second lies between two bounds: the first and all sure adds,
//! together with all possible negative ones, or with all possible positive ones. The initial value counts as
//! a read of 0 before everything. A read is *out of range* if it lies outside the bounds of any read before
//! it.
//!
//! These bounds are necessary for linearizability. If every add is of 1 they are also sufficient; if adds
//! differ, the check does not decide whether a value within the bounds is the sum of some of them.
//!
//! **Stale reads.** If reads may be old, a read may take effect at any time from the beginning of the history
//! until its answer, so that only adds that have not begun are excluded. Once everything is healed and
//! replicas have had their time, the last read at each replica must satisfy the bounds above, and two that
//! differ without a reason have *diverged*. As adds commute, eventual consistency demands the same.

mod bounds;
mod explain;
mod facts;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use duress_history::counter::{Counter, CounterOp};
use duress_history::{Allowed, Completion, Consistency, Operation};
use serde::{Deserialize, Serialize};

use crate::delivery::happened;
use crate::findings::Findings;
use crate::linearizable::Convergence;
use crate::replicas::{ReplicaRead, Replicas, never_settled};
use crate::verdict::{AnomalyKind, CheckReport, Details, Reason, Verdict};
use facts::Facts;

/// The details of a check of counters, beside its verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CounterReport {
    /// The promise that it was held to.
    pub promise: Consistency,
    /// Reads that were answered.
    pub reads: u64,
    /// Adds that were acknowledged.
    pub acknowledged: u64,
    /// Adds that failed.
    pub failed: u64,
    /// Adds of unknown outcome.
    pub unknown: u64,
    /// How replicas were compared at the end; only where reads may be stale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub convergence: Option<Convergence>,
    /// How often each anomaly was found. The verdict has witnesses of the first few of each kind only.
    pub found: BTreeMap<AnomalyKind, u64>,
}

/// Checks each counter of `operations`, which are in order of invocation, against its promise.
///
/// `settled` is the index from which the final phase begins: everything is healed, clients add nothing more,
/// and replicas have had the time that they need to agree. `None` if there is no such phase; it matters only
/// if reads may be stale. `interrupt` may be set at any time; counters not decided then are `Unknown`. Time
/// O(n log n) in the operations.
#[must_use]
pub fn check_counter(
    operations: &[Operation<Counter>],
    promise: Consistency,
    settled: Option<u64>,
    interrupt: &AtomicBool,
) -> CheckReport {
    let mut findings = Findings::new(|_| Allowed::No);
    let mut reasons = Vec::new();
    let stale = promise != Consistency::Linearizable;
    let replicas = settled.filter(|_| stale).map(|settled| Replicas::new(settled, reads(operations)));
    let (mut answered, mut compared) = (0, 0);
    let counters = if u32::try_from(operations.len()).is_ok() {
        Facts::by_key(operations)
    } else {
        reasons.push(Reason::TooLong { key: None, operations: operations.len() as u64 });
        Vec::new()
    };
    let keys = counters.len() as u64;
    for mut facts in counters {
        if interrupt.load(Ordering::Relaxed) {
            reasons.push(Reason::Interrupted { key: None, explored: 0, reached: None });
            break;
        }
        answered += facts.reads.len() as u64;
        if stale {
            compared += u64::from(facts.may_be_old(replicas.as_ref()) > 1);
        }
        for violation in bounds::violations(&facts) {
            let kind = explain::kind(&facts, &violation);
            findings.add(kind, || explain::anomaly(&facts, &violation, kind));
        }
    }
    let convergence = replicas.map(|replicas| {
        let (convergence, open) = replicas.compared(compared);
        reasons.extend(open);
        convergence
    });
    if reasons.is_empty() {
        reasons.extend(Reason::nothing_shown(operations.len() as u64, happened(operations), answered));
    }
    if reasons.is_empty() && promise == Consistency::Eventual && settled.is_none() {
        reasons.push(never_settled());
    }
    let adds = || operations.iter().filter(|operation| matches!(operation.action.op, CounterOp::Add(_)));
    let ended = |ended: fn(&Completion<Counter>) -> bool| {
        adds().filter(|operation| ended(&operation.completion)).count() as u64
    };
    let (anomalies, found) = findings.finish();
    CheckReport {
        verdict: Verdict::new(anomalies, reasons),
        keys,
        operations: operations.len() as u64,
        details: Details::Counter(CounterReport {
            promise,
            reads: answered,
            acknowledged: ended(|completion| matches!(completion, Completion::Ok { .. })),
            failed: ended(|completion| matches!(completion, Completion::Fail { .. })),
            unknown: ended(|completion| matches!(completion, Completion::Info { .. })),
            convergence,
            found,
        }),
    }
}

fn reads(operations: &[Operation<Counter>]) -> impl Iterator<Item = ReplicaRead<'_>> {
    operations.iter().filter(|operation| matches!(operation.action.op, CounterOp::Read(_))).map(|operation| {
        let answered = matches!(operation.completion, Completion::Ok { .. });
        let object = operation.action.key.as_ref();
        ReplicaRead { object, node: operation.node.as_ref(), index: operation.index, answered }
    })
}
