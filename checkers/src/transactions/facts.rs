//! A history of transactions, indexed by key and by transaction, with keys as numbers.

use std::sync::atomic::{AtomicBool, Ordering};

use duress_history::txn::{Act, Answer, Micro, Txn};
use duress_history::{Completion, Operation, Scalar};
use rustc_hash::FxHashMap;

use crate::witness::Op;

/// Whether a transaction took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was acknowledged.
    Committed,
    /// It may have taken effect: its outcome is unknown.
    Maybe,
    /// It failed.
    Aborted,
}

/// An operation of a transaction, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) op: Op,
    pub(super) micro: u32,
}

/// A history, indexed by key.
pub(super) struct Facts<'a, R> {
    pub(super) operations: &'a [Operation<Txn<R>>],
    /// The keys, in the order of their first use.
    pub(super) keys: Vec<&'a Scalar>,
    /// The beginning of each key's places.
    starts: Vec<usize>,
    /// The places by key, each key's in the order of the history.
    places: Vec<Place>,
    /// The transactions that take part: the acknowledged ones, and those of unknown outcome with an observed
    /// effect.
    takes_part: Vec<AtomicBool>,
}

impl<'a, R: Answer> Facts<'a, R> {
    pub(super) fn new(operations: &'a [Operation<Txn<R>>]) -> Self {
        let mut numbers: FxHashMap<&Scalar, u32> = FxHashMap::default();
        let (mut keys, mut of_micros, mut starts) = (Vec::new(), Vec::new(), vec![0; 1]);
        for operation in operations {
            for micro in &known(operation).micros {
                let key = *numbers.entry(&micro.key).or_insert_with(|| {
                    keys.push(&micro.key);
                    starts.push(0);
                    keys.len() as u32 - 1
                });
                of_micros.push(key);
                starts[key as usize + 1] += 1;
            }
        }
        drop(numbers);
        for key in 0..keys.len() {
            starts[key + 1] += starts[key];
        }
        let mut next = starts.clone();
        let mut places = vec![Place { op: 0, micro: 0 }; of_micros.len()];
        let mut of_micros = of_micros.into_iter();
        for (op, operation) in operations.iter().enumerate() {
            for (micro, key) in (0..known(operation).micros.len()).zip(&mut of_micros) {
                places[next[key as usize]] = Place { op: op as Op, micro: micro as u32 };
                next[key as usize] += 1;
            }
        }
        let committed = |operation: &Operation<Txn<R>>| AtomicBool::new(fate(operation) == Fate::Committed);
        let takes_part = operations.iter().map(committed).collect();
        Self { operations, keys, starts, places, takes_part }
    }

    /// Returns the places of the operations on `key`.
    pub(super) fn of_key(&self, key: u32) -> &[Place] {
        &self.places[self.starts[key as usize]..self.starts[key as usize + 1]]
    }

    pub(super) fn act(&self, place: Place) -> &'a Act<R> {
        &self.micros(place.op)[place.micro as usize].act
    }

    pub(super) fn micros(&self, op: Op) -> &'a [Micro<R>] {
        &known(&self.operations[op as usize]).micros
    }

    pub(super) fn fate(&self, op: Op) -> Fate {
        fate(&self.operations[op as usize])
    }

    /// Returns how many transactions had this fate.
    pub(super) fn fates(&self, fate: Fate) -> u64 {
        (0..self.operations.len() as Op).filter(|op| self.fate(*op) == fate).count() as u64
    }

    /// Records that an effect of `op` was observed, although its outcome is unknown.
    pub(super) fn seen(&self, op: Op) {
        self.takes_part[op as usize].store(true, Ordering::Relaxed);
    }

    pub(super) fn takes_part(&self, op: Op) -> bool {
        self.takes_part[op as usize].load(Ordering::Relaxed)
    }

    /// Returns the transactions that take part.
    pub(super) fn taking(&self) -> impl Iterator<Item = Op> + '_ {
        (0..self.operations.len() as Op).filter(|op| self.takes_part(*op))
    }

    /// Returns the index at which it was acknowledged.
    pub(super) fn end(&self, op: Op) -> Option<u64> {
        match self.operations[op as usize].completion {
            Completion::Ok { index, .. } => Some(index),
            Completion::Fail { .. } | Completion::Info { .. } => None,
        }
    }

    /// Returns its position in an order that mostly agrees with dependencies: that of its end, or else of its
    /// begin.
    pub(super) fn position(&self, op: Op) -> u64 {
        2 * self.end(op).unwrap_or(self.operations[op as usize].index)
    }
}

/// Returns its known operations: those of the answer, or else those of the request.
fn known<R>(operation: &Operation<Txn<R>>) -> &Txn<R> {
    match &operation.completion {
        Completion::Ok { answer, .. } => answer,
        Completion::Fail { .. } | Completion::Info { .. } => &operation.action,
    }
}

fn fate<R>(operation: &Operation<Txn<R>>) -> Fate {
    match operation.completion {
        Completion::Ok { .. } => Fate::Committed,
        Completion::Fail { .. } => Fate::Aborted,
        Completion::Info { .. } => Fate::Maybe,
    }
}
