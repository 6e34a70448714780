//! The loads, counts and gathers of each document of a job.

use std::collections::BTreeMap;

use duress_history::job::{Counts, Job};
use duress_history::pairs::Completion;
use duress_history::{Operation, Scalar};

use crate::witness::Op;

/// The operations on one document.
#[derive(Default)]
pub(super) struct Document<'a> {
    /// Its text, as loads have it that happened or may have.
    text: Option<&'a str>,
    /// The words of its text.
    pub(super) counts: Counts,
    /// Whether loads that may have happened have different texts.
    pub(super) has_several_texts: bool,
    /// Loads that happened or may have.
    pub(super) loads: Vec<Load>,
    /// Loads that failed.
    pub(super) failed_loads: Vec<Op>,
    /// Executions of its task, whatever their outcome.
    pub(super) attempts: Vec<Attempt<'a>>,
    /// Its parts in the answers of gathers, in the order of the gathers.
    pub(super) seen: Vec<Seen<'a>>,
}

/// A load that happened or may have.
pub(super) struct Load {
    pub(super) op: Op,
    began: u64,
    /// The index of its acknowledgement.
    acknowledged: Option<u64>,
}

/// An execution of a task.
pub(super) struct Attempt<'a> {
    pub(super) op: Op,
    /// The part that it writes.
    pub(super) number: u32,
    pub(super) began: u64,
    /// The index of its last event; `None` if it has not ended.
    ended: Option<u64>,
    /// Whether it certainly wrote nothing.
    pub(super) failed: bool,
    pub(super) answered: Option<Answered<'a>>,
}

/// The answer of an execution.
#[derive(Clone, Copy)]
pub(super) struct Answered<'a> {
    pub(super) index: u64,
    /// The counts that the worker wrote; `None` if it found no document.
    pub(super) counts: Option<&'a Counts>,
}

/// One part in the answer of a gather.
pub(super) struct Seen<'a> {
    /// The gather.
    pub(super) op: Op,
    pub(super) began: u64,
    pub(super) answered: u64,
    /// The part.
    pub(super) number: u32,
    /// The counts of the part; `None` if the gather did not find it.
    pub(super) counts: Option<&'a Counts>,
}

/// Returns what is known of each document. In order, so that reports list them in a stable one.
pub(super) fn documents(operations: &[Operation<Job>]) -> BTreeMap<&Scalar, Document<'_>> {
    let mut documents: BTreeMap<&Scalar, Document<'_>> = BTreeMap::new();
    for (op, operation) in operations.iter().enumerate() {
        let (op, began) = (op as Op, operation.index);
        match (&operation.action, &operation.completion) {
            (Job::Load { document, text }, completion) => {
                let acknowledged = match completion {
                    Completion::Ok { index, .. } => Some(*index),
                    Completion::Info { .. } => None,
                    Completion::Fail { .. } => {
                        documents.entry(document).or_default().failed_loads.push(op);
                        continue;
                    }
                };
                let document = documents.entry(document).or_default();
                document.loads.push(Load { op, began, acknowledged });
                document.has_several_texts |= document.text.is_some_and(|other| other != text);
                document.text = Some(text);
            }
            (Job::Count { part, .. }, completion) => {
                let (ended, failed, answered) = match completion {
                    Completion::Ok { index, answer: Job::Count { part, .. }, .. } => {
                        let counts = part.counts.as_ref();
                        (Some(*index), counts.is_none(), Some(Answered { index: *index, counts }))
                    }
                    Completion::Ok { index, .. } | Completion::Fail { index, .. } => {
                        (Some(*index), true, None)
                    }
                    Completion::Info { at, .. } => (at.map(|(index, _)| index), false, None),
                };
                let attempt = Attempt { op, number: part.number, began, ended, failed, answered };
                documents.entry(&part.document).or_default().attempts.push(attempt);
            }
            (Job::Gather(_), Completion::Ok { index, answer: Job::Gather(parts), .. }) => {
                for part in parts {
                    let (number, counts) = (part.number, part.counts.as_ref());
                    let seen = Seen { op, began, answered: *index, number, counts };
                    documents.entry(&part.document).or_default().seen.push(seen);
                }
            }
            (Job::Gather(_), _) => {}
        }
    }
    for document in documents.values_mut() {
        document.counts = document.text.map(Counts::of).unwrap_or_default();
    }
    documents
}

