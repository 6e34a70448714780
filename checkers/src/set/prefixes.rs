//! Reads that saw no prefixes of one order.

use super::facts::{ElementId, Facts};
use crate::findings::Findings;
use crate::verdict::{AnomalyKind, RelationKind, Role};
use crate::witness::say;

/// Finds two reads that disagree about which of two elements was added first, or else a read that has an element and lacks
/// one that must have been added before it. At most one for a set.
///
/// Time O(elements of all answers), and O(n log n) in the elements.
pub(super) fn disagreements(facts: &Facts<'_>, findings: &mut Findings) {
    let mut by_size: Vec<u32> = (0..facts.reads.len() as u32).collect();
    by_size.sort_by_key(|at| facts.reads[*at as usize].elements.len());
    if !crossed(facts, &by_size, findings) {
        overtaken(facts, &by_size, findings);
    }
}

/// Finds neighbours, by size, of which each has what the other lacks; whether there are any. Where there are none, each
/// read has all that a smaller one has.
fn crossed(facts: &Facts<'_>, by_size: &[u32], findings: &mut Findings) -> bool {
    for pair in by_size.windows(2) {
        let (one, other) = (&facts.reads[pair[0] as usize], &facts.reads[pair[1] as usize]);
        let lacked = |has: &[ElementId], lacks: &[ElementId]| {
            let mut lacks = lacks.iter().peekable();
            has.iter().copied().find(|id| {
                while lacks.next_if(|other| *other < id).is_some() {}
                lacks.peek() != Some(&id)
            })
        };
        let Some(first) = lacked(&one.elements, &other.elements) else { continue };
        let Some(second) = lacked(&other.elements, &one.elements) else { continue };
        findings.add(AnomalyKind::Nonlinearizable, || {
            let (later, earlier) = if one.index < other.index { (other, one) } else { (one, other) };
            let (of_earlier, of_later) =
                if one.index < other.index { (first, second) } else { (second, first) };
            let add = |id: ElementId| facts.elements[id as usize].begun.map(|(_, op)| (op, Role::Write));
            let reads = [(later.op, Role::Read), (earlier.op, Role::Evidence)];
            let roles = reads.into_iter().chain(add(of_earlier)).chain(add(of_later));
            let witness = facts.witness(&[of_earlier, of_later], roles);
            let value = |id: ElementId| facts.elements[id as usize].value;
            let (a, b) = (value(of_earlier), value(of_later));
            let saw = |read, has: ElementId, lacks: ElementId| {
                let sentence = format!(
                    "{} has {} and lacks {}: {} was added first.",
                    witness.named(read),
                    value(has),
                    value(lacks),
                    value(has)
                );
                let statement = say(sentence, &[read]);
                let statement = match add(has) {
                    Some((add, _)) => statement.relates(RelationKind::WriteRead, add, read),
                    None => statement,
                };
                match add(lacks) {
                    Some((add, _)) => statement.relates(RelationKind::ReadWrite, read, add),
                    None => statement,
                }
            };
            let steps = vec![
                saw(earlier.op, of_earlier, of_later),
                saw(later.op, of_later, of_earlier),
                say("No order of the two adds explains both reads.", &[earlier.op, later.op]),
            ];
            let summary = format!(
                "{} has {a} and lacks {b}, and {} has {b} and lacks {a}",
                witness.named(earlier.op),
                witness.named(later.op)
            );
            witness.anomaly(AnomalyKind::Nonlinearizable, later.op, summary, steps)
        });
        return true;
    }
    false
}

/// Finds a read that has an element and lacks one that was acknowledged before the add of the first began.
fn overtaken(facts: &Facts<'_>, by_size: &[u32], findings: &mut Findings) {
    // By element, how many of the reads, by size, lack it. A larger one has all that a smaller one has.
    let mut lacking: Vec<u32> = vec![by_size.len() as u32; facts.elements.len()];
    for (rank, at) in by_size.iter().enumerate().rev() {
        for id in &facts.reads[*at as usize].elements {
            lacking[*id as usize] = rank as u32;
        }
    }
    let mut latest_first: Vec<ElementId> = (0..facts.elements.len() as u32).collect();
    latest_first.sort_by_key(|id| std::cmp::Reverse(lacking[*id as usize]));
    // The element that was acknowledged first, among those that more reads lack.
    let mut first: Option<(u64, ElementId)> = None;
    for group in latest_first.chunk_by(|one, other| lacking[*one as usize] == lacking[*other as usize]) {
        for id in group {
            let rank = lacking[*id as usize] as usize;
            let (Some((acknowledged, missed)), Some((begun, add))) =
                (first, facts.elements[*id as usize].begun)
            else {
                continue;
            };
            let Some(read) = by_size.get(rank).map(|at| &facts.reads[*at as usize]) else { continue };
            if acknowledged >= begun {
                continue;
            }
            findings.add(AnomalyKind::Nonlinearizable, || {
                let before = facts.elements[missed as usize].acknowledged.map_or(add, |known| known.op);
                let roles = [(read.op, Role::Read), (before, Role::Write), (add, Role::Evidence)];
                let witness = facts.witness(&[missed, *id], roles);
                let (has, lacks) =
                    (facts.elements[*id as usize].value, facts.elements[missed as usize].value);
                let steps = vec![
                    witness.before(before, add),
                    say(format!("So {lacks} was added before {has}."), &[before, add]),
                    say(format!("But {} has {has} and lacks {lacks}.", witness.named(read.op)), &[read.op])
                        .relates(RelationKind::WriteRead, add, read.op)
                        .relates(RelationKind::ReadWrite, read.op, before),
                ];
                let summary = format!(
                    "{} has {has} and lacks {lacks}, which was added before it",
                    witness.named(read.op)
                );
                witness.anomaly(AnomalyKind::Nonlinearizable, read.op, summary, steps)
            });
            return;
        }
        let acknowledged = group
            .iter()
            .filter_map(|id| facts.elements[*id as usize].acknowledged.map(|known| (known.index, *id)));
        first = first.into_iter().chain(acknowledged).min();
    }
}
