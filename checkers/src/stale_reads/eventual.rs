//! Eventual consistency of registers: is every value that was read a written one, and do replicas come to agree on one?
//!
//! Replicas of which the newest version wins promise this
//! ([`Consistency::Eventual`](duress_history::Consistency::Eventual)) where a write need not see those before it. Which write
//! is the newest is then theirs to decide: it may be one that had ended before others began. So each read by itself may
//! return the initial value or that of any write that had begun by its end. The last reads of a key at each replica, once
//! everything is healed, must agree; and if a write was acknowledged, they cannot all return the initial value, unless an
//! operation that brings this value may have taken effect.

use std::sync::atomic::AtomicBool;

use duress_history::event::Timing;
use duress_history::register::Register;
use duress_history::{Assumed, Freshness, Operation, Scalar};

use super::replicas::{Last, compared, diverged, last_reads, produced};
use super::{replicas_of, with_convergence};
use crate::freshness;
use crate::linearizable::partition::{Partition, registers};
use crate::linearizable::source::{End, Source};
use crate::linearizable::{Budget, KeyReport, Limits, check_parts, objects, shown};
use crate::replicas::{Replicas, never_settled};
use crate::verdict::{Anomaly, AnomalyKind, CheckReport, Reason, Role, Verdict, WitnessStart};
use crate::witness::{Op, Witness, say};

/// Checks each register of `operations`, which are in order of invocation, on its own and in parallel.
///
/// See [`check_stale_reads`](super::check_stale_reads) for `settled`, without which it is unknown whether replicas agree, and
/// [`check_registers`](crate::linearizable::check_registers) for `assumed` and `interrupt`. Time O(n log n).
#[must_use]
pub fn check_eventual(
    operations: &[Operation<Register>],
    assumed: &Assumed,
    settled: Option<u64>,
    interrupt: &AtomicBool,
) -> CheckReport {
    let parts = registers(operations, assumed);
    // Nothing is searched for: the budget is not used.
    let budget = Budget::default();
    let Some(settled) = settled else {
        let mut report = check_parts(&parts, &budget, interrupt, written_values);
        if report.verdict == Verdict::Valid {
            report.verdict = Verdict::Unknown(vec![never_settled()]);
        }
        return report;
    };
    let replicas = replicas_of(&parts, settled);
    let report = check_parts(&parts, &budget, interrupt, |part, limits| check_key(part, &replicas, limits));
    with_convergence(report, &replicas, compared(&parts, &replicas))
}

/// Checks that each read of a key returns a value that was written by then, or the initial one.
fn written_values(part: &Partition<'_>, limits: Limits<'_>) -> KeyReport {
    freshness::check_key(part, Freshness::Written, Timing::Incomplete, limits)
}

fn check_key<'a>(part: &Partition<'a>, replicas: &Replicas<'a>, limits: Limits<'_>) -> KeyReport {
    let mut report = written_values(part, limits);
    let last = last_reads(part, replicas);
    if let Some(diverged) = diverged(part, &last) {
        report.anomalies.push(diverged);
        return report;
    }
    let Some(lost) = lost(part, &last) else { return report };
    let unread = replicas.missing(|node| last.iter().any(|read| read.node == node));
    if unread.is_empty() {
        report.anomalies.push(lost);
    } else {
        report.reasons.push(Reason::ReplicasUnread { key: part.key.cloned(), nodes: unread });
    }
    report
}

/// Proves that an acknowledged write is lost, and every other: all replicas returned the initial value at the end.
fn lost(part: &Partition<'_>, last: &[Last<'_>]) -> Option<Anomaly> {
    let initial = part.initial()?;
    let newest = last.iter().max_by_key(|read| read.source.index)?;
    let brings = |source: &Source<'_>| produced(source) == Some(initial);
    let may_have = |source: &Source<'_>| brings(source) && !matches!(source.end, End::Fail { .. });
    if last.iter().any(|read| read.value != initial) || part.operations.iter().any(|source| may_have(&source))
    {
        return None;
    }
    let acknowledged = |source: &Source<'_>| {
        matches!(source.end, End::Ok { index, .. } if index < newest.source.index)
            && produced(source).is_some()
    };
    let write = part.operations.iter().rfind(|source| acknowledged(source))?;
    const WRITE: Op = 0;
    const READ: Op = 1;
    let shown = [(WRITE, shown(&write, Role::Write)), (READ, shown(&newest.source, Role::Read))];
    let witness = Witness::new(objects(part), shown);
    let name = part.key.map_or_else(|| "the register".to_owned(), Scalar::to_string);
    let value = initial.map_or_else(|| "null".to_owned(), Scalar::to_string);
    let nodes: Vec<&str> = last.iter().map(|read| read.node.as_str()).collect();
    let steps = vec![
        witness.before(WRITE, READ),
        say(
            format!(
                "When everything had been healed, every replica ({}) answered {value}, which {name} held at first.",
                nodes.join(", ")
            ),
            &[READ],
        ),
        say(format!("No operation that brings {value} into {name} can have taken effect."), &[READ]),
        say(format!("So no replica has {}, nor any other write.", witness.named(WRITE)), &[WRITE, READ]),
    ];
    let summary = format!("in the end {name} is {value} at every replica: an acknowledged write is lost");
    let witness = witness.starting(WitnessStart::Initial(initial.cloned()));
    Some(witness.anomaly(AnomalyKind::LostWrite, READ, summary, steps))
}
