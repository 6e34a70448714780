//! The choices of the search where it has stopped, the most promising first.

use super::call::{Duty, Effect, State};
use super::crashed::Group;
use super::search::{Phase, Search};
use super::steps::get;
use super::walk::{Event, Placed};

/// The number of events to look ahead for the next needed value.
const AHEAD: usize = 128;

/// How much later what does not lead straight to the wanted value comes.
const FAR: u8 = 2;

/// How much later a crashed operation comes: each can be used once, and is of use for the rest of the history.
const CRASHED: u8 = 1;

/// One way to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// Linearize this open operation.
    Take(u32),
    /// Use one crashed operation of this group.
    Crashed(u32),
    /// Begin to insert, in the past, with this open write.
    Insert(u32),
    /// Begin to insert, in the past, with one crashed write of this group.
    InsertCrashed(u32),
    /// Come back from the past.
    Return,
    /// Let the time of this operation pass: a free write, or an optional one.
    Skip(u32),
}

/// The order in which choices are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChoiceOrder {
    /// Choices that lead to the completing operation.
    Direct,
    /// Compare-and-sets, as soon as they can be taken.
    Eager,
}

/// The choices of all configurations on the way to the present one.
#[derive(Default)]
pub(super) struct Choices {
    list: Vec<Choice>,
    /// Groups of crashed compare-and-sets; and, by value, of crashed writes.
    sets: Vec<u32>,
    writes: Vec<Option<u32>>,
    /// The choices of the present configuration: the priority, the deadline, the choice.
    found: Vec<(u8, u32, Choice)>,
    /// Compare-and-sets of different effects that can be taken.
    steps: Vec<Step>,
    /// Values from which compare-and-sets lead to the one that is wanted.
    leading: Vec<State>,
}

/// A compare-and-set that can be taken.
#[derive(Clone, Copy)]
struct Step {
    /// Its number if it is open; its group if it crashed.
    number: Option<u32>,
    group: Option<u32>,
    new: State,
    complete: u32,
    duty: Duty,
    /// Whether it can be inserted in the past.
    past: bool,
    /// Whether its new value leads to the one that is wanted.
    leads: bool,
    /// Whether a crashed one's new value can be observed at once.
    awaited: bool,
}

