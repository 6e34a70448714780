//! Outputs that cannot be there, or not both, or not only sometimes.

use duress_history::Scalar;
use duress_history::log::Offset;
use duress_history::stream::StreamRecord;

use super::describe::{describe_output, describe_record};
use super::facts::{Facts, Part, Seen, match_up};
use crate::delivery::describe::in_partition;
use crate::delivery::facts::WriteStatus;
use crate::findings::Findings;
use crate::verdict::{AnomalyKind, ObjectKind, RelationKind, Role};
use crate::witness::{Op, say};

/// Finds impossible outputs. Time O(n log n) in the outputs read.
pub(super) fn impossible(facts: &Facts<'_>, findings: &mut Findings) {
    for (partition, seen) in &facts.seen {
        for seen in seen.values() {
            unwritten(facts, partition, seen, findings);
        }
    }
    duplicates(facts, findings);
    for part in facts.parts.values().flatten() {
        contradictions(facts, part, findings);
    }
}

/// An output of no input or of no attempt that can have committed it.
fn unwritten(facts: &Facts<'_>, partition: &Scalar, seen: &Seen<'_>, findings: &mut Findings) {
    let Seen { op, record } = *seen;
    let input = facts.input(&record.value);
    let fits = input.filter(|input| *input.key == record.key && match_up(input.partition, partition));
    let attempt = facts.attempts.get(&record.attempt);
    let (kind, writer, why) = match (fits, attempt) {
        (None, _) => (
            AnomalyKind::NeverSent,
            input.map(|input| input.op),
            format!("no input {} of {} was sent to that partition", record.value, record.key),
        ),
        (Some(input), _) if input.status == WriteStatus::Failed => (
            AnomalyKind::AbortedRead,
            Some(input.op),
            format!("the only send of {} had failed, that is, certainly did not happen", record.value),
        ),
        (Some(input), _) if facts.precedes(op, input.op) => (
            AnomalyKind::NeverSent,
            Some(input.op),
            format!("{} was sent after the read had been answered", record.value),
        ),
        (_, None) => {
            (AnomalyKind::NeverSent, None, format!("there is no attempt {} to process", record.attempt))
        }
        (_, Some(attempt)) if attempt.status == WriteStatus::Failed => (
            AnomalyKind::AbortedRead,
            Some(attempt.op),
            format!("attempt {} had failed, that is, certainly committed nothing", record.attempt),
        ),
        (_, Some(attempt)) if facts.precedes(op, attempt.op) => (
            AnomalyKind::NeverSent,
            Some(attempt.op),
            format!("attempt {} began after the read had been answered", record.attempt),
        ),
        (Some(_), Some(attempt)) if !attempt.may_have_written(partition, record) => (
            AnomalyKind::NeverSent,
            Some(attempt.op),
            format!("the answer of attempt {} has no such output", record.attempt),
        ),
        (Some(_), Some(_)) => return,
    };
    findings.add(kind, || {
        let roles = [(op, Role::Read)].into_iter().chain(writer.map(|writer| (writer, Role::Write)));
        let witness = in_partition(facts.operations, partition, roles, [record.offset.0]);
        let found = format!(
            "{} found {}, written by attempt {}.",
            witness.named(op),
            describe_record(record),
            record.attempt
        );
        let about: Vec<Op> = writer.into_iter().collect();
        let steps = vec![say(found, &[op]), say(format!("But {why}."), &about)];
        let summary = format!("{} was read from {partition}, and {why}", describe_record(record));
        witness.anomaly(kind, op, summary, steps).about(ObjectKind::Message, &record.value)
    });
}

