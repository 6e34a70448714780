//! The search of Wing and Gong, with Lowe's improvements.
//!
//! Events are walked in order. An operation is *open* from its invocation to its completion, and need not be
//! linearized before its completion is reached: there, and only there, the search chooses which of the open
//! operations to linearize next, until that operation is among them. Where no choice is left it goes back. What it has
//! been in, it remembers ([`Memo`]), and does not try again.
//!
//! At a completion every operation that completed earlier is linearized and none that is invoked later, so a
//! configuration needs only one bit for each open operation, whatever the length of the history. Each holds a *slot*
//! while it is open: the lowest free one.
//!
//! Choices that another choice makes needless are left out. Each is an exchange in a linearization:
//! - *A read that fits is taken at once.* It changes nothing, and nothing must come before it any more.
//! - *A write that is not observed any more* (none of the operations not yet linearized observes its value) is dead:
//!   whenever the value is overwritten anyway, every open dead write is taken just before. Where no other write is
//!   chosen, taking all dead writes together is one choice.
//! - *A crashed operation is only taken when an operation that observes its value can follow*: otherwise a write
//!   follows, or nothing, and it can as well be left out.

use super::Limits;
use super::call::{Duty, Effect, Problem, Start, State};
use super::crashed::{Group, Reduced, Required};
use super::memo::{Insertion, Memo};

/// What the register holds when a dead write was the last: a value that no operation observes.
const DEAD: State = State::MAX;

/// How many configurations are explored between two looks at the interrupt.
const LOOK_EVERY: u64 = 1 << 10;

/// What the search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// There is a linearization.
    Linearizable,
    /// There is none, not even of the events up to and including the one of this rank; of those before it there is.
    Stuck {
        /// The rank, among the events of the key.
        rank: u32,
    },
    /// It was not decided.
    Undecided(Undecided),
}

/// Why a search ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Undecided {
    Configurations,
    Memory,
    Interrupted,
}

/// Decides `problem`, of which `reduced` is the reduction; also says how many configurations were explored.
pub(crate) fn search(problem: &Problem, reduced: &Reduced, limits: Limits<'_>) -> (Decision, u64) {
    let starts = match problem.start {
        Start::Known(state) => vec![state],
        // One that is observed; any other is as good as one that is not.
        Start::Any => {
            let observed = problem.calls.iter().filter_map(|call| call.effect.observed());
            let mut starts: Vec<State> = observed.chain([DEAD]).collect();
            starts.sort_unstable();
            starts.dedup();
            starts
        }
    };
    let (mut furthest, mut explored) = (0, 0);
    for start in starts {
        let mut search = Search::new(reduced, problem.states, start, explored, limits);
        let decision = search.run();
        explored = search.explored;
        match decision {
            Decision::Stuck { rank } => furthest = furthest.max(rank),
            decided => return (decided, explored),
        }
    }
    (Decision::Stuck { rank: furthest }, explored)
}

/// An event of an operation, by its number in [`Search::calls`].
#[derive(Clone, Copy)]
enum Event {
    Invoke(u32),
    Return(u32),
}

/// One way to go on.
#[derive(Clone, Copy)]
enum Choice {
    /// Linearize this open operation.
    Required(u32),
    /// Linearize all open dead writes.
    Dead,
    /// Use one crashed operation of this group.
    Crashed(u32),
    /// Let the time of this optional operation pass without it.
    Skip(u32),
}

/// A configuration on the way to the present one, and its choices not yet tried: those from `next` on.
struct Frame {
    at: u32,
    state: State,
    trail: u32,
    choices: u32,
    next: u32,
    /// The group that the choice under way took from.
    group: Option<u32>,
}

/// An operation, with its place in the walk.
struct Placed {
    effect: Effect,
    duty: Duty,
    slot: u32,
    invoke: u32,
    complete: u32,
}

struct Search<'a> {
    calls: Vec<Placed>,
    events: Vec<Event>,
    /// The rank of each event, for the report.
    ranks: Vec<u32>,
    groups: &'a [Group],
    /// The groups' invocations as numbers of events: how many events come before each.
    group_invokes: Vec<Vec<u32>>,
    limits: Limits<'a>,

    at: usize,
    state: State,
    /// By slot: whether an operation is open there, whether it is linearized, and which it is.
    open: Vec<u64>,
    done: Vec<u64>,
    occupant: Vec<u32>,
    /// How many operations that observe a value are not linearized yet; crashed groups count once, for ever.
    observers: Vec<u32>,
    used: Vec<u32>,
    /// Operations in the order in which they were linearized.
    trail: Vec<u32>,
    frames: Vec<Frame>,
    choices: Vec<Choice>,
    furthest: usize,
    explored: u64,
    memo: Memo<'a>,
    key: Vec<u64>,
    used_key: Vec<u64>,
}

