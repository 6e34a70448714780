//! The facts of a history about a table's log: the writes, and the results of each read.

use duress_history::log::Offset;
use duress_history::pairs::Completion;
use duress_history::table::{PartitionRead, Place, Table, TableRecord};
use duress_history::{Operation, Scalar};
use rustc_hash::FxHashMap;

use crate::delivery::facts::WriteStatus;
use crate::witness::Op;

/// The place of a write in the list of writes.
pub(super) type WriteId = u32;

/// One put or deletion.
#[derive(Debug)]
pub(super) struct Write<'a> {
    pub(super) op: Op,
    pub(super) key: &'a Scalar,
    /// `None` deletes.
    pub(super) value: Option<&'a Scalar>,
    pub(super) status: WriteStatus,
    /// The place in its acknowledgement.
    pub(super) place: Option<(u32, u64)>,
    /// The places where it was read, each once with the first read. For a deletion only if it was
    /// acknowledged, as all deletions of a key are alike.
    pub(super) seen: Vec<(u32, u64, Op)>,
}

/// One read's result for one partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read<'a> {
    pub(super) op: Op,
    pub(super) partition: u32,
    pub(super) read: &'a PartitionRead,
}

/// The facts of a history about a table's log.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) operations: &'a [Operation<Table>],
    /// Their names, in order.
    pub(super) partitions: Vec<&'a Scalar>,
    /// By invocation.
    pub(super) writes: Vec<Write<'a>>,
    /// By invocation.
    pub(super) reads: Vec<Read<'a>>,
    /// The ends that were answered: the operation, the partition, the offset.
    pub(super) ends: Vec<(Op, u32, u64)>,
    /// The write that put a value.
    pub(super) puts: FxHashMap<(&'a Scalar, &'a Scalar), WriteId>,
    /// The writes that deleted a key.
    pub(super) deletions: FxHashMap<&'a Scalar, Vec<WriteId>>,
    /// A key that was given a value twice.
    pub(super) repeated: Option<(&'a Scalar, &'a Scalar)>,
}

impl<'a> Facts<'a> {
    /// Everything that `operations`, in order of invocation, say.
    pub(super) fn new(operations: &'a [Operation<Table>]) -> Self {
        let mut facts = Self {
            operations,
            partitions: Vec::new(),
            writes: Vec::new(),
            reads: Vec::new(),
            ends: Vec::new(),
            puts: FxHashMap::default(),
            deletions: FxHashMap::default(),
            repeated: None,
        };
        facts.name_partitions();
        for (op, operation) in operations.iter().enumerate() {
            facts.operation(op as Op, operation);
        }
        facts.look_up();
        facts
    }

    /// Returns the index of the event with which `op` was answered; `None` if it was not.
    pub(super) fn answered(&self, op: Op) -> Option<u64> {
        match self.operations[op as usize].completion {
            Completion::Ok { index, .. } => Some(index),
            Completion::Fail { .. } | Completion::Info { .. } => None,
        }
    }

    /// Returns the index of the event with which `op` began.
    pub(super) fn begun(&self, op: Op) -> u64 {
        self.operations[op as usize].index
    }

    /// Whether `one` was answered before `other` began.
    pub(super) fn precedes(&self, one: Op, other: Op) -> bool {
        self.answered(one).is_some_and(|answered| answered < self.begun(other))
    }

    fn name_partitions(&mut self) {
        for operation in self.operations {
            let Completion::Ok { answer, .. } = &operation.completion else { continue };
            match answer {
                Table::Put { place: Some(place), .. } | Table::Delete { place: Some(place), .. } => {
                    self.partitions.push(&place.partition);
                }
                Table::ReadLog(Some(read)) => self.partitions.extend(read.keys()),
                Table::EndOffsets(Some(offsets)) => self.partitions.extend(offsets.keys()),
                _ => {}
            }
            // Most answers repeat known places: the list is shortened on the way.
            if self.partitions.len() > 1 << 16 {
                self.partitions.sort_unstable();
                self.partitions.dedup();
            }
        }
        self.partitions.sort_unstable();
        self.partitions.dedup();
    }

    /// Returns the number of the partition `name`, which some answer has named.
    fn partition(&self, name: &Scalar) -> u32 {
        self.partitions.partition_point(|other| *other < name) as u32
    }

    fn operation(&mut self, op: Op, operation: &'a Operation<Table>) {
        let (known, status) = match &operation.completion {
            Completion::Ok { answer, .. } => (answer, WriteStatus::Acknowledged(None)),
            Completion::Fail { .. } => (&operation.action, WriteStatus::Failed),
            Completion::Info { .. } => (&operation.action, WriteStatus::Unknown),
        };
        match known {
            Table::Put { key, value, place } => self.write(op, key, Some(value), status, place.as_ref()),
            Table::Delete { key, place } => self.write(op, key, None, status, place.as_ref()),
            Table::ReadLog(Some(partitions)) => {
                for (name, read) in partitions {
                    self.reads.push(Read { op, partition: self.partition(name), read });
                }
            }
            Table::EndOffsets(Some(offsets)) => {
                for (name, Offset(end)) in offsets {
                    self.ends.push((op, self.partition(name), *end));
                }
            }
            Table::ReadLog(None) | Table::EndOffsets(None) => {}
        }
    }

    fn write(
        &mut self,
        op: Op,
        key: &'a Scalar,
        value: Option<&'a Scalar>,
        status: WriteStatus,
        place: Option<&'a Place>,
    ) {
        let id = self.writes.len() as WriteId;
        match value {
            Some(value) => {
                if self.puts.insert((key, value), id).is_some() {
                    self.repeated.get_or_insert((key, value));
                }
            }
            None => self.deletions.entry(key).or_default().push(id),
        }
        // Only answers give places.
        let place = place.filter(|_| matches!(status, WriteStatus::Acknowledged(_)));
        let place = place.map(|place| (self.partition(&place.partition), place.offset.0));
        let status = match status {
            WriteStatus::Acknowledged(_) => WriteStatus::Acknowledged(place.map(|(_, offset)| offset)),
            other => other,
        };
        self.writes.push(Write { op, key, value, status, place, seen: Vec::new() });
    }

    /// Says of each write where it was read.
    fn look_up(&mut self) {
        let mut deletions: FxHashMap<(&Scalar, u32, u64), WriteId> = FxHashMap::default();
        for (id, write) in self.writes.iter().enumerate() {
            if let (None, Some((partition, offset))) = (write.value, write.place) {
                deletions.insert((write.key, partition, offset), id as WriteId);
            }
        }
        for read in &self.reads {
            for TableRecord { offset: Offset(offset), key, value } in &read.read.records {
                let write = match value {
                    Some(value) => self.puts.get(&(key, value)),
                    None => deletions.get(&(key, read.partition, *offset)),
                };
                let Some(write) = write else { continue };
                let seen = &mut self.writes[*write as usize].seen;
                if !seen.iter().any(|(partition, at, _)| (*partition, *at) == (read.partition, *offset)) {
                    seen.push((read.partition, *offset, read.op));
                }
            }
        }
    }
}