impl<'a> Document<'a> {
    /// Returns the index of the first event that shows that it was loaded.
    pub(super) fn loaded(&self) -> Option<u64> {
        let acknowledged = self.loads.iter().filter_map(|load| load.acknowledged);
        acknowledged.chain(self.reads().map(|(_, index)| index)).min()
    }

    /// Returns the executions that found it, and the indices of their answers.
    fn reads(&self) -> impl Iterator<Item = (Op, u64)> {
        self.attempts.iter().filter_map(|attempt| {
            let answered = attempt.answered.as_ref()?;
            answered.counts.map(|_| (attempt.op, answered.index))
        })
    }

    /// Whether it may have been there when the event of this index came.
    pub(super) fn may_be_there_at(&self, index: u64) -> bool {
        self.loads.iter().any(|load| load.began < index)
    }

    /// Returns an operation that shows that it was there before the event of index `began`: a part of it shows that too.
    pub(super) fn there_before(&self, began: u64) -> Option<Op> {
        let loads = self.loads.iter().filter_map(|load| load.acknowledged.map(|index| (load.op, index)));
        let parts =
            self.seen.iter().filter(|seen| seen.counts.is_some()).map(|seen| (seen.op, seen.answered));
        first_before(loads.chain(self.reads()).chain(parts), began)
    }

    /// Whether the part `number` may have been there when the event of this index came.
    pub(super) fn part_may_be_there_at(&self, number: u32, index: u64) -> bool {
        let writes = |attempt: &&Attempt<'_>| attempt.number == number && !attempt.failed;
        self.attempts.iter().filter(writes).any(|attempt| attempt.began < index)
    }

    /// Returns an operation that shows that the part `number` was there before the event of index `began`.
    pub(super) fn part_there_before(&self, number: u32, began: u64) -> Option<Op> {
        let written = self.attempts.iter().filter(|attempt| attempt.number == number && !attempt.failed);
        let written = written.filter_map(|attempt| Some((attempt.op, attempt.answered.as_ref()?.index)));
        let seen = self.seen.iter().filter(|seen| seen.number == number && seen.counts.is_some());
        first_before(written.chain(seen.map(|seen| (seen.op, seen.answered))), began)
    }

    /// Returns what each answered gather says of it.
    pub(super) fn gathers(&self) -> impl Iterator<Item = &[Seen<'a>]> {
        // The parts of one gather are neighbours.
        self.seen.chunk_by(|one, other| one.op == other.op)
    }

    /// Returns what each final gather says of it, if it was loaded before the event of index `loaded`.
    pub(super) fn finals(&self, loaded: u64) -> Vec<&[Seen<'a>]> {
        let Some(ends) = self.attempts.iter().map(|attempt| attempt.ended).collect::<Option<Vec<u64>>>()
        else {
            return Vec::new();
        };
        let after = ends.into_iter().max().unwrap_or_default().max(loaded);
        let asks_for_all = |parts: &[Seen<'_>]| {
            let mut written = self.attempts.iter().filter(|attempt| !attempt.failed);
            written.all(|attempt| parts.iter().any(|seen| seen.number == attempt.number))
        };
        self.gathers().filter(|parts| parts[0].began > after && asks_for_all(parts)).collect()
    }
}

/// Returns the operation whose event came first, if that was before the event of index `began`.
fn first_before(events: impl Iterator<Item = (Op, u64)>, began: u64) -> Option<Op> {
    events.filter(|(_, index)| *index < began).min_by_key(|(_, index)| *index).map(|(op, _)| op)
}
