//! Never sent, and aborted read: a poll gave a message that cannot be there.
//!
//! *Never sent*: nobody had sent it to that partition by the time the poll was answered. *Aborted read* (Jepsen's and
//! Adya's G1a): its only send failed, that is, certainly did not happen. A send of unknown outcome is no evidence: that
//! its message is read shows that it happened.

use duress_history::Scalar;
use duress_history::pairs::Completion;
use rustc_hash::FxHashSet;

use super::facts::{Facts, Fate, Partition, Record};
use crate::cast::Cast;
use crate::findings::Findings;
use crate::verdict::AnomalyKind;
use crate::words::seconds;

/// Finds messages that were read and never sent, each once. Time O(messages read).
pub(super) fn unsent_messages(facts: &Facts<'_>, findings: &mut Findings) {
    for partition in facts.partitions.iter().filter(|partition| partition.repeated.is_none()) {
        let mut told: FxHashSet<&Scalar> = FxHashSet::default();
        for record in &partition.records {
            let sent = record.send.map(|send| &partition.sends[send as usize]);
            let wrong = match sent {
                None => AnomalyKind::NeverSent,
                Some(sent) if sent.fate == Fate::Failed => AnomalyKind::AbortedRead,
                // Answered before anybody began to send it.
                Some(sent) if facts.precedes(record.op, sent.op) => AnomalyKind::NeverSent,
                Some(_) => continue,
            };
            if told.insert(record.value) {
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
    let cast = Cast::new(facts.operations, key, [record.op].into_iter().chain(sender), [record.offset]);
    let poll = cast.named(record.op);
    let given =
        cast.step(format!("{poll} was given {value} at offset {} of {key}.", record.offset), &[record.op]);
    let (why, summary) = match sender {
        None => (
            cast.step(format!("No operation in the whole history sends {value} to {key}."), &[]),
            format!("{poll} was given {value} from {key}, and nobody ever sent it there"),
        ),
        Some(sender) if kind == AnomalyKind::AbortedRead => {
            let error = match &facts.operation(sender).completion {
                Completion::Fail { error: Some(error), .. } => format!(": {error}"),
                _ => String::new(),
            };
            (
                cast.step(
                    format!(
                        "Only {} sent {value}, and it failed, that is, certainly did not happen{error}.",
                        cast.named(sender)
                    ),
                    &[sender],
                ),
                format!("{poll} was given {value} from {key}, whose only send had failed"),
            )
        }
        Some(sender) => (
            cast.step(
                format!(
                    "But {}, the only one to send {value}, began at {}, after that poll had been answered.",
                    cast.named(sender),
                    seconds(facts.operation(sender).time)
                ),
                &[sender],
            ),
            format!("{poll} was given {value} from {key} before anybody began to send it"),
        ),
    };
    cast.anomaly(kind, summary, vec![given, why])
}
