//! Inconsistent offsets: two answers disagree about which message stands at an offset.
//!
//! An offset holds one message for ever. It is a contradiction when
//! - two polls gave different messages at one offset;
//! - two sends were acknowledged at one offset, and nobody has read there;
//! - a send was acknowledged at one offset, where a poll gave another message, and its own message was read elsewhere.
//!
//! Departures from Jepsen: where a message was acknowledged at an offset, that offset holds another, and nobody ever
//! read the first, that is a lost write and nothing else; see [`lost`](super::lost).

use duress_history::log::Log;

use super::facts::{Facts, Op, Partition, Record};
use crate::cast::Cast;
use crate::findings::Findings;
use crate::verdict::{Anomaly, AnomalyKind};

/// Finds offsets about which answers disagree; `lost` says by partition and send what is lost. Time O(n log n).
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
    let mut told = None;
    for pair in partition.records.windows(2) {
        let [one, other]: [Record<'_>; 2] = [pair[0], pair[1]];
        if one.offset != other.offset || one.value == other.value || told == Some(one.offset) {
            continue;
        }
        told = Some(one.offset);
        findings.add(AnomalyKind::InconsistentOffsets, || {
            let (key, offset) = (partition.key, one.offset);
            let cast = Cast::new(facts.operations, key, [one.op, other.op], [offset]);
            let given = |record: &Record<'_>| {
                cast.step(
                    format!("{} was given {} at offset {offset}.", cast.named(record.op), record.value),
                    &[record.op],
                )
            };
            let steps = vec![given(&one), given(&other), one_message(&cast)];
            let summary =
                format!("offset {offset} of {key} was read as {} and as {}", one.value, other.value);
            cast.anomaly(AnomalyKind::InconsistentOffsets, summary, steps)
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
            let cast = Cast::new(facts.operations, key, [one, other], [offset]);
            let put = |op: Op, id: usize| {
                let value = partition.sends[id].value;
                cast.step(
                    format!("{} was acknowledged: {value} is at offset {offset}.", cast.named(op)),
                    &[op],
                )
            };
            let steps = vec![put(one, first), put(other, second), one_message(&cast)];
            let (one, other) = (partition.sends[first].value, partition.sends[second].value);
            let summary = format!("{one} and {other} were both acknowledged at offset {offset} of {key}");
            cast.anomaly(AnomalyKind::InconsistentOffsets, summary, steps)
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
    let ops = [sent.op, stranger.op, elsewhere.op];
    let cast = Cast::new(facts.operations, key, ops, [offset, elsewhere.offset]);
    let steps = vec![
        cast.step(
            format!("{} was acknowledged: {value} is at offset {offset}.", cast.named(sent.op)),
            &[sent.op],
        ),
        cast.step(
            format!("But {} was given {} at offset {offset}.", cast.named(stranger.op), stranger.value),
            &[stranger.op],
        ),
        cast.step(
            format!("And {} was given {value} at offset {}.", cast.named(elsewhere.op), elsewhere.offset),
            &[elsewhere.op],
        ),
    ];
    let summary = format!(
        "{value} was acknowledged at offset {offset} of {key}, and stands at {}; {offset} holds {}",
        elsewhere.offset, stranger.value
    );
    cast.anomaly(AnomalyKind::InconsistentOffsets, summary, steps)
}

fn one_message(cast: &Cast<'_, Log>) -> crate::verdict::Step {
    cast.step("An offset holds one message, and what is appended is never changed.".to_owned(), &[])
}
