//! The operations of a witness of a log or a table, as its sentences name them.

use duress_history::pairs::Completion;
use duress_history::{Operation, Scalar};

use crate::verdict::{Anomaly, AnomalyKind, Outcome, Step, WitnessOperation};
use crate::words::{label, seconds};

/// The place of an operation in the list that is checked.
pub(crate) type Op = u32;

/// How an operation is told.
pub(crate) trait Told {
    /// What it did to `key` at `offsets`, in few words; of what else it did, a witness is silent.
    fn told(&self, key: &Scalar, offsets: &[u64]) -> String;
}

/// The operations that prove an anomaly of one partition or key, labelled by invocation.
pub(crate) struct Cast<'a, A> {
    operations: &'a [Operation<A>],
    key: &'a Scalar,
    ops: Vec<Op>,
    /// The offsets that matter: of what else a poll gave, witnesses are silent.
    offsets: Vec<u64>,
}

impl<'a, A: Told> Cast<'a, A> {
    pub(crate) fn new(
        operations: &'a [Operation<A>],
        key: &'a Scalar,
        ops: impl IntoIterator<Item = Op>,
        offsets: impl IntoIterator<Item = u64>,
    ) -> Self {
        let mut ops: Vec<Op> = ops.into_iter().collect();
        ops.sort_unstable();
        ops.dedup();
        Self { operations, key, ops, offsets: offsets.into_iter().collect() }
    }

    fn at(&self, op: Op) -> usize {
        self.ops.partition_point(|other| *other < op)
    }

    /// `B (poll t0-2 -> 7@15)`.
    pub(crate) fn named(&self, op: Op) -> String {
        format!("{} ({})", label(self.at(op)), self.action(op))
    }

    /// A sentence about `ops`.
    pub(crate) fn step(&self, sentence: String, ops: &[Op]) -> Step {
        let mut at: Vec<usize> = ops.iter().map(|op| self.at(*op)).collect();
        at.sort_unstable();
        at.dedup();
        Step { sentence, labels: at.into_iter().map(label).collect() }
    }

    /// `A (…) was answered at 1.204000 s, before B (…) began at 1.310000 s.`
    pub(crate) fn before(&self, one: Op, other: Op) -> Step {
        let (first, second) = (self.named(one), self.named(other));
        let begun = seconds(self.operations[other as usize].time);
        let sentence = match self.operations[one as usize].completion {
            Completion::Ok { index, time, .. } if seconds(time) == begun => format!(
                "{first} was answered by event {index}, before {second} began with event {}.",
                self.operations[other as usize].index
            ),
            Completion::Ok { time, .. } => {
                format!("{first} was answered at {}, before {second} began at {begun}.", seconds(time))
            }
            // Nobody asks this of an operation without an answer.
            Completion::Fail { .. } | Completion::Info { .. } => {
                format!("{first} came before {second}, which began at {begun}.")
            }
        };
        self.step(sentence, &[one, other])
    }

    /// The anomaly that they prove.
    pub(crate) fn anomaly(&self, kind: AnomalyKind, summary: String, steps: Vec<Step>) -> Anomaly {
        let operations = self.ops.iter().enumerate().map(|(at, op)| self.operation(at, *op)).collect();
        Anomaly { kind, key: Some(self.key.clone()), summary, start: None, operations, steps }
    }

    fn operation(&self, at: usize, op: Op) -> WitnessOperation {
        let operation = &self.operations[op as usize];
        let (completion, outcome) = match operation.completion {
            Completion::Ok { index, time, .. } => (Some((index, time)), Outcome::Ok),
            Completion::Fail { index, time, .. } => (Some((index, time)), Outcome::Fail),
            Completion::Info { at, .. } => (at, Outcome::Info),
        };
        WitnessOperation {
            label: label(at),
            index: operation.index,
            completion_index: completion.map(|(index, _)| index),
            process: operation.process,
            node: operation.node.clone(),
            time: operation.time,
            completion_time: completion.map(|(_, time)| time),
            action: self.action(op),
            outcome,
        }
    }

    fn action(&self, op: Op) -> String {
        let operation = &self.operations[op as usize];
        let known = match &operation.completion {
            Completion::Ok { answer, .. } => answer,
            Completion::Fail { .. } | Completion::Info { .. } => &operation.action,
        };
        known.told(self.key, &self.offsets)
    }
}
