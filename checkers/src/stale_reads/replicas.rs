//! The duties of replicas once everything is healed, no more writes are made, and they have had their time.
//!
//! The last read of a key at each replica shows the replica's final value.
//!
//! - *Diverged*: two replicas returned different values. Had they held the same, some operation that makes
//!   one of the values of the other must have taken effect after the first of the two reads began and before
//!   the second was answered. It is not an anomaly if an operation that brings the later value (either, if
//!   the reads overlap) may have done so: one whose answer is still missing may take effect at any time,
//!   unless its value had been seen before.
//! - *Lost write*: all replicas agree, on an overwritten value. The last of these reads must satisfy
//!   linearizability. If the history has stale reads at worst without that, and is impossible with it, an
//!   acknowledged write is missing from all replicas. If some replica did not answer for that key, it is
//!   unknown: it may have the write.

use std::time::Duration;

use duress_history::{NodeId, Scalar};

use super::relaxed;
use crate::linearizable::partition::Partition;
use crate::linearizable::source::{Action, End, Source};
use crate::linearizable::{KeyReport, Limits, shown};
use crate::replicas::Replicas;
use crate::verdict::{Anomaly, AnomalyKind, Object, ObjectKind, Reason, Role};
use crate::witness::{Op, Witness, say};

/// The last read of a key at a replica.
#[derive(Clone, Copy)]
pub(super) struct Last<'a> {
    pub(super) source: Source<'a>,
    pub(super) node: &'a NodeId,
    pub(super) value: Option<&'a Scalar>,
    answered: u64,
}

/// Checks one key: that reads are stale at worst, and that the replicas agree at the end on the last write.
pub(super) fn check_key<'a>(part: &Partition<'a>, replicas: &Replicas<'a>, limits: Limits<'_>) -> KeyReport {
    let last = last_reads(part, replicas);
    let diverged = diverged(part, &last);
    let newest = last
        .iter()
        .max_by_key(|read| read.source.index)
        .filter(|newest| diverged.is_none() && last.iter().all(|read| read.value == newest.value));
    let Some(newest) = newest else {
        let mut report = relaxed(part, None, limits);
        report.anomalies.extend(diverged);
        return report;
    };
    let strict = relaxed(part, Some(newest.source.index), limits);
    if strict.anomalies.is_empty() {
        return strict;
    }
    let mut report = relaxed(part, None, limits);
    if !report.anomalies.is_empty() || !report.reasons.is_empty() {
        return report;
    }
    let unread = replicas.missing(|node| last.iter().any(|read| read.node == node));
    if unread.is_empty() {
        report.anomalies.extend(strict.anomalies.into_iter().map(|anomaly| lost(anomaly, newest, &last)));
    } else {
        report.reasons.push(Reason::ReplicasUnread { key: part.key.cloned(), nodes: unread });
    }
    report
}

/// Returns the last read of the key at each replica, by replica.
pub(super) fn last_reads<'a>(part: &Partition<'a>, replicas: &Replicas<'a>) -> Vec<Last<'a>> {
    let initial = part.initial();
    let reads = part.operations.iter().filter_map(|source| {
        let (Action::Read(value), End::Ok { index, .. }) = (source.action, source.end) else { return None };
        // The register held something from the start, and the client may not have learned what.
        let learned = value.is_some() || initial.flatten().is_none();
        learned.then_some((source.node, source.index, (source, value, index.max(source.index))))
    });
    let last = replicas.last(part.key, reads).into_iter();
    last.map(|(node, _, (source, value, answered))| Last { source, node, value, answered }).collect()
}

/// How many keys were read at more than one replica.
pub(super) fn compared<'a>(parts: &[Partition<'a>], replicas: &Replicas<'a>) -> u64 {
    parts.iter().filter(|part| last_reads(part, replicas).len() > 1).count() as u64
}

