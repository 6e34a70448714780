//! Records that contradict each other or their writes.
//!
//! - *Never sent*, *aborted read*: a record that had not been written by the time it was read, or only by a write that
//!   failed.
//! - *Internal nonmonotonic poll*: within one read, offsets that do not rise, or that lie beyond the end of
//!   the read.
//! - *Duplicate*: one put that is at two places.
//! - *Inconsistent offsets*: one place that was read as two records; a put that was acknowledged at one
//!   place, which holds another record, and was read elsewhere; two writes of the same time that were
//!   acknowledged at one place.
//! - *Lost write*: a write that was acknowledged, and was never read, at a place that was read as another
//!   record, or that was given, or one before it, to a write that began later.

use duress_history::Scalar;
use duress_history::log::Offset;
use duress_history::table::TableRecord;
use rustc_hash::FxHashSet;

use super::describe::describe_content;
use super::facts::{Facts, Read, Write, WriteId};
use crate::delivery::describe::in_partition;
use crate::delivery::facts::WriteStatus;
use crate::findings::Findings;
use crate::verdict::{Anomaly, AnomalyKind, ObjectKind, RelationKind, Role};
use crate::witness::{Op, say, seconds};

/// Finds contradictory records; returns for each write whether it is lost.
///
/// Time O(n log n) in the records written and read.
pub(super) fn impossible(facts: &Facts<'_>, findings: &mut Findings) -> Vec<bool> {
    for read in &facts.reads {
        order(facts, read, findings);
    }
    unwritten(facts, findings);
    duplicates(facts, findings);
    places(facts, findings)
}

fn order(facts: &Facts<'_>, read: &Read<'_>, findings: &mut Findings) {
    let records = &read.read.records;
    let beyond = records.iter().find(|record| record.offset >= read.read.next);
    let falls = records.windows(2).find(|pair| pair[1].offset <= pair[0].offset);
    let (one, other) = match (falls, beyond) {
        (Some(pair), _) => (Some(pair[0].offset), pair[1].offset),
        (None, Some(record)) => (None, record.offset),
        (None, None) => return,
    };
    findings.add(AnomalyKind::IntNonmonotonicPoll, || {
        let partition = facts.partitions[read.partition as usize];
        let offsets = one.into_iter().chain([other]).map(|Offset(offset)| offset);
        let witness = in_partition(facts.operations, partition, [(read.op, Role::Read)], offsets);
        let what = match one {
            Some(one) => format!("gave offset {other} of {partition} after offset {one}"),
            None => format!("gave offset {other} of {partition}, although it ended at {}", read.read.next),
        };
        let sentence = format!("{} {what}; offsets rise.", witness.named(read.op));
        witness.anomaly(
            AnomalyKind::IntNonmonotonicPoll,
            read.op,
            format!("a read {what}"),
            vec![say(sentence, &[read.op])],
        )
    });
}

fn unwritten(facts: &Facts<'_>, findings: &mut Findings) {
    let mut reported: FxHashSet<(&Scalar, Option<&Scalar>)> = FxHashSet::default();
    for read in &facts.reads {
        for record in &read.read.records {
            let (key, value) = (&record.key, record.value.as_ref());
            let put = value.map(|value| facts.puts.get(&(key, value)));
            let writers: &[WriteId] = match put {
                Some(put) => put.map_or(&[], std::slice::from_ref),
                None => facts.deletions.get(key).map_or(&[], Vec::as_slice),
            };
            let write = |id: &WriteId| &facts.writes[*id as usize];
            let possible = |id: &&WriteId| {
                write(id).status != WriteStatus::Failed && !facts.precedes(read.op, write(id).op)
            };
            if writers.iter().any(|id| possible(&id)) || !reported.insert((key, value)) {
                continue;
            }
            let failed = writers.iter().map(write).find(|write| write.status == WriteStatus::Failed);
            let kind = if failed.is_some() { AnomalyKind::AbortedRead } else { AnomalyKind::NeverSent };
            let writer = failed.or_else(|| writers.first().map(write));
            findings.add(kind, || explain_unwritten(facts, read, record, kind, writer));
        }
    }
}

