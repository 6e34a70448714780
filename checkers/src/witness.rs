//! How a witness is put together: its operations are labelled, named in sentences and related to each other.

use duress_history::pairs::Completion;
use duress_history::{OpType, Operation};

use crate::verdict::{
    Anomaly, AnomalyKind, Object, Relation, RelationKind, Role, Step, WitnessOperation, WitnessStart,
};

/// The number of an operation, by which a checker names it to its witness: mostly its place in the list that is checked.
pub(crate) type Op = u32;

/// How an operation is described in a witness.
pub(crate) trait Describe {
    /// The subject of a witness; other parts of an operation are left out.
    type Focus;

    /// Describes the action, in few words.
    fn describe(&self, focus: &Self::Focus) -> String;

    /// Describes the action of an operation without an answer.
    fn describe_asked(&self, focus: &Self::Focus) -> String {
        self.describe(focus)
    }
}

/// The operations that prove an anomaly, by invocation.
pub(crate) struct Witness {
    objects: Vec<Object>,
    start: Option<WitnessStart>,
    operations: Vec<(Op, WitnessOperation)>,
}

/// A sentence of an argument, the operations that it speaks of, and the relations that it is the reason of.
pub(crate) struct Statement {
    sentence: String,
    about: Vec<Op>,
    relations: Vec<(RelationKind, Op, Op)>,
}

/// Returns a sentence about the operations `about`.
pub(crate) fn say(sentence: impl Into<String>, about: &[Op]) -> Statement {
    Statement { sentence: sentence.into(), about: about.to_vec(), relations: Vec::new() }
}

impl Statement {
    /// It is the reason why `from` comes before `to`.
    pub(crate) fn relates(mut self, kind: RelationKind, from: Op, to: Op) -> Self {
        self.relations.push((kind, from, to));
        self
    }

    /// It continues with another sentence.
    pub(crate) fn and(mut self, sentence: &str) -> Self {
        self.sentence = format!("{} {sentence}", self.sentence);
        self
    }
}

impl Witness {
    /// Returns a witness about `objects`; an operation that is named twice has the first of its roles.
    pub(crate) fn new(
        objects: Vec<Object>,
        operations: impl IntoIterator<Item = (Op, WitnessOperation)>,
    ) -> Self {
        Self::in_order(objects, operations.into_iter().collect())
    }

    /// Not generic, so that it is compiled once, and not for every iterator.
    fn in_order(objects: Vec<Object>, mut operations: Vec<(Op, WitnessOperation)>) -> Self {
        operations.sort_by_key(|(op, shown)| (shown.index, *op));
        operations.dedup_by_key(|(op, _)| *op);
        for (at, (_, shown)) in operations.iter_mut().enumerate() {
            shown.label = label(at);
        }
        Self { objects, start: None, operations }
    }

    /// Returns a witness of operations of a history, described with regard to `focus`.
    pub(crate) fn of<A: Describe>(
        objects: Vec<Object>,
        history: &[Operation<A>],
        focus: &A::Focus,
        roles: impl IntoIterator<Item = (Op, Role)>,
    ) -> Self {
        let shown = |(op, role)| (op, shown(&history[op as usize], focus, role));
        Self::new(objects, roles.into_iter().map(shown))
    }

    /// Sets the assumption about the object before the first of its operations.
    pub(crate) fn starting(mut self, start: WitnessStart) -> Self {
        self.start = Some(start);
        self
    }

    /// Gives `op` another role.
    pub(crate) fn assign(&mut self, op: Op, role: Role) {
        if let Some((_, shown)) = self.operations.iter_mut().find(|(other, _)| *other == op) {
            shown.role = role;
        }
    }

    fn shown(&self, op: Op) -> &WitnessOperation {
        let shown = self.operations.iter().find(|(other, _)| *other == op);
        &shown.expect("a witness is asked for its own operations only").1
    }

    /// `A`, `B`, …
    pub(crate) fn labels(&self) -> Vec<&str> {
        self.operations.iter().map(|(_, shown)| shown.label.as_str()).collect()
    }

    /// `B`.
    pub(crate) fn label(&self, op: Op) -> &str {
        &self.shown(op).label
    }

    /// `B (poll t0-2 -> 7@15)`.
    pub(crate) fn named(&self, op: Op) -> String {
        let shown = self.shown(op);
        format!("{} ({})", shown.label, shown.action)
    }

    /// `A (…) was answered at 1.204000 s, before B (…) began at 1.310000 s.`
    pub(crate) fn before(&self, one: Op, other: Op) -> Statement {
        let (first, second) = (self.named(one), self.named(other));
        let (one_shown, other_shown) = (self.shown(one), self.shown(other));
        let begun = seconds(other_shown.time);
        let sentence = match (one_shown.completion_time.map(seconds), one_shown.completion_index) {
            // If the times read alike, or were not recorded, the order of events decides.
            (Some(ended), Some(index)) if ended == begun => format!(
                "{first} was answered by event {index}, before {second} began with event {}.",
                other_shown.index
            ),
            (Some(ended), _) => format!("{first} was answered at {ended}, before {second} began at {begun}."),
            (None, _) => format!("{first} came before {second}, which began at {begun}."),
        };
        say(sentence, &[one, other]).relates(RelationKind::RealTime, one, other)
    }

