//! The order of outputs, and the table in them.

use duress_history::Scalar;
use rustc_hash::{FxHashMap, FxHashSet};

use super::describe::describe_record;
use super::facts::{Facts, Seen};
use crate::delivery::describe::in_partition;
use crate::findings::Findings;
use crate::verdict::{AnomalyKind, ObjectKind, Role};
use crate::witness::say;

/// Finds outputs out of order, and counts that do not continue those before. Time O(outputs).
pub(super) fn diverged(facts: &Facts<'_>, findings: &mut Findings) {
    for (partition, seen) in &facts.seen {
        order(facts, partition, seen.values(), findings);
        let covered = facts.covered(partition, |_| true);
        counts(facts, partition, seen.range(..covered).map(|(_, seen)| seen), findings);
    }
}

fn order<'a>(
    facts: &Facts<'a>,
    partition: &Scalar,
    outputs: impl Iterator<Item = &'a Seen<'a>>,
    findings: &mut Findings,
) {
    let mut met: FxHashSet<&Scalar> = FxHashSet::default();
    let mut furthest: Option<(u64, &Seen<'_>)> = None;
    for seen in outputs {
        // A second output of an input is a duplicate, and no more.
        if !met.insert(&seen.record.value) {
            continue;
        }
        let Some(input) = facts.input(&seen.record.value) else { continue };
        let Some(offset) = input.offset() else { continue };
        let Some((before, first)) = furthest.filter(|(before, _)| *before > offset) else {
            furthest = Some((offset, seen));
            continue;
        };
        let Some(earlier) = facts.input(&first.record.value) else { continue };
        findings.add(AnomalyKind::Reordered, || {
            let roles = [
                (input.op, Role::Write),
                (earlier.op, Role::Write),
                (first.op, Role::Evidence),
                (seen.op, Role::Read),
            ];
            let offsets = [first.record.offset.0, seen.record.offset.0];
            let witness = in_partition(facts.operations, partition, roles, offsets);
            let steps = vec![
                say(
                    format!(
                        "The input of {} is at offset {offset}, before that of {} at {before}.",
                        witness.named(input.op),
                        witness.named(earlier.op)
                    ),
                    &[input.op, earlier.op],
                ),
                say(
                    format!(
                        "But its output {} comes after {}.",
                        describe_record(seen.record),
                        describe_record(first.record)
                    ),
                    &[first.op, seen.op],
                ),
            ];
            let summary = format!(
                "{} was processed after {}, which comes after it",
                seen.record.value, first.record.value
            );
            witness
                .anomaly(AnomalyKind::Reordered, seen.op, summary, steps)
                .about(ObjectKind::Message, &seen.record.value)
        });
    }
}

fn counts<'a>(
    facts: &Facts<'a>,
    partition: &Scalar,
    outputs: impl Iterator<Item = &'a Seen<'a>>,
    findings: &mut Findings,
) {
    let mut table: FxHashMap<&Scalar, &Seen<'_>> = FxHashMap::default();
    for seen in outputs {
        let before = table.insert(&seen.record.key, seen);
        let expected = before.map_or(0, |before| before.record.count) + 1;
        if seen.record.count == expected {
            continue;
        }
        findings.add(AnomalyKind::TableDiverged, || {
            let attempt = facts.attempts.get(&seen.record.attempt).map(|attempt| (attempt.op, Role::Write));
            let evidence = before.map(|before| (before.op, Role::Evidence));
            let roles = [(seen.op, Role::Read)].into_iter().chain(evidence).chain(attempt);
            let offsets = before.map(|before| before.record.offset.0).into_iter();
            let offsets = offsets.chain([seen.record.offset.0]);
            let witness = in_partition(facts.operations, partition, roles, offsets);
            let (fold, about) = match before {
                Some(before) => (
                    format!(
                        "The last output of {} before is {}: the table has {} there.",
                        seen.record.key,
                        describe_record(before.record),
                        before.record.count
                    ),
                    vec![before.op],
                ),
                None => (
                    format!("No output of {} comes before: the table has none there.", seen.record.key),
                    vec![],
                ),
            };
            let steps = vec![
                say(fold, &about),
                say(
                    format!(
                        "{} found {}: the worker of attempt {} had counted {} before it.",
                        witness.named(seen.op),
                        describe_record(seen.record),
                        seen.record.attempt,
                        seen.record.count.saturating_sub(1)
                    ),
                    &[seen.op],
                ),
            ];
            let summary = format!(
                "the outputs of {partition} give {} the count {} before offset {}, and the worker that wrote there had {}",
                seen.record.key,
                expected - 1,
                seen.record.offset,
                seen.record.count.saturating_sub(1)
            );
            witness
                .anomaly(AnomalyKind::TableDiverged, seen.op, summary, steps)
                .about(ObjectKind::Key, &seen.record.key)
        });
    }
}