fn explain_unwritten(
    facts: &Facts<'_>,
    read: &Read<'_>,
    record: &TableRecord,
    kind: AnomalyKind,
    writer: Option<&Write<'_>>,
) -> Anomaly {
    let partition = facts.partitions[read.partition as usize];
    let content = describe_content(&record.key, record.value.as_ref());
    let roles = [(read.op, Role::Read)].into_iter().chain(writer.map(|writer| (writer.op, Role::Write)));
    let witness = in_partition(facts.operations, partition, roles, [record.offset.0]);
    let found = format!("{} found {content} at offset {}.", witness.named(read.op), record.offset);
    let (why, short) = match writer {
        None => ("No operation in the whole history writes that.".to_owned(), "that was never written"),
        Some(writer) if kind == AnomalyKind::AbortedRead => (
            format!(
                "Only {} wrote that, and it failed, that is, certainly did not happen.",
                witness.named(writer.op)
            ),
            "its only write had failed",
        ),
        Some(writer) => (
            format!(
                "But {}, the first to write that, began at {}, after the read had been answered.",
                witness.named(writer.op),
                seconds(facts.operations[writer.op as usize].time)
            ),
            "no write of that had begun",
        ),
    };
    let about: Vec<Op> = writer.map(|writer| writer.op).into_iter().collect();
    let steps = vec![say(found, &[read.op]), say(why, &about)];
    let summary = format!("{content} was read from {partition}, and {short}");
    witness.anomaly(kind, read.op, summary, steps).about(ObjectKind::Key, &record.key)
}

fn duplicates(facts: &Facts<'_>, findings: &mut Findings) {
    for write in &facts.writes {
        let [(partition, one, first), (other_partition, other, second), ..] = write.seen[..] else {
            continue;
        };
        findings.add(AnomalyKind::Duplicate, || {
            let name = |partition: u32| facts.partitions[partition as usize];
            let roles = [(write.op, Role::Write), (first, Role::Evidence), (second, Role::Read)];
            let witness = in_partition(facts.operations, name(partition), roles, [one, other]);
            let content = describe_content(write.key, write.value);
            let found = |op: Op, partition: u32, offset: u64| {
                let sentence =
                    format!("{} found it at offset {offset} of {}.", witness.named(op), name(partition));
                say(sentence, &[op]).relates(RelationKind::WriteRead, write.op, op)
            };
            let once = format!("{} is the only one to write {content}.", witness.named(write.op));
            let steps = vec![
                say(once, &[write.op]),
                found(first, partition, one),
                found(second, other_partition, other),
            ];
            let summary = format!(
                "{content} was written once, and is at offset {one} of {} and at offset {other} of {}",
                name(partition),
                name(other_partition)
            );
            witness.anomaly(AnomalyKind::Duplicate, second, summary, steps).about(ObjectKind::Key, write.key)
        });
    }
}

/// A record as one answer shows it.
struct Shown<'a> {
    key: &'a Scalar,
    value: Option<&'a Scalar>,
    op: Op,
    /// The write whose acknowledgement shows it; `None` if a read does.
    write: Option<WriteId>,
}

fn places(facts: &Facts<'_>, findings: &mut Findings) -> Vec<bool> {
    let mut shown: Vec<(u32, u64, Shown<'_>)> = Vec::new();
    for read in &facts.reads {
        for TableRecord { offset: Offset(offset), key, value } in &read.read.records {
            shown.push((
                read.partition,
                *offset,
                Shown { key, value: value.as_ref(), op: read.op, write: None },
            ));
        }
    }
    for (id, write) in facts.writes.iter().enumerate() {
        if let Some((partition, offset)) = write.place {
            let (key, value, op) = (write.key, write.value, write.op);
            shown.push((partition, offset, Shown { key, value, op, write: Some(id as WriteId) }));
        }
    }
    // Reads before acknowledgements at each place.
    shown.sort_unstable_by_key(|(partition, offset, shown)| {
        (*partition, *offset, shown.write.is_some(), shown.op)
    });
    let mut lost = vec![false; facts.writes.len()];
    for place in shown.chunk_by(|one, other| (one.0, one.1) == (other.0, other.1)) {
        let (partition, offset, first) = &place[0];
        for (_, _, other) in &place[1..] {
            if (other.key, other.value) == (first.key, first.value) {
                continue;
            }
            let unread = |write: WriteId| facts.writes[write as usize].seen.is_empty();
            let kind = match (first.write, other.write) {
                (None, Some(write)) if unread(write) => {
                    lost[write as usize] = true;
                    AnomalyKind::LostWrite
                }
                // One was put where the other had been: reused, below.
                (Some(_), _) if ordered(facts, first, other) => continue,
                _ => AnomalyKind::InconsistentOffsets,
            };
            findings.add(kind, || contradiction(facts, (*partition, *offset), first, other, kind));
        }
    }
    reused(facts, &mut lost, findings);
    lost
}

fn ordered(facts: &Facts<'_>, one: &Shown<'_>, other: &Shown<'_>) -> bool {
    facts.precedes(one.op, other.op) || facts.precedes(other.op, one.op)
}

fn contradiction(
    facts: &Facts<'_>,
    (partition, offset): (u32, u64),
    one: &Shown<'_>,
    other: &Shown<'_>,
    kind: AnomalyKind,
) -> Anomaly {
    let partition = facts.partitions[partition as usize];
    let role = |shown: &Shown<'_>| if shown.write.is_some() { Role::Write } else { Role::Read };
    let roles = [(one.op, role(one)), (other.op, role(other))];
    let witness = in_partition(facts.operations, partition, roles, [offset]);
    // A read contradicts an acknowledgement; of two of one kind, the later contradicts the earlier.
    let contradicts = if other.write.is_some() && one.write.is_none() { one.op } else { other.op };
    let sentence = |shown: &Shown<'_>| {
        let content = describe_content(shown.key, shown.value);
        let verb = if shown.write.is_some() { "put" } else { "found" };
        say(format!("{} {verb} {content} at offset {offset}.", witness.named(shown.op)), &[shown.op])
    };
    let mut steps = vec![sentence(one), sentence(other)];
    let (first, second) = (describe_content(one.key, one.value), describe_content(other.key, other.value));
    let summary = if kind == AnomalyKind::LostWrite {
        steps.push(say(format!("An offset holds one record, and {second} was never read: it is lost."), &[]));
        format!("{second} was acknowledged at offset {offset} of {partition}, which holds {first}")
    } else {
        steps.push(say("An offset holds one record, which never changes after the append.", &[]));
        format!("offset {offset} of {partition} holds {first}, and {second}")
    };
    witness.anomaly(kind, contradicts, summary, steps).about(ObjectKind::Key, other.key)
}

