//! The search: all states that the object may be in, event by event.
//!
//! Lowe, "Testing for linearizability" (CCPE 2017): a *configuration* is the object's state and the set of open
//! operations that have taken effect. An operation takes effect only when it must: when one is answered,
//! every configuration in which it has not is extended by open operations until it has. When none is left, no
//! order explains the answers.
//!
//! An operation of unknown outcome stays open for the rest of the history.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use duress_history::Scalar;
use rustc_hash::{FxHashMap, FxHashSet};

use super::{Call, Sequential};
use crate::linearizable::Limits;
use crate::verdict::{Reached, Reason};

/// The number of operations that may be open at once: each has a bit of a configuration.
const OPEN_MAX: usize = 128;

/// The number of configurations explored between two looks at the interrupt.
const LOOK_EVERY: u64 = 1 << 10;

/// The memory that a heap allocation takes beside its content, in bytes: the allocator's header, and rounding up.
const ALLOCATION_BYTES: usize = 24;

/// The number of elements that a table must have room for; a fuller one is counted with its successor.
const ROOM: usize = 1 << 10;

/// The result of a search.
pub(crate) enum Decision<S> {
    Possible,
    Impossible(Violation<S>),
    Undecided(Reason),
}

/// The answer that no order explains.
pub(crate) struct Violation<S> {
    /// Its number among the calls.
    pub(crate) call: usize,
    /// Some of the object's possible states when it is answered, and how many there are.
    pub(crate) held: Vec<S>,
    pub(crate) held_count: usize,
}

/// Decides whether the `calls` on the object `key` are linearizable, from `start` on; also says how many configurations
/// were explored.
pub(crate) fn decide<E: Sequential>(
    calls: &[Call<E>],
    start: E::State,
    key: Option<&Scalar>,
    limits: Limits<'_>,
) -> (Decision<E::State>, u64) {
    let of = calls.iter().filter(|call| call.complete.is_some()).count() as u64;
    let mut search = Search::<E> {
        limits,
        states: Vec::new(),
        numbers: FxHashMap::default(),
        states_bytes: 0,
        charged: 0,
        explored: 0,
        reached: Reached { completed: 0, of, index: 0 },
    };
    let decision = search.run(calls, start);
    let (key, explored, reached) = (key.cloned(), search.explored, Some(search.reached));
    let decision = decision.unwrap_or_else(|undecided| {
        Decision::Undecided(match undecided {
            Undecided::Configurations => Reason::Configurations { key, explored, reached },
            Undecided::Memory => {
                let bytes_max = limits.budget.memory_bytes_max;
                Reason::Memory { key, explored, reached, bytes_max }
            }
            Undecided::Interrupted => Reason::Interrupted { key, explored, reached },
            Undecided::TooManyOpen => {
                Reason::TooManyOpen { key, open_max: OPEN_MAX as u64, reached: search.reached }
            }
        })
    });
    (decision, explored)
}

/// Why a search ended early.
enum Undecided {
    Configurations,
    Memory,
    Interrupted,
    TooManyOpen,
}

type State = u32;
type Configuration = (State, u128);
/// Configurations, and the states before.
type Extended = (FxHashSet<Configuration>, FxHashSet<State>);

struct Search<'a, E: Sequential> {
    limits: Limits<'a>,
    states: Vec<Rc<E::State>>,
    numbers: FxHashMap<Rc<E::State>, State>,
    /// The memory of the states themselves, without the tables that list them.
    states_bytes: usize,
    /// The memory of this search that is counted in the limits, in bytes.
    charged: usize,
    explored: u64,
    reached: Reached,
}

