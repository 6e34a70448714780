//! Each element by itself: lost, stale, never read, there twice, or impossible.

use duress_history::{Consistency, NodeId};

use super::facts::{Element, ElementId, Facts, Known, Read};
use super::report::{Durations, SetCounts};
use crate::findings::Findings;
use crate::replicas::Replicas;
use crate::verdict::{Anomaly, AnomalyKind, Reason, RelationKind, Role};
use crate::witness::{Op, Statement, Witness, say};

/// The analysis of the elements of one set.
pub(super) struct Elements<'b, 'a> {
    pub(super) facts: &'b Facts<'a>,
    pub(super) promise: Consistency,
    /// The replicas that have to agree at the end.
    pub(super) replicas: Option<&'b Replicas<'a>>,
    pub(super) missing: &'b mut Durations,
}

/// The results of the analysis.
pub(super) struct Checked {
    /// Whether no element breaks the promise.
    pub(super) sound: bool,
    /// At how many replicas the set was read at the end.
    pub(super) replicas: usize,
    pub(super) reasons: Vec<Reason>,
}

/// The last read at one replica.
type Last<'b, 'a> = (&'a NodeId, u64, &'b Read<'a>);

/// The reads that lack a known element although they began when it was known: places in the list of reads.
#[derive(Clone, Copy)]
struct Absences {
    /// The first of them.
    first: u32,
    /// The last of them.
    last: u32,
    /// The first of the reads after which no read has the element.
    for_good: Option<u32>,
}

impl<'b, 'a> Elements<'b, 'a> {
    /// Looks at every element. Time O(elements of all answers).
    pub(super) fn check(&mut self, counts: &mut SetCounts, findings: &mut Findings) -> Checked {
        let facts = self.facts;
        let last: Vec<Last<'b, 'a>> = match (self.promise, self.replicas) {
            (Consistency::StaleReads | Consistency::Eventual, Some(replicas)) => {
                replicas.last(facts.key, facts.reads.iter().map(|read| (read.node, read.index, read)))
            }
            _ => Vec::new(),
        };
        let (mut unseen, mut unread, mut sound) = (0, Vec::new(), true);
        sound &= !self.repeated(counts, findings);
        for (id, element) in facts.elements.iter().enumerate() {
            let id = id as ElementId;
            if let Some((kind, read)) = self.impossible(element) {
                counts.impossible += 1;
                sound = false;
                findings.add(kind, || self.explain_impossible(id, kind, read));
                continue;
            }
            let Some(known) = facts.known(element) else { continue };
            let absences = self.absences(element, known);
            if let Some(absences) = absences {
                self.missing.add(facts.reads[absences.last as usize].time.saturating_sub(known.time));
            }
            let broken = match self.promise {
                Consistency::Linearizable => absences.map(|absences| match absences.for_good {
                    Some(absent) => (AnomalyKind::LostWrite, absent, None),
                    None => (AnomalyKind::StaleRead, absences.first, self.later(element, absences.first)),
                }),
                Consistency::StaleReads | Consistency::Eventual => {
                    if let Some(absences) = absences.filter(|absences| absences.for_good.is_none()) {
                        counts.stale += 1;
                        findings.add(AnomalyKind::StaleRead, || {
                            let present = self.later(element, absences.first);
                            self.explain_absent(id, known, AnomalyKind::StaleRead, absences.first, present)
                        });
                    }
                    self.at_replicas(id, known, &last, &mut unread)
                }
            };
            match broken {
                Some((kind, absent, present)) => {
                    sound = false;
                    match kind {
                        AnomalyKind::StaleRead => counts.stale += 1,
                        _ => counts.lost += 1,
                    }
                    findings.add(kind, || self.explain_absent(id, known, kind, absent, present));
                }
                None if element.seen.is_empty() => {
                    counts.never_read += 1;
                    unseen += 1;
                }
                None => {}
            }
        }
        let key = || facts.key.cloned();
        let mut reasons = Vec::new();
        if !unread.is_empty() {
            reasons.push(Reason::ReplicasUnread { key: key(), nodes: unread });
        } else if unseen > 0 {
            reasons.push(Reason::ElementsUnseen { key: key(), elements: unseen });
        }
        Checked { sound, replicas: last.len(), reasons }
    }

    /// Finds answers that have an element twice; whether there are any.
    fn repeated(&self, counts: &mut SetCounts, findings: &mut Findings) -> bool {
        let facts = self.facts;
        let mut reported = vec![false; facts.elements.len()];
        for read in &facts.reads {
            for id in &read.repeated {
                if std::mem::replace(&mut reported[*id as usize], true) {
                    continue;
                }
                counts.duplicated += 1;
                findings.add(AnomalyKind::Duplicate, || {
                    let witness = facts.witness(&[*id], [(read.op, Role::Read)]);
                    let value = facts.elements[*id as usize].value;
                    let summary = format!("{} has {value} more than once", witness.named(read.op));
                    let steps = vec![say(format!("{summary}: a set has each element once."), &[read.op])];
                    witness.anomaly(AnomalyKind::Duplicate, read.op, summary, steps)
                });
            }
        }
        reported.contains(&true)
    }

    /// Returns a read that cannot have the element, and why.
    fn impossible(&self, element: &Element<'_>) -> Option<(AnomalyKind, u32)> {
        let first = *element.seen.first()?;
        let Some((begun, _)) = element.begun else {
            let kind =
                if element.failed.is_some() { AnomalyKind::AbortedRead } else { AnomalyKind::PhantomRead };
            return Some((kind, first));
        };
        let early = element.seen.iter().find(|at| self.facts.reads[**at as usize].answered.index < begun)?;
        Some((AnomalyKind::FutureRead, *early))
    }

    fn explain_impossible(&self, id: ElementId, kind: AnomalyKind, read: u32) -> Anomaly {
        let (facts, element) = (self.facts, &self.facts.elements[id as usize]);
        let (read, value) = (facts.reads[read as usize].op, element.value);
        let writer = element.begun.map(|(_, op)| op).or(element.failed);
        let roles = [(read, Role::Read)].into_iter().chain(writer.map(|op| (op, Role::Write)));
        let witness = facts.witness(&[id], roles);
        let subject = facts.subject();
        let has = say(format!("{} has {value}.", witness.named(read)), &[read]);
        let (summary, steps) = match (kind, writer) {
            (AnomalyKind::FutureRead, Some(writer)) => {
                let named = witness.named(writer);
                let first = say(format!("No add of {value} to {subject} began before {named}."), &[writer]);
                (
                    format!("{} has {value} before {named}, the first to add it, began", witness.named(read)),
                    vec![has, witness.before(read, writer), first],
                )
            }
            (_, Some(writer)) => {
                let failed = format!(
                    "But {} failed, that is, certainly did not happen, and only operations that failed were to add {value}.",
                    witness.named(writer)
                );
                (
                    format!(
                        "{} has {value}, but only operations that failed were to add it",
                        witness.named(read)
                    ),
                    vec![has.relates(RelationKind::WriteRead, writer, read), say(failed, &[writer])],
                )
            }
            (_, None) => {
                let why = format!("no operation in the whole history adds {value} to {subject}");
                let summary = format!("{} has {value}, but {why}", witness.named(read));
                (summary, vec![has, say(format!("But {why}."), &[])])
            }
        };
        witness.anomaly(kind, read, summary, steps)
    }

    /// Returns the reads that lack the element although it was known. Time O(reads that have it).
    fn absences(&self, element: &Element<'_>, known: Known) -> Option<Absences> {
        let reads = &self.facts.reads;
        let from = reads.partition_point(|read| read.index < known.index) as u32;
        // Those that have it, of those that began when it was known.
        let seen = &element.seen[element.seen.partition_point(|at| *at < from)..];
        let first =
            (from..).zip(seen).find(|(at, seen)| at != *seen).map_or(from + seen.len() as u32, |(at, _)| at);
        let end = reads.len() as u32;
        if first >= end {
            return None;
        }
        let from_end = seen.iter().rev().zip((from..end).rev());
        let had = from_end.take_while(|(seen, at)| *seen == at).count() as u32;
        let after_last_seen = seen.last().map_or(from, |at| at + 1);
        let for_good = (after_last_seen < end).then_some(after_last_seen);
        Some(Absences { first, last: end - 1 - had, for_good })
    }

    /// Returns the first read after the one at `absent` that has the element.
    fn later(&self, element: &Element<'_>, absent: u32) -> Option<u32> {
        element.seen.get(element.seen.partition_point(|at| *at < absent)).copied()
    }

    /// Compares the last reads of a known element at the replicas: the anomaly, a read without it and one
    /// with it.
    fn at_replicas(
        &self,
        id: ElementId,
        known: Known,
        last: &[Last<'b, 'a>],
        unread: &mut Vec<NodeId>,
    ) -> Option<(AnomalyKind, u32, Option<u32>)> {
        let place =
            |read: &Read<'_>| self.facts.reads.partition_point(|other| other.index < read.index) as u32;
        let lacks = last.iter().find(|(_, index, read)| *index > known.index && !read.has(id))?;
        let absent = place(lacks.2);
        if let Some((.., has)) = last.iter().find(|(.., read)| read.has(id)) {
            return Some((AnomalyKind::Diverged, absent, Some(place(has))));
        }
        let missing = self
            .replicas
            .map(|replicas| replicas.missing(|node| last.iter().any(|(known, ..)| *known == node)));
        let missing = missing.unwrap_or_default();
        if missing.is_empty() {
            return Some((AnomalyKind::LostWrite, absent, None));
        }
        unread.extend(missing.into_iter().filter(|node| !unread.contains(node)).collect::<Vec<NodeId>>());
        None
    }

    fn explain_absent(
        &self,
        id: ElementId,
        known: Known,
        kind: AnomalyKind,
        absent: u32,
        present: Option<u32>,
    ) -> Anomaly {
        let (facts, element) = (self.facts, &self.facts.elements[id as usize]);
        let (value, subject) = (element.value, facts.subject());
        let (read, present) =
            (facts.reads[absent as usize].op, present.map(|at| facts.reads[at as usize].op));
        let add = element.acknowledged.map(|known| known.op).or(element.begun.map(|(_, op)| op));
        let roles = [(read, Role::Read)].into_iter().chain(add.map(|add| (add, Role::Write)));
        let evidence = [Some(known.op), present].into_iter().flatten().map(|op| (op, Role::Evidence));
        let witness = facts.witness(&[id], roles.chain(evidence));
        let mut steps = vec![
            self.known_statement(&witness, known.op, add, &format!("{value} is in {subject}")),
            witness.before(known.op, read),
            say(
                format!("But {} lacks {value}, and elements are never removed.", witness.named(read)),
                &[read],
            ),
        ];
        let summary = match (kind, present) {
            (AnomalyKind::StaleRead, Some(present)) => {
                let later = format!("{}, which began later, has it: it was there.", witness.named(present));
                steps.push(say(later, &[present]));
                format!(
                    "{} lacks {value}, which {} had shown to be in {subject}",
                    witness.named(read),
                    witness.named(known.op)
                )
            }
            (AnomalyKind::Diverged, Some(present)) => {
                let other = format!("At the end {} of another replica has it.", witness.named(present));
                steps.push(say(other, &[present]));
                format!(
                    "at the end {} lacks {value}, and {} has it",
                    witness.named(read),
                    witness.named(present)
                )
            }
            _ => {
                steps.push(say(format!("No read that began later has {value}: it is lost."), &[read]));
                format!(
                    "{value} was in {subject} by {}, and is lost: {} lacks it",
                    witness.named(known.op),
                    witness.named(read)
                )
            }
        };
        witness.anomaly(kind, read, summary, steps)
    }

    /// How the operation `known` shows that the element is there.
    fn known_statement(&self, witness: &Witness, known: Op, add: Option<Op>, there: &str) -> Statement {
        match add {
            Some(add) if add == known => {
                say(format!("{} was acknowledged: {there}.", witness.named(add)), &[add])
            }
            Some(add) => say(format!("{} has it, so {there}.", witness.named(known)), &[known, add]).relates(
                RelationKind::WriteRead,
                add,
                known,
            ),
            None => say(format!("{} has it, so {there}.", witness.named(known)), &[known]),
        }
    }
}
