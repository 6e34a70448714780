//! The sessions of a history, and the order of writes that they demand by themselves.

use std::ops::Range;

use duress_history::pairs::Completion;
use duress_history::txn::Held;
use duress_history::{SessionGuarantee, SessionGuarantees};
use rustc_hash::FxHashMap;

use super::{Dependency, Facts, Level, NO_KEY, Part, Versions};
use crate::witness::Op;

/// A read or a write of a session. A compare-and-set is one of each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Act {
    pub(super) op: Op,
    pub(super) key: u32,
    pub(super) kind: ActKind,
}

/// The kind of an act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ActKind {
    /// It read the value of this write; of none: the initial value.
    Read(Option<Op>),
    /// It wrote.
    Write,
}

/// The sessions of a history.
pub(super) struct Sessions<'c, 'a> {
    pub(super) facts: &'c Facts<'a, Held>,
    pub(super) guarantees: SessionGuarantees,
    /// All reads and writes: one session after the other, each in its order.
    pub(super) acts: Vec<Act>,
    /// By act: the place after the last read before it in its session, or the beginning of the session.
    pub(super) read_until: Vec<usize>,
    /// The beginning of each session in `acts`, and the end of the last.
    starts: Vec<usize>,
    /// By operation: its session, and the place of its last act.
    places: Vec<(u32, usize)>,
}

impl<'c, 'a> Sessions<'c, 'a> {
    pub(super) fn new(
        facts: &'c Facts<'a, Held>,
        versions: &[Versions<'a>],
        guarantees: SessionGuarantees,
    ) -> Self {
        let mut acts: Vec<Act> = Vec::with_capacity(facts.operations.len());
        for (key, versions) in (0..).zip(versions).filter(|(_, versions)| versions.repeated.is_none()) {
            let writer = |version: usize| versions.versions[version].writer.map(|place| place.op);
            for touch in versions.touches.iter().filter(|touch| facts.takes_part(touch.op)) {
                let (op, found) = (touch.op, touch.found.map(writer));
                // A read that is reported as one of the future proves nothing else.
                let is_future =
                    |from: Op| facts.end(op).is_some_and(|end| end < facts.operations[from as usize].index);
                let found = found.filter(|from| !from.is_some_and(is_future));
                acts.extend(found.map(|from| Act { op, key, kind: ActKind::Read(from) }));
                acts.extend(touch.left.map(|_| Act { op, key, kind: ActKind::Write }));
            }
        }
        let (mut current, mut count): (FxHashMap<u64, u32>, u32) = (FxHashMap::default(), 0);
        let session = |operation: &duress_history::Operation<_>| {
            let session = *current.entry(operation.process.0).or_insert_with(|| {
                count += 1;
                count - 1
            });
            if matches!(operation.completion, Completion::Info { .. }) {
                current.remove(&operation.process.0);
            }
            (session, 0)
        };
        let mut places: Vec<(u32, usize)> = facts.operations.iter().map(session).collect();
        acts.sort_unstable_by_key(|act| (places[act.op as usize].0, act.op, act.kind));
        let mut starts = vec![0; count as usize + 1];
        for (place, act) in acts.iter().enumerate() {
            let (session, of_op) = &mut places[act.op as usize];
            *of_op = place;
            starts[*session as usize + 1] += 1;
        }
        for session in 0..count as usize {
            starts[session + 1] += starts[session];
        }
        let mut this =
            Self { facts, guarantees, read_until: Vec::with_capacity(acts.len()), acts, starts, places };
        for session in 0..count {
            let mut until = this.range(session).start;
            for place in this.range(session) {
                this.read_until.push(until);
                if this.acts[place].kind != ActKind::Write {
                    until = place + 1;
                }
            }
        }
        this
    }

    pub(super) fn count(&self) -> u32 {
        self.starts.len() as u32 - 1
    }

    /// Returns the places of a session's acts.
    pub(super) fn range(&self, session: u32) -> Range<usize> {
        self.starts[session as usize]..self.starts[session as usize + 1]
    }

    /// Returns the session of `op`, and the place of its last act: of its write, if it is one.
    pub(super) fn place(&self, op: Op) -> (u32, usize) {
        self.places[op as usize]
    }

    pub(super) fn has(&self, guarantee: SessionGuarantee) -> bool {
        self.guarantees.has(guarantee)
    }

    /// Whether `read` returned the value of `write`.
    pub(super) fn returned(&self, read: Op, write: Op) -> bool {
        let (session, place) = self.place(read);
        let begin = place.saturating_sub(1).max(self.range(session).start);
        self.acts[begin..=place].iter().any(|act| act.op == read && act.kind == ActKind::Read(Some(write)))
    }

    /// Whether read-your-writes makes `write` visible to `read`.
    pub(super) fn is_own(&self, write: Op, read: Op) -> bool {
        self.has(SessionGuarantee::ReadYourWrites)
            && self.place(write).0 == self.place(read).0
            && write < read
    }

    /// Returns the order of writes by monotonic writes, and by writes follow reads: those that were visible to a read come before
    /// the writes after it. The key of an edge of the latter is the read.
    pub(super) fn arbitration(&self) -> Part {
        let mut part = Part::default();
        let follow = self.has(SessionGuarantee::WritesFollowReads);
        for session in 0..self.count() {
            // The last write; and, since then, the writes that were visible to reads, each with the read.
            let (mut last, mut before): (Option<Op>, Vec<(Op, Op)>) = (None, Vec::new());
            // The writes since the last read, and the joint that leads to every write to come.
            let (mut unread, mut joint): (Vec<Op>, Option<u32>) = (Vec::new(), None);
            for Act { op, kind, .. } in &self.acts[self.range(session)] {
                match kind {
                    ActKind::Read(from) if follow => {
                        before.extend(from.map(|from| (from, *op)));
                        if self.has(SessionGuarantee::ReadYourWrites) {
                            before.extend(unread.drain(..).map(|own| (own, *op)));
                        }
                    }
                    ActKind::Read(_) => {}
                    ActKind::Write => {
                        if let Some(last) = last.replace(*op)
                            && self.has(SessionGuarantee::MonotonicWrites)
                        {
                            part.edge(last, *op, NO_KEY, Dependency::Order, Level::Process);
                        }
                        if !before.is_empty() {
                            let next = part.joint(self.facts.position(*op));
                            for (from, read) in before.drain(..) {
                                part.edge(from, next, read, Dependency::WriteRead, Level::Process);
                            }
                            if let Some(joint) = joint.replace(next) {
                                part.edge(joint, next, NO_KEY, Dependency::Link, Level::Data);
                            }
                        }
                        if let Some(joint) = joint {
                            part.edge(joint, *op, NO_KEY, Dependency::Link, Level::Data);
                        }
                        unread.push(*op);
                    }
                }
            }
        }
        part
    }
}
