//! A history taken apart by key, its values numbered.
//!
//! Linearizability is local: a history is linearizable when its restriction to each key is. So each key is a problem
//! of its own, and keys are checked in parallel.

use duress_history::initial::{Assumed, Initial, NilReads};
use duress_history::mutex::{Mutex, MutexOp};
use duress_history::register::{CasRegister, Register, RegisterOp};
use duress_history::{Completion, NodeId, Operation, Process, Scalar};
use rustc_hash::{FxHashMap, FxHashSet};

use super::Skipped;
use super::call::{Call, Duty, Effect, INITIAL, Problem, Start, State};

/// More events than this on one key are not numbered: positions are doubled in 32 bits.
const EVENTS_MAX: usize = 1 << 30;

/// The action of an operation, as answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action<'a> {
    Read(Option<&'a Scalar>),
    /// Write this value, or, as a delete does, null.
    Write(Option<&'a Scalar>),
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
    /// For a failed compare-and-set whose `action` is a read of the value found: its compared value, and the
    /// one it did not write.
    pub(crate) refused: Option<(Option<&'a Scalar>, &'a Scalar)>,
}

/// From when on an operation may take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// From its invocation.
    Invocation,
    /// From this event on, which is not after its invocation: it is a read that may return the value of that
    /// time.
    Earlier(u64),
}

/// The operations on one key.
#[derive(Clone)]
pub(crate) struct Partition<'a> {
    pub(crate) key: Option<&'a Scalar>,
    pub(crate) assumed: &'a Assumed,
    pub(crate) operations: Vec<Source<'a>>,
}

/// A [`Partition`] ready for the algorithms.
pub(crate) struct Interned<'a> {
    pub(crate) problem: Problem,
    /// The value of each [`State`]; `None` is null, and, for a lock, free.
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
    let mut source = Source {
        process: operation.process,
        node: operation.node.as_ref(),
        index: operation.index,
        time: operation.time,
        action: action(answer),
        end,
        error,
        since: Since::Invocation,
        refused: None,
    };
    // A comparison that failed changed nothing, and reports the value found: it is a read.
    if let (Action::Cas(old, new), Completion::Fail { index, time, error: Some(error) }) =
        (source.action, &operation.completion)
        && let Some(saw) = &error.saw
    {
        source.action = Action::Read(saw.as_ref());
        source.end = End::Ok { index: *index, time: *time };
        source.refused = Some((old, new));
    }
    source
}

fn register_action(op: &RegisterOp) -> Action<'_> {
    match op {
        RegisterOp::Read(value) => Action::Read(value.as_ref()),
        RegisterOp::Write(value) => Action::Write(Some(value)),
        RegisterOp::Delete => Action::Write(None),
        RegisterOp::Cas { old, new } => Action::Cas(old.as_ref(), new),
    }
}

/// Returns one part for each key, in the order of keys.
pub(crate) fn registers<'a>(
    operations: &'a [Operation<Register>],
    assumed: &'a Assumed,
) -> Vec<Partition<'a>> {
    by_key(operations, assumed, |register| Some(&register.key), |register| register_action(&register.op))
}

/// Returns the one part of a history of one register, or one for each key; none without operations.
pub(crate) fn cas_register<'a>(
    operations: &'a [Operation<CasRegister>],
    assumed: &'a Assumed,
) -> Vec<Partition<'a>> {
    by_key(operations, assumed, |register| register.key.as_ref(), |register| register_action(&register.op))
}

/// Returns one part for each lock; none without operations.
pub(crate) fn mutex<'a>(operations: &'a [Operation<Mutex>], assumed: &'a Assumed) -> Vec<Partition<'a>> {
    by_key(
        operations,
        assumed,
        |mutex| mutex.lock.as_ref(),
        |mutex| match mutex.op {
            MutexOp::Acquire => Action::Acquire,
            MutexOp::Release => Action::Release,
        },
    )
}

fn by_key<'a, A>(
    operations: &'a [Operation<A>],
    assumed: &'a Assumed,
    key: impl Fn(&'a A) -> Option<&'a Scalar>,
    action: impl Fn(&'a A) -> Action<'a>,
) -> Vec<Partition<'a>> {
    // Counted first, so that no part has room for more than it holds.
    let mut known: FxHashMap<Option<&Scalar>, u32> = FxHashMap::default();
    let mut counts: Vec<(Option<&Scalar>, usize)> = Vec::new();
    let mut places: Vec<u32> = Vec::with_capacity(operations.len());
    for operation in operations {
        let key = key(&operation.action);
        let place = *known.entry(key).or_insert_with(|| {
            counts.push((key, 0));
            (counts.len() - 1) as u32
        });
        counts[place as usize].1 += 1;
        places.push(place);
    }
    let part = |(key, count)| Partition { key, assumed, operations: Vec::with_capacity(count) };
    let mut parts: Vec<Partition<'a>> = counts.into_iter().map(part).collect();
    for (operation, place) in operations.iter().zip(places) {
        parts[place as usize].operations.push(source(operation, &action));
    }
    parts.sort_unstable_by_key(|part| part.key);
    parts
}