/// Two outputs of one input.
fn duplicates(facts: &Facts<'_>, findings: &mut Findings) {
    for input in &facts.inputs {
        let Some([first, second, ..]) = facts.outputs.get(input.value).map(Vec::as_slice) else { continue };
        let seen = |(partition, offset): &(&Scalar, u64)| facts.seen[partition][offset];
        let (one, other) = (seen(first), seen(second));
        findings.add(AnomalyKind::Duplicate, || {
            let roles = [(input.op, Role::Write), (one.op, Role::Evidence), (other.op, Role::Read)];
            let attempts = [one, other].map(|seen| facts.attempts.get(&seen.record.attempt));
            let attempts = attempts.into_iter().flatten().map(|attempt| (attempt.op, Role::Part));
            let witness = in_partition(
                facts.operations,
                first.0,
                roles.into_iter().chain(attempts),
                [first.1, second.1],
            );
            let found = |seen: Seen<'_>, partition: &Scalar| {
                let sentence = format!(
                    "{} found {} in {partition}, written by attempt {}.",
                    witness.named(seen.op),
                    describe_record(seen.record),
                    seen.record.attempt
                );
                say(sentence, &[seen.op]).relates(RelationKind::WriteRead, input.op, seen.op)
            };
            let once = format!("{} is the only one to send {}.", witness.named(input.op), input.value);
            let steps = vec![say(once, &[input.op]), found(one, first.0), found(other, second.0)];
            let summary = format!(
                "{} was sent once, and processed twice: at offset {} of {} and at offset {} of {}",
                input.value, first.1, first.0, second.1, second.0
            );
            witness
                .anomaly(AnomalyKind::Duplicate, other.op, summary, steps)
                .about(ObjectKind::Message, input.value)
        });
    }
}

/// A read that contradicts another: one has an output that the other left out, or has another in its place.
fn contradictions(facts: &Facts<'_>, part: &Part<'_>, findings: &mut Findings) {
    let (from, next) = (part.read.from.0, part.read.next.0);
    let records: Vec<&StreamRecord> = part.read.records.iter().collect();
    let rises = records.windows(2).all(|pair| pair[0].offset < pair[1].offset);
    let is_within = records.iter().all(|record| (from..next).contains(&record.offset.0));
    if !rises || !is_within || from > next {
        findings.add(AnomalyKind::IntNonmonotonicPoll, || {
            let roles = [(part.op, Role::Read)];
            let offsets = records.iter().map(|record| record.offset.0);
            let witness = in_partition(facts.operations, part.partition, roles, offsets);
            let sentence = format!(
                "{} has offsets that do not rise, or that are not in the part that it covers.",
                witness.named(part.op)
            );
            let summary = format!("a read of {} has impossible offsets", part.partition);
            witness.anomaly(
                AnomalyKind::IntNonmonotonicPoll,
                part.op,
                summary,
                vec![say(sentence, &[part.op])],
            )
        });
        return;
    }
    let mut own = records.into_iter().peekable();
    for (offset, seen) in facts.seen[part.partition].range(from..next) {
        let here = own.next_if(|record| record.offset == Offset(*offset));
        let kind = match here {
            Some(record) if record == seen.record => continue,
            Some(_) => AnomalyKind::InconsistentOffsets,
            None if facts.precedes(seen.op, part.op) => AnomalyKind::LostWrite,
            None => AnomalyKind::PollSkip,
        };
        findings.add(kind, || {
            let roles = [(seen.op, Role::Evidence), (part.op, Role::Read)];
            let witness = in_partition(facts.operations, part.partition, roles, [*offset]);
            let found = format!("{} found {}.", witness.named(seen.op), describe_record(seen.record));
            let (contradiction, summary) = match here {
                Some(record) => (
                    format!("{} found {} there.", witness.named(part.op), describe_record(record)),
                    format!("offset {offset} of {} was read as two outputs", part.partition),
                ),
                None => (
                    format!(
                        "{} covers that offset and found nothing there: what is committed stays, and what is not is never read.",
                        witness.named(part.op)
                    ),
                    format!(
                        "{} was read from {}, and a read that covers its place did not find it",
                        describe_output(&seen.record.key, seen.record.count, &seen.record.value),
                        part.partition
                    ),
                ),
            };
            let steps = vec![say(found, &[seen.op]), say(contradiction, &[part.op])];
            witness
                .anomaly(kind, part.op, summary, steps)
                .about(ObjectKind::Message, &seen.record.value)
        });
    }
}
