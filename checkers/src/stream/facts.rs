//! The facts of a history about a stream: inputs, attempts, and the outputs that were read.

use std::collections::BTreeMap;

use duress_history::log::Offset;
use duress_history::pairs::Completion;
use duress_history::stream::{Output, PartRead, Progress, Stream, StreamRecord};
use duress_history::{Operation, Scalar};
use rustc_hash::FxHashMap;

use crate::delivery::facts::WriteStatus;
use crate::witness::Op;

/// One input as it was sent.
#[derive(Debug)]
pub(super) struct Input<'a> {
    pub(super) op: Op,
    pub(super) partition: &'a Scalar,
    pub(super) key: &'a Scalar,
    pub(super) value: &'a Scalar,
    pub(super) status: WriteStatus,
}

impl Input<'_> {
    /// Returns the offset that its acknowledgement gives.
    pub(super) fn offset(&self) -> Option<u64> {
        match self.status {
            WriteStatus::Acknowledged(offset) => offset,
            WriteStatus::Failed | WriteStatus::Unknown => None,
        }
    }
}

/// One attempt to process inputs.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    pub(super) op: Op,
    pub(super) status: WriteStatus,
    /// The outputs that it committed, where they are known.
    outputs: Option<&'a [Output]>,
}

impl<'a> Attempt<'a> {
    /// Returns the outputs that it is known to have committed.
    pub(super) fn outputs(&self) -> &'a [Output] {
        self.outputs.unwrap_or_default()
    }

    /// Whether it may have written this output: its answer has it, or lists none.
    pub(super) fn may_have_written(&self, partition: &Scalar, record: &StreamRecord) -> bool {
        let StreamRecord { key, count, value, .. } = record;
        let is_this = |output: &Output| {
            output.partition == *partition
                && output.key == *key
                && output.count == *count
                && output.value == *value
        };
        self.outputs.is_none_or(|outputs| outputs.iter().any(is_this))
    }
}

/// One read's result for one partition.
#[derive(Debug)]
pub(super) struct Part<'a> {
    pub(super) op: Op,
    pub(super) partition: &'a Scalar,
    pub(super) read: &'a PartRead,
}

/// An output as it was first read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    pub(super) op: Op,
    pub(super) record: &'a StreamRecord,
}

/// The facts of a history about a stream.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) operations: &'a [Operation<Stream>],
    pub(super) inputs: Vec<Input<'a>>,
    /// The input with a value.
    by_value: FxHashMap<&'a Scalar, usize>,
    /// A value that was sent twice.
    pub(super) repeated: Option<&'a Scalar>,
    /// An attempt that was made twice.
    pub(super) repeated_attempt: Option<u64>,
    pub(super) attempts: FxHashMap<u64, Attempt<'a>>,
    /// By partition, and by invocation.
    pub(super) parts: BTreeMap<&'a Scalar, Vec<Part<'a>>>,
    /// The partitions of the outputs, in order.
    pub(super) partitions: Vec<&'a Scalar>,
    /// The outputs that were read, by partition and offset.
    pub(super) seen: BTreeMap<&'a Scalar, BTreeMap<u64, Seen<'a>>>,
    /// The places of the outputs of each value, by partition and offset.
    pub(super) outputs: FxHashMap<&'a Scalar, Vec<(&'a Scalar, u64)>>,
    /// Answers about the progress, by invocation.
    pub(super) progress: Vec<(Op, &'a Progress)>,
    /// The last event of an attempt.
    pub(super) processed_until: u64,
}

/// Whether outputs in the one partition are of inputs in the other: they share the number after the topic's name, or, without a
/// topic, the whole name.
pub(super) fn match_up(one: &Scalar, other: &Scalar) -> bool {
    match (number(one), number(other)) {
        (Some(one), Some(other)) => one == other,
        (None, None) => one == other,
        (_, _) => false,
    }
}

fn number(partition: &Scalar) -> Option<&str> {
    match partition {
        Scalar::Text(text) => text.rsplit_once('-').map(|(_, number)| number),
        Scalar::Int(_) | Scalar::Other(_) => None,
    }
}