/// Numbers values in the order in which they are met, the initial one first.
struct Interner<'a> {
    states: FxHashMap<Option<&'a Scalar>, State>,
    values: Vec<Option<&'a Scalar>>,
}

impl<'a> Interner<'a> {
    /// Without an initial value, its number is one that no operation names.
    fn new(initial: Option<Option<&'a Scalar>>) -> Self {
        let states = initial.into_iter().map(|initial| (initial, INITIAL)).collect();
        Self { states, values: vec![initial.flatten()] }
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
    /// Returns the register's initial value; `None` if it is unknown.
    ///
    /// If it is not assumed, it is known when exactly one value was observed that no operation can have
    /// written.
    pub(crate) fn initial(&self) -> Option<Option<&'a Scalar>> {
        if let Initial::Known(initial) = &self.assumed.initial {
            return Some(initial.as_ref());
        }
        let happened = |source: &&Source<'a>| !matches!(source.end, End::Fail { .. });
        let produced: FxHashSet<Option<&Scalar>> = self
            .operations
            .iter()
            .filter(happened)
            .filter_map(|source| match source.action {
                Action::Write(value) => Some(value),
                Action::Cas(_, value) => Some(Some(value)),
                Action::Read(_) | Action::Acquire | Action::Release => None,
            })
            .collect();
        let mut found = self.operations.iter().filter_map(|source| match (source.action, source.end) {
            (Action::Read(None), _) if self.assumed.nil_reads == NilReads::Unknown => None,
            (Action::Read(value) | Action::Cas(value, _), End::Ok { .. }) => {
                Some(value).filter(|value| !produced.contains(value))
            }
            _ => None,
        });
        let first = found.next()?;
        found.all(|other| other == first).then_some(first)
    }

    /// Returns the index of the first event after which an empty register is not one that was never written: the
    /// acknowledgement of a write, or the beginning of a delete.
    fn written(&self) -> u64 {
        let written = self.operations.iter().filter_map(|source| match (source.action, source.end) {
            (Action::Write(None), End::Ok { .. } | End::Info { .. }) => Some(source.index),
            (Action::Write(_) | Action::Cas(..), End::Ok { index, .. }) => Some(index),
            _ => None,
        });
        written.min().unwrap_or(u64::MAX)
    }

    /// Numbers events and values; `None` when there are too many.
    ///
    /// Failed operations did not happen, and unanswered reads prove nothing: both are left out and counted.
    pub(crate) fn intern(&self) -> Option<Interned<'a>> {
        if self.operations.len() > EVENTS_MAX / 2 {
            return None;
        }
        // The two states of a lock. `None` is free; held needs no value of its own, only a number.
        const FREE: State = INITIAL;
        const HELD: State = 1;
        let initial = self.initial();
        let mut interner = Interner::new(initial);
        let written = if let Initial::Known(Some(_)) = self.assumed.initial { self.written() } else { 0 };
        let mut skipped = Skipped::default();
        let mut lock = false;
        let mut calls = Vec::with_capacity(self.operations.len());
        let (mut begun, mut completed) = (Vec::with_capacity(self.operations.len()), Vec::new());
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
                Action::Read(None) if self.assumed.nil_reads == NilReads::Unknown => {
                    skipped.empty_reads += 1;
                    continue;
                }
                // A register is empty as long as nothing was written, whatever its initial value.
                Action::Read(None) if operation.index < written => Effect::Read(INITIAL),
                Action::Read(value) => Effect::Read(interner.state(value)),
                Action::Write(value) => Effect::Write(interner.state(value)),
                // From a value to itself: it observes, and changes nothing.
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
            begun.push((since, number));
            completed.extend(complete.map(|index| (index, number)));
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
        // Mostly invocations are in order already. They come first if two events claim one index: then the
        // operations overlap, and no order is assumed.
        if !begun.is_sorted() {
            begun.sort_unstable();
        }
        completed.sort_unstable();
        let (mut ranks, mut completed) = (0_u32.., completed.into_iter().peekable());
        for (index, number) in begun {
            while let Some((_, number)) =
                completed.next_if(|(completion, _): &(u64, u32)| *completion < index)
            {
                calls[number as usize].complete = ranks.next();
            }
            calls[number as usize].invoke = ranks.next().unwrap_or_default();
        }
        for (_, number) in completed {
            calls[number as usize].complete = ranks.next();
        }
        if !calls.is_sorted_by_key(|call| call.invoke) {
            calls.sort_unstable_by_key(|call| call.invoke);
        }
        let states = interner.values.len() as u32;
        let start = if initial.is_some() { Start::Known(INITIAL) } else { Start::Any };
        let problem = Problem { calls, states, start };
        Some(Interned { problem, values: interner.values, skipped })
    }
}
