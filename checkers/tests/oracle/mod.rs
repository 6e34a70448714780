//! The definition of linearizability, tried out literally: every order of the operations, with and without each that
//! may have happened. It shares nothing with the checker, and is only good for a handful of operations.

use std::collections::HashSet;

use duress_history::mutex::{Mutex, MutexOp};
use duress_history::register::{CasRegister, RegisterOp};
use duress_history::{Completion, Operation, Scalar};

/// A sequential object: what it holds after the answered operation, if it can have been answered so.
pub trait Sequential: Clone {
    type Held: Clone + Eq + std::hash::Hash;
    fn step(&self, held: &Self::Held) -> Option<Self::Held>;
    /// Whether the operation says nothing and does nothing when it was not answered.
    fn is_read(&self) -> bool;
}

impl Sequential for CasRegister {
    type Held = Option<Scalar>;

    fn step(&self, held: &Option<Scalar>) -> Option<Option<Scalar>> {
        match &self.op {
            RegisterOp::Read(value) => (value == held).then(|| held.clone()),
            RegisterOp::Write(value) => Some(Some(value.clone())),
            RegisterOp::Cas { old, new } => (old == held).then(|| Some(new.clone())),
        }
    }

    fn is_read(&self) -> bool {
        matches!(self.op, RegisterOp::Read(_))
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
