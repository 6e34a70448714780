//! A witness named, and explained in sentences that can be followed on paper.
//!
//! The name is given only if the witness proves it; see [`AnomalyKind`] for the meaning of each. If no simple
//! argument fits, the sentences go through every possible beginning of an order, and give the reason why each
//! fails.

use duress_history::{Initial, OpType, Scalar};

use super::call::{Call, Effect, INITIAL, Problem, Start, State};
use super::orders;
use super::partition::{Interned, Partition};
use super::source::{Action, End, Since, Source};
use crate::verdict::{
    Anomaly, AnomalyKind, Object, ObjectKind, RelationKind, Role, WitnessOperation, WitnessStart,
};
use crate::witness::{Op, Statement, Witness, say, seconds};

/// Returns the witness `problem` of `part`, whose numbered form is `interned`, as an anomaly.
pub(crate) fn anomaly(part: &Partition<'_>, interned: &Interned<'_>, problem: Problem) -> Anomaly {
    let case = Case::new(part, interned, problem);
    let mut proof = case
        .gone()
        .or_else(|| case.never_produced())
        .or_else(|| case.lock())
        .or_else(|| case.lost_update())
        .or_else(|| case.overwritten())
        .or_else(|| case.chained())
        .or_else(|| if case.has_old_reads() { None } else { case.replaced() })
        .unwrap_or_else(|| case.any());
    let initial = interned.values.first().copied().flatten();
    if part.assumed.initial == Initial::Any && case.problem.start != Start::Any {
        let (value, subject) = (value_text(initial), case.subject());
        let held = format!("{value} was read, and no operation wrote it, so {subject} held it at first.");
        proof.steps.insert(0, step(held, &[]));
    }
    let nil =
        |call: &Call| case.source(call).action == Action::Read(None) && call.effect == Effect::Read(INITIAL);
    if let (Some(initial), true) = (initial, case.problem.calls.iter().any(nil)) {
        let unwritten = format!(
            "A read that answers null sees that nothing was written yet, where {} holds {initial}.",
            case.subject()
        );
        proof.steps.insert(0, step(unwritten, &[]));
    }
    let mut witness = proof.witness.unwrap_or(case.witness);
    for (at, role) in proof.roles {
        witness.assign(at as Op, role);
    }
    let start = match case.problem.start {
        Start::Known(_) => WitnessStart::Initial(initial.cloned()),
        Start::Any => WitnessStart::Any,
    };
    witness.starting(start).anomaly(proof.kind, proof.contradicts as Op, proof.summary, proof.steps)
}

/// The result of an argument. Operations are numbered as the calls of the witness are.
pub(super) struct Proof {
    pub(super) kind: AnomalyKind,
    pub(super) summary: String,
    /// The operation whose answer contradicts the others.
    pub(super) contradicts: usize,
    pub(super) roles: Vec<(usize, Role)>,
    pub(super) steps: Vec<Statement>,
    /// The witness to show instead: with operations that only make it clearer.
    pub(super) witness: Option<Witness>,
}

/// A witness with all that is known of its key.
pub(super) struct Case<'a> {
    part: &'a Partition<'a>,
    pub(super) interned: &'a Interned<'a>,
    /// The operations that cannot be linearized, by invocation.
    pub(super) problem: Problem,
    /// The operation whose answer made them impossible.
    last: usize,
    witness: Witness,
}

/// Returns a sentence about the calls `about`.
pub(super) fn step(sentence: impl Into<String>, about: &[usize]) -> Statement {
    let about: Vec<Op> = about.iter().map(|at| *at as Op).collect();
    say(sentence, &about)
}

/// Returns a value of a register as it is printed.
pub(crate) fn value_text(value: Option<&Scalar>) -> String {
    value.map_or_else(|| "null".to_owned(), Scalar::to_string)
}

fn action_text(source: &Source<'_>) -> String {
    if let (Action::Read(saw), Some((old, new))) = (source.action, source.refused) {
        return format!("cas {} -> {new} refused, saw {}", value_text(old), value_text(saw));
    }
    match source.action {
        Action::Read(value) => format!("read -> {}", value_text(value)),
        Action::Write(Some(value)) => format!("write {value}"),
        Action::Write(None) => "delete".to_owned(),
        Action::Cas(old, new) => format!("cas {} -> {new}", value_text(old)),
        Action::Acquire => "acquire".to_owned(),
        Action::Release => "release".to_owned(),
    }
}

