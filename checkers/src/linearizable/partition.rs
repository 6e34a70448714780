//! A history taken apart by key, its values numbered.
//!
//! Linearizability is local: a history is linearizable when its restriction to each key is. So each key is a problem
//! of its own, and keys are checked in parallel.

use duress_history::mutex::Mutex;
use duress_history::register::{CasRegister, Register, RegisterOp};
use duress_history::{Completion, NodeId, Operation, Process, Scalar};
use rustc_hash::FxHashMap;

use super::Skipped;
use super::call::{Call, Duty, Effect, INITIAL, Problem, Start, State};

/// More events than this on one key are not numbered: positions are doubled in 32 bits.
const EVENTS_MAX: usize = 1 << 30;

/// What an operation did, as answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action<'a> {
    Read(Option<&'a Scalar>),
    Write(&'a Scalar),
    Cas(Option<&'a Scalar>, &'a Scalar),
    Acquire,
    Release,
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Ok { index: u64, time: u64 },
    Fail { index: u64, time: u64 },
    Info { at: Option<(u64, u64)> },
}

/// An operation of any of the vocabularies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) process: Process,
    pub(crate) node: Option<&'a NodeId>,
    pub(crate) index: u64,
    pub(crate) time: u64,
    pub(crate) action: Action<'a>,
    pub(crate) end: End,
    pub(crate) error: Option<&'a str>,
    /// The index from which on it may take effect.
    pub(crate) since: Since,
}

/// From when on an operation may take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// From its invocation.
    Invocation,
    /// From this event on, which is not after its invocation: it is a read that may be answered with what was there then.
    Earlier(u64),
}

/// The operations on one key.
#[derive(Clone)]
pub(crate) struct Partition<'a> {
    pub(crate) key: Option<&'a Scalar>,
    /// What it holds first; `None` is the register that was never written.
    pub(crate) initial: Option<&'a Scalar>,
    pub(crate) operations: Vec<Source<'a>>,
}

/// A [`Partition`] ready for the algorithms.
pub(crate) struct Interned<'a> {
    pub(crate) problem: Problem,
    /// What each [`State`] stands for; `None` is null, and, for a lock, free.
    pub(crate) values: Vec<Option<&'a Scalar>>,
    pub(crate) skipped: Skipped,
}

fn source<'a, A>(operation: &'a Operation<A>, action: impl Fn(&'a A) -> Action<'a>) -> Source<'a> {
    let (answer, end, error) = match &operation.completion {
        Completion::Ok { index, time, answer } => (answer, End::Ok { index: *index, time: *time }, None),
        Completion::Fail { index, time, error } => (
            &operation.action,
            End::Fail { index: *index, time: *time },
            error.as_ref().map(|error| error.text.as_str()),
        ),
        Completion::Info { at, error } => {
            (&operation.action, End::Info { at: *at }, error.as_ref().map(|error| error.text.as_str()))
        }
    };
    Source {
        process: operation.process,
        node: operation.node.as_ref(),
        index: operation.index,
        time: operation.time,
        action: action(answer),
        end,
        error,
        since: Since::Invocation,
    }
}

fn register_action(op: &RegisterOp) -> Action<'_> {
    match op {
        RegisterOp::Read(value) => Action::Read(value.as_ref()),
        RegisterOp::Write(value) => Action::Write(value),
        RegisterOp::Cas { old, new } => Action::Cas(old.as_ref(), new),
    }
}

/// One part for each key, in the order of keys.
pub(crate) fn registers<'a>(
    operations: &'a [Operation<Register>],
    initial: Option<&'a Scalar>,
) -> Vec<Partition<'a>> {
    let mut places: FxHashMap<&Scalar, usize> = FxHashMap::default();
    let mut parts: Vec<Partition<'a>> = Vec::new();
    for operation in operations {
        let key = &operation.action.key;
        let place = *places.entry(key).or_insert_with(|| {
            parts.push(Partition { key: Some(key), initial, operations: Vec::new() });
            parts.len() - 1
        });
        parts[place].operations.push(source(operation, |action| register_action(&action.op)));
    }
    parts.sort_unstable_by_key(|part| part.key);
    parts
}

/// The one part of a history of one register; none when there is no operation.
pub(crate) fn cas_register<'a>(
    operations: &'a [Operation<CasRegister>],
    initial: Option<&'a Scalar>,
) -> Vec<Partition<'a>> {
    one(initial, operations.iter().map(|operation| source(operation, |action| register_action(&action.0))))
}

