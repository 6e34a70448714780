//! Order of sends within a partition: a later send has a later offset.
//!
//! A message is appended after its send began, and after all existing messages. So a message whose send began
//! when another had already been acknowledged, or read, comes after that one. Otherwise the anomaly is
//! - *nonmonotonic send* when one process sent both;
//! - *reordered* when another process did, or one that had read the other.
//!
//! Within one operation, the messages sent to one partition are in the order in which they were sent
//! (*internal nonmonotonic send*); messages of others between them are counted (*internal send skip*) and
//! break nothing.
//!
//! Departures from Jepsen: it compares the sends of each process with one another only; real time orders
//! those of different processes as well. Lost messages are left out: that later ones took their place is how
//! they were lost.

use duress_history::Allowed;

use super::describe::in_partition;
use super::facts::{Facts, Op, Partition, Record, SendId, WriteStatus};
use super::lost::Losses;
use crate::findings::Findings;
use crate::verdict::{AnomalyKind, RelationKind, Role};
use crate::witness::{Statement, Witness, say};

/// Finds messages before ones that precede them. Time O(n log n).
pub(super) fn sends_out_of_order(
    facts: &Facts<'_>,
    losses: &[Losses],
    unsettled: Allowed,
    findings: &mut Findings,
) {
    for (partition, losses) in facts.partitions.iter().zip(losses) {
        if partition.repeated.is_none() {
            within_operations(facts, partition, losses, findings);
            between_operations(facts, partition, losses, unsettled, findings);
        }
    }
}

fn within_operations(facts: &Facts<'_>, partition: &Partition<'_>, losses: &Losses, findings: &mut Findings) {
    let mut last: Option<(Op, SendId, u64)> = None;
    for (id, sent) in partition.sends.iter().enumerate() {
        let Some(offset) = sent.offset().filter(|_| !losses.lost[id]) else { continue };
        let before = last.replace((sent.op, id as SendId, offset));
        let Some((_, before_id, before)) = before.filter(|(op, ..)| *op == sent.op) else { continue };
        if offset <= before {
            findings.add(AnomalyKind::IntNonmonotonicSend, || {
                let one = &partition.sends[before_id as usize];
                let key = partition.key;
                let readers = [
                    reader(facts, partition, before_id, before),
                    reader(facts, partition, id as SendId, offset),
                ];
                let readers = readers.into_iter().flatten().map(|op| (op, Role::Evidence));
                let roles = [(sent.op, Role::Write)].into_iter().chain(readers);
                let witness = in_partition(facts.operations, key, roles, [before, offset]);
                let steps = vec![
                    say(
                        format!(
                            "{} sent {} first and {} after it.",
                            witness.named(sent.op),
                            one.value,
                            sent.value
                        ),
                        &[sent.op],
                    ),
                    stands(&witness, facts, partition, before_id, before),
                    stands(&witness, facts, partition, id as SendId, offset),
                ];
                let summary = format!(
                    "{} sent {} and then {} to {key}, which has them in the opposite order",
                    witness.named(sent.op),
                    one.value,
                    sent.value
                );
                witness.anomaly(AnomalyKind::IntNonmonotonicSend, sent.op, summary, steps)
            });
        } else if partition.between(before + 1, offset).iter().any(|record| record.send.is_some()) {
            findings.add(AnomalyKind::IntSendSkip, || {
                let key = partition.key;
                let roles = [(sent.op, Role::Write)];
                let witness = in_partition(facts.operations, key, roles, [before, offset]);
                let summary = format!(
                    "messages of others are between those that {} sent to {key}",
                    witness.named(sent.op)
                );
                let steps = vec![say(summary.clone(), &[sent.op])];
                witness.anomaly(AnomalyKind::IntSendSkip, sent.op, summary, steps)
            });
        }
    }
}

/// Something that shows that a message is at an offset: its acknowledgement, or a poll.
#[derive(Clone, Copy)]
struct Evidence {
    /// The index of the event that answered.
    answered: u64,
    offset: u64,
    op: Op,
    send: SendId,
}