pub(crate) fn shown(source: &Source<'_>, role: Role) -> WitnessOperation {
    let (completion, ended) = match source.end {
        End::Ok { index, time } if source.refused.is_some() => (Some((index, time)), OpType::Fail),
        End::Ok { index, time } => (Some((index, time)), OpType::Ok),
        End::Fail { index, time } => (Some((index, time)), OpType::Fail),
        End::Info { at } => (at, OpType::Info),
    };
    WitnessOperation {
        label: String::new(),
        role,
        index: source.index,
        completion_index: completion.map(|(index, _)| index),
        process: source.process,
        node: source.node.cloned(),
        time: source.time,
        completion_time: completion.map(|(_, time)| time),
        action: action_text(source),
        ended,
        error: source.error.map(str::to_owned),
    }
}

impl<'a> Case<'a> {
    fn new(part: &'a Partition<'a>, interned: &'a Interned<'a>, mut problem: Problem) -> Self {
        let last = (0..problem.calls.len()).max_by_key(|at| problem.calls[*at].complete).unwrap_or(0);
        // Shown, and reasoned about, as they are in the history: a completion that did not matter makes the
        // witness no less impossible.
        let all = &interned.problem.calls;
        for call in &mut problem.calls {
            let at = all.partition_point(|other| other.invoke < call.invoke);
            // Whether it may have taken effect before the witness begins remains.
            call.complete = all[at].complete;
        }
        let operations = problem.calls.iter().map(|call| part.operations.get(call.source as usize));
        let operations = operations.enumerate().map(|(at, source)| (at as Op, shown(&source, Role::Part)));
        let witness = Witness::new(objects(part), operations);
        Self { part, interned, problem, last, witness }
    }

