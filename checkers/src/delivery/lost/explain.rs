//! Lost writes in sentences.

use duress_history::log::Log;

use super::{Proof, Search};
use crate::cast::Cast;
use crate::delivery::facts::{Op, SendId, Sent};
use crate::delivery::marks;
use crate::delivery::positions::{Jump, Origin};
use crate::verdict::{Anomaly, AnomalyKind, Step};

impl<'b> Search<'_, 'b> {
    pub(super) fn explain(&self, sent: &Sent<'b>, proof: &Proof) -> Anomaly {
        let (facts, key, value) = (self.facts, self.partition.key, sent.value);
        let at = sent.acknowledged_at();
        let place = at.map_or_else(String::new, |offset| format!(" at offset {offset}"));
        let unread = format!("No poll in the whole history was given {value} from {key}: it is lost.");
        let acknowledged = |cast: &Cast<'_, Log>| {
            cast.step(
                format!("{} was acknowledged: {value} is in {key}{place}.", cast.named(sent.op)),
                &[sent.op],
            )
        };
        match proof {
            Proof::Overwritten(poll) => {
                let cast = Cast::new(facts.operations, key, [sent.op, *poll], at);
                let other = self.partition.at(at.unwrap_or_default()).first().map(|record| record.value);
                let other = other.map_or_else(String::new, ToString::to_string);
                let given =
                    format!("{} was given {other}{place}, where {value} should be.", cast.named(*poll));
                let steps = vec![
                    acknowledged(&cast),
                    cast.step(given, &[*poll]),
                    cast.step(format!("An offset holds one message. {unread}"), &[]),
                ];
                let summary = format!(
                    "{value} was acknowledged{place} of {key}, which holds {other}; nobody ever read it"
                );
                cast.anomaly(AnomalyKind::LostWrite, summary, steps)
            }
            Proof::PassedBy(jump) => {
                let ops = jump.ops().chain([sent.op]);
                let cast = Cast::new(
                    facts.operations,
                    key,
                    ops,
                    [jump.next.wrapping_sub(1), jump.to].into_iter().chain(at),
                );
                let steps = vec![
                    acknowledged(&cast),
                    stood(&cast, jump),
                    cast.step(
                        format!(
                            "The next message that it was given, by {}, has offset {}: it passed {} by.",
                            cast.named(jump.by),
                            jump.to,
                            value
                        ),
                        &[jump.by],
                    ),
                    cast.step(unread, &[]),
                ];
                let summary = format!(
                    "{value} was acknowledged{place} of {key}; a consumer read from offset {} on to {} and did not find it, nor did anybody",
                    jump.next, jump.to
                );
                cast.anomaly(AnomalyKind::LostWrite, summary, steps)
            }
            Proof::Reused(reuser, offset) => {
                let other = &self.partition.sends[*reuser as usize];
                let reader = self.reader(*reuser, *offset);
                let ops = [sent.op, other.op].into_iter().chain(reader);
                let cast = Cast::new(facts.operations, key, ops, at.into_iter().chain([*offset]));
                let mut steps = vec![acknowledged(&cast), cast.before(sent.op, other.op)];
                let told = match reader {
                    Some(reader) => {
                        format!("{} was given {} at offset {offset}", cast.named(reader), other.value)
                    }
                    None => format!("{} was put at offset {offset}", cast.named(other.op)),
                };
                steps.push(cast.step(
                    format!("Yet {told}, although what is appended comes after all that is there: {value} was there no more."),
                    &[reader.unwrap_or(other.op)],
                ));
                steps.push(cast.step(unread, &[]));
                let summary = format!(
                    "{value} was acknowledged{place} of {key}, and {}, sent after that, was put at {offset}; nobody ever read {value}",
                    other.value
                );
                cast.anomaly(AnomalyKind::LostWrite, summary, steps)
            }
            Proof::Beyond(op, end) => {
                let cast = Cast::new(facts.operations, key, [sent.op, *op], at);
                let told = format!("{} told that {key} ends at offset {end}.", cast.named(*op));
                let steps = vec![
                    acknowledged(&cast),
                    cast.before(sent.op, *op),
                    cast.step(told, &[*op]),
                    cast.step(unread, &[]),
                ];
                let summary = format!(
                    "{value} was acknowledged{place} of {key}, which was told later to end at {end}; nobody ever read it"
                );
                cast.anomaly(AnomalyKind::LostWrite, summary, steps)
            }
            Proof::NotRead => self.not_in_final(sent, None),
            Proof::Ended(poll) => self.not_in_final(sent, Some(*poll)),
            Proof::Replaced(poll, by) => self.replaced(sent, *poll, *by),
        }
    }

    /// The poll that shows where a send was put; `None` where its acknowledgement does.
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
        let ops = [sent.op, shows, mark.op, reading.start].into_iter().chain(through.clone());
        let ops = ops.chain(marks::shown_by(facts, self.partition, mark));
        let cast = Cast::new(facts.operations, key, ops, ends);
        let place = known.map_or_else(String::new, |offset| format!(" at offset {offset}"));
        let shown = match poll {
            Some(_) => format!(
                "{} was given {value}, which {} sent,{place} of {key}.",
                cast.named(shows),
                cast.named(sent.op)
            ),
            None => format!("{} was acknowledged: {value} is in {key}{place}.", cast.named(shows)),
        };
        let mut steps = vec![cast.step(shown, &[shows, sent.op])];
        if known.is_none_or(|offset| offset >= reading.reached) {
            let mut step = cast.before(shows, mark.op);
            step.sentence = format!("{} {}", step.sentence, marks::told(mark));
            steps.push(step);
        }
        steps.push(cast.before(shows, reading.start));
        let about: Vec<Op> = [reading.start].into_iter().chain(through).collect();
        steps.push(cast.step(
            format!(
                "From {} on, that consumer read {key} from {} up to offset {} in {} polls, and was not given {value}: it is lost.",
                cast.named(reading.start),
                if reading.low == 0 { "the beginning".to_owned() } else { format!("offset {}", reading.low) },
                reading.reached,
                reading.ops.len(),
            ),
            &about,
        ));
        let how = if poll.is_some() { "was read from" } else { "was acknowledged in" };
        let summary =
            format!("{value} {how} {key}, and a later reading of the whole partition does not find it");
        cast.anomaly(AnomalyKind::LostWrite, summary, steps)
    }
    fn replaced(&self, sent: &Sent<'b>, poll: Op, by: Op) -> Anomaly {
        let (facts, key, value) = (self.facts, self.partition.key, sent.value);
        let last = self.last.as_ref().expect("what the final reading proves has a final reading");
        let start = last.reading.start;
        let offset = sent.seen.map_or(0, |seen| seen.low);
        let other =
            self.partition.at(offset).iter().find(|record| record.op == by).map(|record| record.value);
        let other = other.map_or_else(String::new, ToString::to_string);
        let cast = Cast::new(facts.operations, key, [sent.op, poll, start, by], [offset]);
        let steps = vec![
            cast.step(format!("{} was given {value} at offset {offset} of {key}.", cast.named(poll)), &[poll]),
            cast.before(poll, start),
            cast.step(
                format!(
                    "From {} on, that consumer read {key} from the beginning; {} was given {other} at offset {offset}.",
                    cast.named(start),
                    cast.named(by)
                ),
                &[start, by],
            ),
            cast.step(format!("Nobody was given {value} any more: it is lost."), &[]),
        ];
        let summary = format!("{value} was read at offset {offset} of {key}, which holds {other} in the end");
        cast.anomaly(AnomalyKind::LostWrite, summary, steps)
    }
}

/// Where the consumer stood before it jumped.
pub(in crate::delivery) fn stood(cast: &Cast<'_, Log>, jump: &Jump) -> Step {
    let origin = cast.named(jump.origin.op());
    let sentence = match (jump.origin, jump.assigned) {
        (Origin::Beginning(_), _) => format!("{origin} put its consumer at the beginning."),
        (Origin::Seek(_), _) => format!("{origin} put its consumer at offset {}.", jump.next),
        (Origin::Record(_), None) => format!("{origin} was given the message before offset {}.", jump.next),
        (Origin::Record(_), Some(assigned)) => format!(
            "{origin} was given the message before offset {}, and its consumer, by {}, keeps its place.",
            jump.next,
            cast.named(assigned.now)
        ),
    };
    let ops: Vec<Op> = jump.ops().filter(|op| *op != jump.by).collect();
    cast.step(sentence, &ops)
}
