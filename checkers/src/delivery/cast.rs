//! The operations of a witness, as its sentences name them.

use duress_history::log::{Log, LogMicro, Offset, Offsets, Start};
use duress_history::pairs::Completion;
use duress_history::{Operation, Scalar};

use super::facts::{Facts, Op, known};
use crate::verdict::{Anomaly, AnomalyKind, Outcome, Step, WitnessOperation};
use crate::words::{label, seconds};

/// The operations that prove an anomaly of one partition, labelled by invocation.
pub(super) struct Cast<'a> {
    facts: &'a Facts<'a>,
    key: &'a Scalar,
    ops: Vec<Op>,
    /// The offsets that matter: of what else a poll gave, witnesses are silent.
    offsets: Vec<u64>,
}

impl<'a> Cast<'a> {
    pub(super) fn new(
        facts: &'a Facts<'a>,
        key: &'a Scalar,
        ops: impl IntoIterator<Item = Op>,
        offsets: impl IntoIterator<Item = u64>,
    ) -> Self {
        let mut ops: Vec<Op> = ops.into_iter().collect();
        ops.sort_unstable();
        ops.dedup();
        Self { facts, key, ops, offsets: offsets.into_iter().collect() }
    }

    fn at(&self, op: Op) -> usize {
        self.ops.partition_point(|other| *other < op)
    }

    /// `B (poll t0-2 -> 7@15)`.
    pub(super) fn named(&self, op: Op) -> String {
        format!("{} ({})", label(self.at(op)), self.action(op))
    }

    /// A sentence about `ops`.
    pub(super) fn step(&self, sentence: String, ops: &[Op]) -> Step {
        let mut at: Vec<usize> = ops.iter().map(|op| self.at(*op)).collect();
        at.sort_unstable();
        at.dedup();
        Step { sentence, labels: at.into_iter().map(label).collect() }
    }

    /// `A (…) was answered at 1.204000 s, before B (…) began at 1.310000 s.`
    pub(super) fn before(&self, one: Op, other: Op) -> Step {
        let (first, second) = (self.named(one), self.named(other));
        let begun = seconds(self.facts.operation(other).time);
        let sentence = match self.facts.operation(one).completion {
            Completion::Ok { index, time, .. } if seconds(time) == begun => format!(
                "{first} was answered by event {index}, before {second} began with event {}.",
                self.facts.begun(other)
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
    pub(super) fn anomaly(&self, kind: AnomalyKind, summary: String, steps: Vec<Step>) -> Anomaly {
        let operations = self.ops.iter().enumerate().map(|(at, op)| self.operation(at, *op)).collect();
        Anomaly { kind, key: Some(self.key.clone()), summary, start: None, operations, steps }
    }

    fn operation(&self, at: usize, op: Op) -> WitnessOperation {
        let operation: &Operation<Log> = self.facts.operation(op);
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
        let key = self.key;
        match known(self.facts.operation(op)) {
            Log::Send(micros) | Log::Poll(micros) | Log::Txn(micros) => self.micros(micros),
            Log::Assign { from: Start::Beginning, .. } => format!("assign {key} from the beginning"),
            Log::Assign { from: Start::Position, .. } => format!("assign {key}"),
            Log::Subscribe(topics) => {
                let topics: Vec<String> = topics.iter().map(Scalar::to_string).collect();
                format!("subscribe {}", topics.join(" "))
            }
            Log::Seek(offsets) => match offsets.get(key) {
                Some(offset) => format!("seek {key} to {offset}"),
                None => "seek".to_owned(),
            },
            Log::Commit(offsets) => self.offset("commit", offsets.as_ref()),
            Log::Committed(offsets) => self.offset("committed", offsets.as_ref()),
            Log::EndOffsets(offsets) => self.offset("end-offsets", offsets.as_ref()),
            Log::Crash => "crash".to_owned(),
        }
    }

    fn offset(&self, f: &str, offsets: Option<&Offsets>) -> String {
        match offsets.map(|offsets| offsets.get(self.key)) {
            Some(Some(offset)) => format!("{f} {} -> {offset}", self.key),
            Some(None) => format!("{f} {} -> none", self.key),
            None => format!("{f} {}", self.key),
        }
    }

    /// What sends and polls did in this partition, where it matters.
    fn micros(&self, micros: &[LogMicro]) -> String {
        let key = self.key;
        let mut parts: Vec<String> = Vec::new();
        // More sends than these in one operation would hide those that matter.
        let sends = micros.iter().filter(|micro| matches!(micro, LogMicro::Send { .. })).count();
        for micro in micros {
            match micro {
                LogMicro::Send { key: to, .. } if to != key => {}
                LogMicro::Send { value, offset: Some(offset), .. } => {
                    if sends <= 4 || self.offsets.contains(&offset.0) {
                        parts.push(format!("send {value} to {key} -> {offset}"));
                    }
                }
                LogMicro::Send { value, offset: None, .. } => parts.push(format!("send {value} to {key}")),
                LogMicro::Poll(None) => parts.push("poll".to_owned()),
                LogMicro::Poll(Some(polled)) => {
                    let messages: &[(Offset, Scalar)] = polled.get(key).map_or(&[], Vec::as_slice);
                    let shown: Vec<String> = messages
                        .iter()
                        .filter(|(Offset(offset), _)| self.offsets.contains(offset))
                        .map(|(offset, value)| format!("{value}@{offset}"))
                        .collect();
                    let more = messages.len() - shown.len();
                    parts.push(match (shown.is_empty(), more) {
                        (true, 0) => format!("poll {key} -> nothing"),
                        (true, 1) => format!("poll {key} -> 1 message"),
                        (true, more) => format!("poll {key} -> {more} messages"),
                        (false, 0) => format!("poll {key} -> {}", shown.join(" ")),
                        (false, more) => format!("poll {key} -> {} and {more} more", shown.join(" ")),
                    });
                }
            }
        }
        if parts.is_empty() { "nothing here".to_owned() } else { parts.join(", ") }
    }
}
