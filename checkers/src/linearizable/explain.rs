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
use crate::words::{label, seconds};

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
        start: Some(match case.problem.start {
            Start::Known(_) => WitnessStart::Initial(part.initial.cloned()),
            Start::Any => WitnessStart::Any,
        }),
        operations,
        steps: proof.steps,
    }
}

/// What an argument came to.
pub(super) struct Proof {
    pub(super) kind: AnomalyKind,
    pub(super) summary: String,
    /// The witness, by invocation, with operations that only make it clearer.
    pub(super) shown: Vec<Call>,
    pub(super) steps: Vec<Step>,
}

/// A witness with all that is known of its key.
pub(super) struct Case<'a> {
    part: &'a Partition<'a>,
    pub(super) interned: &'a Interned<'a>,
    /// The witness.
    pub(super) problem: Problem,
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
    pub(super) fn before(&self, one: usize, other: usize) -> Step {
        let calls = &self.problem.calls;
        let (first, second) = (&calls[one], &calls[other]);
        let done = match first.effect {
            Effect::Read(_) => "was answered",
            Effect::Write(_) | Effect::Cas(..) => "was acknowledged",
        };
        let (first_named, second_named) = (self.named(one, first), self.named(other, second));
        let (completed, begun) = (self.completed(first), self.begun(second));
        let sentence = match self.source(first).end {
            // Times that read alike, or were never recorded, say nothing: the events' order does.
            End::Ok { index, .. } if completed == begun => format!(
                "{first_named} {done} by event {index}, before {second_named} began with event {}.",
                self.source(second).index,
            ),
            _ => format!("{first_named} {done} at {completed}, before {second_named} began at {begun}."),
        };
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