impl<E: Sequential> Search<'_, E> {
    fn run(&mut self, calls: &[Call<E>], start: E::State) -> Result<Decision<E::State>, Undecided> {
        let mut events: Vec<(u64, bool, usize)> = Vec::with_capacity(2 * calls.len());
        for (number, call) in calls.iter().enumerate() {
            events.push((call.invoke, false, number));
            events.extend(call.complete.map(|complete| (complete.max(call.invoke), true, number)));
        }
        // Invocations first if two events claim one index: that assumes nothing about their order.
        events.sort_unstable();
        let start = self.state(start);
        let mut configurations: FxHashSet<Configuration> = FxHashSet::from_iter([(start, 0)]);
        let mut open: Vec<Option<usize>> = Vec::new();
        for (index, completes, number) in events {
            if !completes {
                match open.iter().position(Option::is_none) {
                    Some(free) => open[free] = Some(number),
                    None if open.len() < OPEN_MAX => open.push(Some(number)),
                    None => return Err(Undecided::TooManyOpen),
                }
                continue;
            }
            let slot = open.iter().position(|open| *open == Some(number));
            let slot = slot.expect("an operation is open from its invocation to its completion");
            let (next, held) = self.extend(&configurations, calls, &open, slot)?;
            if next.is_empty() {
                let mut states: Vec<&E::State> =
                    held.iter().map(|state| &*self.states[*state as usize]).collect();
                states.sort_unstable_by_key(|state| (E::size(state), *state));
                let held_count = states.len();
                let held = states.into_iter().take(4).cloned().collect();
                return Ok(Decision::Impossible(Violation { call: number, held, held_count }));
            }
            open[slot] = None;
            configurations = next;
            if self.states.len() > 2 * configurations.len() + ROOM {
                configurations = self.forget_others(&configurations);
            }
            self.reached.completed += 1;
            self.reached.index = index;
        }
        Ok(Decision::Possible)
    }

    /// Returns the configurations in which the operation of `slot` has taken effect, its bit cleared; and the
    /// object's possible states while it had not.
    fn extend(
        &mut self,
        configurations: &FxHashSet<Configuration>,
        calls: &[Call<E>],
        open: &[Option<usize>],
        slot: usize,
    ) -> Result<Extended, Undecided> {
        let bit = |slot: usize| 1_u128 << slot;
        let (mut next, mut held) = (FxHashSet::default(), FxHashSet::default());
        let mut met: FxHashSet<Configuration> = configurations.clone();
        let mut queue: VecDeque<Configuration> = configurations.iter().copied().collect();
        while let Some((state, taken)) = queue.pop_front() {
            self.explored += 1;
            if self.explored > self.limits.budget.configurations_max {
                return Err(Undecided::Configurations);
            }
            let queued = growing(queue.len(), queue.capacity()) * size_of::<Configuration>();
            let tables = table_bytes(configurations) + table_bytes(&met) + table_bytes(&next);
            self.charge(tables + table_bytes(&held) + queued)?;
            if self.explored.is_multiple_of(LOOK_EVERY) && self.limits.interrupt.load(Ordering::Relaxed) {
                return Err(Undecided::Interrupted);
            }
            if taken & bit(slot) != 0 {
                next.insert((state, taken & !bit(slot)));
                continue;
            }
            held.insert(state);
            for (other, number) in open.iter().enumerate() {
                let Some(number) = number else { continue };
                if taken & bit(other) != 0 {
                    continue;
                }
                for after in calls[*number].effect.after(&self.states[state as usize]) {
                    let configuration = (self.state(after), taken | bit(other));
                    if met.insert(configuration) {
                        queue.push_back(configuration);
                    }
                }
            }
        }
        Ok((next, held))
    }

    /// Counts the memory of the search in the limits: `bytes`, and the states.
    fn charge(&mut self, bytes: usize) -> Result<(), Undecided> {
        let listed = growing(self.states.len(), self.states.capacity()) * size_of::<Rc<E::State>>()
            + growing(self.numbers.len(), self.numbers.capacity()) * 8 / 7
                * (size_of::<(Rc<E::State>, State)>() + 1);
        let bytes = bytes + listed + self.states_bytes;
        let more = bytes.wrapping_sub(self.charged);
        self.charged = bytes;
        let all = self.limits.memory_bytes.fetch_add(more, Ordering::Relaxed).wrapping_add(more);
        if all > self.limits.budget.memory_bytes_max { Err(Undecided::Memory) } else { Ok(()) }
    }

    /// Forgets all states but those of `configurations`, and returns these with the new numbers of their states.
    fn forget_others(&mut self, configurations: &FxHashSet<Configuration>) -> FxHashSet<Configuration> {
        let states = std::mem::take(&mut self.states);
        self.numbers = FxHashMap::default();
        self.states_bytes = 0;
        configurations.iter().map(|(state, taken)| (self.number(&states[*state as usize]), *taken)).collect()
    }

    fn state(&mut self, state: E::State) -> State {
        match self.numbers.get(&state) {
            Some(number) => *number,
            None => self.number(&Rc::new(state)),
        }
    }

    fn number(&mut self, state: &Rc<E::State>) -> State {
        if let Some(number) = self.numbers.get(state) {
            return *number;
        }
        let number = State::try_from(self.states.len()).expect("the limit of memory is reached earlier");
        // The state with its two reference counts is one allocation, and what it refers to mostly another.
        self.states_bytes +=
            size_of::<E::State>() + 2 * size_of::<usize>() + E::size(state) + 2 * ALLOCATION_BYTES;
        self.states.push(Rc::clone(state));
        self.numbers.insert(Rc::clone(state), number);
        number
    }
}

impl<E: Sequential> Drop for Search<'_, E> {
    fn drop(&mut self) {
        self.limits.memory_bytes.fetch_sub(self.charged, Ordering::Relaxed);
    }
}

/// Returns the memory of a hash table in bytes: one control byte an entry, and an eighth of them empty.
fn table_bytes<T>(table: &FxHashSet<T>) -> usize {
    growing(table.len(), table.capacity()) * 8 / 7 * (size_of::<T>() + 1)
}

/// Returns for how many elements there must be memory: while a full table moves to one twice as large, both exist.
fn growing(len: usize, capacity: usize) -> usize {
    if len + ROOM > capacity { 3 * capacity } else { capacity }
}