/// Finds writes that were never read, and whose place, or one before it, was given to a write that began
/// later.
fn reused(facts: &Facts<'_>, lost: &mut [bool], findings: &mut Findings) {
    let mut placed: Vec<(u32, u64, WriteId, u64)> = Vec::new();
    for (id, write) in facts.writes.iter().enumerate() {
        let seen = write.seen.iter().map(|(partition, offset, _)| (*partition, *offset));
        if let Some((partition, offset)) = seen.chain(write.place).min() {
            placed.push((partition, facts.begun(write.op), id as WriteId, offset));
        }
    }
    placed.sort_unstable();
    // From each on, within its partition, the one with the lowest offset.
    let mut first: Vec<usize> = (0..placed.len()).collect();
    for at in (0..placed.len().saturating_sub(1)).rev() {
        let next = first[at + 1];
        if placed[next].0 == placed[at].0 && placed[next].3 <= placed[at].3 {
            first[at] = next;
        }
    }
    for (id, write) in facts.writes.iter().enumerate() {
        let (Some((partition, offset)), Some(answered)) = (write.place, facts.answered(write.op)) else {
            continue;
        };
        if lost[id] || !write.seen.is_empty() {
            continue;
        }
        let after = placed.partition_point(|(other, begun, ..)| (*other, *begun) < (partition, answered));
        let Some((other, _, later, at)) = first.get(after).map(|at| placed[*at]) else { continue };
        if other != partition || at > offset {
            continue;
        }
        lost[id] = true;
        findings.add(AnomalyKind::LostWrite, || {
            let partition = facts.partitions[partition as usize];
            let later = &facts.writes[later as usize];
            let reader = later.seen.iter().find(|(_, seen, _)| *seen == at && later.place.is_none());
            let reader = reader.map(|(.., op)| *op);
            let roles = [(write.op, Role::Write), (later.op, Role::Overwrite)];
            let roles = roles.into_iter().chain(reader.map(|op| (op, Role::Evidence)));
            let witness = in_partition(facts.operations, partition, roles, [offset, at]);
            let content = describe_content(write.key, write.value);
            let steps = vec![
                say(format!("{} put {content} at offset {offset}.", witness.named(write.op)), &[write.op]),
                witness.before(write.op, later.op),
                say(
                    format!(
                        "Yet {} is at offset {at}, by {}, although an append comes after all existing records.",
                        describe_content(later.key, later.value),
                        witness.named(reader.unwrap_or(later.op))
                    ),
                    &[reader.unwrap_or(later.op)],
                ),
                say(format!("{content} was never read: it is lost."), &[]),
            ];
            let summary = format!(
                "{content} was acknowledged at offset {offset} of {partition}, and a later record was put at {at}"
            );
            witness.anomaly(AnomalyKind::LostWrite, later.op, summary, steps).about(ObjectKind::Key, write.key)
        });
    }
}
