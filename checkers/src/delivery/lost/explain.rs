//! Lost writes in sentences.

use super::{Proof, Search};
use crate::delivery::describe::in_partition;
use crate::delivery::facts::{Op, SendId, Sent};
use crate::delivery::marks;
use crate::delivery::positions::{Jump, Origin};
use crate::verdict::{Anomaly, AnomalyKind, ObjectKind, RelationKind, Role};
use crate::witness::{Statement, Witness, say};

impl<'b> Search<'_, 'b> {
    pub(super) fn explain(&self, sent: &Sent<'b>, proof: &Proof) -> Anomaly {
        self.argue(sent, proof).about(ObjectKind::Message, sent.value)
    }

    fn argue(&self, sent: &Sent<'b>, proof: &Proof) -> Anomaly {
        let (facts, key, value) = (self.facts, self.partition.key, sent.value);
        let at = sent.acknowledged_at();
        let place = at.map_or_else(String::new, |offset| format!(" at offset {offset}"));
        let unread = format!("No poll in the whole history received {value} from {key}: it is lost.");
        let acknowledged = |witness: &Witness| {
            say(
                format!("{} was acknowledged: {value} is in {key}{place}.", witness.named(sent.op)),
                &[sent.op],
            )
        };
        match proof {
            Proof::Overwritten(poll) => {
                let roles = [(sent.op, Role::Write), (*poll, Role::Read)];
                let witness = in_partition(facts.operations, key, roles, at);
                let other = self.partition.at(at.unwrap_or_default()).first().map(|record| record.value);
                let other = other.map_or_else(String::new, ToString::to_string);
                let given =
                    format!("{} received {other}{place}, where {value} should be.", witness.named(*poll));
                let steps = vec![
                    acknowledged(&witness),
                    say(given, &[*poll]),
                    say(format!("An offset holds one message. {unread}"), &[]),
                ];
                let summary = format!(
                    "{value} was acknowledged{place} of {key}, which holds {other}; it was never read"
                );
                witness.anomaly(AnomalyKind::LostWrite, *poll, summary, steps)
            }
            Proof::PassedBy(jump) => {
                let roles = jump.roles().into_iter().chain([(sent.op, Role::Write)]);
                let offsets = [jump.next.wrapping_sub(1), jump.to].into_iter().chain(at);
                let witness = in_partition(facts.operations, key, roles, offsets);
                let steps = vec![
                    acknowledged(&witness),
                    position(&witness, jump),
                    say(
                        format!(
                            "The next message that it received, by {}, has offset {}: it passed {} by.",
                            witness.named(jump.by),
                            jump.to,
                            value
                        ),
                        &[jump.by],
                    ),
                    say(unread, &[]),
                ];
                let summary = format!(
                    "{value} was acknowledged{place} of {key}; a consumer read from offset {} on to {} and did not find it, and it was never read",
                    jump.next, jump.to
                );
                witness.anomaly(AnomalyKind::LostWrite, jump.by, summary, steps)
            }
            Proof::Reused(reuser, offset) => {
                let other = &self.partition.sends[*reuser as usize];
                let reader = self.reader(*reuser, *offset);
                let roles = [(sent.op, Role::Write), (other.op, Role::Overwrite)];
                let roles = roles.into_iter().chain(reader.map(|op| (op, Role::Evidence)));
                let witness = in_partition(facts.operations, key, roles, at.into_iter().chain([*offset]));
                let mut steps = vec![acknowledged(&witness), witness.before(sent.op, other.op)];
                let placed = match reader {
                    Some(reader) => {
                        format!("{} received {} at offset {offset}", witness.named(reader), other.value)
                    }
                    None => format!("{} was put at offset {offset}", witness.named(other.op)),
                };
                steps.push(say(
                    format!("Yet {placed}, although an append comes after all existing messages: {value} was no longer there."),
                    &[reader.unwrap_or(other.op)],
                ));
                steps.push(say(unread, &[]));
                let summary = format!(
                    "{value} was acknowledged{place} of {key}, and {}, sent after that, was put at {offset}; {value} was never read",
                    other.value
                );
                witness.anomaly(AnomalyKind::LostWrite, other.op, summary, steps)
            }
            Proof::Beyond(op, end) => {
                let roles = [(sent.op, Role::Write), (*op, Role::Read)];
                let witness = in_partition(facts.operations, key, roles, at);
                let ended = format!("By {}, {key} ends at offset {end}.", witness.named(*op));
                let steps = vec![
                    acknowledged(&witness),
                    witness.before(sent.op, *op),
                    say(ended, &[*op]),
                    say(unread, &[]),
                ];
                let summary = format!(
                    "{value} was acknowledged{place} of {key}, which ended at {end} later; it was never read"
                );
                witness.anomaly(AnomalyKind::LostWrite, *op, summary, steps)
            }
            Proof::NotRead => self.not_in_final(sent, None),
            Proof::Ended(poll) => self.not_in_final(sent, Some(*poll)),
            Proof::Replaced(poll, by) => self.replaced(sent, *poll, *by),
        }
    }

    /// Returns the poll that shows where a send was put; `None` if its acknowledgement does.
    fn reader(&self, id: SendId, offset: u64) -> Option<Op> {
        if self.partition.sends[id as usize].acknowledged_at() == Some(offset) {
            return None;
        }
        self.partition.at(offset).iter().find(|record| record.send == Some(id)).map(|record| record.op)
    }

    fn not_in_final(&self, sent: &Sent<'b>, poll: Option<Op>) -> Anomaly {
        let (facts, key, value) = (self.facts, self.partition.key, sent.value);
        let last = self.last.as_ref().expect("what the final reading proves has a final reading");
        let mark = last.mark.as_ref().expect("what lies below a mark has a mark");
        let reading = last.reading;
        let known = sent.offset();
        let through = [reading.ops.first(), reading.ops.last()].into_iter().flatten().copied();
        let ends = [reading.reached.wrapping_sub(1), mark.below.wrapping_sub(1)].into_iter().chain(known);
        let shows = poll.unwrap_or(sent.op);
        let last_poll = reading.ops.last().copied().unwrap_or(reading.start);
        let roles =
            [(sent.op, Role::Write), (last_poll, Role::Read), (shows, Role::Evidence), (mark.op, Role::Mark)];
        let others = [(reading.start, Role::Position)].into_iter();
        let others = others.chain(through.clone().map(|op| (op, Role::Evidence)));
        let shown_by = marks::shown_by(facts, self.partition, mark).map(|op| (op, Role::Evidence));
        let roles = roles.into_iter().chain(others).chain(shown_by);
        let witness = in_partition(facts.operations, key, roles, ends);
        let place = known.map_or_else(String::new, |offset| format!(" at offset {offset}"));
        let shown = match poll {
            Some(_) => format!(
                "{} received {value}, which {} sent,{place} of {key}.",
                witness.named(shows),
                witness.named(sent.op)
            ),
            None => format!("{} was acknowledged: {value} is in {key}{place}.", witness.named(shows)),
        };
        let shown = say(shown, &[shows, sent.op]);
        let mut steps = vec![match poll {
            Some(poll) => shown.relates(RelationKind::WriteRead, sent.op, poll),
            None => shown,
        }];
        if known.is_none_or(|offset| offset >= reading.reached) {
            steps.push(witness.before(shows, mark.op).and(&marks::describe(mark)));
        }
        steps.push(witness.before(shows, reading.start));
        let about: Vec<Op> = [reading.start].into_iter().chain(through).collect();
        steps.push(say(
            format!(
                "From {} on, that consumer read {key} from {} up to offset {} in {} polls, and did not receive {value}: it is lost.",
                witness.named(reading.start),
                if reading.low == 0 { "the beginning".to_owned() } else { format!("offset {}", reading.low) },
                reading.reached,
                reading.ops.len(),
            ),
            &about,
        ));
        let how = if poll.is_some() { "was read from" } else { "was acknowledged in" };
        let summary =
            format!("{value} {how} {key}, and a later reading of the whole partition does not find it");
        witness.anomaly(AnomalyKind::LostWrite, last_poll, summary, steps)
    }

    fn replaced(&self, sent: &Sent<'b>, poll: Op, by: Op) -> Anomaly {
        let (facts, key, value) = (self.facts, self.partition.key, sent.value);
        let last = self.last.as_ref().expect("what the final reading proves has a final reading");
        let start = last.reading.start;
        let offset = sent.seen.map_or(0, |seen| seen.low);
        let other =
            self.partition.at(offset).iter().find(|record| record.op == by).map(|record| record.value);
        let other = other.map_or_else(String::new, ToString::to_string);
        let roles =
            [(sent.op, Role::Write), (poll, Role::Evidence), (by, Role::Read), (start, Role::Position)];
        let witness = in_partition(facts.operations, key, roles, [offset]);
        let steps = vec![
            say(format!("{} received {value} at offset {offset} of {key}.", witness.named(poll)), &[poll])
                .relates(RelationKind::WriteRead, sent.op, poll),
            witness.before(poll, start),
            say(
                format!(
                    "From {} on, that consumer read {key} from the beginning; {} received {other} at offset {offset}.",
                    witness.named(start),
                    witness.named(by)
                ),
                &[start, by],
            ),
            say(format!("{value} was not read any more: it is lost."), &[]),
        ];
        let summary = format!("{value} was read at offset {offset} of {key}, which holds {other} in the end");
        witness.anomaly(AnomalyKind::LostWrite, by, summary, steps)
    }
}

/// States the consumer's position before it jumped.
pub(in crate::delivery) fn position(witness: &Witness, jump: &Jump) -> Statement {
    let origin = witness.named(jump.origin.op());
    let sentence = match (jump.origin, jump.assigned) {
        (Origin::Beginning(_), _) => format!("{origin} put its consumer at the beginning."),
        (Origin::Seek(_), _) => format!("{origin} put its consumer at offset {}.", jump.next),
        (Origin::Record(_), None) if jump.is_within() => {
            format!("{origin} received the message before offset {}.", jump.next)
        }
        (Origin::Record(_), None) => format!(
            "{origin} received the message before offset {}, and its consumer, which neither assigns nor subscribes, \
             keeps its place.",
            jump.next
        ),
        (Origin::Record(_), Some(assigned)) => format!(
            "{origin} received the message before offset {}, and its consumer, by {}, keeps its place.",
            jump.next,
            witness.named(assigned.now)
        ),
    };
    let ops: Vec<Op> = jump.roles().into_iter().map(|(op, _)| op).filter(|op| *op != jump.by).collect();
    say(sentence, &ops)
}
