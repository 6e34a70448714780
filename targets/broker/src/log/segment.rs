//! One file of a log: whole batches, one after the other.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use serde::{Deserialize, Serialize};

use super::batch::{BatchFault, BatchHeader};
use super::config::{LogConfig, TornTail};
use super::error::LogError;
use super::files::{self, FileContext, FileError, LogFiles};
use super::index::{IndexEntry, Seal, SparseIndex, Synced};
use super::record::records;
use super::walk::{Walk, WalkError};

/// Extension of a segment.
pub(super) const LOG: &str = "log";
/// Extension of a closed segment's index.
pub(super) const INDEX: &str = "index";

/// Returns the path of a file that belongs to `offset`: twenty digits, so that names sort as numbers do.
pub(super) fn path_of(dir: &Path, offset: i64, extension: &str) -> PathBuf {
    dir.join(format!("{offset:020}.{extension}"))
}

/// A segment. Only its index is in memory.
#[derive(Debug)]
pub(super) struct Segment {
    /// No batch in it begins before this offset.
    pub(super) base_offset: i64,
    pub(super) path: PathBuf,
    file: File,
    /// Bytes of whole batches; bytes that follow them in the file are not part of the segment.
    pub(super) size: u64,
    /// Offset after the last batch.
    pub(super) next_offset: i64,
    /// Largest timestamp, ms; `i64::MIN` without records.
    pub(super) max_timestamp: i64,
    /// Leader epoch of the last batch; -1 without batches.
    pub(super) last_epoch: i32,
    /// Whether all of it is on the device.
    pub(super) synced: Synced,
    /// When its first batch was appended by this process, ms.
    pub(super) first_append_ms: Option<i64>,
    index: SparseIndex,
    index_interval: u64,
    torn_tail: TornTail,
}

impl Segment {
    /// Opens the file of `base_offset`, making it if it is missing, without reading it.
    pub(super) fn open(
        files: LogFiles,
        dir: &Path,
        base_offset: i64,
        config: &LogConfig,
    ) -> Result<Self, FileError> {
        let path = path_of(dir, base_offset, LOG);
        Ok(Self {
            base_offset,
            file: files.open(&path)?,
            path,
            size: 0,
            next_offset: base_offset,
            max_timestamp: i64::MIN,
            last_epoch: -1,
            synced: Synced::Yes,
            first_append_ms: None,
            index: SparseIndex::default(),
            index_interval: config.index_interval_bytes,
            torn_tail: config.torn_tail,
        })
    }

    /// Trusts the summary that was written when the segment was closed, if it fits the file.
    pub(super) fn trust_seal(&mut self) -> Result<SealFound, FileError> {
        let Some(seal) = files::load::<Seal>(&self.index_path())? else { return Ok(SealFound::No) };
        if seal.synced == Synced::No || seal.size != self.file_bytes()? {
            return Ok(SealFound::No);
        }
        self.size = seal.size;
        self.next_offset = seal.next_offset;
        self.max_timestamp = seal.max_timestamp;
        self.last_epoch = seal.last_epoch;
        self.index = seal.index;
        Ok(SealFound::Trusted)
    }

    /// Writes the summary of the segment, which is complete.
    pub(super) fn seal(&self, files: LogFiles) -> Result<(), FileError> {
        let seal = Seal {
            size: self.size,
            next_offset: self.next_offset,
            max_timestamp: self.max_timestamp,
            last_epoch: self.last_epoch,
            synced: self.synced,
            index: self.index.clone(),
        };
        files.replace(&self.index_path(), &seal)
    }

    /// Reads the whole file and accepts every batch up to the first that is incomplete, invalid or out of order; `each` is
    /// called with every batch. Returns the fault of the first batch that was not accepted.
    pub(super) fn scan(
        &mut self,
        expected: NextOffset,
        mut each: impl FnMut(&BatchHeader),
    ) -> Result<Option<BatchFault>, FileError> {
        let end = self.file_bytes()?;
        let file = self.file.try_clone().doing("open", &self.path)?;
        let path = self.path.clone();
        let mut walk = Walk::new(&file, &path, 0, end, self.torn_tail);
        loop {
            match self.scan_one(&mut walk, expected) {
                Ok(None) => break,
                Ok(Some(header)) => {
                    self.take_in(&header, walk.position());
                    walk.pass(&header);
                    each(&header);
                }
                Err(WalkError::File(error)) => return Err(error),
                Err(WalkError::Batch { fault, .. }) => return Ok(Some(fault)),
            }
        }
        // Bytes after the last batch, if any were skipped, stay.
        self.size = end;
        // The process that wrote it may have ended before it was synced.
        self.synced = Synced::No;
        Ok(None)
    }

    fn scan_one(&self, walk: &mut Walk<'_>, expected: NextOffset) -> Result<Option<BatchHeader>, WalkError> {
        let Some(header) = walk.header()? else { return Ok(None) };
        walk.batch(&header)?;
        let (next, found) = (self.next_offset, header.base_offset);
        let in_place = match expected {
            NextOffset::Exactly => found == next,
            NextOffset::AtLeast => found >= next,
        };
        if !in_place {
            return Err(walk.fault(BatchFault::Offset { expected: next, found }));
        }
        let (before, found) = (self.last_epoch, header.leader_epoch);
        if found < before {
            return Err(walk.fault(BatchFault::Epoch { before, found }));
        }
        Ok(Some(header))
    }

