//! Appending, reading and truncating.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::batch::{self, BatchFault, BatchHeader, NO_PRODUCER};
use super::config::{FollowerProducers, FsyncPolicy, LogConfig, SequenceCheck};
use super::epochs::{Begun, EpochCache, EpochEnd, EpochStart};
use super::error::{AppendError, LogError};
use super::files::{self, LogFiles};
use super::producers::{Admission, ProducerState, Producers};
use super::record::records;
use super::recovery::PRODUCERS;
use super::segment::{NextOffset, Segment, TimedOffset, path_of};
use super::transactions::{Aborted, Marker, Transactions};

/// The place of an appended batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: i64,
    /// Offset of its last record.
    pub last_offset: i64,
    /// Whether this call put it there.
    pub novelty: Novelty,
}

/// Whether a batch was appended now or earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Novelty {
    /// Now.
    New,
    /// Earlier: the producer sent it again.
    Duplicate,
}

/// The content of the file `checkpoint`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    pub(super) log_start_offset: i64,
    pub(super) next_offset: NextOffset,
    pub(super) epochs: Vec<EpochStart>,
}

/// Name of the file that holds a [`Checkpoint`].
pub(super) const CHECKPOINT: &str = "checkpoint";

/// Whether the content on disk is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    Known,
    /// No: a sync or a cut failed, and the kernel may have dropped data that it could not write.
    Unknown,
}

/// The log of one partition. Made by [`PartitionLog::open`].
#[derive(Debug)]
pub struct PartitionLog {
    pub(super) dir: PathBuf,
    pub(super) config: LogConfig,
    pub(super) files: LogFiles,
    /// In order of offsets; never empty. The last one is appended to.
    pub(super) segments: Vec<Segment>,
    pub(super) log_start_offset: i64,
    /// May be past the last batch after a truncation within a gap that compaction left.
    pub(super) log_end_offset: i64,
    /// Whether there may be gaps between batches; once there was one, for ever.
    pub(super) next_offset: NextOffset,
    pub(super) epochs: EpochCache,
    pub(super) producers: Producers,
    pub(super) transactions: Transactions,
    pub(super) last_sync_ms: i64,
    /// Offset before which everything has been compacted since the log was opened.
    pub(super) compacted_to: i64,
    pub(super) health: Health,
}

impl PartitionLog {
    /// Offset of the first record that may be read.
    pub fn log_start_offset(&self) -> i64 {
        self.log_start_offset
    }

    /// Offset that the next record gets.
    pub fn log_end_offset(&self) -> i64 {
        self.log_end_offset
    }

