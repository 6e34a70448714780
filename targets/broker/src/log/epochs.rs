//! The leader epochs of a log: at which offset each one began.
//!
//! A follower that has come back asks the leader where an epoch ended there, and cuts off its records beyond that point,
//! which the leader never had. Source: Kafka improvement proposals 101 and 279.

use serde::{Deserialize, Serialize};

/// The start of one leader's epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochStart {
    /// The leader epoch.
    pub epoch: i32,
    /// The first offset it could write.
    pub start_offset: i64,
}

/// The end of one leader's epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEnd {
    /// The largest epoch of this log that is not above the requested one.
    pub epoch: i32,
    /// The offset after its last record.
    pub end_offset: i64,
}

/// Starts of epochs; epochs grow strictly, offsets grow or stay.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct EpochCache {
    starts: Vec<EpochStart>,
}

impl EpochCache {
    /// Returns the starts in a checkpoint, as far as they are in order.
    pub(super) fn from_starts(starts: Vec<EpochStart>) -> Self {
        let mut cache = Self::default();
        for start in starts {
            cache.begin(start.epoch, start.start_offset);
        }
        cache
    }

    /// Returns all starts in order.
    pub(super) fn starts(&self) -> &[EpochStart] {
        &self.starts
    }

    /// Returns the latest epoch.
    pub(super) fn latest(&self) -> Option<i32> {
        self.starts.last().map(|start| start.epoch)
    }

    /// Begins `epoch` at `start_offset`, the log's end. Earlier leaders that began there wrote nothing, and
    /// are forgotten.
    pub(super) fn begin(&mut self, epoch: i32, start_offset: i64) -> Begun {
        if self.latest().is_some_and(|latest| epoch <= latest) {
            return Begun::Known;
        }
        self.truncate_from(start_offset);
        self.starts.push(EpochStart { epoch, start_offset });
        Begun::New
    }

    /// Notes that the batch at `base_offset`, the last one of the log, is of `epoch`. An epoch recorded as
    /// begun there or later has no records in this log.
    pub(super) fn note(&mut self, epoch: i32, base_offset: i64) -> Begun {
        let before = self.starts.len();
        while self.starts.last().is_some_and(|last| last.start_offset >= base_offset && last.epoch != epoch) {
            self.starts.pop();
        }
        let forgotten = before != self.starts.len();
        match self.begin(epoch, base_offset) {
            Begun::Known if forgotten => Begun::New,
            begun => begun,
        }
    }

    /// Returns the end of `epoch`, or of the one before it if this log has no records of it; `log_end_offset`
    /// is the end of the latest epoch. `None` if `epoch` is above every epoch known here, or none is known.
    pub(super) fn end_offset(&self, epoch: i32, log_end_offset: i64) -> Option<EpochEnd> {
        let after = self.starts.partition_point(|start| start.epoch <= epoch);
        let before = after.checked_sub(1).map(|at| self.starts[at]);
        match (before, self.starts.get(after)) {
            (Some(before), Some(next)) => {
                Some(EpochEnd { epoch: before.epoch, end_offset: next.start_offset })
            }
            (Some(last), None) if last.epoch == epoch => Some(EpochEnd { epoch, end_offset: log_end_offset }),
            // All records of that epoch have been deleted here; a follower that has them may keep them up to the next epoch.
            (None, Some(next)) => Some(EpochEnd { epoch, end_offset: next.start_offset }),
            (Some(_) | None, None) => None,
        }
    }

    /// Forgets epochs that began at `offset` or later.
    pub(super) fn truncate_from(&mut self, offset: i64) {
        self.starts.retain(|start| start.start_offset < offset);
    }

    /// Forgets epochs whose records are all before `log_start_offset`; the one in force there begins there now.
    pub(super) fn forget_before(&mut self, log_start_offset: i64) {
        let after = self.starts.partition_point(|start| start.start_offset <= log_start_offset);
        if let Some(in_force) = after.checked_sub(1) {
            self.starts.drain(..in_force);
            self.starts[0].start_offset = log_start_offset;
        }
    }
}

/// Whether the list of epochs changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begun {
    /// It changed.
    New,
    /// The epoch, or a later one, was already known.
    Known,
}