    /// Bytes in the file.
    pub(super) fn file_bytes(&self) -> Result<u64, FileError> {
        Ok(self.file.metadata().doing("inspect", &self.path)?.len())
    }

    /// Writes a batch at the end. After an error, part of it may be in the file.
    pub(super) fn append(
        &mut self,
        header: &BatchHeader,
        batch: &[u8],
        now_ms: i64,
    ) -> Result<(), FileError> {
        self.synced = Synced::No;
        self.file.write_all_at(batch, self.size).doing("write", &self.path)?;
        self.take_in(header, self.size);
        self.first_append_ms.get_or_insert(now_ms);
        Ok(())
    }

    /// Counts a batch at `position` as part of the segment.
    fn take_in(&mut self, header: &BatchHeader, position: u64) {
        let entry = IndexEntry { offset: header.base_offset, position, timestamp_before: self.max_timestamp };
        self.index.offer(entry, self.index_interval);
        self.size = position + header.size as u64;
        self.next_offset = header.next_offset();
        self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
        self.last_epoch = header.leader_epoch;
    }

    /// Waits until all of it is on the device.
    pub(super) fn sync(&mut self, files: LogFiles) -> Result<(), FileError> {
        if self.synced == Synced::No {
            files.sync_file(&self.file, &self.path)?;
            self.synced = Synced::Yes;
        }
        Ok(())
    }

    /// Cuts the file to the size of the segment.
    pub(super) fn cut_file(&mut self) -> Result<(), FileError> {
        self.synced = Synced::No;
        self.file.set_len(self.size).doing("truncate", &self.path)
    }

    /// Cuts off the batch that holds `offset` or is the first after it, and all that follow; returns the first offset
    /// that was cut off.
    pub(super) fn truncate_to(&mut self, offset: i64) -> Result<Option<i64>, LogError> {
        // The remaining batches are read again: their largest timestamp is not known otherwise.
        let file = self.file.try_clone().doing("open", &self.path)?;
        let path = self.path.clone();
        let mut walk = Walk::new(&file, &path, 0, self.size, self.torn_tail);
        (self.size, self.next_offset, self.max_timestamp, self.last_epoch) =
            (0, self.base_offset, i64::MIN, -1);
        self.index = SparseIndex::default();
        let mut cut = None;
        while let Some(header) = walk.header()? {
            if header.next_offset() > offset {
                cut = Some(header.base_offset);
                break;
            }
            self.take_in(&header, walk.position());
            walk.pass(&header);
        }
        self.cut_file()?;
        Ok(cut)
    }

    /// Batches from the one that holds `offset` or from some before it.
    pub(super) fn walk_from(&self, offset: i64) -> Walk<'_> {
        self.walk(self.index.position_before(offset))
    }

    /// Returns all batches from `position` on.
    fn walk(&self, position: u64) -> Walk<'_> {
        Walk::new(&self.file, &self.path, position, self.size, self.torn_tail)
    }

    /// Whole batches, beginning with the one that holds `from` or is the first after it, up to `bytes_max` (at least
    /// one batch, though), none that reaches `below`.
    pub(super) fn read(&self, from: i64, bytes_max: usize, below: i64) -> Result<BytesMut, LogError> {
        let mut read = BytesMut::new();
        let mut walk = self.walk(self.index.position_before(from));
        while let Some(header) = walk.header()? {
            if header.next_offset() > from {
                if header.last_offset() >= below || (!read.is_empty() && read.len() + header.size > bytes_max)
                {
                    break;
                }
                read.extend_from_slice(walk.batch(&header)?);
            }
            walk.pass(&header);
        }
        Ok(read)
    }

    /// Returns the first record at `from` or later whose timestamp is `timestamp` or later. A compressed
    /// batch counts as one record.
    pub(super) fn find_time(&self, timestamp: i64, from: i64) -> Result<Option<TimedOffset>, LogError> {
        let mut walk = self.walk(self.index.position_before_time(timestamp));
        while let Some(header) = walk.header()? {
            if header.max_timestamp >= timestamp && header.last_offset() >= from {
                if header.codec() != 0 {
                    return Ok(Some(TimedOffset {
                        offset: header.base_offset,
                        timestamp: header.max_timestamp,
                    }));
                }
                let position = walk.position();
                let batch = walk.batch(&header)?;
                for record in records(&header, batch) {
                    let record = record.map_err(|fault| LogError::Corrupt {
                        path: self.path.clone(),
                        position,
                        fault,
                    })?;
                    let at = header.record_timestamp(record.timestamp_delta);
                    let offset = header.base_offset + i64::from(record.offset_delta);
                    if at >= timestamp && offset >= from {
                        return Ok(Some(TimedOffset { offset, timestamp: at }));
                    }
                }
            }
            walk.pass(&header);
        }
        Ok(None)
    }

    /// Returns the file of the segment's index.
    pub(super) fn index_path(&self) -> PathBuf {
        self.path.with_extension(INDEX)
    }
}

/// The base offset that a batch must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum NextOffset {
    /// The end of the batch before.
    Exactly,
    /// That or a later one: compaction leaves gaps.
    AtLeast,
}

/// Whether the summary of a closed segment exists and fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SealFound {
    /// Yes: the segment need not be read.
    Trusted,
    /// No: the segment must be read.
    No,
}

/// A record found by its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedOffset {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp, ms.
    pub timestamp: i64,
}
