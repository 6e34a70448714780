//! Linearizability of any object that is given as a sequential one: all states that it may be in, event by event.
//!
//! Lowe, "Testing for linearizability" (CCPE 2017): a *configuration* is the object's state and the set of open
//! operations that have taken effect. An operation takes effect only when it must: when one is answered,
//! every configuration in which it has not is extended by open operations until it has. When none is left, no
//! order explains the answers.
//!
//! An operation of unknown outcome stays open for the rest of the history.

use std::collections::VecDeque;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, Ordering};

use rustc_hash::{FxHashMap, FxHashSet};

use crate::linearizable::Budget;
use crate::verdict::Reached;
use crate::witness::Op;

/// So many operations may be open at once: each has a bit of a configuration.
const OPEN_MAX: usize = 128;

/// The size of one configuration, with its place in a set.
const CONFIGURATION_BYTES: usize = 64;

/// An operation on a sequential object, with its answer.
pub(crate) trait Sequential: Copy {
    /// The object's state.
    type State: Clone + Ord + Hash;

    /// Returns the states that the object may be in after the operation; none if the answer is impossible in `state`.
    fn after(&self, state: &Self::State) -> Vec<Self::State>;

    /// The size of a state, in bytes.
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

/// The result of a search.
pub(crate) enum Decision<S> {
    Possible,
    Impossible(Violation<S>),
    /// More configurations than the budget has.
    Configurations,
    /// More memory than the budget has.
    Memory,
    Interrupted,
    /// More operations are open at once than configurations have bits.
    TooManyOpen,
}

/// The answer that no order explains.
pub(crate) struct Violation<S> {
    /// Its number among the calls.
    pub(crate) call: usize,
    /// Some of the object's possible states when it is answered, and how many there are.
    pub(crate) held: Vec<S>,
    pub(crate) held_count: usize,
}

type State = u32;
type Configuration = (State, u128);
/// Configurations, and the states before.
type Extended = (FxHashSet<Configuration>, FxHashSet<State>);

/// A search with its budget.
pub(crate) struct Search<'a, E: Sequential> {
    budget: &'a Budget,
    interrupt: &'a AtomicBool,
    states: Vec<E::State>,
    numbers: FxHashMap<E::State, State>,
    bytes: usize,
    explored: u64,
    reached: Reached,
}

impl<'a, E: Sequential> Search<'a, E> {
    pub(crate) fn new(budget: &'a Budget, interrupt: &'a AtomicBool) -> Self {
        Self {
            budget,
            interrupt,
            states: Vec::new(),
            numbers: FxHashMap::default(),
            bytes: 0,
            explored: 0,
            reached: Reached { completed: 0, of: 0, index: 0 },
        }
    }

    /// Decides whether `calls` are linearizable, from `start` on; and how many configurations it looked at, and
    /// how far they are.
    pub(crate) fn decide(mut self, calls: &[Call<E>], start: E::State) -> (Decision<E::State>, u64, Reached) {
        self.reached.of = calls.iter().filter(|call| call.complete.is_some()).count() as u64;
        let decision = self.run(calls, start).unwrap_or_else(|undecided| undecided);
        (decision, self.explored, self.reached)
    }