impl<'a> Facts<'a> {
    /// Everything that `operations`, in order of invocation, say.
    pub(super) fn new(operations: &'a [Operation<Stream>]) -> Self {
        let mut facts = Self {
            operations,
            inputs: Vec::new(),
            by_value: FxHashMap::default(),
            repeated: None,
            repeated_attempt: None,
            attempts: FxHashMap::default(),
            parts: BTreeMap::new(),
            partitions: Vec::new(),
            seen: BTreeMap::new(),
            outputs: FxHashMap::default(),
            progress: Vec::new(),
            processed_until: 0,
        };
        for (op, operation) in operations.iter().enumerate() {
            facts.operation(op as Op, operation);
        }
        for part in facts.parts.values().flatten() {
            let seen = facts.seen.entry(part.partition).or_default();
            for record in &part.read.records {
                seen.entry(record.offset.0).or_insert(Seen { op: part.op, record });
            }
        }
        for (partition, seen) in &facts.seen {
            for (offset, Seen { record, .. }) in seen {
                facts.outputs.entry(&record.value).or_default().push((*partition, *offset));
            }
        }
        facts.partitions = facts.seen.keys().copied().collect();
        facts
    }

    fn operation(&mut self, op: Op, operation: &'a Operation<Stream>) {
        let (known, status, ended) = match &operation.completion {
            Completion::Ok { answer, index, .. } => (answer, WriteStatus::Acknowledged(None), Some(*index)),
            Completion::Fail { index, .. } => (&operation.action, WriteStatus::Failed, Some(*index)),
            Completion::Info { at, .. } => {
                (&operation.action, WriteStatus::Unknown, at.map(|(index, _)| index))
            }
        };
        match known {
            Stream::Send { partition, key, value, offset } => {
                let status = match (status, offset) {
                    (WriteStatus::Acknowledged(_), Some(Offset(offset))) => {
                        WriteStatus::Acknowledged(Some(*offset))
                    }
                    (status, _) => status,
                };
                if self.by_value.insert(value, self.inputs.len()).is_some() {
                    self.repeated.get_or_insert(value);
                }
                self.inputs.push(Input { op, partition, key, value, status });
            }
            Stream::Process { attempt, outputs, .. } => {
                let outputs = outputs.as_deref();
                if self.attempts.insert(*attempt, Attempt { op, status, outputs }).is_some() {
                    self.repeated_attempt.get_or_insert(*attempt);
                }
                self.processed_until = self.processed_until.max(ended.unwrap_or(operation.index));
            }
            Stream::Read { read: Some(read), .. } => {
                for (partition, read) in read {
                    self.parts.entry(partition).or_default().push(Part { op, partition, read });
                }
            }
            Stream::Progress(Some(progress)) => self.progress.push((op, progress)),
            Stream::Read { read: None, .. } | Stream::Progress(None) => {}
        }
    }

    /// Returns the input with a value.
    pub(super) fn input(&self, value: &Scalar) -> Option<&Input<'a>> {
        self.by_value.get(value).map(|at| &self.inputs[*at])
    }

    /// Returns the index of the event with which `op` began.
    pub(super) fn begun(&self, op: Op) -> u64 {
        self.operations[op as usize].index
    }

    /// Whether `one` was answered before `other` began.
    pub(super) fn precedes(&self, one: Op, other: Op) -> bool {
        match self.operations[one as usize].completion {
            Completion::Ok { index, .. } => index < self.begun(other),
            Completion::Fail { .. } | Completion::Info { .. } => false,
        }
    }

    /// Returns the reads of a partition, by invocation.
    pub(super) fn of(&self, partition: &Scalar) -> &[Part<'a>] {
        self.parts.get(partition).map(Vec::as_slice).unwrap_or_default()
    }

    /// Returns how far reads for which `counts` cover a partition without a gap from its beginning.
    pub(super) fn covered(&self, partition: &Scalar, counts: impl Fn(Op) -> bool) -> u64 {
        let mut parts: Vec<(u64, u64)> = self
            .of(partition)
            .iter()
            .filter(|part| counts(part.op))
            .map(|part| (part.read.from.0, part.read.next.0))
            .collect();
        parts.sort_unstable();
        parts
            .iter()
            .fold(0, |covered, (from, next)| if *from <= covered { covered.max(*next) } else { covered })
    }
}
