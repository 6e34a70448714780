//! The search of Wing and Gong, with Lowe's improvements, and with writes placed when that matters.
//!
//! Events are walked in order. An operation is *open* from its invocation to its completion, and need not be
//! linearized before its completion is reached: there, and only there, the search stops and chooses the next
//! operations to linearize, until that operation is among them. Without a choice left it goes back. It
//! remembers its failures ([`Memo`]), and does not try them again.
//!
//! At a completion every operation that completed earlier is linearized and none that is invoked later, so a
//! configuration needs only a few bits for each open operation, whatever the length of the history. Each
//! holds a *slot* while it is open.
//!
//! Most choices are unnecessary. Each of the following is an exchange in a linearization:
//!
//! - *A read that fits is taken at once.* It changes nothing, and nothing must come before it any more.
//! - *A write is free once another write took effect while it was open*, or once the register held its value then: it
//!   may have taken effect just before that write, or at that moment, without a trace. It may as well take effect later.
//!   So it owes nothing, and is still there to be used; which of both happened is not decided. A free write is better
//!   than one that still owes its effect, and better than one that was used.
//! - *An effect that would be overwritten is inserted later, in the past.* A write, its observers, and
//!   compare-and-sets that continue from there, without a trace when another write takes effect, could have
//!   taken effect just before the last write, if all of them were invoked before that. Whether they did is
//!   decided when the first of them completes, not before. So, when an operation completes, no write is
//!   chosen except itself, one that brings about the value it observes, or one that begins such an insertion;
//!   an insertion leaves the register as it was.
//! - *A free write that completes unused* was overwritten, and operations that could have read it in the
//!   past, did.
//! - *Among open writes of one value, the one that completes first is used.* The others are free, and of use
//!   for longer. The same is true of compare-and-sets of one effect, except that one that can be inserted in
//!   the past is also of use there: so the first to complete of either kind is tried.
//! - *A crashed operation is only used when an operation that observes its value follows*: otherwise a write follows,
//!   or nothing, and it can as well be left out.

use super::Limits;
use super::call::{Problem, Start, State};
use super::choices::{Choice, ChoiceOrder, Choices};
use super::crashed::{Group, Reduced};
use super::memo::{Configuration, Memo};
use super::walk::{Event, Walk};
use super::{deferred, overwritten, trails, window};

/// The register's value when no operation observes it: any such value is as good as another.
pub(super) const DEAD: State = State::MAX;

/// How many configurations are explored between two looks at the interrupt.
const LOOK_EVERY: u64 = 1 << 10;

/// The search stalls after so many configurations without progress, and after twice as many again, until it comes further.
/// Tests stall at once, so that small histories meet it.
const PATIENCE: u64 = if cfg!(test) { 2 } else { 1 << 11 };

/// A stalled search goes back by one frame for each so many configurations of its patience.
const PATIENCE_OF_A_FRAME: u64 = if cfg!(test) { 2 } else { 32 };

/// The number of configurations, besides one for each event, that may be explored with compare-and-sets left out.
const DEFERRED_MAX: u64 = 1 << 15;

/// The result of the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// There is a linearization.
    Linearizable,
    /// There is none, not even of the events up to and including the one of this rank; where the search was not cut
    /// short by [`overwritten`], of those before it there is.
    Stuck {
        /// The rank, among the events of the key.
        rank: u32,
    },
    /// It was not decided.
    Undecided {
        /// Why.
        why: Undecided,
        /// The events before the one of this rank have a linearization.
        rank: u32,
    },
}

/// Why a search ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Undecided {
    Configurations,
    Memory,
    Interrupted,
}

/// How far a search goes that is not the last word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// As far as the budget goes.
    Whole,
    /// Part of another one, which looks no further itself.
    Part,
    /// To the end, where the compare-and-sets that it left out must be placed; a failure proves nothing.
    Deferred,
}

/// Decides `problem`, of which `reduced` is the reduction; also says how many configurations were explored.
pub(crate) fn search(problem: &Problem, reduced: &Reduced, limits: Limits<'_>) -> (Decision, u64) {
    search_to(Extent::Whole, problem, reduced, limits)
}