impl<'a> Search<'a> {
    fn new(reduced: &'a Reduced, states: u32, start: State, explored: u64, limits: Limits<'a>) -> Self {
        let (calls, events, ranks, slots) = walk(&reduced.required);
        let mut observers = vec![0; states as usize];
        for value in calls.iter().filter_map(|call| call.effect.observed()) {
            observers[value as usize] += 1;
        }
        for value in reduced.groups.iter().filter_map(|group| group.effect.observed()) {
            observers[value as usize] += 1;
        }
        let positions = event_positions(&reduced.required);
        let group_invokes = reduced.groups.iter().map(|group| {
            group.invokes.iter().map(|invoke| positions.partition_point(|at| at < invoke) as u32).collect()
        });
        let words = slots.div_ceil(64);
        let memo = Memo::new(
            words + 1,
            reduced.groups.len().div_ceil(2),
            limits.memory_bytes,
            limits.budget.memory_bytes_max,
        );
        Self {
            group_invokes: group_invokes.collect(),
            calls,
            events,
            ranks,
            groups: &reduced.groups,
            limits,
            at: 0,
            state: start,
            open: vec![0; words],
            done: vec![0; words],
            occupant: vec![0; words * 64],
            observers,
            used: vec![0; reduced.groups.len()],
            trail: Vec::new(),
            frames: Vec::new(),
            choices: Vec::new(),
            furthest: 0,
            explored,
            memo,
            key: Vec::new(),
            used_key: Vec::new(),
        }
    }

    fn run(&mut self) -> Decision {
        self.settle();
        if let Some(decision) = self.enter() {
            return decision;
        }
        loop {
            let Some(frame) = self.frames.last_mut() else {
                return Decision::Stuck { rank: self.ranks[self.furthest] };
            };
            if frame.next as usize == self.choices.len() {
                self.choices.truncate(frame.choices as usize);
                self.frames.pop();
                self.retreat();
                continue;
            }
            let choice = self.choices[frame.next as usize];
            frame.next += 1;
            frame.group = match choice {
                Choice::Crashed(group) => Some(group),
                Choice::Required(_) | Choice::Dead | Choice::Skip(_) => None,
            };
            self.take(choice);
            self.settle();
            if let Some(decision) = self.enter() {
                return decision;
            }
        }
    }

    /// Opens a frame for the present configuration, or goes back when it is known; decides when there is no need.
    fn enter(&mut self) -> Option<Decision> {
        if self.at == self.events.len() {
            return Some(Decision::Linearizable);
        }
        self.furthest = self.furthest.max(self.at);
        self.key.clear();
        self.key.push((self.at as u64) << 32 | u64::from(self.state));
        self.key.extend_from_slice(&self.done);
        self.used_key.clear();
        let pair = |pair: &[u32]| u64::from(pair[0]) << 32 | u64::from(pair.get(1).copied().unwrap_or(0));
        self.used_key.extend(self.used.chunks(2).map(pair));
        match self.memo.insert(&self.key, &self.used_key) {
            Insertion::Known => {
                self.retreat();
                return None;
            }
            Insertion::Full => return Some(Decision::Undecided(Undecided::Memory)),
            Insertion::New => {}
        }
        self.explored += 1;
        if self.explored > self.limits.budget.configurations_max {
            return Some(Decision::Undecided(Undecided::Configurations));
        }
        if self.explored.is_multiple_of(LOOK_EVERY) && self.limits.interrupted() {
            return Some(Decision::Undecided(Undecided::Interrupted));
        }
        let choices = self.choices.len() as u32;
        self.list_choices();
        self.frames.push(Frame {
            at: self.at as u32,
            state: self.state,
            trail: self.trail.len() as u32,
            choices,
            next: choices,
            group: None,
        });
        None
    }

    /// Goes back to the configuration of the last frame, if there is one.
    fn retreat(&mut self) {
        let Some(frame) = self.frames.last_mut() else { return };
        if let Some(group) = frame.group.take() {
            self.used[group as usize] -= 1;
        }
        let (to, trail) = (frame.at as usize, frame.trail as usize);
        self.state = frame.state;
        while self.at > to {
            self.at -= 1;
            match self.events[self.at] {
                Event::Invoke(call) => {
                    let slot = self.calls[call as usize].slot as usize;
                    clear(&mut self.open, slot);
                    clear(&mut self.done, slot);
                }
                Event::Return(call) => {
                    let slot = self.calls[call as usize].slot as usize;
                    set(&mut self.open, slot);
                    set(&mut self.done, slot);
                    self.occupant[slot] = call;
                }
            }
        }
        for call in self.trail.drain(trail..) {
            let call = &self.calls[call as usize];
            if let Some(value) = call.effect.observed() {
                self.observers[value as usize] += 1;
            }
            if (call.invoke as usize) < to {
                clear(&mut self.done, call.slot as usize);
            }
        }
    }

