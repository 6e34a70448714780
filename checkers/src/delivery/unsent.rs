//! Never sent, and aborted read: a poll gave a message that cannot be there.
//!
//! *Never sent*: it had not been sent to that partition by the time the poll was answered. *Aborted read* (Jepsen's and
//! Adya's G1a): its only send failed, that is, certainly did not happen. A send of unknown outcome is not evidence: that
//! its message is read shows that it happened.

use duress_history::Scalar;
use duress_history::pairs::Completion;
use rustc_hash::FxHashSet;

use super::describe::in_partition;
use super::facts::{Facts, Partition, Record, WriteStatus};
use crate::findings::Findings;
use crate::verdict::{AnomalyKind, ObjectKind, Role};
use crate::witness::{say, seconds};

/// Finds messages that were read and never sent, each once. Time O(messages read).
pub(super) fn unsent_messages(facts: &Facts<'_>, findings: &mut Findings) {
    for partition in facts.partitions.iter().filter(|partition| partition.repeated.is_none()) {
        let mut reported: FxHashSet<&Scalar> = FxHashSet::default();
        for record in &partition.records {
            let sent = record.send.map(|send| &partition.sends[send as usize]);
            let wrong = match sent {
                None => AnomalyKind::NeverSent,
                Some(sent) if sent.status == WriteStatus::Failed => AnomalyKind::AbortedRead,
                // Answered before its send began.
                Some(sent) if facts.precedes(record.op, sent.op) => AnomalyKind::NeverSent,
                Some(_) => continue,
            };
            if reported.insert(record.value) {
                findings.add(wrong, || explain(facts, partition, record, wrong));
            }
        }
    }
}

fn explain(
    facts: &Facts<'_>,
    partition: &Partition<'_>,
    record: &Record<'_>,
    kind: AnomalyKind,
) -> crate::verdict::Anomaly {
    let (key, value) = (partition.key, record.value);
    let sender = record.send.map(|send| partition.sends[send as usize].op);
    let roles = [(record.op, Role::Read)].into_iter().chain(sender.map(|op| (op, Role::Write)));
    let witness = in_partition(facts.operations, key, roles, [record.offset]);
    let poll = witness.named(record.op);
    let given = say(format!("{poll} received {value} at offset {} of {key}.", record.offset), &[record.op]);
    let (why, summary) = match sender {
        None => (
            say(format!("No operation in the whole history sends {value} to {key}."), &[]),
            format!("{poll} received {value} from {key}, and it was never sent there"),
        ),
        Some(sender) if kind == AnomalyKind::AbortedRead => {
            let error = match &facts.operation(sender).completion {
                Completion::Fail { error: Some(error), .. } => format!(": {error}"),
                _ => String::new(),
            };
            (
                say(
                    format!(
                        "Only {} sent {value}, and it failed, that is, certainly did not happen{error}.",
                        witness.named(sender)
                    ),
                    &[sender],
                ),
                format!("{poll} received {value} from {key}, whose only send had failed"),
            )
        }
        Some(sender) => (
            say(
                format!(
                    "But {}, the only one to send {value}, began at {}, after that poll had been answered.",
                    witness.named(sender),
                    seconds(facts.operation(sender).time)
                ),
                &[sender],
            ),
            format!("{poll} received {value} from {key} before its send began"),
        ),
    };
    witness.anomaly(kind, record.op, summary, vec![given, why]).about(ObjectKind::Message, value)
}
