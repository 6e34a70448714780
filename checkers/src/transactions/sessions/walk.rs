//! The writes that are visible in a session, as it goes on, and the order of writes that its reads demand.

use std::collections::VecDeque;

use duress_history::SessionGuarantee as Guarantee;

use super::session::{Act, ActKind, Sessions};
use super::{AnomalyKind, Dependency, Level, NO_KEY, Part, broken_by};
use crate::witness::Op;

/// Why a write is visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The session made it.
    Own,
    /// This read of the session returned it.
    Read(Op),
    /// It came before this visible write, of its own session.
    Before(Op),
    /// It was visible to `read`, which came before the visible `write`, of another session.
    Followed { write: Op, read: Op },
}

/// A read of an initial value to which a write of its register was visible.
pub(super) struct Missed {
    pub(super) kind: AnomalyKind,
    pub(super) read: Op,
    pub(super) write: Op,
}

/// A visible write: since when, and why.
#[derive(Clone, Copy)]
struct Seen {
    /// The session to which it is visible.
    session: u32,
    /// Why it became visible.
    first: Why,
    /// The last of the guarantees on which that rests.
    rests_on: Guarantee,
    /// The read of the session that returned it later.
    read: Option<Op>,
}

/// The visible writes of a register that the next read of it must return, or come after.
#[derive(Default)]
struct Ahead {
    writes: Vec<Op>,
    /// A joint that follows the first `joined` of them.
    joint: Option<u32>,
    joined: usize,
}

const NO_SESSION: u32 = u32::MAX;

/// A walk through one session after the other.
pub(super) struct Walk<'w> {
    sessions: &'w Sessions<'w, 'w>,
    session: u32,
    /// By operation.
    seen: Vec<Seen>,
    /// By session: for which walk, and up to where, its writes are visible, and the writes that its reads saw.
    scanned: [Vec<(u32, usize)>; 2],
    /// By key.
    ahead: Vec<Ahead>,
    keys: Vec<u32>,
    /// The reads of the session so far, and those that could have missed a visible write.
    pub(super) reads: u64,
    pub(super) bound: u64,
}

impl<'w> Walk<'w> {
    pub(super) fn new(sessions: &'w Sessions<'w, 'w>) -> Self {
        let unseen =
            Seen { session: NO_SESSION, first: Why::Own, rests_on: Guarantee::ReadYourWrites, read: None };
        let scanned = || vec![(NO_SESSION, 0); sessions.count() as usize];
        Self {
            sessions,
            session: NO_SESSION,
            seen: vec![unseen; sessions.facts.operations.len()],
            scanned: [scanned(), scanned()],
            ahead: sessions.facts.keys.iter().map(|_| Ahead::default()).collect(),
            keys: Vec::new(),
            reads: 0,
            bound: 0,
        }
    }

    /// Begins with another session.
    pub(super) fn begin(&mut self, session: u32) {
        self.session = session;
        (self.reads, self.bound) = (0, 0);
        for key in self.keys.drain(..) {
            self.ahead[key as usize] = Ahead::default();
        }
    }

    /// Goes on with the act at `place`: adds the order that it demands, each edge with the read as its key.
    pub(super) fn act(&mut self, place: usize, part: &mut Part) -> Option<Missed> {
        let Act { op, key, kind } = self.sessions.acts[place];
        let ActKind::Read(from) = kind else {
            if self.sessions.has(Guarantee::ReadYourWrites) {
                self.add(op, Why::Own);
            }
            return None;
        };
        self.reads += 1;
        self.bound += u64::from(!self.ahead[key as usize].writes.is_empty());
        let Some(from) = from else {
            let write = *self.ahead[key as usize].writes.iter().min_by_key(|write| self.rests_on(**write))?;
            return Some(Missed { kind: broken_by(self.rests_on(write)), read: op, write });
        };
        let remains = self.sessions.has(Guarantee::MonotonicReads) || self.sees(from);
        if remains {
            // The returned write comes after all of these, so that later reads need edges from it alone.
            for write in std::mem::take(&mut self.ahead[key as usize]).writes {
                self.demand(write, from, op, part);
            }
            if self.sees(from) {
                self.put_ahead(from, key);
            }
            if self.sessions.has(Guarantee::MonotonicReads) {
                self.add(from, Why::Read(op));
            }
        } else {
            self.demand_all(key, from, op, part);
        }
        None
    }

    /// Whether `write` is visible to what the session does next.
    pub(super) fn sees(&self, write: Op) -> bool {
        self.seen[write as usize].session == self.session
    }

    /// Returns why `write` is visible, and, if that is because another write is, why that one is, and so on.
    pub(super) fn reasons(&self, write: Op) -> Vec<(Op, Why)> {
        let seen = &self.seen[write as usize];
        let mut reasons = vec![(
            write,
            if seen.first == Why::Own { Why::Own } else { seen.read.map_or(seen.first, Why::Read) },
        )];
        while let Some((_, Why::Before(next) | Why::Followed { write: next, .. })) = reasons.last().copied() {
            reasons.push((next, self.seen[next as usize].first));
        }
        reasons
    }