    /// Changes the register as `choice` says.
    fn take(&mut self, choice: Choice) {
        match choice {
            Choice::Required(number) => {
                let effect = self.calls[number as usize].effect;
                if let Effect::Write(_) = effect {
                    self.take_dead();
                }
                self.linearize(number);
                self.state = effect.produced().unwrap_or(self.state);
            }
            Choice::Dead => {
                self.take_dead();
                self.state = DEAD;
            }
            // From here on it is as if it had been taken: it observes nothing any more.
            Choice::Skip(number) => self.linearize(number),
            Choice::Crashed(group) => {
                let effect = self.groups[group as usize].effect;
                if let Effect::Write(_) = effect {
                    self.take_dead();
                }
                self.used[group as usize] += 1;
                self.state = effect.produced().unwrap_or(self.state);
            }
        }
    }

    /// Linearizes every open dead write; the caller overwrites what they leave.
    fn take_dead(&mut self) {
        for word in 0..self.open.len() {
            let mut bits = self.open[word] & !self.done[word];
            while bits != 0 {
                let call = self.occupant[word * 64 + bits.trailing_zeros() as usize];
                bits &= bits - 1;
                if self.is_dead(call) {
                    self.linearize(call);
                }
            }
        }
    }

    fn is_dead(&self, call: u32) -> bool {
        match self.calls[call as usize].effect {
            Effect::Write(value) => self.observers[value as usize] == 0,
            Effect::Read(_) | Effect::Cas(..) => false,
        }
    }

    fn linearize(&mut self, number: u32) {
        let call = &self.calls[number as usize];
        set(&mut self.done, call.slot as usize);
        if let Some(value) = call.effect.observed() {
            self.observers[value as usize] -= 1;
        }
        self.trail.push(number);
    }

    /// Takes every read that fits, and walks on to the next completion of an operation that is not linearized.
    fn settle(&mut self) {
        for word in 0..self.open.len() {
            let mut bits = self.open[word] & !self.done[word];
            while bits != 0 {
                let call = self.occupant[word * 64 + bits.trailing_zeros() as usize];
                bits &= bits - 1;
                if self.calls[call as usize].effect == Effect::Read(self.state) {
                    self.linearize(call);
                }
            }
        }
        while let Some(event) = self.events.get(self.at) {
            match *event {
                Event::Invoke(number) => {
                    let call = &self.calls[number as usize];
                    let slot = call.slot as usize;
                    set(&mut self.open, slot);
                    self.occupant[slot] = number;
                    if call.effect == Effect::Read(self.state) {
                        self.linearize(number);
                    }
                }
                Event::Return(number) => {
                    let slot = self.calls[number as usize].slot as usize;
                    if !get(&self.done, slot) {
                        return;
                    }
                    clear(&mut self.open, slot);
                    clear(&mut self.done, slot);
                }
            }
            self.at += 1;
        }
    }

    /// Appends the choices of the present configuration, the most promising first.
    fn list_choices(&mut self) {
        let Event::Return(waiting) = self.events[self.at] else {
            unreachable!("the walk stops at completions only");
        };
        let start = self.choices.len();
        // The value that the operation to be linearized waits for, if it waits for one.
        let wanted = match self.calls[waiting as usize].effect.observed() {
            Some(value) if value != self.state => Some(value),
            _ => None,
        };
        let mut dead = false;
        for word in 0..self.open.len() {
            let mut bits = self.open[word] & !self.done[word];
            while bits != 0 {
                let number = self.occupant[word * 64 + bits.trailing_zeros() as usize];
                bits &= bits - 1;
                match self.calls[number as usize].effect {
                    Effect::Write(_) if self.is_dead(number) => dead = true,
                    Effect::Write(_) => self.choices.push(Choice::Required(number)),
                    Effect::Cas(old, _) if old == self.state => self.choices.push(Choice::Required(number)),
                    Effect::Cas(..) | Effect::Read(_) => {}
                }
            }
        }
        let calls = &self.calls;
        self.choices[start..].sort_unstable_by_key(|choice| match choice {
            Choice::Required(number) => {
                let call = &calls[*number as usize];
                (wanted.is_some() && call.effect.produced() != wanted, call.complete)
            }
            Choice::Dead | Choice::Crashed(_) | Choice::Skip(_) => (true, u32::MAX),
        });
        // Also where a live operation is waited for: a crashed write of the very value that the register holds is no
        // choice, but becomes one when dead writes have replaced that value.
        if dead {
            self.choices.push(Choice::Dead);
            if self.is_dead(waiting) {
                let last = self.choices.len() - 1;
                self.choices.swap(start, last);
            }
        }
        if self.calls[waiting as usize].duty == Duty::Optional {
            self.choices.push(Choice::Skip(waiting));
        }
        let crashed = self.choices.len();
        for (group, effect) in self.groups.iter().map(|group| group.effect).enumerate() {
            if self.can_use(group, effect) && effect.produced().is_some_and(|value| self.is_awaited(value)) {
                self.choices.push(Choice::Crashed(group as u32));
            }
        }
        let groups = self.groups;
        self.choices[crashed..].sort_by_key(|choice| match choice {
            Choice::Crashed(group) => groups[*group as usize].effect.produced() != wanted,
            Choice::Required(_) | Choice::Dead | Choice::Skip(_) => false,
        });
    }

