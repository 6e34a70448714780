//! Inconsistent offsets: two answers disagree about which message is at an offset.
//!
//! An offset holds one message for ever. It is a contradiction when
//! - two polls returned different messages at one offset;
//! - two sends were acknowledged at one offset that no poll read;
//! - a send was acknowledged at one offset, a poll returned another message there, and its own message was
//!   read elsewhere.
//!
//! Departures from Jepsen: if a message was acknowledged at an offset that holds another, and was never read,
//! that is only a lost write; see [`lost`](super::lost).

use super::describe::in_partition;
use super::facts::{Facts, Op, Partition, Record};
use crate::findings::Findings;
use crate::verdict::{Anomaly, AnomalyKind, RelationKind, Role};
use crate::witness::{Statement, say};

/// Finds offsets about which answers disagree; `lost` has the losses by partition and send. Time O(n log n).
pub(super) fn inconsistent_offsets(facts: &Facts<'_>, lost: &[super::lost::Losses], findings: &mut Findings) {
    for (partition, lost) in facts.partitions.iter().zip(lost) {
        if partition.repeated.is_some() {
            continue;
        }
        between_polls(facts, partition, findings);
        between_acknowledgements(facts, partition, lost, findings);
        between_both(facts, partition, findings);
    }
}

/// One contradiction per offset.
fn between_polls(facts: &Facts<'_>, partition: &Partition<'_>, findings: &mut Findings) {
    let mut reported = None;
    for pair in partition.records.windows(2) {
        let [one, other]: [Record<'_>; 2] = [pair[0], pair[1]];
        if one.offset != other.offset || one.value == other.value || reported == Some(one.offset) {
            continue;
        }
        reported = Some(one.offset);
        findings.add(AnomalyKind::InconsistentOffsets, || {
            let (key, offset) = (partition.key, one.offset);
            let roles = [(one.op, Role::Evidence), (other.op, Role::Read)];
            let witness = in_partition(facts.operations, key, roles, [offset]);
            let given = |record: &Record<'_>| {
                say(
                    format!("{} received {} at offset {offset}.", witness.named(record.op), record.value),
                    &[record.op],
                )
            };
            let steps = vec![given(&one), given(&other), one_message()];
            let summary =
                format!("offset {offset} of {key} was read as {} and as {}", one.value, other.value);
            witness.anomaly(AnomalyKind::InconsistentOffsets, other.op, summary, steps)
        });
    }
}

fn between_acknowledgements(
    facts: &Facts<'_>,
    partition: &Partition<'_>,
    lost: &super::lost::Losses,
    findings: &mut Findings,
) {
    let mut acknowledged: Vec<(u64, Op, usize)> = Vec::new();
    for (id, sent) in partition.sends.iter().enumerate() {
        if let Some(offset) = sent.acknowledged_at().filter(|_| !lost.lost[id]) {
            acknowledged.push((offset, sent.op, id));
        }
    }
    acknowledged.sort_unstable();
    for pair in acknowledged.windows(2) {
        let [(offset, one, first), (other_offset, other, second)] = [pair[0], pair[1]];
        if offset != other_offset || !partition.at(offset).is_empty() {
            continue;
        }
        findings.add(AnomalyKind::InconsistentOffsets, || {
            let key = partition.key;
            let witness =
                in_partition(facts.operations, key, [(one, Role::Write), (other, Role::Overwrite)], [offset]);
            let put = |op: Op, id: usize| {
                let value = partition.sends[id].value;
                say(format!("{} was acknowledged: {value} is at offset {offset}.", witness.named(op)), &[op])
            };
            let steps = vec![put(one, first), put(other, second), one_message()];
            let (first, second) = (partition.sends[first].value, partition.sends[second].value);
            let summary = format!("{first} and {second} were both acknowledged at offset {offset} of {key}");
            witness.anomaly(AnomalyKind::InconsistentOffsets, other, summary, steps)
        });
    }
}

fn between_both(facts: &Facts<'_>, partition: &Partition<'_>, findings: &mut Findings) {
    for (id, sent) in partition.sends.iter().enumerate() {
        let (Some(offset), Some(seen)) = (sent.acknowledged_at(), sent.seen) else { continue };
        if (seen.low..=seen.high).contains(&offset) && seen.low == seen.high {
            continue;
        }
        let at = partition.at(offset);
        let own = |record: &&Record<'_>| record.send == Some(id as u32);
        let Some(stranger) = at.first().filter(|_| !at.iter().any(|record| own(&record))) else { continue };
        let Some(elsewhere) = partition.at(seen.low).iter().find(own) else { continue };
        findings.add(AnomalyKind::InconsistentOffsets, || {
            disagreement(facts, partition, sent, stranger, elsewhere)
        });
    }
}

fn disagreement(
    facts: &Facts<'_>,
    partition: &Partition<'_>,
    sent: &super::facts::Sent<'_>,
    stranger: &Record<'_>,
    elsewhere: &Record<'_>,
) -> Anomaly {
    let (key, value, offset) = (partition.key, sent.value, stranger.offset);
    let roles = [(sent.op, Role::Write), (stranger.op, Role::Read), (elsewhere.op, Role::Evidence)];
    let witness = in_partition(facts.operations, key, roles, [offset, elsewhere.offset]);
    let steps = vec![
        say(
            format!("{} was acknowledged: {value} is at offset {offset}.", witness.named(sent.op)),
            &[sent.op],
        ),
        say(
            format!("But {} received {} at offset {offset}.", witness.named(stranger.op), stranger.value),
            &[stranger.op],
        ),
        say(
            format!("And {} received {value} at offset {}.", witness.named(elsewhere.op), elsewhere.offset),
            &[elsewhere.op],
        )
        .relates(RelationKind::WriteRead, sent.op, elsewhere.op),
    ];
    let summary = format!(
        "{value} was acknowledged at offset {offset} of {key}, and is at {}; {offset} holds {}",
        elsewhere.offset, stranger.value
    );
    witness.anomaly(AnomalyKind::InconsistentOffsets, stranger.op, summary, steps)
}

fn one_message() -> Statement {
    say("An offset holds one message, which never changes after the append.", &[])
}
