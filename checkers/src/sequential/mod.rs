//! Linearizability of any object that is given as a sequential one.
//!
//! In reading order: `search`: all states that the object may be in, event by event; `report`: a history taken apart by
//! object, and the answers added up; `shrink`: a violation minimized.

mod report;
mod search;
mod shrink;

use std::hash::Hash;

use crate::witness::Op;

pub(crate) use report::{Algorithm, Answer, Asked, by_key, report};
pub(crate) use search::{Decision, Violation, decide};
pub(crate) use shrink::{TRIALS_MAX, shrink, trial};

/// An operation on a sequential object, with its answer.
pub(crate) trait Sequential: Copy {
    /// The object's state.
    type State: Clone + Ord + Hash;

    /// Returns the states that the object may be in after the operation; none if the answer is impossible in `state`.
    fn after(&self, state: &Self::State) -> Vec<Self::State>;

    /// Returns the memory that a state refers to, in bytes.
    fn size(state: &Self::State) -> usize;
}

/// An operation that happened, or, without a completion, may have happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<E> {
    pub(crate) effect: E,
    /// The indices of its events.
    pub(crate) invoke: u64,
    pub(crate) complete: Option<u64>,
    pub(crate) op: Op,
}