    /// Whether one more crashed operation of `group` was invoked before this point, and can take effect.
    fn can_use(&self, group: usize, effect: Effect) -> bool {
        let next = self.group_invokes[group].get(self.used[group] as usize);
        next.is_some_and(|invoke| *invoke as usize <= self.at)
            && match effect {
                Effect::Write(value) => value != self.state,
                Effect::Cas(old, _) | Effect::Read(old) => old == self.state,
            }
    }

    /// Whether an open operation, or a crashed one, could observe `value` right now.
    fn is_awaited(&self, value: State) -> bool {
        for word in 0..self.open.len() {
            let mut bits = self.open[word] & !self.done[word];
            while bits != 0 {
                let number = self.occupant[word * 64 + bits.trailing_zeros() as usize];
                bits &= bits - 1;
                if self.calls[number as usize].effect.observed() == Some(value) {
                    return true;
                }
            }
        }
        self.groups.iter().enumerate().any(|(number, group)| {
            let next = self.group_invokes[number].get(self.used[number] as usize);
            group.effect.observed() == Some(value) && next.is_some_and(|invoke| *invoke as usize <= self.at)
        })
    }
}

/// The events of `required` in order, with slots given out; and how many slots there are.
fn walk(required: &[Required]) -> (Vec<Placed>, Vec<Event>, Vec<u32>, usize) {
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    let mut order: Vec<(u32, Event)> = Vec::with_capacity(2 * required.len());
    for (number, call) in required.iter().enumerate() {
        order.push((call.invoke, Event::Invoke(number as u32)));
        order.push((call.deadline, Event::Return(number as u32)));
    }
    // Positions of invocations are odd and all different, deadlines that coincide are interchangeable; sorted stably
    // only so that a run can be repeated exactly.
    order.sort_by_key(|(position, _)| *position);
    let mut placed: Vec<Placed> = required
        .iter()
        .map(|call| Placed { effect: call.effect, duty: call.duty, slot: 0, invoke: 0, complete: 0 })
        .collect();
    let mut free: BinaryHeap<Reverse<u32>> = BinaryHeap::new();
    let mut slots = 0;
    for (at, (_, event)) in order.iter().enumerate() {
        match *event {
            Event::Invoke(number) => {
                let call = &mut placed[number as usize];
                call.invoke = at as u32;
                call.slot = free.pop().map_or_else(
                    || {
                        slots += 1;
                        slots - 1
                    },
                    |Reverse(slot)| slot,
                );
            }
            Event::Return(number) => {
                let call = &mut placed[number as usize];
                call.complete = at as u32;
                free.push(Reverse(call.slot));
            }
        }
    }
    // A deadline stands one below the doubled rank of its observer's completion: both halve to that rank.
    let ranks = order.iter().map(|(position, _)| position / 2).collect();
    (placed, order.into_iter().map(|(_, event)| event).collect(), ranks, slots as usize)
}

/// The positions of all events of `required`, rising.
fn event_positions(required: &[Required]) -> Vec<u32> {
    let mut positions: Vec<u32> = required.iter().flat_map(|call| [call.invoke, call.deadline]).collect();
    positions.sort_unstable();
    positions
}

fn get(bits: &[u64], at: usize) -> bool {
    bits[at / 64] >> (at % 64) & 1 == 1
}

fn set(bits: &mut [u64], at: usize) {
    bits[at / 64] |= 1 << (at % 64);
}

fn clear(bits: &mut [u64], at: usize) {
    bits[at / 64] &= !(1 << (at % 64));
}
