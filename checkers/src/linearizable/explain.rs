//! A witness named, and put into sentences that can be followed on paper.
//!
//! The name is given only where the witness proves it; see [`AnomalyKind`] for what each means. Where no simple
//! argument fits, the sentences go through every order that can be begun, and say why each ends.

use duress_history::Scalar;

use super::call::{Call, Effect, INITIAL, Problem, Start, State};
use super::orders;
use super::partition::{Action, End, Interned, Partition, Source};
use super::witness::Witness;
use crate::verdict::{Anomaly, AnomalyKind, Outcome, Step, WitnessOperation, WitnessStart};

/// The witness of `part`, whose numbered form is `interned`, as an anomaly.
pub(crate) fn anomaly(part: &Partition<'_>, interned: &Interned<'_>, witness: Witness) -> Anomaly {
    let case = Case::new(part, interned, witness.problem);
    let proof = case
        .never_produced()
        .or_else(|| case.lock())
        .or_else(|| case.lost_update())
        .or_else(|| case.overwritten())
        .or_else(|| case.chained())
        .or_else(|| case.replaced())
        .unwrap_or_else(|| case.any());
    let operations = proof.shown.iter().enumerate().map(|(at, call)| case.operation(at, call)).collect();
    Anomaly {
        kind: proof.kind,
        key: part.key.cloned(),
        summary: proof.summary,
        start: match case.problem.start {
            Start::Known(_) => WitnessStart::Initial(part.initial.cloned()),
            Start::Any => WitnessStart::Any,
        },
        operations,
        steps: proof.steps,
    }
}

/// What an argument came to.
struct Proof {
    kind: AnomalyKind,
    summary: String,
    /// The witness, by invocation, with operations that only make it clearer.
    shown: Vec<Call>,
    steps: Vec<Step>,
}

/// A witness with all that is known of its key.
pub(super) struct Case<'a> {
    part: &'a Partition<'a>,
    interned: &'a Interned<'a>,
    /// The witness.
    pub(super) problem: Problem,
}

/// `A`, `B`, … `Z`, `A1`, `B1`, …
pub(super) fn label(at: usize) -> String {
    let letter = char::from(b'A' + (at % 26) as u8);
    if at < 26 { letter.to_string() } else { format!("{letter}{}", at / 26) }
}

/// Nanoseconds as seconds, to the microsecond where the millisecond does not tell.
fn seconds(time: u64) -> String {
    format!("{}.{:06} s", time / 1_000_000_000, time % 1_000_000_000 / 1_000)
}

pub(super) fn step(sentence: String, labels: &[usize]) -> Step {
    Step { sentence, labels: labels.iter().map(|at| label(*at)).collect() }
}

fn value_text(value: Option<&Scalar>) -> String {
    value.map_or_else(|| "null".to_owned(), Scalar::to_string)
}

fn action_text(source: &Source<'_>) -> String {
    match source.action {
        Action::Read(value) => format!("read -> {}", value_text(value)),
        Action::Write(value) => format!("write {value}"),
        Action::Cas(old, new) => format!("cas {} -> {new}", value_text(old)),
        Action::Acquire => "acquire".to_owned(),
        Action::Release => "release".to_owned(),
    }
}

impl<'a> Case<'a> {
    fn new(part: &'a Partition<'a>, interned: &'a Interned<'a>, mut problem: Problem) -> Self {
        // Shown, and reasoned about, as they stand in the history: a completion that did not matter makes the witness
        // no less impossible.
        let all = &interned.problem.calls;
        for call in &mut problem.calls {
            let at = all.partition_point(|other| other.invoke < call.invoke);
            // Whether it may have taken effect before the witness begins remains.
            call.complete = all[at].complete;
        }
        Self { part, interned, problem }
    }

