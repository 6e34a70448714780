//! Duplicate: one message is at more than one offset of its partition.
//!
//! Each value is sent once. So a message that is read at two offsets was appended twice, and so was one that
//! is read at one offset and acknowledged at another that no poll read: a producer without an answer sent it
//! again.
//!
//! Departures: if the acknowledged offset was read and holds another message, the answers disagree; see
//! [`offsets`](super::offsets).

use super::describe::in_partition;
use super::facts::{Facts, Op, Partition, SendId, Sent};
use crate::findings::Findings;
use crate::verdict::{AnomalyKind, ObjectKind, RelationKind, Role};
use crate::witness::say;

/// Finds messages at two offsets. Time O(n log n).
pub(super) fn duplicates(facts: &Facts<'_>, findings: &mut Findings) {
    for partition in facts.partitions.iter().filter(|partition| partition.repeated.is_none()) {
        for (id, sent) in partition.sends.iter().enumerate() {
            if let Some((one, other)) = twice(partition, id as SendId, sent) {
                findings.add(AnomalyKind::Duplicate, || {
                    let (key, value) = (partition.key, sent.value);
                    let roles = [(sent.op, Role::Write), (one.0, Role::Evidence), (other.0, Role::Read)];
                    let witness = in_partition(facts.operations, key, roles, [one.1, other.1]);
                    let place = |(op, offset): (Op, u64)| {
                        let verb = if op == sent.op { "was acknowledged" } else { "received it" };
                        let statement =
                            say(format!("{} {verb} at offset {offset}.", witness.named(op)), &[op]);
                        if op == sent.op {
                            statement
                        } else {
                            statement.relates(RelationKind::WriteRead, sent.op, op)
                        }
                    };
                    let steps = vec![
                        say(
                            format!("{} is the only one to send {value} to {key}.", witness.named(sent.op)),
                            &[sent.op],
                        ),
                        place(one),
                        place(other),
                    ];
                    let summary = format!(
                        "{value} was sent to {key} once, and is there at offsets {} and {}",
                        one.1, other.1
                    );
                    let contradicts = if other.0 == sent.op { one.0 } else { other.0 };
                    witness
                        .anomaly(AnomalyKind::Duplicate, contradicts, summary, steps)
                        .about(ObjectKind::Message, value)
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
        let acknowledged = sent.acknowledged_at().filter(|at| *at == seen.low || *at == seen.high);
        return Some(match acknowledged {
            Some(at) if at == seen.low => ((sent.op, at), reader(seen.high)?),
            Some(at) => (reader(seen.low)?, (sent.op, at)),
            None => (reader(seen.low)?, reader(seen.high)?),
        });
    }
    let acknowledged = sent.acknowledged_at()?;
    if acknowledged == seen.low || !partition.at(acknowledged).is_empty() {
        return None;
    }
    Some((reader(seen.low)?, (sent.op, acknowledged)))
}
