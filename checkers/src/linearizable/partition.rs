//! A history taken apart by key, its values numbered.
//!
//! Linearizability is local: a history is linearizable when its restriction to each key is. So each key is a problem
//! of its own, and keys are checked in parallel.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use duress_history::initial::{Assumed, Initial, NilReads};
use duress_history::mutex::Mutex;
use duress_history::register::{CasRegister, Register};
use duress_history::{Operation, Scalar};
use rustc_hash::{FxHashMap, FxHashSet};

use super::Skipped;
use super::call::{Call, Duty, Effect, INITIAL, Problem, Start, State};
use super::source::{Action, End, Recorded, Source, Sources};

/// More events than this on one key are not numbered: positions are doubled in 32 bits.
const EVENTS_MAX: usize = 1 << 30;

/// The operations on one key.
#[derive(Clone)]
pub(crate) struct Partition<'a> {
    pub(crate) key: Option<&'a Scalar>,
    pub(crate) assumed: &'a Assumed,
    pub(crate) operations: Sources<'a>,
}

/// A [`Partition`] ready for the algorithms.
pub(crate) struct Interned<'a> {
    pub(crate) problem: Problem,
    /// The value of each [`State`]; `None` is null, and, for a lock, free.
    pub(crate) values: Vec<Option<&'a Scalar>>,
    pub(crate) skipped: Skipped,
    /// How many operations succeeded.
    pub(crate) happened: u64,
}

/// Returns one part for each key, in the order of keys.
pub(crate) fn registers<'a>(
    operations: &'a [Operation<Register>],
    assumed: &'a Assumed,
) -> Vec<Partition<'a>> {
    by_key(operations, Recorded::Registers(operations), assumed, |register| Some(&register.key))
}

/// Returns the one part of a history of one register, or one for each key; none without operations.
pub(crate) fn cas_register<'a>(
    operations: &'a [Operation<CasRegister>],
    assumed: &'a Assumed,
) -> Vec<Partition<'a>> {
    by_key(operations, Recorded::CasRegisters(operations), assumed, |register| register.key.as_ref())
}

/// Returns one part for each lock; none without operations.
pub(crate) fn mutex<'a>(operations: &'a [Operation<Mutex>], assumed: &'a Assumed) -> Vec<Partition<'a>> {
    by_key(operations, Recorded::Mutexes(operations), assumed, |mutex| mutex.lock.as_ref())
}

fn by_key<'a, A>(
    operations: &'a [Operation<A>],
    recorded: Recorded<'a>,
    assumed: &'a Assumed,
    key: impl Fn(&'a A) -> Option<&'a Scalar>,
) -> Vec<Partition<'a>> {
    // Counted first, so that no part has room for more than it holds.
    let mut keys = Numbers::new(operations.len());
    let mut counts: Vec<usize> = Vec::new();
    let mut parts_of: Vec<u32> = Vec::with_capacity(operations.len());
    let (mut in_order, mut last) = (true, 0);
    for operation in operations {
        in_order &= last <= operation.index;
        last = operation.index;
        let part = keys.number(key(&operation.action));
        counts.resize(keys.values.len(), 0);
        counts[part as usize] += 1;
        parts_of.push(part);
    }
    let mut places: Vec<Vec<u32>> = counts.into_iter().map(Vec::with_capacity).collect();
    for (place, part) in parts_of.into_iter().enumerate() {
        places[part as usize].push(place as u32);
    }
    let operations = |places| {
        if in_order { Sources::in_order(recorded, places) } else { Sources::new(recorded, places) }
    };
    let parts = keys.values.into_iter().zip(places);
    let part = |(key, places)| Partition { key, assumed, operations: operations(places) };
    let mut parts: Vec<Partition<'a>> = parts.map(part).collect();
    parts.sort_unstable_by_key(|part| part.key);
    parts
}

