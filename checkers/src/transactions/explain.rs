//! Anomalies of transactions in sentences.

use duress_history::Scalar;
use duress_history::txn::{Act, Answer, Elements, Held, Txn};

use super::cycle::{Cycle, Step};
use super::facts::{Facts, Place};
use super::finding::Finding;
use super::graph::{Dependency, Level, NO_KEY};
use super::proof::{Lemma, Proof};
use crate::verdict::{Anomaly, AnomalyKind, Object, ObjectKind, RelationKind, Role};
use crate::witness::{Describe, Op, Statement, Witness, say};

/// The number of list elements shown.
const ELEMENTS_SHOWN: usize = 6;

/// The number of operations of a transaction shown.
const MICROS_SHOWN: usize = 8;

/// An answer that can be described briefly.
pub(super) trait Shown: Answer {
    /// The name of the object: `list`, `register`.
    const OBJECT: &'static str;
    /// The verb for a write: `appended` (4 to x), `wrote` (4 to x).
    const WROTE: &'static str;

    fn shown(&self) -> String;

    /// Returns the elements of a list.
    fn elements(&self) -> &[Scalar];
}

impl Shown for Elements {
    const OBJECT: &'static str = "list";
    const WROTE: &'static str = "appended";

    fn shown(&self) -> String {
        list(&self.0)
    }

    fn elements(&self) -> &[Scalar] {
        &self.0
    }
}

impl Shown for Held {
    const OBJECT: &'static str = "register";
    const WROTE: &'static str = "wrote";

    fn shown(&self) -> String {
        self.0.as_ref().map_or_else(|| "nil".to_owned(), ToString::to_string)
    }

    fn elements(&self) -> &[Scalar] {
        &[]
    }
}

/// Formats `[1 2 3]`; omits the beginning of long lists.
pub(super) fn list(elements: &[Scalar]) -> String {
    let hidden = elements.len().saturating_sub(ELEMENTS_SHOWN);
    let shown: Vec<String> = elements[hidden..].iter().map(ToString::to_string).collect();
    let before = if hidden > 0 { "… " } else { "" };
    format!("[{before}{}]", shown.join(" "))
}

impl<R: Shown> Describe for Txn<R> {
    /// The keys that a witness concerns.
    type Focus = Vec<Scalar>;

    fn describe(&self, keys: &Vec<Scalar>) -> String {
        let about = |key: &Scalar| keys.is_empty() || keys.contains(key);
        let micros: Vec<String> = self
            .micros
            .iter()
            .filter(|micro| about(&micro.key))
            .map(|micro| match &micro.act {
                Act::Write(value) => format!("{} {} {value}", R::WRITE, micro.key),
                Act::Read(Some(answer)) => format!("r {} -> {}", micro.key, answer.shown()),
                Act::Read(None) => format!("r {}", micro.key),
            })
            .collect();
        match micros.len() {
            0 => "transaction on other keys".to_owned(),
            count if count > MICROS_SHOWN => format!("{}, …", micros[..MICROS_SHOWN].join(", ")),
            _ => micros.join(", "),
        }
    }
}

