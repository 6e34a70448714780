//! Skipped and nonmonotonic polls: a consumer that kept its place received a message that does not follow.
//!
//! *Poll skip*: it received an offset beyond the next, and another operation received a message between the
//! two. *Nonmonotonic poll*: it received an offset before the next: again, or backwards. *Internal* (`int-`)
//! if one operation received both messages, *external* from one operation to the next; see
//! [`positions`](super::positions) for the consumers that keep a place.
//!
//! Departures: a lost message is not evidence of a skip, being no longer there; one that was never read is
//! lost or unseen, not skipped. If retention removes the oldest messages, consumers may be moved forward from
//! one operation to the next; if compaction removes any, they may find any offset empty. After a `seek`, a
//! consumer may receive lower offsets: the requested ones may not exist yet. If messages that were read may
//! vanish, consumers beyond the new end are sent back to it.

use duress_history::Allowed;

use super::describe::in_partition;
use super::facts::{Facts, Partition, Record, SendId};
use super::lost::{Losses, position};
use super::positions::{Jump, Origin, Positions};
use super::promise::{Gaps, LogOptions};
use crate::findings::Findings;
use crate::verdict::{AnomalyKind, Role};
use crate::witness::say;

/// Finds what consumers were given out of order. Time O(jumps log n).
pub(super) fn polls_out_of_order(
    facts: &Facts<'_>,
    positions: &Positions,
    losses: &[Losses],
    options: &LogOptions,
    findings: &mut Findings,
) {
    for ((partition, jumps), losses) in facts.partitions.iter().zip(&positions.jumps).zip(losses) {
        for jump in jumps {
            if jump.to < jump.next {
                if matches!(jump.origin, Origin::Record(_)) {
                    nonmonotonic(facts, partition, jump, findings);
                }
            } else if skips_prove(jump, options.gaps)
                && let Some(record) = skipped(partition, jump, losses, options.promise.unsettled_reads)
            {
                skip(facts, partition, jump, record, findings);
            }
        }
    }
}

fn skips_prove(jump: &Jump, gaps: Gaps) -> bool {
    match gaps {
        Gaps::Never => true,
        Gaps::BelowStart => jump.is_within(),
        Gaps::Anywhere => false,
    }
}

/// Returns a message that is there, and that `jump` left out.
fn skipped<'b>(
    partition: &'b Partition<'b>,
    jump: &Jump,
    losses: &Losses,
    unsettled: Allowed,
) -> Option<&'b Record<'b>> {
    let there = |record: &&Record<'_>| {
        let stays =
            |send: SendId| !losses.lost[send as usize] && partition.sends[send as usize].stays(unsettled);
        record.op != jump.by && record.send.is_some_and(stays)
    };
    partition.between(jump.next, jump.to).iter().find(there)
}

fn nonmonotonic(facts: &Facts<'_>, partition: &Partition<'_>, jump: &Jump, findings: &mut Findings) {
    let kind = match jump.is_within() {
        true => AnomalyKind::IntNonmonotonicPoll,
        false => AnomalyKind::NonmonotonicPoll,
    };
    findings.add(kind, || {
        let key = partition.key;
        let witness =
            in_partition(facts.operations, key, jump.roles(), [jump.next.saturating_sub(1), jump.to]);
        let steps = vec![
            position(&witness, jump),
            say(
                format!(
                    "The next message that it received, by {}, has offset {}.",
                    witness.named(jump.by),
                    jump.to
                ),
                &[jump.by],
            ),
            say("A consumer that keeps its place receives rising offsets.", &[]),
        ];
        let summary = format!(
            "a consumer of {key} was at offset {} and received offset {}, which lies before it",
            jump.next, jump.to
        );
        witness.anomaly(kind, jump.by, summary, steps)
    });
}

fn skip(
    facts: &Facts<'_>,
    partition: &Partition<'_>,
    jump: &Jump,
    record: &Record<'_>,
    findings: &mut Findings,
) {
    let kind = if jump.is_within() { AnomalyKind::IntPollSkip } else { AnomalyKind::PollSkip };
    findings.add(kind, || {
        let key = partition.key;
        let sender = record.send.map(|send| partition.sends[send as usize].op);
        let others = [(record.op, Role::Evidence)].into_iter().chain(sender.map(|op| (op, Role::Write)));
        let roles = jump.roles().into_iter().chain(others);
        let offsets = [jump.next.wrapping_sub(1), jump.to, record.offset];
        let witness = in_partition(facts.operations, key, roles, offsets);
        let steps = vec![
            position(&witness, jump),
            say(
                format!(
                    "The next message that it received, by {}, has offset {}.",
                    witness.named(jump.by),
                    jump.to
                ),
                &[jump.by],
            ),
            say(
                format!(
                    "But {} received {}{} at offset {}, which lies between: the consumer left it out.",
                    witness.named(record.op),
                    record.value,
                    sender.map_or_else(String::new, |sender| format!(
                        ", which {} sent,",
                        witness.named(sender)
                    )),
                    record.offset
                ),
                &[&[record.op], sender.as_slice()].concat(),
            ),
        ];
        let summary = format!(
            "a consumer of {key} read from offset {} on to {} and left out {} at offset {}",
            jump.next, jump.to, record.value, record.offset
        );
        witness.anomaly(kind, jump.by, summary, steps)
    });
}