/// Numbers keys or values in the order in which they are met.
struct Numbers<'a> {
    known: FxHashMap<Option<&'a Scalar>, u32>,
    /// By whole number, of small ones; [`UNMET`] if it was not met yet.
    small: Vec<u32>,
    small_max: i64,
    values: Vec<Option<&'a Scalar>>,
}

const UNMET: u32 = u32::MAX;

impl<'a> Numbers<'a> {
    /// For keys or values of so many operations. Each operation has at most two.
    fn new(operations: usize) -> Self {
        // Numbers that count something are below, and need no hash.
        let small_max = 4 * operations.min(EVENTS_MAX) as i64;
        Self { known: FxHashMap::default(), small: Vec::new(), small_max, values: Vec::new() }
    }

    fn number(&mut self, value: Option<&'a Scalar>) -> u32 {
        let known = match value {
            Some(Scalar::Int(number)) if (0..self.small_max).contains(number) => {
                let number = *number as usize;
                if number >= self.small.len() {
                    self.small.resize(number + 1, UNMET);
                }
                &mut self.small[number]
            }
            _ => self.known.entry(value).or_insert(UNMET),
        };
        if *known == UNMET {
            *known = self.values.len() as u32;
            self.values.push(value);
        }
        *known
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
        let happened = |source: &Source<'a>| !matches!(source.end, End::Fail { .. });
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
        // The initial value has the first number; without one, that is a number that no operation names.
        let mut values = Numbers::new(self.operations.len());
        match initial {
            Some(initial) => {
                values.number(initial);
            }
            None => values.values.push(None),
        }
        let written = if let Initial::Known(Some(_)) = self.assumed.initial { self.written() } else { 0 };
        let (mut skipped, mut happened) = (Skipped::default(), 0);
        let mut lock = false;
        let mut calls: Vec<Call> = Vec::with_capacity(self.operations.len());
        // Ranks are given in the order of events. An invocation comes first if two events claim one index: then the
        // operations overlap, and no order is assumed.
        let mut ranks = 0_u32..;
        let mut open: BinaryHeap<Reverse<(u64, u32)>> = BinaryHeap::new();
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
            happened += u64::from(complete.is_some());
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
                Action::Read(value) => Effect::Read(values.number(value)),
                Action::Write(value) => Effect::Write(values.number(value)),
                // From a value to itself: it observes, and changes nothing.
                Action::Cas(Some(old), new) if old == new => {
                    if complete.is_none() {
                        skipped.unobserved += 1;
                        continue;
                    }
                    Effect::Read(values.number(Some(old)))
                }
                Action::Cas(old, new) => Effect::Cas(values.number(old), values.number(Some(new))),
                Action::Acquire => Effect::Cas(FREE, HELD),
                Action::Release => Effect::Cas(HELD, FREE),
            };
            lock |= matches!(operation.action, Action::Acquire | Action::Release);
            let since = operation.since();
            while let Some(Reverse((_, number))) = next_before(&mut open, since) {
                calls[number as usize].complete = ranks.next();
            }
            open.extend(complete.map(|index| Reverse((index, calls.len() as u32))));
            let invoke = ranks.next().unwrap_or_default();
            calls.push(Call { effect, invoke, complete: None, duty: Duty::Required, source: place as u32 });
        }
        while let Some(Reverse((_, number))) = open.pop() {
            calls[number as usize].complete = ranks.next();
        }
        if lock {
            values.values.resize(2, None);
        }
        let states = values.values.len() as u32;
        let start = if initial.is_some() { Start::Known(INITIAL) } else { Start::Any };
        let problem = Problem { calls, states, start };
        Some(Interned { problem, values: values.values, skipped, happened })
    }
}

/// Takes the first of the completions that come before the event `index`.
fn next_before(open: &mut BinaryHeap<Reverse<(u64, u32)>>, index: u64) -> Option<Reverse<(u64, u32)>> {
    match open.peek() {
        Some(Reverse((completion, _))) if *completion < index => open.pop(),
        _ => None,
    }
}