impl Choices {
    pub(super) fn new(groups: &[Group], states: u32) -> Self {
        let mut choices = Self { writes: vec![None; states as usize], ..Self::default() };
        for (number, group) in groups.iter().enumerate() {
            match group.effect {
                Effect::Write(value) => choices.writes[value as usize] = Some(number as u32),
                Effect::Cas(..) | Effect::Read(_) => choices.sets.push(number as u32),
            }
        }
        choices
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn get(&self, at: usize) -> Choice {
        self.list[at]
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.list.truncate(len);
    }

    /// Appends the choices of the configuration that `search` is in.
    pub(super) fn list(&mut self, search: &Search<'_>) {
        let Event::Return(waiting) = search.walk.event(search.at) else {
            unreachable!("the walk stops at completions only");
        };
        self.found.clear();
        let call = &search.walk.calls[waiting as usize];
        match (search.phase, call.effect) {
            (Phase::Past(_), _) if get(&search.done, call.slot as usize) => {
                self.found.push((0, 0, Choice::Return));
                self.sets(search, search.past, None, 1, |step| step.group.is_none() || step.awaited);
            }
            (Phase::Waiting | Phase::Moved, Effect::Write(value)) => self.at_write(search, waiting, value),
            (Phase::Waiting | Phase::Moved, Effect::Read(value) | Effect::Cas(value, _)) => {
                self.at_observer(search, waiting, value);
            }
            (Phase::Past(_) | Phase::Leading, effect) => {
                let before = if search.phase == Phase::Leading { u32::MAX } else { search.past };
                self.lead(search, waiting, effect.observed(), before);
                self.sets(search, before, effect.observed(), 1, |step| {
                    step.leads || step.number == Some(waiting)
                });
            }
        }
        for (first, _, choice) in &mut self.found {
            if matches!(choice, Choice::Crashed(_) | Choice::InsertCrashed(_)) {
                *first += CRASHED;
            }
        }
        self.found.sort_by_key(|(first, deadline, _)| (*first, *deadline));
        self.list.extend(self.found.iter().map(|(_, _, choice)| *choice));
    }

    /// Whether some compare-and-set could be taken from the value that the register holds.
    pub(super) fn can_go_on(&self, search: &Search<'_>) -> bool {
        self.goes_on(search, search.state, u32::MAX)
    }

    /// Whether some compare-and-set invoked before the event `before` could be taken from `state`.
    fn goes_on(&self, search: &Search<'_>, state: State, before: u32) -> bool {
        let fits = |effect: Effect| matches!(effect, Effect::Cas(old, _) if old == state);
        let open = |call: &Placed| fits(call.effect) && call.invoke < before;
        each_set(search).any(|number| open(&search.walk.calls[number as usize]))
            || self
                .sets
                .iter()
                .any(|group| fits(search.groups[*group as usize].effect) && can_use(search, *group, before))
    }

    /// The write `waiting` of `value` completes: it is taken, after compare-and-sets that the value held before is good
    /// for; or, where it is free, it was overwritten, perhaps after compare-and-sets that its own value was good for.
    fn at_write(&mut self, search: &Search<'_>, waiting: u32, value: State) {
        let call = &search.walk.calls[waiting as usize];
        let free = get(&search.free, call.slot as usize);
        self.leading.clear();
        if !free
            || search.phase == Phase::Moved
            || search.observers[value as usize] > 0
            || value == search.state
        {
            self.found.push((3, 0, Choice::Take(waiting)));
            let first = if search.order == ChoiceOrder::Eager { 0 } else { 5 };
            self.sets(search, u32::MAX, None, first, |step| step.group.is_none() || step.awaited);
        }
        if free && value != search.state && search.phase == Phase::Waiting {
            let keep = first_needed(search, search.state, value) != Some(value);
            self.found.push((if keep { 2 } else { 4 }, 0, Choice::Skip(waiting)));
            if call.invoke < search.past && self.goes_on(search, value, search.past) {
                self.found.push((6, 0, Choice::Insert(waiting)));
            }
        }
    }

    /// The read or compare-and-set `waiting`, which observes `wanted`, completes.
    fn at_observer(&mut self, search: &Search<'_>, waiting: u32, wanted: State) {
        let call = &search.walk.calls[waiting as usize];
        let after = call.effect.produced().unwrap_or(wanted);
        let keep = first_needed(search, search.state, after) == Some(search.state);
        self.lead(search, waiting, Some(wanted), u32::MAX);
        let leading = std::mem::take(&mut self.leading);
        self.writes(search, &leading, u32::MAX, 1, Choice::Take, Choice::Crashed);
        let overwritten = !self.found.is_empty();
        self.leading = leading;
        let first = if search.order == ChoiceOrder::Eager { 0 } else { 1 };
        self.sets(search, u32::MAX, Some(wanted), first, |step| {
            step.leads
                || step.number == Some(waiting)
                || overwritten && (step.group.is_none() || step.awaited)
        });
        if call.invoke < search.past {
            self.lead(search, waiting, Some(wanted), search.past);
            let leading = std::mem::take(&mut self.leading);
            let first = if keep { 0 } else { 4 };
            self.writes(search, &leading, search.past, first, Choice::Insert, Choice::InsertCrashed);
            self.leading = leading;
        }
        if call.duty == Duty::Optional && search.phase == Phase::Waiting {
            self.found.push((0, 0, Choice::Skip(waiting)));
        }
    }

    /// For each value of `leading` the open write that completes first, and a crashed one, where invoked before the
    /// event `before`.
    fn writes(
        &mut self,
        search: &Search<'_>,
        leading: &[State],
        before: u32,
        first: u8,
        open: impl Fn(u32) -> Choice,
        crashed: impl Fn(u32) -> Choice,
    ) {
        for (distance, value) in leading.iter().enumerate() {
            let first = first + if distance > 0 { FAR } else { 0 };
            let mut best: Option<(u32, u32)> = None;
            each(&search.writes, search, |number| {
                let call = &search.walk.calls[number as usize];
                if call.effect == Effect::Write(*value) && call.invoke < before {
                    let this = (call.complete, number);
                    best = Some(best.map_or(this, |best| best.min(this)));
                }
            });
            self.found.extend(best.map(|(complete, number)| (first, complete, open(number))));
            if let Some(group) = self.writes[*value as usize]
                && can_use(search, group, before)
            {
                self.found.push((first, u32::MAX, crashed(group)));
            }
        }
    }

    /// Compare-and-sets from the value that the register holds, invoked before the event `before`, that are `accepted`;
    /// those first that leave the value `wanted`, or observe it.
    fn sets(
        &mut self,
        search: &Search<'_>,
        before: u32,
        wanted: Option<State>,
        first: u8,
        accepted: impl Fn(&Step) -> bool,
    ) {
        let near = |new: State| wanted.is_none_or(|wanted| wanted == new || wanted == search.state);
        let first = |new: State| first + if near(new) { 0 } else { FAR };
        let mut steps = std::mem::take(&mut self.steps);
        steps.clear();
        for number in each_set(search) {
            let call = &search.walk.calls[number as usize];
            let Effect::Cas(old, new) = call.effect else { continue };
            if old != search.state || call.invoke >= before {
                continue;
            }
            let (complete, past) = (call.complete, call.invoke < search.past);
            let equal = |step: &&mut Step| step.new == new && step.duty == call.duty && step.past == past;
            match steps.iter_mut().find(equal) {
                Some(step) if step.complete <= complete => {}
                Some(step) => (step.number, step.complete) = (Some(number), complete),
                None => {
                    let (leads, awaited) = (self.leading.contains(&new), false);
                    let number = Some(number);
                    steps.push(Step {
                        number,
                        group: None,
                        new,
                        complete,
                        duty: call.duty,
                        past,
                        leads,
                        awaited,
                    });
                }
            }
        }
        for step in &steps {
            // Another one that completes later and can be inserted in the past is better kept.
            let better = |other: &Step| {
                !step.past
                    || other.past
                    || other.complete > step.complete
                    || other.new != step.new
                    || other.duty != step.duty
            };
            if accepted(step) && steps.iter().all(better) {
                self.found
                    .extend(step.number.map(|number| (first(step.new), step.complete, Choice::Take(number))));
            }
        }
        self.steps = steps;
        for at in 0..self.sets.len() {
            let group = self.sets[at];
            let Effect::Cas(old, new) = search.groups[group as usize].effect else { continue };
            if old != search.state || !can_use(search, group, before) {
                continue;
            }
            let (leads, awaited) = (self.leading.contains(&new), self.is_awaited(search, new, before));
            let step = Step {
                number: None,
                group: Some(group),
                new,
                complete: u32::MAX,
                duty: Duty::Optional,
                past: false,
                leads,
                awaited,
            };
            if accepted(&step) {
                self.found.push((first(new), u32::MAX, Choice::Crashed(group)));
            }
        }
    }

    /// Finds the values from which compare-and-sets invoked before the event `before`, other than `waiting`, lead to
    /// `wanted`, which is the first of them.
    fn lead(&mut self, search: &Search<'_>, waiting: u32, wanted: Option<State>, before: u32) {
        self.leading.clear();
        self.leading.extend(wanted);
        let mut next = 0;
        while next < self.leading.len() {
            let to = self.leading[next];
            next += 1;
            for number in each_set(search) {
                let call = &search.walk.calls[number as usize];
                if let Effect::Cas(old, new) = call.effect
                    && new == to
                    && number != waiting
                    && call.invoke < before
                    && !self.leading.contains(&old)
                {
                    self.leading.push(old);
                }
            }
            for group in &self.sets {
                if let Effect::Cas(old, new) = search.groups[*group as usize].effect
                    && new == to
                    && can_use(search, *group, before)
                    && !self.leading.contains(&old)
                {
                    self.leading.push(old);
                }
            }
        }
    }

    /// Whether an open operation, or a crashed one, invoked before the event `before` could observe `value`.
    fn is_awaited(&self, search: &Search<'_>, value: State, before: u32) -> bool {
        let mut awaited = self.goes_on(search, value, before);
        each(&search.reads, search, |number| {
            let call = &search.walk.calls[number as usize];
            awaited |= call.effect == Effect::Read(value) && call.invoke < before;
        });
        awaited
    }
}

/// Calls `look` with each operation in `slots` that is open and not linearized.
fn each(slots: &[u64], search: &Search<'_>, mut look: impl FnMut(u32)) {
    for (word, (open, done)) in slots.iter().zip(&search.done).enumerate() {
        let mut bits = open & !done;
        while bits != 0 {
            look(search.occupant[word * 64 + bits.trailing_zeros() as usize]);
            bits &= bits - 1;
        }
    }
}

/// Returns the open compare-and-sets that are not linearized.
fn each_set(search: &Search<'_>) -> impl Iterator<Item = u32> {
    (0..search.open.len()).flat_map(move |word| {
        let mut bits = search.open[word] & !search.reads[word] & !search.writes[word] & !search.done[word];
        std::iter::from_fn(move || {
            let slot = (bits != 0).then(|| word * 64 + bits.trailing_zeros() as usize)?;
            bits &= bits - 1;
            Some(search.occupant[slot])
        })
    })
}

/// Whether one more crashed operation of `group` was invoked before this point, and before the event `before`.
fn can_use(search: &Search<'_>, group: u32, before: u32) -> bool {
    let next = search.walk.group_invokes[group as usize].get(search.used[group as usize] as usize);
    next.is_some_and(|invoke| *invoke as usize <= search.at && *invoke <= before)
}

/// Returns the one of two values that an operation observes first, in the order of completions, among those
/// not linearized.
fn first_needed(search: &Search<'_>, one: State, other: State) -> Option<State> {
    (search.at + 1..search.walk.len().min(search.at + AHEAD)).find_map(|at| {
        let Event::Return(number) = search.walk.event(at) else { return None };
        let call = &search.walk.calls[number as usize];
        let value = call.effect.observed().filter(|value| *value == one || *value == other)?;
        let done = (call.invoke as usize) < search.at && get(&search.done, call.slot as usize);
        (!done).then_some(value)
    })
}