    fn source(&self, call: &Call) -> Source<'a> {
        self.part.operations.get(call.source as usize)
    }

    /// `A`.
    pub(super) fn label(&self, at: usize) -> &str {
        self.witness.label(at as Op)
    }

    /// `A (write 7)`.
    pub(super) fn named(&self, at: usize) -> String {
        self.witness.named(at as Op)
    }

    /// `A (write 7) was answered at 1.204000 s, before C (read -> 3) began at 1.310000 s.`
    pub(super) fn before(&self, one: usize, other: usize) -> Statement {
        self.witness.before(one as Op, other as Op)
    }

    /// Returns the value as it is printed.
    pub(super) fn value(&self, state: State) -> String {
        if self.is_lock() {
            return if state == INITIAL { "free" } else { "held" }.to_owned();
        }
        value_text(self.interned.values.get(state as usize).copied().flatten())
    }

    /// Whether call `at` is a read that may return a value from before it began.
    pub(super) fn may_be_old(&self, at: usize) -> bool {
        self.source(&self.problem.calls[at]).since != Since::Invocation
    }

    /// Returns the statements about reads that may return an earlier value.
    fn old_reads(&self) -> Vec<Statement> {
        let old: Vec<usize> = (0..self.problem.calls.len()).filter(|at| self.may_be_old(*at)).collect();
        let mut steps = Vec::new();
        if !old.is_empty() {
            steps.push(step(
                "A read may be answered with any earlier value: it only has to have a place in the order \
                 before it was answered.",
                &old,
            ));
        }
        for at in old {
            let call = &self.problem.calls[at];
            let (Since::Earlier(since), Some(value)) = (self.source(call).since, call.effect.observed())
            else {
                continue;
            };
            let begun = self.part.operations.iter().find(|source| source.index == since);
            let begun = begun.map_or_else(String::new, |source| format!(" at {}", seconds(source.time)));
            steps.push(step(
                format!(
                    "{} saw {}, which no operation had begun to bring into {} before event {since}{begun}.",
                    self.named(at),
                    self.value(value),
                    self.subject()
                ),
                &[at],
            ));
        }
        steps
    }

    fn has_old_reads(&self) -> bool {
        (0..self.problem.calls.len()).any(|at| self.may_be_old(at))
    }

    pub(super) fn is_lock(&self) -> bool {
        matches!(
            self.part.operations.iter().next().map(|op| op.action),
            Some(Action::Acquire | Action::Release)
        )
    }

    /// Returns the register, as sentences speak of it.
    pub(super) fn subject(&self) -> String {
        match self.part.key {
            Some(key) => key.to_string(),
            None if self.is_lock() => "the lock".to_owned(),
            None => "the register".to_owned(),
        }
    }

    /// Explains a read that saw nothing in a register with an initial value, after a write was acknowledged.
    fn gone(&self) -> Option<Proof> {
        let [call] = self.problem.calls[..] else { return None };
        let Effect::Read(value) = call.effect else { return None };
        let nothing = self.interned.values[value as usize].is_none();
        let deletes = self.part.operations.iter().any(|source| source.action == Action::Write(None));
        if self.problem.start != Start::Known(INITIAL)
            || value == INITIAL
            || !nothing
            || self.is_lock()
            || deletes
        {
            return None;
        }
        // A compare-and-set from a value to itself writes nothing, and shows as well that something is there.
        let read = self.source(&call);
        let acknowledged = |source: &Source<'_>| {
            matches!(source.action, Action::Write(_) | Action::Cas(..))
                && matches!(source.end, End::Ok { index, .. } if index < read.index)
        };
        let write = self.part.operations.iter().rfind(acknowledged)?;
        const WRITE: usize = 0;
        const READ: usize = 1;
        let operations = [(WRITE as Op, shown(&write, Role::Write)), (READ as Op, shown(&read, Role::Read))];
        let witness = Witness::new(objects(self.part), operations);
        let (subject, initial) = (self.subject(), self.value(INITIAL));
        let (written, seen) = (witness.named(WRITE as Op), witness.named(READ as Op));
        Some(Proof {
            kind: AnomalyKind::LostWrite,
            summary: format!("{seen} saw nothing in {subject} after {written} was acknowledged"),
            contradicts: READ,
            roles: Vec::new(),
            steps: vec![
                witness.before(WRITE as Op, READ as Op),
                step(format!("{seen} saw that {subject} holds nothing."), &[READ]),
                step(
                    format!("But at first {subject} held {initial}, and no operation removes a value."),
                    &[],
                ),
            ],
            witness: Some(witness),
        })
    }

    /// Explains one operation that saw a value that no operation can have produced.
    fn never_produced(&self) -> Option<Proof> {
        let [call] = self.problem.calls[..] else { return None };
        let value = call.effect.observed()?;
        if self.problem.start != Start::Known(INITIAL) || value == INITIAL || self.is_lock() {
            return None;
        }
        let complete = call.complete?;
        let producers =
            self.interned.problem.calls.iter().filter(|other| other.effect.produced() == Some(value));
        let producer = producers.min_by_key(|other| other.invoke);
        if producer.is_some_and(|producer| producer.invoke < complete) {
            return None;
        }
        // A compare-and-set that was refused may have seen the very value that it was to write.
        let is_another = |source: &Source<'_>| source.index != self.source(&call).index;
        let failed = || {
            let mut operations = self.part.operations.iter();
            operations.find(|source| is_another(source) && self.failed_to_write(source, value))
        };
        let (kind, writer) = match producer {
            Some(producer) => (AnomalyKind::FutureRead, Some(self.source(producer))),
            None => match failed() {
                Some(failed) => (AnomalyKind::AbortedRead, Some(failed)),
                None => (AnomalyKind::PhantomRead, None),
            },
        };
        const READ: usize = 0;
        const WRITER: usize = 1;
        let read = (READ as Op, shown(&self.source(&call), Role::Read));
        let writer = writer.map(|writer| (WRITER as Op, shown(&writer, Role::Write)));
        let witness = Witness::new(objects(self.part), [read].into_iter().chain(writer));
        let (text, subject, seen) = (self.value(value), self.subject(), witness.named(READ as Op));
        let held = step(format!("At first {subject} held {}.", self.value(INITIAL)), &[]);
        let saw = step(format!("{seen} saw {text}."), &[READ]);
        let (summary, steps) = match kind {
            AnomalyKind::FutureRead => {
                let writer = witness.named(WRITER as Op);
                let first = format!("{writer}, the first to write {text}, began only after that.");
                (
                    format!("{seen} saw {text} in {subject} before {writer}, the first to write it, began"),
                    vec![held, saw, witness.before(READ as Op, WRITER as Op), step(first, &[WRITER])],
                )
            }
            AnomalyKind::AbortedRead => {
                let writer = witness.named(WRITER as Op);
                let why = failed().and_then(|failed| failed.error);
                let why = why.map_or_else(String::new, |error| format!(" ({error})"));
                (
                    format!(
                        "{seen} saw {text} in {subject}, but only operations that failed were to write {text}"
                    ),
                    vec![
                        held,
                        saw.relates(RelationKind::WriteRead, WRITER as Op, READ as Op),
                        step(
                            format!(
                                "But {writer} failed{why}, that is, certainly did not happen, and only operations that failed were to write {text}."
                            ),
                            &[WRITER],
                        ),
                        step(
                            "Either it took effect although it was reported as failed, or the client recorded as failed \
                             what may have happened: a time-out or a broken connection is of unknown outcome.",
                            &[WRITER],
                        ),
                    ],
                )
            }
            _ => {
                let why = format!("no operation in the whole history writes {text}");
                let summary = format!("{seen} saw {text} in {subject}, but {why}");
                let never = step(format!("But {why}: it cannot have been there."), &[READ]);
                (summary, [held, saw, never].into_iter().chain(self.same_text(value)).collect())
            }
        };
        Some(Proof { kind, summary, contradicts: READ, roles: Vec::new(), steps, witness: Some(witness) })
    }

    fn failed_to_write(&self, source: &Source<'_>, value: State) -> bool {
        if let Some((_, new)) = source.refused {
            return Some(new) == self.interned.values[value as usize];
        }
        let new = match source.action {
            Action::Write(new) => new,
            Action::Cas(_, new) => Some(new),
            Action::Read(_) | Action::Acquire | Action::Release => return false,
        };
        matches!(source.end, End::Fail { .. }) && new == self.interned.values[value as usize]
    }

    /// That two values of different kinds are printed alike, where `value` is one of them.
    fn same_text(&self, value: State) -> Option<Statement> {
        let text = self.value(value);
        let alike = |other: &&Scalar| other.to_string() == text;
        let kinds: Vec<&str> =
            self.interned.values.iter().flatten().copied().filter(alike).map(Scalar::kind).collect();
        (kinds.len() > 1).then(|| {
            let both = kinds.join(" and as ");
            step(format!("{text} occurs as {both}, and those are different values."), &[])
        })
    }

    /// Explains two acquisitions of a lock without a release between them, or a release of a lock that was
    /// not held.
    fn lock(&self) -> Option<Proof> {
        if !self.is_lock() {
            return None;
        }
        let calls = &self.problem.calls;
        let acquire = |call: &Call| call.effect.observed() == Some(INITIAL);
        let subject = self.subject();
        match calls[..] {
            [one, other] if acquire(&one) && acquire(&other) => {
                let (first, second) = (self.named(0), self.named(1));
                let mut steps = vec![
                    step(format!("{first} succeeded, so {subject} was held after it."), &[0]),
                    step(format!("{second} succeeded, so {subject} was free before it."), &[1]),
                ];
                if one.complete.is_some_and(|complete| complete < other.invoke) {
                    steps.push(self.before(0, 1));
                }
                steps.push(step(
                    "Every other operation had completed before both, or can be left out: no release can have taken \
                     effect between the two, whichever was first.",
                    &[0, 1],
                ));
                Some(Proof {
                    kind: AnomalyKind::DoubleAcquire,
                    summary: format!(
                        "{first} and {second} both took {subject}, and no release can lie between"
                    ),
                    contradicts: 1,
                    roles: vec![(0, Role::Acquire), (1, Role::Acquire)],
                    steps,
                    witness: None,
                })
            }
            [one] if !acquire(&one) && self.problem.start == Start::Known(INITIAL) => {
                let release = self.named(0);
                Some(Proof {
                    kind: AnomalyKind::UnheldRelease,
                    summary: format!("{release} succeeded, but {subject} cannot have been held"),
                    contradicts: 0,
                    roles: vec![(0, Role::Release)],
                    witness: None,
                    steps: vec![
                        step(format!("At first {subject} was free."), &[]),
                        step(format!("{release} succeeded, so {subject} was held before it."), &[0]),
                        step("But no acquisition had begun that could have taken it.", &[0]),
                    ],
                })
            }
            [one, other] if !acquire(&one) && !acquire(&other) => {
                let (first, second) = (self.named(0), self.named(1));
                Some(Proof {
                    kind: AnomalyKind::UnheldRelease,
                    summary: format!(
                        "{first} and {second} both released {subject}, and no acquire can lie between"
                    ),
                    contradicts: 1,
                    roles: vec![(0, Role::Release), (1, Role::Release)],
                    witness: None,
                    steps: vec![
                        step(format!("{first} succeeded, so {subject} was free after it."), &[0]),
                        step(format!("{second} succeeded, so {subject} was held before it."), &[1]),
                        step("No acquisition can have taken effect between the two.", &[0, 1]),
                    ],
                })
            }
            _ => None,
        }
    }

    /// Returns every order that can be begun, and why it ends.
    fn any(&self) -> Proof {
        let mut steps = Vec::new();
        match self.problem.start {
            Start::Any => steps.push(step(
                format!(
                    "The value of {} before does not matter: everything else had completed by then, or can be left out.",
                    self.subject()
                ),
                &[],
            )),
            Start::Known(state) => {
                steps.push(step(format!("At first {} held {}.", self.subject(), self.value(state)), &[]));
            }
        }
        steps.extend(self.old_reads());
        steps.extend(orders::refute(self));
        let summary = format!(
            "no order of {} agrees with real time and with every answer on {}",
            self.witness.labels().join(", "),
            self.subject()
        );
        Proof {
            kind: AnomalyKind::Nonlinearizable,
            summary,
            contradicts: self.last,
            roles: Vec::new(),
            steps,
            witness: None,
        }
    }
}

/// Returns the objects of a witness about the register.
pub(crate) fn objects(part: &Partition<'_>) -> Vec<Object> {
    part.key.map(|key| Object::new(ObjectKind::Key, key)).into_iter().collect()
}