    fn source(&self, call: &Call) -> &Source<'a> {
        &self.part.operations[call.source as usize]
    }

    /// `A (write 7)`.
    pub(super) fn named(&self, at: usize, call: &Call) -> String {
        format!("{} ({})", label(at), action_text(self.source(call)))
    }

    /// The value as it is printed.
    pub(super) fn value(&self, state: State) -> String {
        if self.is_lock() {
            return if state == INITIAL { "free" } else { "held" }.to_owned();
        }
        value_text(self.interned.values.get(state as usize).copied().flatten())
    }

    pub(super) fn is_lock(&self) -> bool {
        matches!(self.part.operations.first().map(|op| op.action), Some(Action::Acquire | Action::Release))
    }

    /// The register, as sentences speak of it.
    pub(super) fn subject(&self) -> String {
        match self.part.key {
            Some(key) => key.to_string(),
            None if self.is_lock() => "the lock".to_owned(),
            None => "the register".to_owned(),
        }
    }

    fn begun(&self, call: &Call) -> String {
        seconds(self.source(call).time)
    }

    fn completed(&self, call: &Call) -> String {
        match self.source(call).end {
            End::Ok { time, .. } => seconds(time),
            End::Fail | End::Info { .. } => "no known time".to_owned(),
        }
    }

    fn operation(&self, at: usize, call: &Call) -> WitnessOperation {
        let source = self.source(call);
        let (completion, outcome) = match source.end {
            End::Ok { index, time } => (Some((index, time)), Outcome::Ok),
            End::Info { at } => (at, Outcome::Info),
            End::Fail => (None, Outcome::Info),
        };
        WitnessOperation {
            label: label(at),
            index: source.index,
            completion_index: completion.map(|(index, _)| index),
            process: source.process,
            node: source.node.cloned(),
            time: source.time,
            completion_time: completion.map(|(_, time)| time),
            action: action_text(source),
            outcome,
        }
    }

    /// `A (write 7) was acknowledged at 1.204000 s, before C (read -> 3) began at 1.310000 s.`
    fn before(&self, one: usize, other: usize) -> Step {
        let calls = &self.problem.calls;
        let (first, second) = (&calls[one], &calls[other]);
        let done = match first.effect {
            Effect::Read(_) => "was answered",
            Effect::Write(_) | Effect::Cas(..) => "was acknowledged",
        };
        let sentence = format!(
            "{} {done} at {}, before {} began at {}.",
            self.named(one, first),
            self.completed(first),
            self.named(other, second),
            self.begun(second),
        );
        step(sentence, &[one, other])
    }

    /// One operation that saw what nothing can have left there.
    fn never_produced(&self) -> Option<Proof> {
        let [call] = self.problem.calls[..] else { return None };
        let value = call.effect.observed()?;
        if self.problem.start != Start::Known(INITIAL) || value == INITIAL || self.is_lock() {
            return None;
        }
        let complete = call.complete?;
        let (text, subject, seen) = (self.value(value), self.subject(), self.named(0, &call));
        let held = step(format!("At first {subject} held {}.", self.value(INITIAL)), &[]);
        let producers =
            self.interned.problem.calls.iter().filter(|other| other.effect.produced() == Some(value));
        let Some(producer) = producers.min_by_key(|other| other.invoke) else {
            let failed =
                self.part.operations.iter().filter(|source| source.end == End::Fail).any(
                    |source| match source.action {
                        Action::Write(new) | Action::Cas(_, new) => {
                            Some(new) == self.interned.values[value as usize]
                        }
                        Action::Read(_) | Action::Acquire | Action::Release => false,
                    },
                );
            let (kind, why) = if failed {
                (AnomalyKind::AbortedRead, format!("only operations that failed were to write {text}"))
            } else {
                (AnomalyKind::PhantomRead, format!("no operation in the whole history writes {text}"))
            };
            return Some(Proof {
                kind,
                summary: format!("{seen} saw {text} in {subject}, but {why}"),
                shown: vec![call],
                steps: vec![
                    held,
                    step(format!("{seen} saw {text}."), &[0]),
                    step(format!("But {why}: it cannot have been there."), &[0]),
                ],
            });
        };
        if producer.invoke < complete {
            return None;
        }
        let writer = self.named(1, producer);
        Some(Proof {
            kind: AnomalyKind::FutureRead,
            summary: format!("{seen} saw {text} in {subject} before {writer}, the first to write it, began"),
            shown: vec![call, *producer],
            steps: vec![
                held,
                step(format!("{seen} saw {text}, and was answered at {}.", self.completed(&call)), &[0]),
                step(
                    format!(
                        "But {writer}, the first to write {text}, began only at {}.",
                        self.begun(producer)
                    ),
                    &[1],
                ),
            ],
        })
    }

    /// Two takings of a lock with nothing to free it between them, or a release of a lock that nobody held.
    fn lock(&self) -> Option<Proof> {
        if !self.is_lock() {
            return None;
        }
        let calls = &self.problem.calls;
        let acquire = |call: &Call| call.effect.observed() == Some(INITIAL);
        let subject = self.subject();
        match calls[..] {
            [one, other] if acquire(&one) && acquire(&other) => {
                let (first, second) = (self.named(0, &one), self.named(1, &other));
                let mut steps = vec![
                    step(format!("{first} succeeded, so {subject} was held after it."), &[0]),
                    step(format!("{second} succeeded, so {subject} was free before it."), &[1]),
                ];
                if one.complete.is_some_and(|complete| complete < other.invoke) {
                    steps.push(self.before(0, 1));
                }
                let none = "Every other operation had completed before both, or can be left out: no release can have \
                            taken effect between the two, whichever was first.";
                steps.push(step(none.to_owned(), &[0, 1]));
                Some(Proof {
                    kind: AnomalyKind::DoubleAcquire,
                    summary: format!(
                        "{first} and {second} both took {subject}, and no release can lie between"
                    ),
                    shown: calls.clone(),
                    steps,
                })
            }
            [one] if !acquire(&one) && self.problem.start == Start::Known(INITIAL) => {
                let release = self.named(0, &one);
                Some(Proof {
                    kind: AnomalyKind::UnheldRelease,
                    summary: format!("{release} succeeded, but nobody can have held {subject}"),
                    shown: calls.clone(),
                    steps: vec![
                        step(format!("At first {subject} was free."), &[]),
                        step(format!("{release} succeeded, so {subject} was held before it."), &[0]),
                        step("But no acquisition had begun that could have taken it.".to_owned(), &[0]),
                    ],
                })
            }
            [one, other] if !acquire(&one) && !acquire(&other) => {
                let (first, second) = (self.named(0, &one), self.named(1, &other));
                Some(Proof {
                    kind: AnomalyKind::UnheldRelease,
                    summary: format!(
                        "{first} and {second} both released {subject}, and no acquire can lie between"
                    ),
                    shown: calls.clone(),
                    steps: vec![
                        step(format!("{first} succeeded, so {subject} was free after it."), &[0]),
                        step(format!("{second} succeeded, so {subject} was held before it."), &[1]),
                        step("No acquisition can have taken effect between the two.".to_owned(), &[0, 1]),
                    ],
                })
            }
            _ => None,
        }
    }

    /// The only call of the witness that produces `value`; `None` also when it was held first and is not produced.
    fn producer(&self, value: State) -> Option<usize> {
        self.problem.calls.iter().position(|call| call.effect.produced() == Some(value))
    }

    /// Whether each value of the witness comes about once only.
    fn unique(&self) -> bool {
        let mut seen = vec![false; self.problem.states as usize];
        if self.problem.start == Start::Known(INITIAL) {
            seen[INITIAL as usize] = true;
        }
        let produced = self.problem.calls.iter().filter_map(|call| call.effect.produced());
        let mut unique = true;
        for value in produced {
            unique &= !std::mem::replace(&mut seen[value as usize], true);
        }
        unique && self.problem.start == Start::Known(INITIAL)
    }

    /// Two compare-and-sets that took effect from one write.
    fn lost_update(&self) -> Option<Proof> {
        if !self.unique() || self.is_lock() {
            return None;
        }
        let calls = &self.problem.calls;
        let cas = |at: &usize| matches!(calls[*at].effect, Effect::Cas(..));
        let all: Vec<usize> = (0..calls.len()).filter(cas).collect();
        let (one, other) = all.iter().enumerate().find_map(|(place, one)| {
            let twin = |other: &&usize| calls[**other].effect.observed() == calls[*one].effect.observed();
            all[place + 1..].iter().find(twin).map(|other| (*one, *other))
        })?;
        // Both must have happened: completed, or seen by others of the witness.
        let value = calls[one].effect.observed()?;
        let (text, subject) = (self.value(value), self.subject());
        let (first, second) = (self.named(one, &calls[one]), self.named(other, &calls[other]));
        let origin = match self.producer(value) {
            Some(producer) => step(
                format!("{} alone brought {text} into {subject}.", self.named(producer, &calls[producer])),
                &[producer],
            ),
            None => step(format!("At first {subject} held {text}, and nothing wrote it again."), &[]),
        };
        Some(Proof {
            kind: AnomalyKind::LostUpdate,
            summary: format!(
                "{first} and {second} both took effect from one {text} in {subject}: one update is lost"
            ),
            shown: calls.clone(),
            steps: vec![
                origin,
                step(format!("{first} took effect, so it replaced that {text}."), &[one]),
                step(format!("{second} took effect, so it replaced that {text} as well."), &[other]),
                step(
                    "Whichever came second found another value, and cannot have succeeded.".to_owned(),
                    &[one, other],
                ),
            ],
        })
    }

    /// The value that the clusters linked by compare-and-sets up to the one of call `at` begin with.
    fn head(&self, at: usize) -> State {
        let mut value = match self.problem.calls[at].effect {
            Effect::Read(value) | Effect::Write(value) | Effect::Cas(_, value) => value,
        };
        for _ in 0..self.problem.calls.len() {
            match self.producer(value).map(|producer| self.problem.calls[producer].effect) {
                Some(Effect::Cas(old, _)) => value = old,
                _ => break,
            }
        }
        value
    }

    /// An observation that another write must have come between: the contradiction of two chains.
    fn overwritten(&self) -> Option<Proof> {
        if !self.unique() {
            return None;
        }
        let calls = &self.problem.calls;
        let heads: Vec<State> = (0..calls.len()).map(|at| self.head(at)).collect();
        let ends = |head: State| {
            let own = || (0..calls.len()).filter(|at| heads[*at] == head);
            let first = own().filter(|at| calls[*at].complete.is_some()).min_by_key(|at| calls[*at].complete);
            (first, own().max_by_key(|at| calls[*at].invoke))
        };
        let mut different = heads.clone();
        different.sort_unstable();
        different.dedup();
        // `late` observed, although real time puts `middle`, of another chain, between it and what it belongs to.
        for old in &different {
            for new in different.iter().filter(|new| *new != old) {
                let ((old_first, Some(late)), (Some(witness), Some(middle))) = (ends(*old), ends(*new))
                else {
                    continue;
                };
                if calls[late].invoke < calls[middle].invoke || calls[late].effect.observed().is_none() {
                    continue;
                }
                let first = if *old == INITIAL { None } else { Some(old_first?) };
                let begins = first.is_none_or(|first| calls[first].complete < Some(calls[middle].invoke));
                let ends_late = calls[witness].complete < Some(calls[late].invoke);
                if begins && ends_late {
                    return Some(self.overwritten_proof(first, middle, witness, late, *new));
                }
            }
        }
        None
    }

    fn overwritten_proof(
        &self,
        first: Option<usize>,
        middle: usize,
        evidence: usize,
        late: usize,
        new: State,
    ) -> Proof {
        let calls = &self.problem.calls;
        let subject = self.subject();
        let name = |at: usize| self.named(at, &calls[at]);
        let seen = calls[late].effect.observed().unwrap_or(INITIAL);
        let text = self.value(seen);
        let mut steps = vec![match self.producer(seen) {
            Some(producer) => step(
                format!(
                    "{} saw {text}, which only {} wrote: between the two {subject} held nothing else.",
                    name(late),
                    name(producer)
                ),
                &[late, producer],
            ),
            None => step(
                format!(
                    "{} saw {text}, which {subject} held at first and nothing wrote again: until then it held \
                     nothing else.",
                    name(late)
                ),
                &[late],
            ),
        }];
        for (at, call) in calls.iter().enumerate() {
            // How operations that are not writes of their own belong to one of the two sides.
            if at == late || call.effect.observed().is_none() {
                continue;
            }
            let value = call.effect.observed().unwrap_or(INITIAL);
            if let Some(producer) = self.producer(value) {
                let sentence =
                    format!("{} saw what {} wrote, so it came after it.", name(at), name(producer));
                steps.push(step(sentence, &[at, producer]));
            }
        }
        if let Some(first) = first {
            steps.push(self.before(first, middle));
        }
        steps.push(self.before(evidence, late));
        let overwriter = self.producer(new).unwrap_or(evidence);
        let newer = calls[overwriter].effect.produced().map_or_else(String::new, |value| self.value(value));
        let verb = if matches!(calls[late].effect, Effect::Cas(..)) { "find" } else { "see" };
        let after = first.map(|first| self.producer(seen).unwrap_or(first));
        let mut labels: Vec<usize> = after.into_iter().chain([overwriter, late]).collect();
        labels.dedup();
        let after = after.map_or_else(String::new, |after| format!("after {} and ", label(after)));
        steps.push(step(
            format!(
                "So {} took effect {after}before {}, which had to {verb} {newer} or something newer, but saw {text}.",
                label(overwriter),
                label(late),
            ),
            &labels,
        ));
        let all = &self.interned.problem.calls;
        let value = calls[overwriter].effect.produced();
        let observed = all.iter().any(|call| value.is_some() && call.effect.observed() == value);
        let kind = match calls[late].effect {
            Effect::Cas(..) => AnomalyKind::StaleCas,
            _ if !observed && calls[overwriter].complete.is_some() => AnomalyKind::LostWrite,
            _ => AnomalyKind::StaleRead,
        };
        let missed = name(overwriter);
        let summary = match kind {
            AnomalyKind::LostWrite => format!(
                "{missed} was acknowledged and never seen by anybody; {}, which began later, saw {text} in {subject}",
                name(late)
            ),
            AnomalyKind::StaleCas => {
                format!("{} succeeded, but {missed} had already replaced {text} in {subject}", name(late))
            }
            _ => format!("{} saw {text} in {subject}, which {missed} had already replaced", name(late)),
        };
        Proof { kind, summary, shown: calls.clone(), steps }
    }

    /// An operation that leaves one value and then one that needs another, on a register whose values come again.
    fn replaced(&self) -> Option<Proof> {
        let [first, second] = self.problem.calls[..] else { return None };
        let (Effect::Read(held) | Effect::Write(held) | Effect::Cas(_, held)) = first.effect;
        let needed = second.effect.observed()?;
        if self.is_lock()
            || held == needed
            || self.problem.start != Start::Any
            || first.complete? > second.invoke
        {
            return None;
        }
        // Stale is what was there before; of a value that was not there before, nothing simple can be said.
        let earlier = |call: &Call| call.effect.produced() == Some(needed) && call.invoke < first.invoke;
        if needed != INITIAL && !self.interned.problem.calls.iter().any(earlier) {
            return None;
        }
        let (text, subject) = (self.value(needed), self.subject());
        let (one, other) = (self.named(0, &first), self.named(1, &second));
        let (kind, did) = match second.effect {
            Effect::Cas(..) => (AnomalyKind::StaleCas, "found"),
            Effect::Read(_) | Effect::Write(_) => (AnomalyKind::StaleRead, "saw"),
        };
        let newer = self.value(held);
        let summary = match first.effect {
            Effect::Read(_) => {
                format!("{other} {did} {text} in {subject}, although {one} had already seen {newer}")
            }
            Effect::Write(_) | Effect::Cas(..) => {
                format!("{other} {did} {text} in {subject}, which {one} had already replaced")
            }
        };
        let none = format!(
            "No newer {text} was to be had: every operation that brings {text} into {subject} had completed before \
             {one} began, or began after {other} had been answered.",
        );
        Some(Proof {
            kind,
            summary,
            shown: vec![first, second],
            steps: vec![
                self.before(0, 1),
                step(
                    format!("So {other} had to find {newer}, or something newer, but it {did} {text}."),
                    &[0, 1],
                ),
                step(none, &[0, 1]),
            ],
        })
    }

    /// Within a chain of compare-and-sets: an operation that began after one that must come later had completed.
    fn chained(&self) -> Option<Proof> {
        if !self.unique() || self.is_lock() {
            return None;
        }
        let calls = &self.problem.calls;
        let home = |at: usize| match calls[at].effect {
            Effect::Read(value) | Effect::Write(value) | Effect::Cas(_, value) => value,
        };
        // The compare-and-sets that lead from `from` to `to`, the last first.
        let path = |from: State, to: State| {
            let (mut value, mut path) = (to, Vec::new());
            while value != from && path.len() < calls.len() {
                let producer = self.producer(value)?;
                path.push(producer);
                value = calls[producer].effect.observed()?;
            }
            (value == from && !path.is_empty()).then_some(path)
        };
        let pairs = (0..calls.len()).flat_map(|late| (0..calls.len()).map(move |done| (late, done)));
        let (late, done, mut path) = pairs
            .filter(|(late, done)| {
                calls[*done].complete.is_some_and(|complete| complete < calls[*late].invoke)
            })
            .find_map(|(late, done)| Some((late, done, path(home(late), home(done))?)))?;
        path.reverse();
        let (subject, seen) = (self.subject(), self.value(home(late)));
        let name = |at: usize| self.named(at, &calls[at]);
        let is_read = matches!(calls[late].effect, Effect::Read(_));
        let mut steps = vec![if is_read {
            step(format!("{} saw {seen}, which came into {subject} only once.", name(late)), &[late])
        } else {
            step(format!("{} alone brought {seen} into {subject}.", name(late)), &[late])
        }];
        for at in &path {
            let old = calls[*at].effect.observed().map_or_else(String::new, |value| self.value(value));
            let sentence = format!("{} took effect, so it came after everything that saw {old}.", name(*at));
            steps.push(step(sentence, &[*at]));
        }
        let last = path.last().copied().unwrap_or(done);
        if last != done {
            steps.push(step(
                format!("{} saw what {} wrote, so it came after it.", name(done), name(last)),
                &[done, last],
            ));
        }
        steps.push(self.before(done, late));
        let conclusion = format!(
            "So {} had to come before {}, which had completed before it began.",
            label(late),
            label(done)
        );
        steps.push(step(conclusion, &[late, done]));
        let replacer = path.first().copied().unwrap_or(done);
        let (kind, summary) = if is_read {
            let replaced = name(replacer);
            (
                AnomalyKind::StaleRead,
                format!("{} saw {seen} in {subject}, which {replaced} had already replaced", name(late)),
            )
        } else {
            let done = name(done);
            (AnomalyKind::FutureRead, format!("{done} saw what comes of {} before that began", name(late)))
        };
        Some(Proof { kind, summary, shown: calls.clone(), steps })
    }

    /// Every order that can be begun, and why it ends.
    fn any(&self) -> Proof {
        let calls = &self.problem.calls;
        let labels: Vec<String> = (0..calls.len()).map(label).collect();
        let mut steps = Vec::new();
        match self.problem.start {
            Start::Any => steps.push(step(
                format!(
                    "Whatever {} held before: everything else had completed by then, or can be left out.",
                    self.subject()
                ),
                &[],
            )),
            Start::Known(state) => {
                steps.push(step(format!("At first {} held {}.", self.subject(), self.value(state)), &[]));
            }
        }
        steps.extend(orders::refute(self));
        let summary = format!(
            "no order of {} agrees with real time and with every answer on {}",
            labels.join(", "),
            self.subject()
        );
        Proof { kind: AnomalyKind::Nonlinearizable, summary, shown: calls.clone(), steps }
    }
}
