//! Losses: inputs without an output, and outputs that were committed and are not there.
//!
//! Let `P` be an answer about the progress, and let reads of the partition cover it from its beginning to the end of the
//! outputs in `P`, all of them begun after every attempt had ended or, where it never did, begun. Nothing can come before
//! that end any more. So an output is lost that an attempt, acknowledged before `P` was asked for, had committed, and that
//! is not among what was read; and an acknowledged input without an output is lost if the group's committed offset in `P` is
//! beyond it.

use std::collections::{BTreeMap, BTreeSet};

use duress_history::Scalar;
use duress_history::log::{Offset, Offsets};

use super::describe::describe_output;
use super::facts::{Attempt, Facts, Input, match_up};
use crate::delivery::describe::in_partition;
use crate::delivery::facts::WriteStatus;
use crate::findings::Findings;
use crate::verdict::{AnomalyKind, ObjectKind, Role};
use crate::witness::{Op, say};

/// How far a partition is known at the end.
struct Known<'a> {
    /// The partition of the outputs.
    partition: &'a Scalar,
    /// The answer about the progress.
    asked: Op,
    committed: Option<u64>,
    inputs_end: Option<u64>,
    /// The last read.
    read: Op,
}

/// The questions that the reads at the end leave open.
#[derive(Debug, Default)]
pub(super) struct Open {
    /// How many acknowledged inputs of each partition are without an output and not shown to be lost.
    pub(super) unseen: Vec<(Scalar, u64)>,
    /// The partitions of inputs or outputs of which it is not known how far they were read, in order.
    pub(super) unread: BTreeSet<Scalar>,
}

/// Finds losses; returns the rest. Time O(n log n) in the operations, and for each partition, the answers about the progress.
pub(super) fn missing<'a>(facts: &Facts<'a>, findings: &mut Findings) -> Open {
    let mut unseen: Vec<(Scalar, u64)> = Vec::new();
    let known = ends(facts);
    let of = |partition: &Scalar| known.iter().find(|known| match_up(known.partition, partition));
    let sent =
        facts.inputs.iter().filter(|input| input.status != WriteStatus::Failed).map(|input| input.partition);
    let written = facts.attempts.values().flat_map(Attempt::outputs).map(|output| &output.partition);
    let all: BTreeSet<&Scalar> = sent.chain(written).chain(facts.partitions.iter().copied()).collect();
    let unread = all.into_iter().filter(|partition| of(partition).is_none()).cloned().collect();
    for input in &facts.inputs {
        let is_acknowledged = matches!(input.status, WriteStatus::Acknowledged(_));
        if !is_acknowledged || facts.outputs.contains_key(input.value) {
            continue;
        }
        match of(input.partition) {
            Some(known) if is_passed(facts, input, known) => unprocessed(facts, input, known, findings),
            _ => match unseen.iter_mut().find(|(partition, _)| partition == input.partition) {
                Some((_, messages)) => *messages += 1,
                None => unseen.push((input.partition.clone(), 1)),
            },
        }
    }
    let mut attempts: Vec<_> = facts.attempts.iter().collect();
    attempts.sort_unstable_by_key(|(_, attempt)| attempt.op);
    for (number, attempt) in attempts {
        for output in attempt.outputs() {
            let Some(known) = of(&output.partition) else { continue };
            let there = facts.outputs.get(&output.value).is_some_and(|places| {
                places.iter().any(|(partition, offset)| {
                    let record = facts.seen[partition][offset].record;
                    **partition == output.partition && record.attempt == *number
                })
            });
            if there || !facts.precedes(attempt.op, known.asked) {
                continue;
            }
            findings.add(AnomalyKind::LostWrite, || {
                let roles =
                    [(attempt.op, Role::Write), (known.asked, Role::Evidence), (known.read, Role::Read)];
                let witness = in_partition(facts.operations, known.partition, roles, []);
                let what = describe_output(&output.key, output.count, &output.value);
                let steps = vec![
                    say(format!("{} committed {what}.", witness.named(attempt.op)), &[attempt.op]),
                    witness.before(attempt.op, known.asked),
                    say(
                        format!(
                            "The reads up to {} cover everything up to the end of {}, and none found it.",
                            witness.named(known.read),
                            known.partition
                        ),
                        &[known.asked, known.read],
                    ),
                ];
                let summary = format!("{what} was committed to {}, and is not there", known.partition);
                witness
                    .anomaly(AnomalyKind::LostWrite, known.read, summary, steps)
                    .about(ObjectKind::Message, &output.value)
            });
        }
    }
    Open { unseen, unread }
}

/// Returns the partitions that were read to their ends after everything had been processed.
fn ends<'a>(facts: &Facts<'a>) -> Vec<Known<'a>> {
    let is_late = |op: Op| facts.begun(op) > facts.processed_until;
    let mut known: Vec<Known<'a>> = Vec::new();
    let mut late: BTreeMap<&Scalar, (u64, Option<Op>)> = BTreeMap::new();
    for (partition, parts) in &facts.parts {
        let last = parts.iter().rev().map(|part| part.op).find(|op| is_late(*op));
        late.insert(partition, (facts.covered(partition, is_late), last));
    }
    // The latest answer that is covered decides.
    for (asked, progress) in facts.progress.iter().rev().filter(|(op, _)| is_late(*op)) {
        for (partition, Offset(end)) in &progress.outputs {
            let (covered, read) = late.get(partition).copied().unwrap_or_default();
            let read = match (read, end) {
                (Some(read), _) => read,
                // A partition without an output needs no read.
                (None, 0) => *asked,
                (None, _) => continue,
            };
            let is_known = known.iter().any(|known| known.partition == partition);
            if is_known || covered < *end {
                continue;
            }
            let of = |offsets: &Offsets| {
                let at = offsets.iter().find(|(other, _)| match_up(other, partition));
                at.map(|(_, offset)| offset.0)
            };
            let (committed, inputs_end) = (of(&progress.committed), of(&progress.inputs));
            known.push(Known { partition, asked: *asked, committed, inputs_end, read });
        }
    }
    known
}

/// Whether the group has passed an input.
fn is_passed(facts: &Facts<'_>, input: &Input<'_>, known: &Known<'_>) -> bool {
    let Some(committed) = known.committed else { return false };
    match input.offset() {
        Some(offset) => committed > offset,
        // Wherever it is, it is before the end.
        None => facts.precedes(input.op, known.asked) && known.inputs_end == Some(committed),
    }
}

fn unprocessed(facts: &Facts<'_>, input: &Input<'_>, known: &Known<'_>, findings: &mut Findings) {
    findings.add(AnomalyKind::LostWrite, || {
        let roles = [(input.op, Role::Write), (known.asked, Role::Evidence), (known.read, Role::Read)];
        let witness = in_partition(facts.operations, known.partition, roles, []);
        let steps = vec![
            say(format!("{} was acknowledged.", witness.named(input.op)), &[input.op]),
            say(
                format!("By {}, the group had committed that it was processed.", witness.named(known.asked)),
                &[known.asked],
            ),
            say(
                format!(
                    "The reads up to {} cover everything up to the end of {}, and none found an output of it.",
                    witness.named(known.read),
                    known.partition
                ),
                &[known.read],
            ),
        ];
        let summary = format!(
            "{} was acknowledged in {}, the group has passed it, and it has no output",
            input.value, input.partition
        );
        witness
            .anomaly(AnomalyKind::LostWrite, known.read, summary, steps)
            .about(ObjectKind::Message, input.value)
    });
}