    fn run(&mut self, calls: &[Call<E>], start: E::State) -> Result<Decision<E::State>, Decision<E::State>> {
        let mut events: Vec<(u64, bool, usize)> = Vec::with_capacity(2 * calls.len());
        for (number, call) in calls.iter().enumerate() {
            events.push((call.invoke, false, number));
            events.extend(call.complete.map(|complete| (complete.max(call.invoke), true, number)));
        }
        // Invocations first if two events claim one index: that assumes nothing about their order.
        events.sort_unstable();
        let start = self.state(start);
        let mut configurations: FxHashSet<Configuration> = FxHashSet::from_iter([(start, 0)]);
        let mut open: [Option<usize>; OPEN_MAX] = [None; OPEN_MAX];
        for (index, completes, number) in events {
            if !completes {
                let free = open.iter().position(Option::is_none).ok_or(Decision::TooManyOpen)?;
                open[free] = Some(number);
                continue;
            }
            let Some(slot) = open.iter().position(|open| *open == Some(number)) else { continue };
            let (next, held) = self.extend(&configurations, calls, &open, slot)?;
            if next.is_empty() {
                let mut states: Vec<&E::State> =
                    held.iter().map(|state| &self.states[*state as usize]).collect();
                states.sort_unstable_by_key(|state| (E::size(state), *state));
                let held_count = states.len();
                let held = states.into_iter().take(4).cloned().collect();
                return Ok(Decision::Impossible(Violation { call: number, held, held_count }));
            }
            open[slot] = None;
            configurations = next;
            if self.bytes > self.budget.memory_bytes_max / 2 {
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
        open: &[Option<usize>; OPEN_MAX],
        slot: usize,
    ) -> Result<Extended, Decision<E::State>> {
        let bit = |slot: usize| 1_u128 << slot;
        let (mut next, mut held) = (FxHashSet::default(), FxHashSet::default());
        let mut met: FxHashSet<Configuration> = configurations.clone();
        let mut queue: VecDeque<Configuration> = configurations.iter().copied().collect();
        while let Some((state, taken)) = queue.pop_front() {
            self.explored += 1;
            if self.explored > self.budget.configurations_max {
                return Err(Decision::Configurations);
            }
            if self.bytes + (met.len() + next.len()) * CONFIGURATION_BYTES > self.budget.memory_bytes_max {
                return Err(Decision::Memory);
            }
            if self.explored.is_multiple_of(1024) && self.interrupt.load(Ordering::Relaxed) {
                return Err(Decision::Interrupted);
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

    /// Forgets all states but those of `configurations`, and returns these with the new numbers of their states.
    fn forget_others(&mut self, configurations: &FxHashSet<Configuration>) -> FxHashSet<Configuration> {
        let states = std::mem::take(&mut self.states);
        self.numbers.clear();
        self.bytes = 0;
        configurations
            .iter()
            .map(|(state, taken)| (self.state(states[*state as usize].clone()), *taken))
            .collect()
    }

    fn state(&mut self, state: E::State) -> State {
        if let Some(number) = self.numbers.get(&state) {
            return *number;
        }
        let number = self.states.len() as State;
        self.bytes += 2 * E::size(&state) + CONFIGURATION_BYTES;
        self.states.push(state.clone());
        self.numbers.insert(state, number);
        number
    }
}

/// The budget of one trial of leaving something out; a trial that needs more is not made.
const TRIAL: Budget = Budget { configurations_max: 1 << 16, memory_bytes_max: 64 << 20 };

/// Returns the number of the call whose answer is surely impossible, if there is one and little is needed to find it.
pub(crate) fn impossible<E: Sequential>(
    calls: &[Call<E>],
    start: &E::State,
    interrupt: &AtomicBool,
) -> Option<usize> {
    match Search::new(&TRIAL, interrupt).decide(calls, start.clone()).0 {
        Decision::Impossible(violation) => Some(violation.call),
        _ => None,
    }
}

/// Returns fewer of `calls`, of which the answer of number `last` is impossible, that are impossible too from `start` on; and
/// the one that then cannot be explained.
///
/// Calls of one `group` may be left out together: an order that explains the whole must explain the rest as well.
/// Those without a group stay. What began after the impossible answer is left out, and operations that happened become ones
/// that may have happened, where that suffices.
pub(crate) fn shrink<E: Sequential, G: Ord>(
    calls: &[Call<E>],
    last: usize,
    start: &E::State,
    group: impl Fn(&Call<E>) -> Option<G>,
    interrupt: &AtomicBool,
) -> (Vec<Call<E>>, Call<E>) {
    let mut last = calls[last];
    let end = last.complete.unwrap_or(u64::MAX);
    let mut small: Vec<Call<E>> = calls
        .iter()
        .filter(|call| call.invoke <= end)
        .map(|call| Call { complete: call.complete.filter(|complete| *complete <= end), ..*call })
        .collect();
    let mut attempt = |small: &mut Vec<Call<E>>, less: Vec<Call<E>>| {
        let Some(violation) = impossible(&less, start, interrupt) else { return false };
        last = less[violation];
        *small = less;
        true
    };
    let mut groups: Vec<G> = small.iter().filter_map(&group).collect();
    groups.sort_unstable();
    groups.dedup();
    // Half of the groups at once, then fewer.
    let mut some = groups.len().div_ceil(2);
    while some > 0 {
        let mut from = 0;
        while from < groups.len() {
            let to = (from + some).min(groups.len());
            let stays = |call: &&Call<E>| {
                group(call).is_none_or(|group| groups[from..to].binary_search(&group).is_err())
            };
            let less = small.iter().filter(stays).copied().collect();
            if attempt(&mut small, less) {
                groups.drain(from..to);
            } else {
                from = to;
            }
        }
        some = if some == 1 { 0 } else { some.div_ceil(2) };
    }
    for at in 0..small.len() {
        if small[at].complete.is_some() {
            let mut less = small.clone();
            less[at].complete = None;
            attempt(&mut small, less);
        }
    }
    (small, last)
}