/// Finds two replicas that hold different values, whatever operations are still in progress.
pub(super) fn diverged(part: &Partition<'_>, last: &[Last<'_>]) -> Option<Anomaly> {
    let mut by_time: Vec<&Last<'_>> = last.iter().collect();
    by_time.sort_by_key(|read| read.source.index);
    let pairs = by_time
        .iter()
        .enumerate()
        .flat_map(|(at, one)| by_time[at + 1..].iter().map(move |other| (one, other)));
    let (one, other) =
        pairs.into_iter().find(|(one, other)| one.value != other.value && !excused(part, one, other))?;
    const ONE: Op = 0;
    const OTHER: Op = 1;
    let mut objects: Vec<Object> =
        part.key.map(|key| Object::new(ObjectKind::Key, key)).into_iter().collect();
    let node = |read: &Last<'_>| Object::new(ObjectKind::Node, &Scalar::from(read.node.as_str()));
    objects.extend([node(one), node(other)]);
    let reads = [(ONE, shown(&one.source, Role::Evidence)), (OTHER, shown(&other.source, Role::Read))];
    let witness = Witness::new(objects, reads);
    let value = |read: &Last<'_>| read.value.map_or_else(|| "null".to_owned(), Scalar::to_string);
    let (first, second) = (value(one), value(other));
    let name = part.key.map_or_else(|| "the register".to_owned(), Scalar::to_string);
    let ordered = one.answered < other.source.index;
    let mut steps = vec![say(
        format!(
            "When everything had been healed, {} answered {} with {first}, and {} answered {} with {second}.",
            one.node,
            witness.named(ONE),
            other.node,
            witness.named(OTHER)
        ),
        &[ONE, OTHER],
    )];
    let between = if ordered {
        steps.push(witness.before(ONE, OTHER));
        format!("No operation that brings {second} into {name} can have taken effect between the two.")
    } else {
        format!(
            "No operation that brings {first} or {second} into {name} can have taken effect while they were in progress."
        )
    };
    steps.push(say(between, &[ONE, OTHER]));
    steps.push(say(
        format!("So the two replicas hold different values, {}.", quiet(part, other)),
        &[ONE, OTHER],
    ));
    let summary = format!("in the end {name} is {first} at {} and {second} at {}", one.node, other.node);
    Some(witness.anomaly(AnomalyKind::Diverged, OTHER, summary, steps))
}

/// Returns how long the register had not been changed before `read` began.
fn quiet(part: &Partition<'_>, read: &Last<'_>) -> String {
    let changes = part.operations.iter().filter(|source| !matches!(source.action, Action::Read(_)));
    let ends = changes.map(|source| match source.end {
        End::Ok { time, .. } | End::Fail { time, .. } | End::Info { at: Some((_, time)) } => time,
        End::Info { at: None } => source.time,
    });
    let since = ends.max().map_or(0, |end| read.source.time.saturating_sub(end));
    match since {
        0 => "and no more writes are made".to_owned(),
        since => format!(
            "although no change had been requested for {:.1} s",
            Duration::from_nanos(since).as_secs_f64()
        ),
    }
}

/// Whether an operation may have taken effect between the two reads, `one` of which began first, that
/// explains why they differ although both replicas held the same.
fn excused(part: &Partition<'_>, one: &Last<'_>, other: &Last<'_>) -> bool {
    let overlap = one.answered >= other.source.index;
    let (from, until) = (one.source.index, one.answered.max(other.answered));
    let makes = |value: &Option<&Scalar>| *value == other.value || (overlap && *value == one.value);
    part.operations.iter().any(|source| {
        let Some(value) = produced(&source).filter(|value| makes(value)) else { return false };
        match source.end {
            End::Ok { index, .. } => source.index < until && index > from,
            End::Info { .. } => source.index < until && !seen_before(part, from, value),
            End::Fail { .. } => false,
        }
    })
}

/// Whether the only operation that brings `value` is known to have taken effect before the event `from`.
fn seen_before(part: &Partition<'_>, from: u64, value: Option<&Scalar>) -> bool {
    let makers = part
        .operations
        .iter()
        .filter(|source| produced(source) == Some(value) && !matches!(source.end, End::Fail { .. }));
    if part.initial().is_none_or(|initial| initial == value) || makers.count() != 1 {
        return false;
    }
    part.operations.iter().any(|source| {
        let saw = match source.action {
            Action::Read(seen) => seen == value,
            Action::Cas(old, _) => old == value,
            Action::Write(_) | Action::Acquire | Action::Release => false,
        };
        saw && matches!(source.end, End::Ok { index, .. } if index < from)
    })
}

/// Returns the value that an operation brings.
pub(super) fn produced<'a>(source: &Source<'a>) -> Option<Option<&'a Scalar>> {
    match source.action {
        Action::Write(value) => Some(value),
        Action::Cas(old, new) if old != Some(new) => Some(Some(new)),
        _ => None,
    }
}

/// Presents the impossibility with the last read as the loss that it shows.
fn lost(anomaly: Anomaly, newest: &Last<'_>, last: &[Last<'_>]) -> Anomaly {
    let nodes: Vec<&str> = last.iter().map(|read| read.node.as_str()).collect();
    let value = newest.value.map_or_else(|| "null".to_owned(), Scalar::to_string);
    let all = format!("at the end every replica ({}) answered {value}", nodes.join(", "));
    let summary = format!("{}; {all}: a write is lost", anomaly.summary);
    Anomaly { kind: AnomalyKind::LostWrite, summary, ..anomaly }
}