/// The known order of each key's versions, for sentences.
pub(super) trait Reasons<R: Shown> {
    /// Returns other transactions that show why the first of `step` comes before the second.
    fn evidence(&self, facts: &Facts<'_, R>, step: &Step) -> Vec<Op>;

    /// Returns the sentence that explains it.
    fn because(&self, facts: &Facts<'_, R>, step: &Step, witness: &Witness) -> Statement;
}

fn keys<R: Answer>(facts: &Facts<'_, R>, keys: impl IntoIterator<Item = u32>) -> Vec<Scalar> {
    let mut keys: Vec<u32> = keys.into_iter().filter(|key| *key != NO_KEY).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter().map(|key| facts.keys[key as usize].clone()).collect()
}

/// Describes a cycle.
pub(super) fn cycle<R: Shown>(facts: &Facts<'_, R>, reasons: &impl Reasons<R>, cycle: &Cycle) -> Anomaly {
    let steps = &cycle.steps;
    let keys = keys(facts, steps.iter().map(|step| step.key));
    let objects = keys.iter().map(|key| Object::new(ObjectKind::Key, key)).collect();
    let taking = steps.iter().map(|step| (step.from, Role::Transaction));
    let evidence = steps.iter().flat_map(|step| reasons.evidence(facts, step));
    let mut roles: Vec<(Op, Role)> = taking.collect();
    let others: Vec<Op> = evidence.filter(|op| !roles.iter().any(|(known, _)| known == op)).collect();
    roles.extend(others.into_iter().map(|op| (op, Role::Evidence)));
    let witness = Witness::of(objects, facts.operations, &keys, roles);
    let mut argument: Vec<Statement> =
        steps.iter().map(|step| because(facts, reasons, step, &witness)).collect();
    let around: Vec<&str> = steps.iter().map(|step| witness.label(step.from)).collect();
    argument.push(around_again(steps, &witness));
    let summary = format!(
        "{}: {} transactions had to come before each other, in a cycle: {} and {} again",
        cycle.kind,
        steps.len(),
        around.join(", "),
        around[0]
    );
    witness.anomaly(cycle.kind, None, summary, argument)
}

/// Explains a step.
fn because<R: Shown>(
    facts: &Facts<'_, R>,
    reasons: &impl Reasons<R>,
    step: &Step,
    witness: &Witness,
) -> Statement {
    match (step.dependency, step.level) {
        (Dependency::Order, Level::RealTime) => witness.before(step.from, step.to),
        (Dependency::Order, _) => {
            let process = facts.operations[step.from as usize].process;
            let (from, to) = (witness.named(step.from), witness.named(step.to));
            say(format!("Process {process} did {from} before {to}."), &[step.from, step.to]).relates(
                RelationKind::Process,
                step.from,
                step.to,
            )
        }
        _ => reasons.because(facts, step, witness),
    }
}

/// Says what the steps of a cycle amount to.
fn around_again(steps: &[Step], witness: &Witness) -> Statement {
    let around: Vec<&str> = steps.iter().map(|step| witness.label(step.from)).collect();
    let all: Vec<Op> = steps.iter().map(|step| step.from).collect();
    let sentence = format!(
        "So each of {} had to come before the next, and the last before the first.",
        around.join(", ")
    );
    say(sentence, &all)
}

/// Describes the proof that no order of transactions explains the answers.
pub(super) fn proof(
    facts: &Facts<'_, Held>,
    reasons: &impl Reasons<Held>,
    kind: AnomalyKind,
    proof: &Proof,
) -> Anomaly {
    let derived: Vec<(Op, Op)> = proof.lemmas.iter().map(|lemma| (lemma.so.from, lemma.so.to)).collect();
    let is_derived = |step: &Step| derived.contains(&(step.from, step.to));
    let all_steps = || proof.lemmas.iter().flat_map(|lemma| &lemma.way).chain(&proof.cycle);
    let keys = keys(facts, all_steps().map(|step| step.key).chain(proof.lemmas.iter().map(|it| it.so.key)));
    let objects = keys.iter().map(|key| Object::new(ObjectKind::Key, key)).collect();
    let mut roles: Vec<(Op, Role)> = proof.cycle.iter().map(|step| (step.from, Role::Transaction)).collect();
    let shown = all_steps().filter(|step| !is_derived(step)).flat_map(|step| reasons.evidence(facts, step));
    let named = proof.lemmas.iter().flat_map(|lemma| {
        let so = lemma.so;
        [so.from, so.to, so.between.0, so.between.1]
    });
    let others: Vec<Op> =
        all_steps().flat_map(|step| [step.from, step.to]).chain(named).chain(shown).collect();
    for op in others {
        if !roles.iter().any(|(known, _)| *known == op) {
            roles.push((op, Role::Evidence));
        }
    }
    let witness = Witness::of(objects, facts.operations, &keys, roles);
    let mut argument: Vec<Statement> = Vec::new();
    let mut said: Vec<(Op, Op)> = Vec::new();
    let mut explain = |steps: &[Step], argument: &mut Vec<Statement>| {
        for step in steps {
            let ends = (step.from, step.to);
            if !is_derived(step) && !said.contains(&ends) {
                said.push(ends);
                argument.push(because(facts, reasons, step, &witness));
            }
        }
    };
    for Lemma { way, so } in &proof.lemmas {
        explain(way, &mut argument);
        let key = facts.keys[so.key as usize];
        let label = |op: Op| witness.label(op);
        let (from, to, (first, second)) = (so.from, so.to, so.between);
        let sentence = if so.dependency == Dependency::Inferred {
            format!(
                "{} came before {}, and both {} and {} wrote {key}, which {} read from {}: so {} came before {}.",
                label(from),
                label(second),
                label(from),
                label(to),
                label(second),
                label(to),
                label(from),
                label(to)
            )
        } else {
            format!(
                "{} came before {}, both wrote {key}, and {} read it from {}: so {} came before {}.",
                label(first),
                label(to),
                label(from),
                label(first),
                label(from),
                label(to)
            )
        };
        let relation = match so.dependency {
            Dependency::Inferred => RelationKind::WriteWrite,
            _ => RelationKind::ReadWrite,
        };
        argument.push(say(sentence, &[from, to, first, second]).relates(relation, from, to));
    }
    explain(&proof.cycle, &mut argument);
    argument.push(around_again(&proof.cycle, &witness));
    let around: Vec<&str> = proof.cycle.iter().map(|step| witness.label(step.from)).collect();
    let summary = format!(
        "{kind}: no order explains every answer; {} had to come before each other, in a cycle",
        around.join(", ")
    );
    witness.anomaly(kind, None, summary, argument)
}

/// Returns the kind of relation of a step.
pub(super) fn relation(step: &Step) -> RelationKind {
    match step.dependency {
        Dependency::WriteWrite | Dependency::Inferred => RelationKind::WriteWrite,
        Dependency::WriteRead => RelationKind::WriteRead,
        Dependency::ReadWrite => RelationKind::ReadWrite,
        Dependency::Order | Dependency::Link => RelationKind::RealTime,
    }
}

/// Formats the answer of an operation of a transaction.
fn answered<R: Shown>(facts: &Facts<'_, R>, place: Place) -> String {
    match facts.act(place) {
        Act::Read(Some(answer)) => answer.shown(),
        Act::Read(None) => "nothing".to_owned(),
        Act::Write(value) => value.to_string(),
    }
}

/// Describes an anomaly that needs no cycle.
pub(super) fn finding<R: Shown>(facts: &Facts<'_, R>, finding: &Finding) -> Anomaly {
    let key = facts.keys[finding.key as usize];
    let object = vec![Object::new(ObjectKind::Key, key)];
    let place = finding.places[0];
    let role = |place: &Place| match facts.act(*place) {
        Act::Write(_) => Role::Write,
        Act::Read(_) => Role::Read,
    };
    let roles = finding.places.iter().map(|place| (place.op, role(place)));
    let witness = Witness::of(object, facts.operations, &vec![key.clone()], roles);
    let named = |at: usize| witness.named(finding.places[at].op);
    let ops = |many: usize| finding.places.iter().take(many).map(|place| place.op).collect::<Vec<Op>>();
    let value = finding.value.as_ref().map_or_else(|| "nil".to_owned(), ToString::to_string);
    let wrote = R::WROTE;
    let object = R::OBJECT;
    let (read, source) = (place.op, finding.places.get(1).map(|place| place.op));
    let from = |statement: Statement| match source {
        Some(source) if source != read => statement.relates(RelationKind::WriteRead, source, read),
        _ => statement,
    };
    let (summary, steps) = match finding.kind {
        AnomalyKind::G1a => (
            format!("{} saw {value} in {key}, which only a transaction {wrote} that failed", named(0)),
            vec![
                say(format!("{} {wrote} {value}, and failed: it cannot have happened.", named(1)), &ops(2)),
                from(say(format!("{} saw {value} in {key} all the same.", named(0)), &ops(2))),
                say(
                    "Either a failed transaction took effect, or a client called a time-out a failure.",
                    &ops(2),
                ),
            ],
        ),
        AnomalyKind::G1b => (
            format!("{} saw {value} in {key}, which was not what its transaction left there", named(0)),
            vec![
                from(say(format!("{} saw what {} {wrote} to {key} first.", named(0), named(1)), &ops(2))),
                say(format!("{} {wrote} to {key} again, and committed only the last.", named(1)), &ops(2)),
            ],
        ),
        AnomalyKind::PhantomRead => (
            format!("{} saw {value} in {key}, which no transaction ever {wrote}", named(0)),
            vec![say(
                format!(
                    "{} saw {value} in {key}, and no transaction of the history {wrote} that. (If {key} held it at first, say so \
                     with --initial.)",
                    named(0)
                ),
                &ops(1),
            )],
        ),
        AnomalyKind::FutureRead if source.is_some_and(|source| source != read) => (
            format!("{} saw in {key} what was {wrote} only later", named(0)),
            vec![
                from(witness.before(read, finding.places[1].op))
                    .and(&format!("It saw what {} was to bring.", witness.label(finding.places[1].op))),
            ],
        ),
        AnomalyKind::FutureRead => (
            format!("{} saw in {key} what it {wrote} only later itself", named(0)),
            vec![say(
                format!(
                    "{} read {key} as {}, before it {wrote} that itself.",
                    named(0),
                    answered(facts, place)
                ),
                &ops(1),
            )],
        ),
        AnomalyKind::Internal => {
            let before = finding.places[1];
            let had = match facts.act(before) {
                Act::Write(value) => format!("itself {wrote} {value}"),
                Act::Read(_) => format!("itself read {}", answered(facts, before)),
            };
            (
                format!("{} does not agree with itself about {key}", named(0)),
                vec![say(
                    format!("{} {had}, and then read {key} as {}.", named(0), answered(facts, place)),
                    &ops(1),
                )],
            )
        }
        AnomalyKind::DuplicateElements => (
            format!("{} saw an element of {key} twice", named(0)),
            vec![say(
                format!("{} read {key} with an element twice, and each was {wrote} once.", named(0)),
                &ops(1),
            )],
        ),
        // A read contradicts the order of a transaction's own appends.
        AnomalyKind::IncompatibleOrder if matches!(facts.act(finding.places[1]), Act::Write(_)) => {
            let later = answered(facts, finding.places[1]);
            (
                format!("{} saw what {} {wrote} to {key} in another order", named(0), named(1)),
                vec![
                    say(format!("{} {wrote} {value} to {key}, and after that {later}.", named(1)), &ops(2)),
                    say(format!("{} shows {later} in {key}, without {value} before it.", named(0)), &ops(2)),
                ],
            )
        }
        AnomalyKind::IncompatibleOrder => (
            format!("{} and {} saw {key} in orders that contradict each other", named(0), named(1)),
            vec![
                say(format!("{} and {} both read {key}.", named(0), named(1)), &ops(2)),
                say(disagreement(facts, finding, &witness), &ops(2)),
            ],
        ),
        AnomalyKind::CyclicVersions => {
            let around = (0..finding.places.len()).map(|at| {
                let next = finding.places[(at + 1) % finding.places.len()];
                let step = format!(
                    "{} read {key} as {}, and left it as {}.",
                    named(at),
                    answered(facts, finding.places[at]),
                    answered(facts, next)
                );
                say(step, &[finding.places[at].op])
            });
            let mut steps: Vec<Statement> = around.collect();
            steps.push(say(
                "So each of these values was there before the next, and the last before the first.",
                &ops(steps.len()),
            ));
            (format!("{} transactions put the values of {key} into a cycle", finding.places.len()), steps)
        }
        AnomalyKind::DirtyUpdate => (
            format!("{} {wrote} to {key} what rests on {value}, whose transaction failed", named(0)),
            vec![
                say(format!("{} {wrote} {value}, and failed.", named(1)), &ops(2)),
                say(
                    format!("{} shows {value} in {key}, and after it what {} {wrote}.", named(2), named(0)),
                    &ops(3),
                ),
            ],
        ),
        // The remaining kind is a lost update.
        _ => (
            format!(
                "{} and {} both changed {key} from the same state: an update is lost",
                named(0),
                named(1)
            ),
            vec![
                say(
                    format!(
                        "{} and {} both read {key} as {}, and then {wrote} to it.",
                        named(0),
                        named(1),
                        answered(facts, place)
                    ),
                    &ops(2),
                ),
                say(format!("Whichever came second did not see the {object} as the first left it."), &ops(2)),
            ],
        ),
    };
    let contradicts = match finding.kind {
        AnomalyKind::LostUpdate
        | AnomalyKind::IncompatibleOrder
        | AnomalyKind::CyclicVersions
        | AnomalyKind::DirtyUpdate => None,
        _ => Some(read),
    };
    witness.anomaly(finding.kind, contradicts, summary, steps)
}

/// Describes where two reads of a list diverge.
fn disagreement<R: Shown>(facts: &Facts<'_, R>, finding: &Finding, witness: &Witness) -> String {
    let elements = |place: Place| match &facts.micros(place.op)[place.micro as usize].act {
        Act::Read(Some(answer)) => answer.elements().to_vec(),
        Act::Read(None) | Act::Write(_) => Vec::new(),
    };
    let [one, other] = [0, 1].map(|at| (finding.places[at].op, elements(finding.places[at])));
    let same = one.1.iter().zip(&other.1).take_while(|(one, other)| one == other).count();
    let at = |(op, elements): &(Op, Vec<Scalar>)| {
        let found = elements.get(same).map_or_else(|| "nothing".to_owned(), ToString::to_string);
        format!("{} has {found}", witness.label(*op))
    };
    format!(
        "In the place number {}, {}, and {}: a list that only grows is never both.",
        same + 1,
        at(&one),
        at(&other)
    )
}
