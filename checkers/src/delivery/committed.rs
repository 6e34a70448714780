//! Committed offset going back: a group has forgotten how far it had come.
//!
//! The members of a group commit offsets that only rise: each is given a partition at its committed offset and reads on
//! from there, and a member that has lost a partition can commit nothing of it any more. So when a lower offset, or none, is read
//! as committed after a higher one had been read or acknowledged as committed, the higher commit is gone; and when a
//! member's commit of a lower one is acknowledged, a coordinator took it from a member that had lost the partition.
//!
//! It is not an anomaly when the lower one can have been committed. It can be by a commit whose answer names it; by a
//! commit of unknown outcome of a consumer outside the group, which is not fenced; and by any commit after a member went
//! back with `seek`.

use duress_history::log::{Log, Offset};
use duress_history::pairs::Completion;
use rustc_hash::FxHashMap;

use super::describe::in_partition;
use super::facts::{Facts, Op};
use super::members::Members;
use crate::findings::Findings;
use crate::verdict::{AnomalyKind, Role};
use crate::witness::say;

/// An answer that names what is committed.
#[derive(Clone, Copy)]
struct Answer {
    op: Op,
    begun: u64,
    answered: u64,
    offset: u64,
}

/// A commit, by what it committed; `u64::MAX` for the end of one that was never answered.
struct Commit {
    begun: u64,
    ended: u64,
}

/// What is known of the committed offset of one partition.
#[derive(Default)]
struct Course {
    /// By answer: what it names as committed, and the highest so far.
    answers: Vec<(Answer, u64)>,
    commits: FxHashMap<u64, Vec<Commit>>,
    /// From the beginning of this event on, anything may have been committed.
    free_from: Option<u64>,
}

/// Finds committed offsets that went back. Time O(n log n) in the commits, without anomalies.
pub(super) fn offsets_back(facts: &Facts<'_>, members: &Members, findings: &mut Findings) {
    let courses = courses(facts, members);
    for (op, operation) in facts.operations.iter().enumerate() {
        let op = op as Op;
        let Completion::Ok { index: answered, answer, .. } = &operation.completion else { continue };
        let (offsets, role) = match answer {
            Log::Committed(Some(offsets)) => (offsets, Role::Read),
            Log::Commit(Some(offsets)) if members.is_member(op) => (offsets, Role::Commit),
            _ => continue,
        };
        for (partition, course) in facts.partitions.iter().zip(&courses) {
            let read = offsets.get(partition.key).map(|Offset(offset)| *offset);
            if read.is_none() && role == Role::Commit {
                continue;
            }
            let Some(before) = course.above(operation.index, *answered, read) else { continue };
            findings.add(AnomalyKind::CommittedOffsetBack, || {
                let key = partition.key;
                let roles = [(before.op, Role::Commit), (op, role)];
                let witness = in_partition(facts.operations, key, roles, []);
                let named = witness.named(op);
                let but = match (role, read) {
                    (Role::Commit, Some(read)) => format!(
                        "But {named}, a member's, was accepted at {read}: that member had not read on from what was \
                         committed, so the partition was another's."
                    ),
                    (_, Some(read)) => {
                        format!("But {named} was answered {read}, and no operation can have committed that.")
                    }
                    (_, None) => format!(
                        "But {named} was answered that there is none, and no operation can have committed that."
                    ),
                };
                let steps = vec![
                    say(
                        format!("By {}, {} is committed.", witness.named(before.op), before.offset),
                        &[before.op],
                    ),
                    witness.before(before.op, op),
                    say(but, &[op]),
                ];
                let now = read.map_or_else(|| "nothing".to_owned(), |offset| offset.to_string());
                let summary =
                    format!("the committed offset of {key} went back from {} to {now}", before.offset);
                witness.anomaly(AnomalyKind::CommittedOffsetBack, op, summary, steps)
            });
        }
    }
}

impl Course {
    /// What had been answered before the event `begun` and is above `read`, unless `read` can have been committed by
    /// the event `answered`, by another operation than the one from `begun` to `answered`.
    fn above(&self, begun: u64, answered: u64, read: Option<u64>) -> Option<Answer> {
        if self.free_from.is_some_and(|from| from < answered) {
            return None;
        }
        let known = &self.answers[..self.answers.partition_point(|(answer, _)| answer.answered < begun)];
        let above = |offset: u64| read.is_none_or(|read| offset > read);
        if !known.last().is_some_and(|(_, highest)| above(*highest)) {
            return None;
        }
        // The one that began last leaves the least room for a commit after it.
        let higher = known.iter().map(|(answer, _)| *answer).filter(|answer| above(answer.offset));
        let before = higher.max_by_key(|answer| answer.begun)?;
        let commits = read.and_then(|read| self.commits.get(&read));
        let excused = commits.is_some_and(|commits| {
            commits
                .iter()
                .any(|commit| commit.begun != begun && commit.begun < answered && commit.ended > before.begun)
        });
        (!excused).then_some(before)
    }
}

fn courses(facts: &Facts<'_>, members: &Members) -> Vec<Course> {
    let mut courses: Vec<Course> = facts.partitions.iter().map(|_| Course::default()).collect();
    for (op, operation) in facts.operations.iter().enumerate() {
        let (op, begun) = (op as Op, operation.index);
        match (&operation.action, &operation.completion) {
            (Log::Seek(offsets), Completion::Ok { .. } | Completion::Info { .. })
                if members.is_member(op) =>
            {
                for course in offsets.keys().filter_map(|key| facts.partition(key)) {
                    courses[course as usize].free_from.get_or_insert(begun);
                }
            }
            (Log::Commit(_), Completion::Info { .. }) if !members.is_member(op) => {
                for course in &mut courses {
                    course.free_from.get_or_insert(begun);
                }
            }
            (
                _,
                Completion::Ok {
                    index: answered,
                    answer: answer @ (Log::Commit(Some(offsets)) | Log::Committed(Some(offsets))),
                    ..
                },
            ) => {
                for (key, Offset(offset)) in offsets {
                    let Some(at) = facts.partition(key) else { continue };
                    let course = &mut courses[at as usize];
                    course.answers.push((Answer { op, begun, answered: *answered, offset: *offset }, 0));
                    if matches!(answer, Log::Commit(_)) {
                        course.commits.entry(*offset).or_default().push(Commit { begun, ended: *answered });
                    }
                }
            }
            _ => {}
        }
    }
    for course in &mut courses {
        course.answers.sort_unstable_by_key(|(answer, _)| answer.answered);
        let mut highest = 0;
        for (answer, so_far) in &mut course.answers {
            highest = highest.max(answer.offset);
            *so_far = highest;
        }
    }
    courses
}
