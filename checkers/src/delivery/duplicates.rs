//! Duplicate: one message stands at more than one offset of its partition.
//!
//! Each value is sent once, so that a message that is read at two offsets, or read at one and acknowledged at another
//! that nobody has read, was appended twice: a producer that had no answer sent it again.
//!
//! Departures: where the acknowledged offset was read and holds another message, it is the answers that disagree; see
//! [`offsets`](super::offsets).

use super::facts::{Facts, Op, Partition, SendId, Sent};
use crate::cast::Cast;
use crate::findings::Findings;
use crate::verdict::AnomalyKind;

/// Finds messages that stand twice. Time O(n log n).
pub(super) fn duplicates(facts: &Facts<'_>, findings: &mut Findings) {
    for partition in facts.partitions.iter().filter(|partition| partition.repeated.is_none()) {
        for (id, sent) in partition.sends.iter().enumerate() {
            if let Some((one, other)) = twice(partition, id as SendId, sent) {
                findings.add(AnomalyKind::Duplicate, || {
                    let (key, value) = (partition.key, sent.value);
                    let cast = Cast::new(facts.operations, key, [sent.op, one.0, other.0], [one.1, other.1]);
                    let told = |(op, offset): (Op, u64)| {
                        let verb = if op == sent.op { "was acknowledged" } else { "was given it" };
                        cast.step(format!("{} {verb} at offset {offset}.", cast.named(op)), &[op])
                    };
                    let steps = vec![
                        cast.step(
                            format!("{} is the only one to send {value} to {key}.", cast.named(sent.op)),
                            &[sent.op],
                        ),
                        told(one),
                        told(other),
                    ];
                    let summary = format!(
                        "{value} was sent to {key} once, and stands there at offsets {} and {}",
                        one.1, other.1
                    );
                    cast.anomaly(AnomalyKind::Duplicate, summary, steps)
                });
            }
        }
    }
}

/// Two answers that place a message at different offsets.
fn twice(partition: &Partition<'_>, id: SendId, sent: &Sent<'_>) -> Option<((Op, u64), (Op, u64))> {
    let seen = sent.seen?;
    let reader = |offset| {
        let given = partition.at(offset).iter().find(|record| record.send == Some(id));
        given.map(|record| (record.op, offset))
    };
    if seen.low != seen.high {
        // The acknowledgement says as much as a poll, and has to be shown in any case.
        let told = sent.acknowledged_at().filter(|told| *told == seen.low || *told == seen.high);
        return Some(match told {
            Some(told) if told == seen.low => ((sent.op, told), reader(seen.high)?),
            Some(told) => (reader(seen.low)?, (sent.op, told)),
            None => (reader(seen.low)?, reader(seen.high)?),
        });
    }
    let acknowledged = sent.acknowledged_at()?;
    if acknowledged == seen.low || !partition.at(acknowledged).is_empty() {
        return None;
    }
    Some((reader(seen.low)?, (sent.op, acknowledged)))
}