pub(super) fn search_to(
    extent: Extent,
    problem: &Problem,
    reduced: &Reduced,
    limits: Limits<'_>,
) -> (Decision, u64) {
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
    if problem.start == Start::Any
        && let Some(rank) = overwritten::first(problem)
    {
        return (Decision::Stuck { rank }, 0);
    }
    let walk = Walk::new(reduced);
    let (mut furthest, mut explored) = (0, 0);
    let held = if extent == Extent::Whole { deferred::waiting(reduced) } else { Vec::new() };
    if !held.is_empty() {
        let some = DEFERRED_MAX + walk.len() as u64;
        let (linearizes, more) = deferred::linearizes(problem, reduced, &held, some, limits);
        if linearizes {
            return (Decision::Linearizable, more);
        }
        explored = more;
    }
    for start in starts {
        let mut search = Search::new(&walk, problem, &reduced.groups, start, explored, limits);
        search.extent = extent;
        let decision = search.run();
        explored = search.explored;
        match decision {
            Decision::Stuck { rank } => furthest = furthest.max(rank),
            Decision::Undecided { why, rank } => {
                let rank = furthest.max(rank);
                return (Decision::Undecided { why, rank }, explored);
            }
            Decision::Linearizable => return (Decision::Linearizable, explored),
        }
    }
    (Decision::Stuck { rank: furthest }, explored)
}

/// The progress since the walk stopped at a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No progress.
    Waiting,
    /// Compare-and-sets continued from the register's value.
    Moved,
    /// A write was taken that leads to the value that the completing operation observes.
    Leading,
    /// Something is being inserted before the last write, after which the register holds this again.
    Past(State),
}

/// A configuration on the way to the present one, and its choices not yet tried: those from `next` on.
struct Frame {
    at: u32,
    state: State,
    phase: Phase,
    past: u32,
    touched: u32,
    trail: u32,
    used: u32,
    left_out: u32,
    overwritten: u32,
    choices: u32,
    next: u32,
}