/// The one part of a history of one lock; none when there is no operation.
pub(crate) fn mutex(operations: &[Operation<Mutex>]) -> Vec<Partition<'_>> {
    let action = |action: &Mutex| match action {
        Mutex::Acquire => Action::Acquire,
        Mutex::Release => Action::Release,
    };
    one(None, operations.iter().map(|operation| source(operation, action)))
}

fn one<'a>(initial: Option<&'a Scalar>, operations: impl Iterator<Item = Source<'a>>) -> Vec<Partition<'a>> {
    let operations: Vec<_> = operations.collect();
    if operations.is_empty() { Vec::new() } else { vec![Partition { key: None, initial, operations }] }
}

/// Numbers values in the order in which they are met, the initial one first.
struct Interner<'a> {
    states: FxHashMap<Option<&'a Scalar>, State>,
    values: Vec<Option<&'a Scalar>>,
}

impl<'a> Interner<'a> {
    fn new(initial: Option<&'a Scalar>) -> Self {
        Self { states: FxHashMap::from_iter([(initial, INITIAL)]), values: vec![initial] }
    }

    fn state(&mut self, value: Option<&'a Scalar>) -> State {
        *self.states.entry(value).or_insert_with(|| {
            self.values.push(value);
            // At most two values an operation, and there are fewer than `EVENTS_MAX` operations.
            (self.values.len() - 1) as State
        })
    }
}

impl<'a> Partition<'a> {
    /// Numbers events and values; `None` when there are too many.
    ///
    /// Failed operations did not happen, and unanswered reads say nothing: both are left out and counted.
    pub(crate) fn intern(&self) -> Option<Interned<'a>> {
        if self.operations.len() > EVENTS_MAX / 2 {
            return None;
        }
        // The two states of a lock. `None` is free; held needs no value of its own, only a number.
        const FREE: State = INITIAL;
        const HELD: State = 1;
        let mut interner = Interner::new(self.initial);
        let mut skipped = Skipped::default();
        let mut lock = false;
        let mut calls = Vec::with_capacity(self.operations.len());
        let mut events: Vec<(u64, bool, u32)> = Vec::with_capacity(2 * self.operations.len());
        for (place, operation) in self.operations.iter().enumerate() {
            let complete = match operation.end {
                // A completion cannot come before its invocation, whatever a file says.
                End::Ok { index, .. } => Some(index.max(operation.index)),
                End::Info { .. } => None,
                End::Fail { .. } => {
                    skipped.failed += 1;
                    continue;
                }
            };
            let effect = match operation.action {
                Action::Read(_) if complete.is_none() => {
                    skipped.unanswered_reads += 1;
                    continue;
                }
                Action::Read(None) if self.initial.is_some() => {
                    skipped.empty_reads += 1;
                    continue;
                }
                Action::Read(value) => Effect::Read(interner.state(value)),
                Action::Write(value) => Effect::Write(interner.state(Some(value))),
                // Of a value to itself: it observes, and changes nothing.
                Action::Cas(Some(old), new) if old == new => {
                    if complete.is_none() {
                        skipped.unobserved += 1;
                        continue;
                    }
                    Effect::Read(interner.state(Some(old)))
                }
                Action::Cas(old, new) => Effect::Cas(interner.state(old), interner.state(Some(new))),
                Action::Acquire => Effect::Cas(FREE, HELD),
                Action::Release => Effect::Cas(HELD, FREE),
            };
            lock |= matches!(operation.action, Action::Acquire | Action::Release);
            let number = calls.len() as u32;
            let since = match operation.since {
                Since::Invocation => operation.index,
                Since::Earlier(index) => index,
            };
            events.push((since, false, number));
            events.extend(complete.map(|index| (index, true, number)));
            calls.push(Call {
                effect,
                invoke: 0,
                complete: None,
                duty: Duty::Required,
                source: place as u32,
            });
        }
        if lock {
            interner.values.resize(2, None);
        }
        // Invocations first where two events claim one index: then the operations overlap, and nothing is supposed
        // of their order.
        events.sort_unstable();
        for (rank, (_, completion, number)) in events.into_iter().enumerate() {
            let (call, rank) = (&mut calls[number as usize], rank as u32);
            if completion {
                call.complete = Some(rank);
            } else {
                call.invoke = rank;
            }
        }
        if !calls.is_sorted_by_key(|call| call.invoke) {
            calls.sort_unstable_by_key(|call| call.invoke);
        }
        let states = interner.values.len() as u32;
        let problem = Problem { calls, states, start: Start::Known(INITIAL) };
        Some(Interned { problem, values: interner.values, skipped })
    }
}
