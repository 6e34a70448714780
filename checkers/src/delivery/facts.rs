//! The facts of a history about each partition: its sends, and the records that polls returned.
//!
//! The analyses query these facts in logarithmic time. Only answers of operations that completed are facts;
//! the message of a send of unknown outcome may or may not be in the log.

use duress_history::log::{Log, LogMicro, Offset};
use duress_history::pairs::Completion;
use duress_history::{Allowed, Operation, Scalar};
use rustc_hash::FxHashMap;

pub(super) use crate::witness::Op;

/// The place of a send in its partition's list.
pub(super) type SendId = u32;

/// How a send or another write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteStatus {
    /// It was acknowledged, with the offset if the answer gives it.
    Acknowledged(Option<u64>),
    /// It certainly did not happen.
    Failed,
    /// It may have happened.
    Unknown,
}

/// The lowest and the highest offset at which a message was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) low: u64,
    pub(super) high: u64,
}

/// One message as it was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent<'a> {
    pub(super) op: Op,
    pub(super) value: &'a Scalar,
    pub(super) status: WriteStatus,
    pub(super) seen: Option<Seen>,
}

impl Sent<'_> {
    /// Returns the offset at which the message is, as far as answers say: as acknowledged, or else as read.
    pub(super) fn offset(&self) -> Option<u64> {
        match self.status {
            WriteStatus::Acknowledged(Some(offset)) => Some(offset),
            _ => self.seen.map(|seen| seen.low),
        }
    }

    /// Returns the offset that its acknowledgement gives.
    pub(super) fn acknowledged_at(&self) -> Option<u64> {
        match self.status {
            WriteStatus::Acknowledged(offset) => offset,
            WriteStatus::Failed | WriteStatus::Unknown => None,
        }
    }

    /// Returns the lowest offset at which the message was read, or, where it was not read, as acknowledged:
    /// where answers disagree, the poll that gave it knows better.
    pub(super) fn lowest(&self) -> Option<u64> {
        self.seen.map(|seen| seen.low).or_else(|| self.acknowledged_at())
    }

    /// Whether the message, once it has been read, has to stay.
    pub(super) fn stays(&self, unsettled: Allowed) -> bool {
        unsettled == Allowed::No || self.is_acknowledged()
    }

    pub(super) fn is_acknowledged(&self) -> bool {
        matches!(self.status, WriteStatus::Acknowledged(_))
    }
}

/// One message as a poll gave it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) offset: u64,
    pub(super) op: Op,
    /// Its send; `None` if it was never sent.
    pub(super) send: Option<SendId>,
    pub(super) value: &'a Scalar,
}

/// The facts about one partition.
#[derive(Debug)]
pub(super) struct Partition<'a> {
    pub(super) key: &'a Scalar,
    /// By invocation.
    pub(super) sends: Vec<Sent<'a>>,
    /// By offset, then by operation.
    pub(super) records: Vec<Record<'a>>,
    /// The ends that were answered, each with the operation that asked; by invocation.
    pub(super) ends: Vec<(Op, u64)>,
    /// A value that was sent to it twice, which makes the partition undecidable.
    pub(super) repeated: Option<&'a Scalar>,
}

impl<'a> Partition<'a> {
    /// Returns the records at offsets from `from` up to and without `to`.
    pub(super) fn between(&self, from: u64, to: u64) -> &[Record<'a>] {
        let begin = self.records.partition_point(|record| record.offset < from);
        let end = begin + self.records[begin..].partition_point(|record| record.offset < to);
        &self.records[begin..end]
    }

    /// Returns the records at `offset`.
    pub(super) fn at(&self, offset: u64) -> &[Record<'a>] {
        match offset.checked_add(1) {
            Some(next) => self.between(offset, next),
            None => &self.records[self.records.partition_point(|record| record.offset < offset)..],
        }
    }
}

/// The facts of a history about its partitions.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) operations: &'a [Operation<Log>],
    /// By key.
    pub(super) partitions: Vec<Partition<'a>>,
    index: FxHashMap<&'a Scalar, u32>,
}

impl<'a> Facts<'a> {
    /// Everything that `operations`, in order of invocation and no more than 2³², say.
    ///
    /// Time O(n log n) in the messages sent and read.
    pub(super) fn new(operations: &'a [Operation<Log>]) -> Self {
        let mut facts = Self { operations, partitions: Vec::new(), index: FxHashMap::default() };
        facts.name_partitions();
        let writers = facts.sends();
        facts.answers(&writers);
        for partition in &mut facts.partitions {
            partition.records.sort_unstable_by_key(|record| (record.offset, record.op));
        }
        facts
    }