pub(super) struct Search<'a> {
    pub(super) walk: &'a Walk,
    problem: &'a Problem,
    pub(super) groups: &'a [Group],
    limits: Limits<'a>,
    pub(super) explored_max: u64,
    pub(super) extent: Extent,
    pub(super) order: ChoiceOrder,

    pub(super) at: usize,
    pub(super) state: State,
    pub(super) phase: Phase,
    /// The event at which the last write took effect; 0 before the first. Operations invoked before can be
    /// inserted there.
    pub(super) past: u32,
    /// The event at which the register was last used, as far as is known: no earlier than it was.
    pub(super) touched: u32,
    /// By slot: whether an operation is open there, and whether it is a read, or a write.
    pub(super) open: Vec<u64>,
    pub(super) reads: Vec<u64>,
    pub(super) writes: Vec<u64>,
    /// By slot: whether the operation is linearized (a write: used), and whether it is a write that owes nothing.
    pub(super) done: Vec<u64>,
    pub(super) free: Vec<u64>,
    pub(super) occupant: Vec<u32>,
    /// How many operations that observe a value are not linearized yet; crashed groups count once, for ever.
    pub(super) observers: Vec<u32>,
    /// How many of each group of crashed operations are used.
    pub(super) used: Vec<u32>,
    /// Operations that observe a value, in the order in which they were linearized.
    pub(super) trail: Vec<u32>,
    /// Groups, in the order in which one of them was used.
    pub(super) used_trail: Vec<u32>,
    /// Optional operations that completed without having been taken.
    pub(super) left_out: Vec<u32>,
    /// Each write that took effect: the event at which it did, and what the register held before.
    pub(super) overwritten: Vec<(u32, State)>,
    frames: Vec<Frame>,
    /// `done` and `free` of each frame.
    saved: Vec<u64>,
    pub(super) choices: Choices,
    furthest: usize,
    pub(super) explored: u64,
    /// After how many configurations the search stalls if it comes no further until then, and its patience.
    patience: (u64, u64),
    /// Whether [`overwritten`] has been asked.
    overwritten_asked: bool,
    memo: Memo<'a>,
    configuration: Configuration,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        walk: &'a Walk,
        problem: &'a Problem,
        groups: &'a [Group],
        start: State,
        explored: u64,
        limits: Limits<'a>,
    ) -> Self {
        let mut observers = vec![0; problem.states as usize];
        for value in walk.calls.iter().filter_map(|call| call.effect.observed()) {
            observers[value as usize] += 1;
        }
        for value in groups.iter().filter_map(|group| group.effect.observed()) {
            observers[value as usize] += 1;
        }
        let words = walk.slots.div_ceil(64);
        let sizes = (words + 2, 2 * words, groups.len().div_ceil(2));
        Self {
            walk,
            problem,
            groups,
            limits,
            explored_max: limits.budget.configurations_max,
            extent: Extent::Whole,
            order: ChoiceOrder::Direct,
            at: 0,
            state: start,
            phase: Phase::Waiting,
            past: 0,
            touched: 0,
            open: vec![0; words],
            reads: vec![0; words],
            writes: vec![0; words],
            done: vec![0; words],
            free: vec![0; words],
            occupant: vec![0; words * 64],
            observers,
            used: vec![0; groups.len()],
            trail: Vec::new(),
            used_trail: Vec::new(),
            left_out: Vec::new(),
            overwritten: Vec::new(),
            frames: Vec::new(),
            saved: Vec::new(),
            choices: Choices::new(groups, problem.states),
            furthest: 0,
            explored,
            patience: (explored + PATIENCE, PATIENCE),
            overwritten_asked: false,
            memo: Memo::new(sizes, limits.memory_bytes, limits.budget.memory_bytes_max),
            configuration: Configuration::default(),
        }
    }

    pub(super) fn run(&mut self) -> Decision {
        loop {
            self.settle();
            match self.enter() {
                Entered::Decided(decision) => return decision,
                Entered::Forced(choice) => {
                    self.take(choice);
                    continue;
                }
                Entered::Frame => {}
                Entered::Failed => self.retreat(),
                Entered::Stalled => {
                    self.jump_back();
                    continue;
                }
            }
            loop {
                let Some(frame) = self.frames.last_mut() else {
                    return Decision::Stuck { rank: self.walk.ranks[self.furthest] };
                };
                if (frame.next as usize) < self.choices.len() {
                    let choice = self.choices.get(frame.next as usize);
                    frame.next += 1;
                    self.take(choice);
                    break;
                }
                self.choices.truncate(frame.choices as usize);
                self.configure();
                if self.memo.enter(&self.configuration).is_none() {
                    return self.undecided(Undecided::Memory);
                }
                self.frames.pop();
                self.saved.truncate(self.saved.len() - 2 * self.done.len());
                self.retreat();
            }
        }
    }

    /// Goes back some way, and tries the choices from there in the other order.
    ///
    /// Where the search stalls it owes that to choices made long before, which it would come back to last of all. What
    /// has failed until now is remembered, and what has not is tried again, so that nothing is left out.
    fn jump_back(&mut self) {
        self.order = match self.order {
            ChoiceOrder::Direct => ChoiceOrder::Eager,
            ChoiceOrder::Eager => ChoiceOrder::Direct,
        };
        let back = (self.patience.1 / PATIENCE_OF_A_FRAME) as usize;
        let depth = self.frames.len().saturating_sub(back).max(1);
        let words = 2 * self.done.len();
        self.frames.truncate(depth);
        self.saved.truncate(depth * words);
        self.retreat();
        if let Some(frame) = self.frames.pop() {
            self.choices.truncate(frame.choices as usize);
            self.saved.truncate((depth - 1) * words);
        }
    }

    fn undecided(&self, why: Undecided) -> Decision {
        Decision::Undecided { why, rank: self.walk.ranks[self.furthest] }
    }

    /// Looks at the present configuration: decides, or lists its choices, and opens a frame where there are several.
    fn enter(&mut self) -> Entered {
        if self.at == self.walk.len() {
            if self.extent == Extent::Deferred && !deferred::places_all(self) {
                // An attempt costs as much as many configurations.
                self.explored += self.left_out.len() as u64;
                return Entered::Failed;
            }
            return Entered::Decided(Decision::Linearizable);
        }
        if self.at > self.furthest {
            self.furthest = self.at;
            self.patience = (self.explored + PATIENCE, PATIENCE);
        }
        self.explored += 1;
        if self.explored > self.explored_max {
            return Entered::Decided(self.undecided(Undecided::Configurations));
        }
        if self.explored.is_multiple_of(LOOK_EVERY) && self.limits.interrupted() {
            return Entered::Decided(self.undecided(Undecided::Interrupted));
        }
        if self.explored > self.patience.0 {
            if self.extent == Extent::Deferred && self.patience.1 >= DEFERRED_MAX {
                // It is stuck for another reason than those that it leaves out.
                return Entered::Decided(self.undecided(Undecided::Configurations));
            }
            if self.extent == Extent::Whole && self.patience.1 > PATIENCE {
                if !std::mem::replace(&mut self.overwritten_asked, true)
                    && let Some(rank) = overwritten::first(self.problem)
                {
                    return Entered::Decided(Decision::Stuck { rank });
                }
                let rank = self.walk.ranks[self.furthest];
                let (refuted, explored) =
                    window::refutes(self.problem, rank, self.patience.1 / 2, self.limits);
                self.explored += explored;
                if refuted {
                    return Entered::Decided(Decision::Stuck { rank });
                }
            }
            self.patience.1 *= 2;
            self.patience.0 = self.explored + self.patience.1;
            if !self.frames.is_empty() {
                return Entered::Stalled;
            }
        }
        if self.phase == Phase::Waiting
            && self.at >= self.walk.invoked
            && self.extent != Extent::Deferred
            && trails::end(self)
        {
            return Entered::Decided(Decision::Linearizable);
        }
        let first = self.choices.len();
        let mut choices = std::mem::take(&mut self.choices);
        choices.list(self);
        self.choices = choices;
        match self.choices.len() - first {
            0 => return Entered::Failed,
            1 => {
                let choice = self.choices.get(first);
                self.choices.truncate(first);
                return Entered::Forced(choice);
            }
            _ => {}
        }
        self.configure();
        if self.memo.knows(&self.configuration) {
            self.choices.truncate(first);
            return Entered::Failed;
        }
        self.frames.push(Frame {
            at: self.at as u32,
            state: self.state,
            phase: self.phase,
            past: self.past,
            touched: self.touched,
            trail: self.trail.len() as u32,
            used: self.used_trail.len() as u32,
            left_out: self.left_out.len() as u32,
            overwritten: self.overwritten.len() as u32,
            choices: first as u32,
            next: first as u32,
        });
        self.saved.extend_from_slice(&self.done);
        self.saved.extend_from_slice(&self.free);
        Entered::Frame
    }

    /// Puts the present configuration into words.
    fn configure(&mut self) {
        let alive = |state: State| match self.observers.get(state as usize) {
            Some(observers) if *observers > 0 => u64::from(state),
            _ => u64::from(DEAD),
        };
        let phase = match self.phase {
            Phase::Waiting => 0,
            Phase::Moved => 1,
            Phase::Leading => 2,
            Phase::Past(state) => 3 | alive(state) << 32,
        };
        let Configuration { key, lacks, past, .. } = &mut self.configuration;
        key.clear();
        lacks.clear();
        key.extend([(self.at as u64) << 32 | alive(self.state), phase]);
        for word in 0..self.open.len() {
            let (open, done, free) = (self.open[word], self.done[word], self.free[word]);
            let (reads, writes) = (self.reads[word], self.writes[word]);
            key.push(open & done & !reads & !writes);
            lacks.push(reads & !done | writes & done);
            lacks.push(writes & !done & !free);
        }
        *past = u64::from(self.past);
        self.configuration.count(&self.used);
    }

    /// Goes back to the configuration of the last frame, if there is one.
    fn retreat(&mut self) {
        let Some(frame) = self.frames.last() else { return };
        let (to, trail, used) = (frame.at as usize, frame.trail as usize, frame.used as usize);
        (self.state, self.phase, self.past) = (frame.state, frame.phase, frame.past);
        self.touched = frame.touched;
        self.left_out.truncate(frame.left_out as usize);
        self.overwritten.truncate(frame.overwritten as usize);
        while self.at > to {
            self.at -= 1;
            match self.walk.event(self.at) {
                Event::Invoke(number) => self.leave(number),
                Event::Return(number) => self.place(number),
            }
        }
        for number in self.trail.drain(trail..) {
            if let Some(value) = self.walk.calls[number as usize].effect.observed() {
                self.observers[value as usize] += 1;
            }
        }
        for group in self.used_trail.drain(used..) {
            self.used[group as usize] -= 1;
        }
        let words = self.done.len();
        let saved = &self.saved[self.saved.len() - 2 * words..];
        self.done.copy_from_slice(&saved[..words]);
        self.free.copy_from_slice(&saved[words..]);
    }
}

/// The result of examining a configuration.
enum Entered {
    Decided(Decision),
    /// There is one choice.
    Forced(Choice),
    /// There are several, in the last frame.
    Frame,
    /// There is no choice.
    Failed,
    /// The search has not come further for too long.
    Stalled,
}