    /// Returns the anomaly that the operations prove, in which the answer of `contradicts` contradicts the
    /// others; in a cycle, none does more than the others.
    pub(crate) fn anomaly(
        self,
        kind: AnomalyKind,
        contradicts: impl Into<Option<Op>>,
        summary: String,
        argument: Vec<Statement>,
    ) -> Anomaly {
        let mut relations: Vec<Relation> = Vec::new();
        let mut steps = Vec::with_capacity(argument.len());
        for Statement { sentence, about, relations: related } in argument {
            let mut labels: Vec<(u64, &str)> =
                about.iter().map(|op| (self.shown(*op).index, self.label(*op))).collect();
            labels.sort_unstable();
            labels.dedup();
            for (kind, from, to) in related {
                let (from, to) = (self.label(from).to_owned(), self.label(to).to_owned());
                let known = |other: &Relation| other.kind == kind && other.from == from && other.to == to;
                if !relations.iter().any(known) {
                    relations.push(Relation { from, to, kind, because: sentence.clone() });
                }
            }
            let labels = labels.into_iter().map(|(_, label)| label.to_owned()).collect();
            steps.push(Step { sentence, labels });
        }
        let contradicts = contradicts.into().map(|op| self.label(op).to_owned());
        let operations = self.operations.into_iter().map(|(_, shown)| shown).collect();
        Anomaly {
            kind,
            objects: self.objects,
            summary,
            start: self.start,
            operations,
            relations,
            contradicts,
            steps,
        }
    }
}

/// Returns an operation as a witness shows it, without its label.
pub(crate) fn shown<A: Describe>(operation: &Operation<A>, focus: &A::Focus, role: Role) -> WitnessOperation {
    let asked = || operation.action.describe_asked(focus);
    let (completion, ended, error, action) = match &operation.completion {
        Completion::Ok { index, time, answer } => {
            (Some((*index, *time)), OpType::Ok, None, answer.describe(focus))
        }
        Completion::Fail { index, time, error } => {
            (Some((*index, *time)), OpType::Fail, error.clone(), asked())
        }
        Completion::Info { at, error } => (*at, OpType::Info, error.clone(), asked()),
    };
    WitnessOperation {
        label: String::new(),
        role,
        index: operation.index,
        completion_index: completion.map(|(index, _)| index),
        process: operation.process,
        node: operation.node.clone(),
        time: operation.time,
        completion_time: completion.map(|(_, time)| time),
        action,
        ended,
        error: error.map(|error| error.text),
    }
}

/// Returns the label of the `at`th operation of a witness: `A`, `B`, … `Z`, `A1`, `B1`, …
fn label(at: usize) -> String {
    let letter = char::from(b'A' + (at % 26) as u8);
    if at < 26 { letter.to_string() } else { format!("{letter}{}", at / 26) }
}

/// Nanoseconds as seconds, to the microsecond if the millisecond does not suffice.
pub(crate) fn seconds(time: u64) -> String {
    format!("{}.{:06} s", time / 1_000_000_000, time % 1_000_000_000 / 1_000)
}

#[cfg(test)]
mod tests {
    use duress_history::{Process, Scalar};

    use super::*;
    use crate::verdict::ObjectKind;

    fn transaction(index: u64, action: &str) -> (Op, WitnessOperation) {
        let shown = WitnessOperation {
            label: String::new(),
            role: Role::Transaction,
            index,
            completion_index: Some(index + 10),
            process: Process(index),
            node: None,
            time: index,
            completion_time: Some(index + 10),
            action: action.to_owned(),
            ended: OpType::Ok,
            error: None,
        };
        (index as Op, shown)
    }

    #[test]
    fn a_cycle_between_transactions_is_a_witness_like_any_other() {
        let objects = ["T1", "T2"].map(|name| Object::new(ObjectKind::Transaction, &Scalar::from(name)));
        let witness = Witness::new(
            objects.to_vec(),
            [transaction(1, "append x 1, r y [1]"), transaction(0, "append y 1, r x [1]")],
        );
        let saw = |of: Op, by: Op| {
            say(format!("{} read what {} appended.", witness.named(by), witness.named(of)), &[of, by])
                .relates(RelationKind::WriteRead, of, by)
        };
        let steps = vec![saw(1, 0), saw(0, 1), say("So each came before the other.", &[0, 1])];
        let anomaly = witness.anomaly(AnomalyKind::Nonlinearizable, None, "a cycle".to_owned(), steps);
        let edges: Vec<String> = anomaly
            .relations
            .iter()
            .map(|edge| format!("{}{}: {}", edge.from, edge.to, edge.because))
            .collect();
        assert_eq!(
            edges,
            [
                "BA: A (append y 1, r x [1]) read what B (append x 1, r y [1]) appended.",
                "AB: B (append x 1, r y [1]) read what A (append y 1, r x [1]) appended.",
            ]
        );
        assert_eq!(anomaly.contradicts, None);
        assert_eq!(anomaly.steps[2].labels, ["A", "B"]);
    }
}
