//! Stale reads: are the writes of a register linearizable, did every read see some prefix of them, and do
//! replicas come to agree?
//!
//! Replicas that answer reads from their own state, while all writes go through one of them, make this
//! promise ([`Consistency::StaleReads`](duress_history::Consistency::StaleReads)). There is one order of the
//! writes and compare-and-sets of a key that agrees with real time and with every answer, and a read returns
//! the value after some prefix of that order, all of which took effect before the read was answered: an old
//! value, but never one that was never written, that failed, or that is still to come.
//!
//! **Reduction.** A read that sees a prefix of the order is a read that may take effect at any moment from
//! the beginning of the history until its answer, since at each such moment the register holds the value
//! after a prefix. So a history has stale reads at worst exactly when it is linearizable with every read
//! beginning before everything else, and [`linearizable`](crate::linearizable) decides it. Three facts keep
//! that fast:
//! - a read of the initial value is explained by the empty prefix, and proves nothing;
//! - of several reads of one value the one that was answered first explains the others: they can see the same
//!   prefix;
//! - a read that was answered after an operation that brings its value had been acknowledged is explained by
//!   that one.
//!
//! The remaining reads are of a value that only operations in progress had brought. Such a read shows that
//! one of them had taken effect. It cannot come before the first of them began, and counts as beginning with
//! it.
//!
//! **Convergence.** Reads that begin when everything has been healed, no more writes are made, and replicas
//! have had their time, must satisfy more; see `replicas`.

mod eventual;
mod replicas;

use std::sync::atomic::AtomicBool;

use duress_history::register::Register;
use duress_history::{Assumed, Initial, NilReads, Operation, Scalar};
use rustc_hash::FxHashMap;

use crate::linearizable::partition::{Partition, registers};
use crate::linearizable::source::{Action, End, Since};
use crate::linearizable::{Budget, KeyReport, Limits, check_key, check_parts};
use crate::replicas::{ReplicaRead, Replicas};
use crate::verdict::{CheckReport, Details, Verdict};
pub use eventual::check_eventual;

/// Checks each register of `operations`, which are in order of invocation, on its own and in parallel.
///
/// `settled` is the index from which the final phase begins: everything is healed, clients write nothing
/// more, and replicas have had the time that they need to agree. `None` if there is no such phase; then the
/// replicas' agreement is not checked. The replicas are the nodes that reads are sent to.
///
/// See [`check_registers`](crate::linearizable::check_registers) for `assumed`, `budget` and `interrupt`.
#[must_use]
pub fn check_stale_reads(
    operations: &[Operation<Register>],
    assumed: &Assumed,
    settled: Option<u64>,
    budget: &Budget,
    interrupt: &AtomicBool,
) -> CheckReport {
    let parts = registers(operations, assumed);
    let Some(settled) = settled else {
        return check_parts(&parts, budget, interrupt, |part, limits| relaxed(part, None, limits));
    };
    let replicas = replicas_of(&parts, settled);
    let report =
        check_parts(&parts, budget, interrupt, |part, limits| replicas::check_key(part, &replicas, limits));
    with_convergence(report, &replicas, replicas::compared(&parts, &replicas))
}

/// Returns the replicas that reads were sent to, which have to agree from the event `settled` on.
fn replicas_of<'a>(parts: &[Partition<'a>], settled: u64) -> Replicas<'a> {
    let reads = parts.iter().flat_map(|part| part.operations.iter().map(move |source| (part, source)));
    let reads = reads.filter_map(|(part, source)| {
        let answered = matches!(source.end, End::Ok { .. });
        let read = ReplicaRead { object: part.key, node: source.node, index: source.index, answered };
        matches!(source.action, Action::Read(_)).then_some(read)
    });
    Replicas::new(settled, reads)
}

/// Adds to a report how the replicas were compared, in so many keys.
fn with_convergence(mut report: CheckReport, replicas: &Replicas<'_>, compared: u64) -> CheckReport {
    let (convergence, open) = replicas.compared(compared);
    report.verdict = report.verdict.merge(Verdict::new(Vec::new(), open.into_iter().collect()));
    if let Details::Registers(details) = &mut report.details {
        details.convergence = Some(convergence);
    }
    report
}

/// Decides whether `part` has stale reads at worst, and none in the operation of index `fresh`.
fn relaxed(part: &Partition<'_>, fresh: Option<u64>, limits: Limits<'_>) -> KeyReport {
    let relaxed = relax(part, fresh);
    let explained = (part.operations.len() - relaxed.operations.len()) as u64;
    let mut report = check_key(&relaxed, limits);
    report.operations += explained;
    report.happened += explained;
    report.observed += explained;
    report
}

/// `part` with each read begun as early as it may have taken effect, and without those that others explain.
fn relax<'a>(part: &Partition<'a>, fresh: Option<u64>) -> Partition<'a> {
    let initial = part.initial();
    let mut brought: FxHashMap<Option<&Scalar>, Brought> = FxHashMap::default();
    for source in part.operations.iter() {
        let value = match source.action {
            Action::Write(value) => value,
            // From a value to itself, it changes nothing.
            Action::Cas(old, new) if old != Some(new) => Some(new),
            _ => continue,
        };
        let acknowledged = match source.end {
            End::Ok { index, .. } => index,
            End::Info { .. } => u64::MAX,
            End::Fail { .. } => continue,
        };
        let known = brought.entry(value).or_insert(Brought { begun: u64::MAX, acknowledged: u64::MAX });
        known.begun = known.begun.min(source.index);
        known.acknowledged = known.acknowledged.min(acknowledged);
    }
    let mut first: FxHashMap<Option<&Scalar>, (u64, (usize, Since))> = FxHashMap::default();
    let mut others: Vec<(usize, Since)> = Vec::with_capacity(part.operations.len());
    for (at, source) in part.operations.iter().enumerate() {
        let as_it_is = (at, Since::Invocation);
        let (Action::Read(value), End::Ok { index: answered, .. }) = (source.action, source.end) else {
            others.push(as_it_is);
            continue;
        };
        // A register is empty as long as nothing was written.
        let unwritten = value.is_none()
            && matches!(part.assumed.initial, Initial::Known(_))
            && part.assumed.nil_reads == NilReads::Observed;
        if fresh == Some(source.index) || (value.is_none() && !unwritten && !brought.contains_key(&None)) {
            others.push(as_it_is);
            continue;
        }
        if initial == Some(value) || unwritten {
            continue;
        }
        let known = brought.get(&value);
        if known.is_some_and(|known| known.acknowledged < answered) {
            continue;
        }
        let begun = known.map_or(source.index, |known| known.begun.min(source.index));
        let read = (at, Since::Earlier(begun));
        let earliest = first.entry(value).or_insert((answered, read));
        if answered < earliest.0 {
            *earliest = (answered, read);
        }
    }
    // Reads first: of one that begins with the operation that it saw, the operation is then the one that begins last.
    let mut chosen: Vec<(usize, Since)> = first.into_values().map(|(_, read)| read).collect();
    chosen.sort_unstable_by_key(|(at, _)| *at);
    chosen.append(&mut others);
    Partition { key: part.key, assumed: part.assumed, operations: part.operations.chosen(chosen) }
}

/// The facts about the operations that bring a value.
struct Brought {
    /// When the first of them began.
    begun: u64,
    /// When the first of them was acknowledged; `u64::MAX` while none was.
    acknowledged: u64,
}