    /// Returns the last of the guarantees that make `write` visible.
    pub(super) fn rests_on(&self, write: Op) -> Guarantee {
        let seen = &self.seen[write as usize];
        match seen.read {
            Some(_) => seen.rests_on.min(Guarantee::MonotonicReads),
            None => seen.rests_on,
        }
    }

    /// Returns the kind of edge from `write` to what a read returned to which it was visible.
    pub(super) fn edge(&self, write: Op) -> (Dependency, Level) {
        match self.rests_on(write) {
            Guarantee::ReadYourWrites | Guarantee::MonotonicReads => (Dependency::WriteWrite, Level::Data),
            Guarantee::MonotonicWrites => (Dependency::WriteWrite, Level::Process),
            Guarantee::WritesFollowReads => (Dependency::Inferred, Level::Process),
        }
    }

    /// Adds that `write`, which was visible to `read`, comes before `to`.
    fn demand(&self, write: Op, to: u32, read: Op, part: &mut Part) {
        let (dependency, level) = self.edge(write);
        part.edge(write, to, read, dependency, level);
    }

    /// Adds that all that is ahead comes before `from`, which does not become visible by that. Many such reads share the edges.
    fn demand_all(&mut self, key: u32, from: Op, read: Op, part: &mut Part) {
        let mut ahead = std::mem::take(&mut self.ahead[key as usize]);
        if let [write] = ahead.writes[..] {
            self.demand(write, from, read, part);
        } else if !ahead.writes.is_empty() {
            if ahead.joined < ahead.writes.len() {
                let next = part.joint(self.sessions.facts.position(read));
                if let Some(joint) = ahead.joint.replace(next) {
                    part.edge(joint, next, NO_KEY, Dependency::Link, Level::Data);
                }
                for write in &ahead.writes[ahead.joined..] {
                    self.demand(*write, next, read, part);
                }
                ahead.joined = ahead.writes.len();
            }
            if let Some(joint) = ahead.joint {
                part.edge(joint, from, NO_KEY, Dependency::Link, Level::Data);
            }
        }
        self.ahead[key as usize] = ahead;
    }

    fn put_ahead(&mut self, write: Op, key: u32) {
        self.keys.push(key);
        self.ahead[key as usize].writes.push(write);
    }

    /// Makes `write` visible, and all that is visible with it.
    fn add(&mut self, write: Op, why: Why) {
        let rests_on = match why {
            Why::Own => Guarantee::ReadYourWrites,
            _ => Guarantee::MonotonicReads,
        };
        if let (true, Why::Read(read)) = (self.sees(write), why) {
            self.seen[write as usize].read.get_or_insert(read);
            return;
        }
        let sessions = self.sessions;
        let mut queue = VecDeque::from([(write, why, rests_on)]);
        while let Some((write, first, rests_on)) = queue.pop_front() {
            if self.sees(write) {
                continue;
            }
            self.seen[write as usize] = Seen { session: self.session, first, rests_on, read: None };
            let (session, place) = sessions.place(write);
            self.put_ahead(write, sessions.acts[place].key);
            if sessions.has(Guarantee::MonotonicWrites) {
                let rests_on = rests_on.max(Guarantee::MonotonicWrites);
                for at in self.unscanned(0, session, place) {
                    if let Act { op, kind: ActKind::Write, .. } = sessions.acts[at] {
                        queue.push_back((op, Why::Before(write), rests_on));
                    }
                }
            }
            if sessions.has(Guarantee::WritesFollowReads) {
                let until = sessions.read_until[place];
                for at in self.unscanned(1, session, until) {
                    let Act { op, kind, .. } = sessions.acts[at];
                    let visible = match kind {
                        ActKind::Read(from) => from.map(|from| (from, op)),
                        // A read that saw it comes after it.
                        ActKind::Write if sessions.has(Guarantee::ReadYourWrites) => {
                            Some((op, sessions.acts[until - 1].op))
                        }
                        ActKind::Write => None,
                    };
                    if let Some((visible, read)) = visible {
                        queue.push_back((
                            visible,
                            Why::Followed { write, read },
                            Guarantee::WritesFollowReads,
                        ));
                    }
                }
            }
        }
    }

    /// Returns the places of `session` up to `until` that were not returned before.
    fn unscanned(&mut self, which: usize, session: u32, until: usize) -> std::ops::Range<usize> {
        let begin = self.sessions.range(session).start;
        let (walk, scanned) = &mut self.scanned[which][session as usize];
        let from = if *walk == self.session { *scanned } else { begin };
        (*walk, *scanned) = (self.session, from.max(until));
        from..until.max(from)
    }
}