    /// Returns the number of the partition `key`, if an operation sent to it, or was answered with a message
    /// or an offset of it.
    pub(super) fn partition(&self, key: &Scalar) -> Option<u32> {
        self.index.get(key).copied()
    }

    pub(super) fn operation(&self, op: Op) -> &'a Operation<Log> {
        &self.operations[op as usize]
    }

    /// Returns the index of the event with which `op` was answered; `None` if it was not.
    pub(super) fn answered(&self, op: Op) -> Option<u64> {
        match self.operation(op).completion {
            Completion::Ok { index, .. } => Some(index),
            Completion::Fail { .. } | Completion::Info { .. } => None,
        }
    }

    /// Returns the index of the event with which `op` began.
    pub(super) fn begun(&self, op: Op) -> u64 {
        self.operation(op).index
    }

    /// Whether `one` was answered before `other` began.
    pub(super) fn precedes(&self, one: Op, other: Op) -> bool {
        self.answered(one).is_some_and(|answered| answered < self.begun(other))
    }

    fn name_partitions(&mut self) {
        let mut keys: Vec<&'a Scalar> = Vec::new();
        let mut add = |key: &'a Scalar| {
            self.index.entry(key).or_insert_with(|| {
                keys.push(key);
                0
            });
        };
        for operation in self.operations {
            let known = known(operation);
            for micro in known.micros() {
                match micro {
                    LogMicro::Send { key, .. } => add(key),
                    LogMicro::Poll(polled) => {
                        polled.iter().flat_map(|polled| polled.keys()).for_each(&mut add)
                    }
                }
            }
            if let Log::Commit(Some(offsets))
            | Log::Committed(Some(offsets))
            | Log::EndOffsets(Some(offsets)) = known
            {
                offsets.keys().for_each(&mut add);
            }
        }
        keys.sort_unstable();
        for (at, key) in keys.into_iter().enumerate() {
            self.index.insert(key, at as u32);
            self.partitions.push(Partition {
                key,
                sends: Vec::new(),
                records: Vec::new(),
                ends: Vec::new(),
                repeated: None,
            });
        }
    }

    /// Lists the sends, and says by partition who sent what.
    fn sends(&mut self) -> Vec<FxHashMap<&'a Scalar, SendId>> {
        let mut writers = vec![FxHashMap::default(); self.partitions.len()];
        for (op, operation) in self.operations.iter().enumerate() {
            for micro in known(operation).micros() {
                let LogMicro::Send { key, value, offset } = micro else { continue };
                let at = self.index[key] as usize;
                let status = match operation.completion {
                    Completion::Ok { .. } => WriteStatus::Acknowledged(offset.map(|Offset(offset)| offset)),
                    Completion::Fail { .. } => WriteStatus::Failed,
                    Completion::Info { .. } => WriteStatus::Unknown,
                };
                let partition = &mut self.partitions[at];
                if writers[at].insert(value, partition.sends.len() as SendId).is_some() {
                    partition.repeated.get_or_insert(value);
                }
                partition.sends.push(Sent { op: op as Op, value, status, seen: None });
            }
        }
        writers
    }

    /// Lists what polls gave and which ends were answered.
    fn answers(&mut self, writers: &[FxHashMap<&'a Scalar, SendId>]) {
        for (op, operation) in self.operations.iter().enumerate() {
            let Completion::Ok { answer, .. } = &operation.completion else { continue };
            if let Log::EndOffsets(Some(offsets)) = answer {
                for (key, Offset(end)) in offsets {
                    if let Some(at) = self.index.get(key) {
                        self.partitions[*at as usize].ends.push((op as Op, *end));
                    }
                }
            }
            for micro in answer.micros() {
                let LogMicro::Poll(Some(polled)) = micro else { continue };
                for (key, messages) in polled {
                    let at = self.index[key] as usize;
                    let partition = &mut self.partitions[at];
                    for (Offset(offset), value) in messages {
                        let send = writers[at].get(value).copied();
                        if let Some(send) = send {
                            let seen = &mut partition.sends[send as usize].seen;
                            let Seen { low, high } = seen.unwrap_or(Seen { low: *offset, high: *offset });
                            *seen = Some(Seen { low: low.min(*offset), high: high.max(*offset) });
                        }
                        partition.records.push(Record { offset: *offset, op: op as Op, send, value });
                    }
                }
            }
        }
    }
}

/// Returns the known content of an operation: its answer, or its request.
pub(super) fn known(operation: &Operation<Log>) -> &Log {
    match &operation.completion {
        Completion::Ok { answer, .. } => answer,
        Completion::Fail { .. } | Completion::Info { .. } => &operation.action,
    }
}
