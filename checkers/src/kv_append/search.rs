//! The search: all possible values of the key, event by event.
//!
//! Lowe, "Testing for linearizability" (CCPE 2017): a *configuration* is the key's value and the set of open
//! operations that have taken effect. An operation takes effect only when it must: when one is answered,
//! every configuration in which it has not is extended by open operations until it has. When none is left, no
//! order explains the answers.
//!
//! An operation of unknown outcome stays open for the rest of the history. One whose text occurs in no answer
//! of a get can be left out: had it taken effect, the next get would have shown it, unless a put came first.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use rustc_hash::{FxHashMap, FxHashSet};

use crate::linearizable::Budget;
use crate::verdict::Reached;
use crate::witness::Op;

/// So many operations may be open at once: each has a bit of a configuration.
const OPEN_MAX: usize = 128;

/// The size of one configuration, with its place in a set.
const CONFIGURATION_BYTES: usize = 64;

/// The effect of an operation on a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect<'a> {
    Put(&'a str),
    Append(&'a str),
    Get(&'a str),
}

/// An operation that happened, or, without a completion, may have happened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) effect: Effect<'a>,
    /// The indices of its events.
    pub(super) invoke: u64,
    pub(super) complete: Option<u64>,
    pub(super) op: Op,
}

/// The result of a search.
pub(super) enum Decision {
    Possible,
    Impossible(Violation),
    /// More configurations than the budget has.
    Configurations,
    /// More memory than the budget has.
    Memory,
    Interrupted,
    /// More operations are open at once than configurations have bits.
    TooManyOpen,
}

/// The get whose answer no order explains.
pub(super) struct Violation {
    /// Its number among the calls.
    pub(super) call: usize,
    /// Some of the key's possible values when it is answered, and how many there are.
    pub(super) held: Vec<String>,
    pub(super) held_count: usize,
}

/// `calls` without those of unknown outcome that no get can have seen.
pub(super) fn observed(calls: Vec<Call<'_>>) -> Vec<Call<'_>> {
    let answers: Vec<&str> = calls
        .iter()
        .filter_map(|call| match call.effect {
            Effect::Get(text) => Some(text),
            Effect::Put(_) | Effect::Append(_) => None,
        })
        .collect();
    let seen = |call: &Call<'_>| match (call.complete, call.effect) {
        (Some(_), _) => true,
        (None, Effect::Put(text)) => answers.iter().any(|answer| answer.starts_with(text)),
        (None, Effect::Append(text)) => {
            !text.is_empty() && answers.iter().any(|answer| answer.contains(text))
        }
        (None, Effect::Get(_)) => false,
    };
    calls.into_iter().filter(seen).collect()
}

type State = u32;
type Configuration = (State, u128);

/// A search with its budget.
pub(super) struct Search<'a> {
    budget: &'a Budget,
    interrupt: &'a AtomicBool,
    texts: Vec<String>,
    states: FxHashMap<String, State>,
    bytes: usize,
    explored: u64,
    reached: Reached,
}

impl<'a> Search<'a> {
    pub(super) fn new(budget: &'a Budget, interrupt: &'a AtomicBool) -> Self {
        Self {
            budget,
            interrupt,
            texts: Vec::new(),
            states: FxHashMap::default(),
            bytes: 0,
            explored: 0,
            reached: Reached { completed: 0, of: 0, index: 0 },
        }
    }

    /// Decides whether `calls` are linearizable, from the empty string on; and how many configurations it looked at, and
    /// how far they are.
    pub(super) fn decide(mut self, calls: &[Call<'_>]) -> (Decision, u64, Reached) {
        self.reached.of = calls.iter().filter(|call| call.complete.is_some()).count() as u64;
        let decision = self.run(calls).unwrap_or_else(|undecided| undecided);
        (decision, self.explored, self.reached)
    }

    fn run(&mut self, calls: &[Call<'_>]) -> Result<Decision, Decision> {
        let mut events: Vec<(u64, bool, usize)> = Vec::with_capacity(2 * calls.len());
        for (number, call) in calls.iter().enumerate() {
            events.push((call.invoke, false, number));
            events.extend(call.complete.map(|complete| (complete.max(call.invoke), true, number)));
        }
        // Invocations first if two events claim one index: that assumes nothing about their order.
        events.sort_unstable();
        let empty = self.state(String::new());
        let mut configurations: FxHashSet<Configuration> = FxHashSet::from_iter([(empty, 0)]);
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
                let mut texts: Vec<&String> = held.iter().map(|state| &self.texts[*state as usize]).collect();
                texts.sort_unstable_by_key(|text| (text.len(), *text));
                let held_count = texts.len();
                let held = texts.into_iter().take(4).cloned().collect();
                return Ok(Decision::Impossible(Violation { call: number, held, held_count }));
            }
            open[slot] = None;
            configurations = next;
            self.reached.completed += 1;
            self.reached.index = index;
        }
        Ok(Decision::Possible)
    }

    /// Returns the configurations in which the operation of `slot` has taken effect, its bit cleared; and the
    /// key's possible values while it had not.
    fn extend(
        &mut self,
        configurations: &FxHashSet<Configuration>,
        calls: &[Call<'_>],
        open: &[Option<usize>; OPEN_MAX],
        slot: usize,
    ) -> Result<(FxHashSet<Configuration>, FxHashSet<State>), Decision> {
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
                let Some(after) = self.after(state, calls[*number].effect) else { continue };
                let configuration = (after, taken | bit(other));
                if met.insert(configuration) {
                    queue.push_back(configuration);
                }
            }
        }
        Ok((next, held))
    }

    /// Returns the key's value after an operation; `None` if the answer does not match.
    fn after(&mut self, state: State, effect: Effect<'_>) -> Option<State> {
        match effect {
            Effect::Get(text) => (self.texts[state as usize] == text).then_some(state),
            Effect::Put(text) => Some(self.state(text.to_owned())),
            Effect::Append(text) => {
                let after = format!("{}{text}", self.texts[state as usize]);
                Some(self.state(after))
            }
        }
    }

    fn state(&mut self, text: String) -> State {
        if let Some(state) = self.states.get(&text) {
            return *state;
        }
        let state = self.texts.len() as State;
        self.bytes += 2 * text.len() + CONFIGURATION_BYTES;
        self.texts.push(text.clone());
        self.states.insert(text, state);
        state
    }
}