fn between_operations(
    facts: &Facts<'_>,
    partition: &Partition<'_>,
    losses: &Losses,
    unsettled: Allowed,
    findings: &mut Findings,
) {
    let there = |send: SendId| !losses.lost[send as usize];
    let mut evidence: Vec<Evidence> = Vec::with_capacity(partition.sends.len() + partition.records.len());
    for (id, sent) in partition.sends.iter().enumerate() {
        let send = id as SendId;
        // If answers disagree about its place, they prove nothing about others; if the acknowledgement had no
        // offset, the message was where it was read first.
        let offset = match (sent.status, sent.seen) {
            (WriteStatus::Acknowledged(Some(at)), seen) => {
                Some(at).filter(|at| seen.is_none_or(|seen| (seen.low, seen.high) == (*at, *at)))
            }
            (WriteStatus::Acknowledged(None), Some(seen)) => Some(seen.low),
            _ => None,
        };
        if let (Some(offset), Some(answered), true) = (offset, facts.answered(sent.op), there(send)) {
            evidence.push(Evidence { answered, offset, op: sent.op, send });
        }
    }
    for record in &partition.records {
        if let (Some(send), Some(answered)) = (record.send, facts.answered(record.op))
            && there(send)
            && partition.sends[send as usize].stays(unsettled)
        {
            evidence.push(Evidence { answered, offset: record.offset, op: record.op, send });
        }
    }
    evidence.sort_unstable_by_key(|evidence| (evidence.answered, evidence.offset));
    // Each send is compared only with the highest offset known when it began.
    let mut furthest: Option<Evidence> = None;
    let mut known = evidence.into_iter().peekable();
    for (id, sent) in partition.sends.iter().enumerate() {
        let begun = facts.begun(sent.op);
        while let Some(next) = known.next_if(|next| next.answered < begun) {
            if furthest.is_none_or(|before| next.offset > before.offset) {
                furthest = Some(next);
            }
        }
        let send = id as SendId;
        let (Some(before), Some(offset)) = (furthest, sent.lowest()) else { continue };
        if offset > before.offset || before.send == send || !there(send) {
            continue;
        }
        let process = |op: Op| facts.operation(op).process;
        let sender = partition.sends[before.send as usize].op;
        let own = before.op == sender && process(sender) == process(sent.op);
        let kind = if own { AnomalyKind::NonmonotonicSend } else { AnomalyKind::Reordered };
        findings.add(kind, || {
            let (key, earlier) = (partition.key, partition.sends[before.send as usize].value);
            let placed = reader(facts, partition, send, offset);
            let own = |record: &&Record<'_>| record.send == Some(before.send);
            let read = partition.at(before.offset).iter().find(own).map_or(before.op, |record| record.op);
            let roles = [(sent.op, Role::Overwrite), (sender, Role::Write), (before.op, Role::Evidence)];
            let shown = [read].into_iter().chain(placed).map(|op| (op, Role::Evidence));
            let witness =
                in_partition(facts.operations, key, roles.into_iter().chain(shown), [before.offset, offset]);
            let at = before.offset;
            let (read_named, sender_named) = (witness.named(read), witness.named(sender));
            let there = match (read == before.op, before.op == sender) {
                (true, true) => format!("{sender_named} put {earlier} at offset {at}."),
                (true, false) => {
                    format!("{read_named} received {earlier}, which {sender_named} sent, at offset {at}.")
                }
                (false, _) => format!("{sender_named} put {earlier} at offset {at}: {read_named} received it there."),
            };
            let steps = vec![
                say(there, &[before.op, sender, read]),
                witness.before(before.op, sent.op),
                stands(&witness, facts, partition, send, offset),
                say("An append comes after all existing messages.", &[sender, sent.op])
                    .relates(RelationKind::WriteWrite, sender, sent.op),
            ];
            let summary = format!(
                "{} was sent to {key} when {earlier} was already at offset {}, and was put before it, at {offset}",
                sent.value, before.offset
            );
            witness.anomaly(kind, sent.op, summary, steps)
        });
    }
}

/// Returns the poll that shows that a message is at `offset`; `None` if its acknowledgement does.
fn reader(facts: &Facts<'_>, partition: &Partition<'_>, send: SendId, offset: u64) -> Option<Op> {
    let sent = &partition.sends[send as usize];
    if sent.acknowledged_at() == Some(offset) && facts.answered(sent.op).is_some() {
        return None;
    }
    partition.at(offset).iter().find(|record| record.send == Some(send)).map(|record| record.op)
}

fn stands(
    witness: &Witness,
    facts: &Facts<'_>,
    partition: &Partition<'_>,
    send: SendId,
    offset: u64,
) -> Statement {
    let sent = &partition.sends[send as usize];
    let (op, verb) = match reader(facts, partition, send, offset) {
        Some(poll) => (poll, "received"),
        None => (sent.op, "put"),
    };
    say(format!("{} {verb} {} at offset {offset}.", witness.named(op), sent.value), &[op])
}
