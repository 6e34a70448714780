//! The definition of linearizability, tried out literally: every order of the operations, with and without each that
//! may have happened. It shares nothing with the checker, and is only good for a handful of operations.

use std::collections::{BTreeSet, HashSet};

use duress_history::counter::{Counter, CounterOp};
use duress_history::mutex::{Mutex, MutexOp};
use duress_history::register::{CasRegister, Register, RegisterOp};
use duress_history::set::{Set, SetOp};
use duress_history::{Completion, Operation, Scalar};

/// A sequential object: returns its state after the answered operation, if the answer is possible.
pub trait Sequential: Clone {
    type Held: Clone + Eq + std::hash::Hash;
    fn step(&self, held: &Self::Held) -> Option<Self::Held>;
    /// Whether the operation is without effect and proves nothing when it was not answered.
    fn is_read(&self) -> bool;
}

impl Sequential for CasRegister {
    type Held = Option<Scalar>;

    fn step(&self, held: &Option<Scalar>) -> Option<Option<Scalar>> {
        match &self.op {
            RegisterOp::Read(value) => (value == held).then(|| held.clone()),
            RegisterOp::Write(value) => Some(Some(value.clone())),
            RegisterOp::Delete => Some(None),
            RegisterOp::Cas { old, new } => (old == held).then(|| Some(new.clone())),
        }
    }

    fn is_read(&self) -> bool {
        matches!(self.op, RegisterOp::Read(_))
    }
}

/// One register of many: only one key is ever tried.
impl Sequential for Register {
    type Held = Option<Scalar>;

    fn step(&self, held: &Option<Scalar>) -> Option<Option<Scalar>> {
        CasRegister::from(self.op.clone()).step(held)
    }

    fn is_read(&self) -> bool {
        matches!(self.op, RegisterOp::Read(_))
    }
}

impl Sequential for Set {
    type Held = BTreeSet<Scalar>;

    fn step(&self, held: &BTreeSet<Scalar>) -> Option<BTreeSet<Scalar>> {
        match &self.op {
            SetOp::Add(element) => Some(held.iter().chain([element]).cloned().collect()),
            SetOp::Read(None) => None,
            SetOp::Read(Some(elements)) => {
                let read: BTreeSet<Scalar> = elements.iter().cloned().collect();
                (read == *held && read.len() == elements.len()).then_some(read)
            }
        }
    }

    fn is_read(&self) -> bool {
        matches!(self.op, SetOp::Read(_))
    }
}

impl Sequential for Counter {
    type Held = i64;

    fn step(&self, held: &i64) -> Option<i64> {
        match self.op {
            CounterOp::Add(delta) => Some(held + delta),
            CounterOp::Read(value) => (value == Some(*held)).then_some(*held),
        }
    }

    fn is_read(&self) -> bool {
        matches!(self.op, CounterOp::Read(_))
    }
}

impl Sequential for Mutex {
    type Held = bool;

    fn step(&self, held: &bool) -> Option<bool> {
        match self.op {
            MutexOp::Acquire => (!held).then_some(true),
            MutexOp::Release => held.then_some(false),
        }
    }

    fn is_read(&self) -> bool {
        false
    }
}

/// Whether some order of `operations` is right, from `held` on. At most 64 operations.
pub fn linearizable<A: Sequential>(operations: &[Operation<A>], held: A::Held) -> bool {
    let taking: Vec<(u64, Option<u64>, A)> = operations
        .iter()
        .filter_map(|operation| match &operation.completion {
            Completion::Ok { index, answer, .. } => Some((operation.index, Some(*index), answer.clone())),
            Completion::Fail { .. } => None,
            Completion::Info { .. } => {
                (!operation.action.is_read()).then(|| (operation.index, None, operation.action.clone()))
            }
        })
        .collect();
    assert!(taking.len() <= 64);
    let mut tried = HashSet::new();
    extend(&taking, 0, &held, &mut tried)
}

fn extend<A: Sequential>(
    operations: &[(u64, Option<u64>, A)],
    taken: u64,
    held: &A::Held,
    tried: &mut HashSet<(u64, A::Held)>,
) -> bool {
    let left = |at: &usize| taken >> at & 1 == 0;
    let completed = |at: &usize| operations[*at].1.is_some();
    let all = 0..operations.len();
    if !all.clone().any(|at| left(&at) && completed(&at)) {
        return true;
    }
    if !tried.insert((taken, held.clone())) {
        return false;
    }
    let bound = all.clone().filter(left).filter_map(|at| operations[at].1).min();
    all.filter(left).any(|at| {
        let (invoked, _, action) = &operations[at];
        Some(*invoked) < bound
            && action.step(held).is_some_and(|next| extend(operations, taken | 1 << at, &next, tried))
    })
}

/// An operation as the definition of stale reads needs it.
struct Defined<A> {
    begun: u64,
    /// `None` if it may take effect at any time, or never.
    answered: Option<u64>,
    action: A,
    /// Whether it is a read that may see any prefix.
    may_be_old: bool,
}

/// Whether some order of the writes explains every answer, from `start` on, tried out event by event: a read
/// whose index is in `fresh` must see the object's present state, any other may see that of some prefix. At
/// most 64 operations.
pub fn explained<A: Sequential>(operations: &[Operation<A>], start: A::Held, fresh: &[u64]) -> bool {
    let defined: Vec<Defined<A>> = operations
        .iter()
        .filter_map(|operation| {
            let (answered, action) = match &operation.completion {
                Completion::Ok { index, answer, .. } => (Some(*index), answer.clone()),
                Completion::Info { .. } => (None, operation.action.clone()),
                Completion::Fail { .. } => return None,
            };
            let may_be_old = action.is_read() && !fresh.contains(&operation.index);
            Some(Defined { begun: operation.index, answered, action, may_be_old })
        })
        .collect();
    let mut events: Vec<(u64, usize)> = Vec::new();
    for (at, defined) in defined.iter().enumerate() {
        events.push((defined.begun, at));
        events.extend(defined.answered.map(|answered| (answered, at)));
    }
    events.sort_unstable();
    pass(&defined, &events, 0, 0, &[start], &mut HashSet::new())
}

/// The attempts so far: how many events had passed, which operations had taken effect, and the object's
/// states, the latest last.
type Passed<A> = HashSet<(usize, u64, Vec<<A as Sequential>::Held>)>;

fn pass<A: Sequential>(
    defined: &[Defined<A>],
    events: &[(u64, usize)],
    passed: usize,
    taken: u64,
    held: &[A::Held],
    tried: &mut Passed<A>,
) -> bool {
    let Some((index, at)) = events.get(passed) else { return true };
    if !tried.insert((passed, taken, held.to_vec())) {
        return false;
    }
    let has = |at: usize| taken >> at & 1 == 1;
    // The next event happens.
    let event = &defined[*at];
    let fits = event.begun == *index
        || if event.may_be_old {
            held.iter().any(|held| event.action.step(held).is_some())
        } else {
            has(*at)
        };
    if fits && pass(defined, events, passed + 1, taken, held, tried) {
        return true;
    }
    // Or an operation in progress takes effect before it.
    let now = held.last().expect("it held something from the start");
    (0..defined.len()).any(|at| {
        let Defined { begun, action, may_be_old, .. } = &defined[at];
        if has(at) || *may_be_old || !events[..passed].contains(&(*begun, at)) {
            return false;
        }
        let Some(next) = action.step(now) else { return false };
        let after: Vec<A::Held> = held.iter().cloned().chain([next]).collect();
        pass(defined, events, passed, taken | 1 << at, &after, tried)
    })
}