    /// Bytes of all segments.
    pub fn size_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size).sum()
    }

    /// Returns the folder it lives in.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Appends one batch from a producer: gives it the next offsets and `leader_epoch`. `now_ms` is the broker's wall
    /// clock, Unix time. Durable only after [`persist`](Self::persist).
    ///
    /// # Errors
    /// It is not a batch, its sequence number is not the next, the epoch is old, or the disk failed. The log is
    /// unchanged.
    pub fn append_leader(
        &mut self,
        batch: &[u8],
        leader_epoch: i32,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        self.usable()?;
        let header = self.verify_sent(batch)?;
        self.transactions.fence(&header)?;
        if header.is_sequenced()
            && self.config.sequence_check == SequenceCheck::Checked
            && let Admission::Duplicate(earlier) = self.producers.admit(&header)?
        {
            let (base_offset, last_offset) = (earlier.base_offset, earlier.last_offset);
            return Ok(Appended { base_offset, last_offset, novelty: Novelty::Duplicate });
        }
        self.append_new(header, batch, None, leader_epoch, now_ms)
    }

    /// Appends a marker, unless it, or that of a later transaction, is in the log already. Otherwise as
    /// [`append_leader`](Self::append_leader).
    ///
    /// # Errors
    /// The epoch is old, or the disk failed. The log is unchanged.
    pub fn append_marker(
        &mut self,
        marker: &Marker,
        leader_epoch: i32,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        self.usable()?;
        if let Some(offset) = self.transactions.offset_of(marker) {
            return Ok(Appended { base_offset: offset, last_offset: offset, novelty: Novelty::Duplicate });
        }
        let batch = marker.batch(now_ms);
        let header = BatchHeader::parse(&batch)?;
        self.append_new(header, &batch, Some(*marker), leader_epoch, now_ms)
    }

    fn append_new(
        &mut self,
        mut header: BatchHeader,
        batch: &[u8],
        marker: Option<Marker>,
        leader_epoch: i32,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        if let Some(latest) = self.epochs.latest().filter(|latest| leader_epoch < *latest) {
            return Err(AppendError::StaleEpoch { epoch: leader_epoch, latest });
        }
        self.begin_epoch(leader_epoch)?;
        self.make_room(batch.len(), now_ms)?;
        header.base_offset = self.log_end_offset;
        header.leader_epoch = leader_epoch;
        let mut placed = BytesMut::from(batch);
        batch::place(&mut placed, header.base_offset, leader_epoch);
        self.write(&header, &placed, now_ms)?;
        self.producers.note(&header);
        self.transactions.note(&header, marker);
        Ok(Appended {
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            novelty: Novelty::New,
        })
    }

    /// Appends batches copied from the leader, with the offsets and epochs that they have there. They continue this
    /// log: the first begins at the log end offset (or later, if the topic is compacted), each next one where the one
    /// before ended. An incomplete batch at the end of `batches` is left out. Durable only after
    /// [`persist`](Self::persist). Returns how many bytes were appended.
    ///
    /// # Errors
    /// A batch is broken or out of place, or the disk failed. Batches before it are in the log.
    pub fn append_follower(&mut self, batches: &Bytes, now_ms: i64) -> Result<usize, AppendError> {
        self.usable()?;
        let mut done = 0;
        while let Some(batch) = batches.get(done..).filter(|rest| !rest.is_empty()) {
            let header = match BatchHeader::verify(batch) {
                Err(BatchFault::Short { .. }) => break,
                verified => verified?,
            };
            self.check_place(&header)?;
            if self.epochs.note(header.leader_epoch, header.base_offset) == Begun::New {
                self.write_checkpoint()?;
            }
            self.make_room(header.size, now_ms)?;
            self.write(&header, &batch[..header.size], now_ms)?;
            match self.config.follower_producers {
                FollowerProducers::Tracked => self.producers.note(&header),
                FollowerProducers::Ignored => self.producers = Producers::default(),
            }
            self.transactions.note(&header, Marker::read(&header, batch));
            done += header.size;
        }
        Ok(done)
    }

    /// This broker leads from now on, with `epoch`: the next records are of that epoch.
    ///
    /// # Errors
    /// The checkpoint cannot be written.
    pub fn begin_epoch(&mut self, epoch: i32) -> Result<(), LogError> {
        if self.epochs.begin(epoch, self.log_end_offset) == Begun::New {
            self.write_checkpoint()?;
        }
        Ok(())
    }

    /// Whole batches from the one that holds `from` (or the first after it), about `max_bytes` of them but at least one
    /// if there is one, none of which reaches `below`. Each is checked against its checksum. Empty at the log end.
    ///
    /// # Errors
    /// `from` is outside of the log, a batch is corrupt, or the disk failed.
    pub fn read(&self, from: i64, max_bytes: usize, below: i64) -> Result<Bytes, LogError> {
        self.usable()?;
        let (start, end) = (self.log_start_offset, self.log_end_offset);
        if from < start || from > end {
            return Err(LogError::OutOfRange { offset: from, start, end });
        }
        for segment in &self.segments[self.segment_of(from)..] {
            if segment.base_offset >= below {
                break;
            }
            let batches = segment.read(from, max_bytes, below)?;
            if !batches.is_empty() {
                return Ok(batches.freeze());
            }
        }
        Ok(Bytes::new())
    }

    /// Cuts off everything at and after `offset`; a batch that reaches beyond it is cut off whole. Does
    /// nothing at or past the log end.
    ///
    /// # Errors
    /// The disk failed; the log is stopped.
    pub fn truncate_to(&mut self, offset: i64) -> Result<(), LogError> {
        self.usable()?;
        if offset >= self.log_end_offset {
            return Ok(());
        }
        if offset < self.log_start_offset {
            return self.start_at(offset);
        }
        self.guarded(|log| {
            let keep = log.segment_of(offset);
            log.remove_segments_from(keep + 1)?;
            let segment = &mut log.segments[keep];
            files::remove(&segment.index_path())?;
            let cut = segment.truncate_to(offset)?;
            segment.sync(log.files)?;
            log.log_end_offset = cut.map_or(offset, |cut| cut.min(offset));
            log.epochs.truncate_from(log.log_end_offset);
            log.write_checkpoint()?;
            log.rebuild_producers()
        })
    }

    /// Removes everything and begins again, empty, at `offset`: for a follower whose end is before the leader's start.
    ///
    /// # Errors
    /// The disk failed; the log is stopped.
    pub fn start_at(&mut self, offset: i64) -> Result<(), LogError> {
        self.usable()?;
        self.guarded(|log| {
            log.epochs = EpochCache::default();
            log.log_start_offset = offset;
            // First, so that opening the log completes the removal if a crash interrupts it.
            log.write_checkpoint()?;
            log.remove_segments_from(0)?;
            log.log_end_offset = offset;
            log.add_segment()?;
            log.rebuild_producers()
        })
    }

    /// Makes the appended batches as durable as the policy says. To be called before they are acknowledged, and under
    /// [`FsyncPolicy::Every`] periodically besides. `now_ms` is the broker's wall clock, Unix time.
    ///
    /// # Errors
    /// The disk failed; the log is stopped.
    pub fn persist(&mut self, now_ms: i64) -> Result<(), LogError> {
        match self.config.fsync {
            FsyncPolicy::BeforeAck => self.flush(),
            // A clock that was set back must not postpone the next sync.
            FsyncPolicy::Every(interval)
                if now_ms < self.last_sync_ms || now_ms - self.last_sync_ms >= millis(interval) =>
            {
                self.last_sync_ms = now_ms;
                self.flush()
            }
            FsyncPolicy::Every(_) | FsyncPolicy::Never => self.usable(),
        }
    }

    /// Waits until everything appended is on the device, whatever the policy.
    ///
    /// # Errors
    /// The disk failed; the log is stopped.
    pub fn flush(&mut self) -> Result<(), LogError> {
        self.usable()?;
        self.guarded(|log| {
            for segment in &mut log.segments {
                segment.sync(log.files)?;
            }
            Ok(())
        })
    }

    /// Returns the epoch of the last leader that is known here.
    pub fn latest_epoch(&self) -> Option<i32> {
        self.epochs.latest()
    }

    /// Returns the start of each leader epoch.
    pub fn epoch_starts(&self) -> &[EpochStart] {
        self.epochs.starts()
    }

    /// Returns the end of `epoch` in this log, or of the last one before it that this log has. `None` if
    /// `epoch` is above all that are known here.
    pub fn end_offset_for_epoch(&self, epoch: i32) -> Option<EpochEnd> {
        self.epochs.end_offset(epoch, self.log_end_offset)
    }

    /// Returns the first record whose timestamp is `timestamp` or later, if there is one.
    ///
    /// # Errors
    /// A batch is corrupt, or the disk failed.
    pub fn offset_for_time(&self, timestamp: i64) -> Result<Option<TimedOffset>, LogError> {
        self.usable()?;
        for segment in self.segments.iter().filter(|segment| segment.max_timestamp >= timestamp) {
            if let Some(found) = segment.find_time(timestamp, self.log_start_offset)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Returns the state of each producer that numbers its batches, by its id.
    pub fn producers(&self) -> &BTreeMap<i64, ProducerState> {
        self.producers.states()
    }

    /// Returns the offset before which the fate of every record is settled, given the high watermark: no transaction that
    /// has records before it is open, and the markers of all are committed.
    pub fn last_stable_offset(&self, high_watermark: i64) -> i64 {
        self.transactions.last_stable_offset(high_watermark).max(self.log_start_offset)
    }

    /// Records that everything below the high watermark, markers included, is committed.
    pub fn settle_transactions(&mut self, high_watermark: i64) {
        self.transactions.settle(high_watermark);
    }

    /// Returns the aborted transactions that have records from `from` up to and without `to`, in order of their markers.
    pub fn aborted(&self, from: i64, to: i64) -> Vec<Aborted> {
        self.transactions.aborted(from, to).collect()
    }

    /// Refuses to continue after a failure that leaves the content on disk unknown.
    pub(super) fn usable(&self) -> Result<(), LogError> {
        match self.health {
            Health::Known => Ok(()),
            Health::Unknown => Err(LogError::Stopped { dir: self.dir.clone() }),
        }
    }

    /// Runs an operation whose failure makes the log unusable.
    pub(super) fn guarded<T>(
        &mut self,
        act: impl FnOnce(&mut Self) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        act(self).inspect_err(|_| self.health = Health::Unknown)
    }

    /// Checks a producer's batch.
    fn verify_sent(&self, batch: &[u8]) -> Result<BatchHeader, AppendError> {
        let limit = self.config.batch_bytes_max;
        if batch.len() > limit {
            return Err(AppendError::TooLarge { size: batch.len(), limit });
        }
        let header = BatchHeader::verify(batch)?;
        if header.size != batch.len() {
            return Err(BatchFault::Trailing(batch.len() - header.size).into());
        }
        let (count, last_delta) = (header.record_count, header.last_offset_delta);
        if count == 0 || count != last_delta + 1 {
            return Err(BatchFault::Count { count, last_delta }.into());
        }
        if header.is_control() {
            return Err(BatchFault::Control.into());
        }
        if header.is_transactional() && header.producer_id == NO_PRODUCER {
            return Err(BatchFault::NoProducer.into());
        }
        let by_key = self.config.cleanup.compacts();
        if header.codec() == 0 {
            for (index, record) in (0..).zip(records(&header, batch)) {
                if record?.key.is_none() && by_key {
                    return Err(BatchFault::NoKey(index).into());
                }
            }
        } else if by_key {
            return Err(BatchFault::Compressed(header.codec()).into());
        }
        Ok(header)
    }

    /// Checks that a batch from the leader continues this log.
    fn check_place(&self, header: &BatchHeader) -> Result<(), BatchFault> {
        let (expected, found) = (self.log_end_offset, header.base_offset);
        let in_place = match self.next_offset {
            NextOffset::Exactly => found == expected,
            NextOffset::AtLeast => found >= expected,
        };
        if !in_place {
            return Err(BatchFault::Offset { expected, found });
        }
        let (before, found) = (self.active().last_epoch, header.leader_epoch);
        if found < before { Err(BatchFault::Epoch { before, found }) } else { Ok(()) }
    }

    fn write(&mut self, header: &BatchHeader, batch: &[u8], now_ms: i64) -> Result<(), LogError> {
        let active = self.segments.last_mut().expect("a log has a segment");
        if let Err(error) = active.append(header, batch, now_ms) {
            // A part of the batch may be in the file. If it cannot be cut off, nothing may be appended after it.
            if active.cut_file().is_err() {
                self.health = Health::Unknown;
            }
            return Err(error.into());
        }
        self.log_end_offset = header.next_offset();
        Ok(())
    }

    pub(super) fn active(&self) -> &Segment {
        self.segments.last().expect("a log has a segment")
    }

    /// Index of the segment that holds `offset`, or that it would be in.
    fn segment_of(&self, offset: i64) -> usize {
        self.segments.partition_point(|segment| segment.base_offset <= offset).saturating_sub(1)
    }

    /// Closes the active segment if a batch of `size` bytes would be too much for it, or if it is too old.
    pub(super) fn make_room(&mut self, size: usize, now_ms: i64) -> Result<(), LogError> {
        let active = self.active();
        let full = active.size > 0 && active.size + size as u64 > self.config.segment_bytes_max;
        let age_max = millis(self.config.segment_age_max);
        // Appended to by an earlier process, it is at least as old as its newest record.
        let since = active.first_append_ms.or((active.max_timestamp >= 0).then_some(active.max_timestamp));
        let old = active.size > 0 && since.is_some_and(|since| now_ms.saturating_sub(since) >= age_max);
        if full || old { self.roll() } else { Ok(()) }
    }

    /// Closes the active segment and begins a new one.
    pub(super) fn roll(&mut self) -> Result<(), LogError> {
        self.guarded(|log| {
            let active = log.segments.last_mut().expect("a log has a segment");
            if log.config.fsync != FsyncPolicy::Never {
                active.sync(log.files)?;
            }
            let snapshot = (&log.producers, &log.transactions);
            log.files.replace(&path_of(&log.dir, log.log_end_offset, PRODUCERS), &snapshot)?;
            active.seal(log.files)?;
            log.add_segment()
        })
    }

    /// Begins a segment at the log end.
    pub(super) fn add_segment(&mut self) -> Result<(), LogError> {
        let segment = Segment::open(self.files, &self.dir, self.log_end_offset, &self.config)?;
        self.segments.push(segment);
        self.files.sync_dir(&self.dir)?;
        Ok(())
    }

    /// Removes segments from the end down to `index`, so that after a crash the beginning of the log is left.
    pub(super) fn remove_segments_from(&mut self, index: usize) -> Result<(), LogError> {
        while self.segments.len() > index {
            let segment = self.segments.pop().expect("there is one more than `index`");
            files::remove(&segment.index_path())?;
            files::remove(&segment.path)?;
        }
        self.files.sync_dir(&self.dir)?;
        Ok(())
    }

    pub(super) fn write_checkpoint(&self) -> Result<(), LogError> {
        let checkpoint = Checkpoint {
            log_start_offset: self.log_start_offset,
            next_offset: self.next_offset,
            epochs: self.epochs.starts().to_vec(),
        };
        Ok(self.files.replace(&self.dir.join(CHECKPOINT), &checkpoint)?)
    }
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
