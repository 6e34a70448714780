//! The sparse index of a segment, by offset and by time.
//!
//! An entry for the first batch after every few kilobytes has its position and the largest timestamp before it. Both grow
//! along a segment, so both are searched by bisection; from the entry on, the segment is walked batch by batch. The index of a closed segment is kept in a file beside it, with a checksum; that of the active segment is in
//! memory and made again when the log is opened.

use serde::{Deserialize, Serialize};

/// The index entry of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct IndexEntry {
    /// Its base offset.
    pub(super) offset: i64,
    /// Its offset in the file, bytes.
    pub(super) position: u64,
    /// The largest timestamp of all batches before it in the segment, ms; `i64::MIN` if there are none.
    pub(super) timestamp_before: i64,
}

/// Entries in order of the file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct SparseIndex {
    entries: Vec<IndexEntry>,
}

impl SparseIndex {
    /// Adds an entry for a batch if the last entry is at least `interval` bytes back.
    pub(super) fn offer(&mut self, entry: IndexEntry, interval: u64) {
        if self.entries.last().is_none_or(|last| entry.position >= last.position + interval) {
            self.entries.push(entry);
        }
    }

    /// Returns the position from which to walk to find `offset`, bytes.
    pub(super) fn position_before(&self, offset: i64) -> u64 {
        let after = self.entries.partition_point(|entry| entry.offset <= offset);
        after.checked_sub(1).map_or(0, |at| self.entries[at].position)
    }

    /// Returns the position from which to walk to find the first timestamp that is `timestamp` or later,
    /// bytes.
    pub(super) fn position_before_time(&self, timestamp: i64) -> u64 {
        let after = self.entries.partition_point(|entry| entry.timestamp_before < timestamp);
        after.checked_sub(1).map_or(0, |at| self.entries[at].position)
    }
}

/// The summary of a closed segment on disk, so that opening the log need not read the segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seal {
    /// Size of the segment, bytes.
    pub(super) size: u64,
    /// Offset after its last batch.
    pub(super) next_offset: i64,
    /// Its largest timestamp, ms; `i64::MIN` without records.
    pub(super) max_timestamp: i64,
    /// Its last leader epoch.
    pub(super) last_epoch: i32,
    /// Whether the segment was synced before this was written. If not, it is checked batch by batch on opening.
    pub(super) synced: Synced,
    /// Its index.
    pub(super) index: SparseIndex,
}

/// Whether a file's content is known to be on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Synced {
    /// Yes.
    Yes,
    /// No: it was not synced.
    No,
}
