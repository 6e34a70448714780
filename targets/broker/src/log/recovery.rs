//! Opening a log, in whatever state its last owner left it.
//!
//! Segments are opened in order. A segment that was synced and closed is trusted as its index file describes it; from the
//! first other segment on, every batch is read. The log ends at the first batch that is incomplete, invalid or out of
//! order: the rest of the file is cut off and later segments are removed, because the records between are unknown. Every
//! cut is reported, so that a broker logs it; replication, not this module, decides whether the records were acknowledged.
//!
//! The batches read are synced before the log is used: the last owner may have been killed before its sync, and readers
//! are going to rely on them.

use std::fs;
use std::path::{Path, PathBuf};

use super::batch::BatchFault;
use super::compaction::{CLEANED, finish_swaps};
use super::config::{FsyncPolicy, LogConfig, ProducersOnOpen, TornTail};
use super::epochs::EpochCache;
use super::error::LogError;
use super::files::{self, FileContext, FileError, LogFiles, TEMPORARY};
use super::partition_log::{CHECKPOINT, Checkpoint, Health, PartitionLog};
use super::producers::Producers;
use super::segment::{INDEX, LOG, NextOffset, SealFound, Segment, path_of};
use super::transactions::{Marker, Transactions};
use super::walk::WalkError;

/// Extension of a snapshot of producers' states before some offset.
pub(super) const PRODUCERS: &str = "producers";

/// The result of opening a log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovery {
    /// The parts that were cut off, in order.
    pub cuts: Vec<Cut>,
    /// Segments that were trusted.
    pub segments_trusted: usize,
    /// Batches that were read and checked.
    pub batches_checked: usize,
}

/// A part of the log that was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The segment.
    pub path: PathBuf,
    /// Its new size, bytes; 0 if it was removed.
    pub position: u64,
    /// How many bytes were cut off.
    pub bytes: u64,
    /// The fault of the first batch cut off.
    pub fault: BatchFault,
}

impl PartitionLog {
    /// Opens the log in `dir`, or makes a new one there.
    ///
    /// # Errors
    /// The disk failed.
    pub fn open(dir: impl Into<PathBuf>, config: LogConfig) -> Result<(Self, Recovery), LogError> {
        let dir = dir.into();
        let files = LogFiles { durability: config.durability };
        fs::create_dir_all(&dir).doing("create", &dir)?;
        remove_temporary(&dir)?;
        let checkpoint = files::load::<Checkpoint>(&dir.join(CHECKPOINT))?;
        let next_offset = match &checkpoint {
            _ if config.cleanup.compacts() || config.torn_tail == TornTail::Keep => NextOffset::AtLeast,
            Some(checkpoint) => checkpoint.next_offset,
            None => NextOffset::Exactly,
        };
        let mut log = Self {
            files,
            segments: Vec::new(),
            log_start_offset: checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.log_start_offset),
            log_end_offset: 0,
            next_offset,
            epochs: EpochCache::default(),
            producers: Producers::default(),
            transactions: Transactions::default(),
            last_sync_ms: 0,
            compacted_to: 0,
            health: Health::Known,
            config,
            dir,
        };
        let mut trust = if checkpoint.is_some() { SealFound::Trusted } else { SealFound::No };
        if let Some(checkpoint) = checkpoint {
            log.epochs = EpochCache::from_starts(checkpoint.epochs);
        }
        let recovery = log.take_in_segments(&mut trust)?;
        log.settle_ends()?;
        if log.config.fsync != FsyncPolicy::Never {
            log.flush()?;
        }
        log.write_checkpoint()?;
        log.rebuild_producers()?;
        if log.config.producers_on_open == ProducersOnOpen::Unknown {
            log.producers = Producers::default();
        }
        Ok((log, recovery))
    }

    /// Opens the segments in order, as far as they are complete and follow each other.
    fn take_in_segments(&mut self, trust: &mut SealFound) -> Result<Recovery, LogError> {
        let mut recovery = Recovery::default();
        finish_swaps(self.files, &self.dir)?;
        self.remove_before_start()?;
        let bases = offsets_of(&self.dir, LOG)?;
        let mut broken = None;
        let mut keep = 0;
        for (at, &base) in bases.iter().enumerate() {
            let mut segment = Segment::open(self.files, &self.dir, base, &self.config)?;
            let misplaced = self.segments.last().and_then(|before| match self.next_offset {
                NextOffset::Exactly if base == before.next_offset => None,
                NextOffset::AtLeast if base >= before.next_offset => None,
                _ => Some(BatchFault::Offset { expected: before.next_offset, found: base }),
            });
            broken = broken.or(misplaced);
            if let Some(fault) = broken {
                let bytes = segment.file_bytes()?;
                recovery.cuts.push(Cut { path: segment.path.clone(), position: 0, bytes, fault });
                // Removed from the end below, so that a crash on the way leaves no gap.
                self.segments.push(segment);
                continue;
            }
            let is_last = at + 1 == bases.len();
            if *trust == SealFound::Trusted && !is_last {
                *trust = segment.trust_seal()?;
            }
            if *trust == SealFound::Trusted && !is_last {
                recovery.segments_trusted += 1;
                self.segments.push(segment);
                keep += 1;
                continue;
            }
            let epochs = &mut self.epochs;
            let fault = segment.scan(self.next_offset, |header| {
                recovery.batches_checked += 1;
                epochs.note(header.leader_epoch, header.base_offset);
            })?;
            // It is written again when the segment is closed; until then it may describe batches that were cut off.
            files::remove(&segment.index_path())?;
            if let Some(fault) = fault {
                let bytes = segment.file_bytes()? - segment.size;
                recovery.cuts.push(Cut { path: segment.path.clone(), position: segment.size, bytes, fault });
                segment.cut_file()?;
                broken = Some(fault);
            }
            self.segments.push(segment);
            keep += 1;
        }
        self.remove_segments_from(keep)?;
        Ok(recovery)
    }

    /// Removes segments that retention gave up but had not removed yet, or whose removal a power loss has undone: the segments
    /// after them may be gone for good.
    fn remove_before_start(&self) -> Result<(), LogError> {
        let bases = offsets_of(&self.dir, LOG)?;
        let given_up = bases.partition_point(|base| *base <= self.log_start_offset).saturating_sub(1);
        for base in &bases[..given_up] {
            let path = path_of(&self.dir, *base, LOG);
            files::remove(&path.with_extension(INDEX))?;
            files::remove(&path)?;
        }
        Ok(())
    }

    /// Makes the first and the last offset fit the segments found.
    fn settle_ends(&mut self) -> Result<(), LogError> {
        let first = self.segments.first().map(|segment| segment.base_offset);
        self.log_start_offset = self.log_start_offset.max(first.unwrap_or(0));
        self.log_end_offset = self.segments.last().map_or(0, |segment| segment.next_offset);
        if self.segments.is_empty() || self.log_end_offset < self.log_start_offset {
            // The log was being restarted, or lost all records that may be read.
            return self.start_at(self.log_start_offset);
        }
        self.epochs.forget_before(self.log_start_offset);
        self.epochs.truncate_from(self.log_end_offset);
        Ok(())
    }

    /// Restores the states of producers and transactions: from the last snapshot, and from the batches after it.
    pub(super) fn rebuild_producers(&mut self) -> Result<(), LogError> {
        let mut from = i64::MIN;
        (self.producers, self.transactions) = Default::default();
        for offset in offsets_of(&self.dir, PRODUCERS)?.into_iter().rev() {
            let path = path_of(&self.dir, offset, PRODUCERS);
            if offset > self.log_end_offset {
                // A snapshot from before the log was cut is not valid for the records that follow.
                files::remove(&path)?;
            } else if let Some(snapshot) = files::load(&path)? {
                (self.producers, self.transactions) = snapshot;
                from = offset;
                break;
            }
        }
        for segment in self.segments.iter().filter(|segment| segment.next_offset > from) {
            let mut walk = segment.walk_from(from);
            loop {
                match walk.header() {
                    Ok(Some(header)) => {
                        if header.base_offset >= from {
                            let marker = match header.is_control() {
                                true => match walk.batch(&header) {
                                    Ok(batch) => Marker::read(&header, batch),
                                    Err(WalkError::Batch { .. }) => break,
                                    Err(WalkError::File(error)) => return Err(error.into()),
                                },
                                false => None,
                            };
                            self.producers.note(&header);
                            self.transactions.note(&header, marker);
                        }
                        walk.pass(&header);
                    }
                    // Readers of that batch will get the error; everything else can be served.
                    Ok(None) | Err(WalkError::Batch { .. }) => break,
                    Err(WalkError::File(error)) => return Err(error.into()),
                }
            }
        }
        self.producers.forget_before(self.log_start_offset);
        self.transactions.forget_before(self.log_start_offset);
        Ok(())
    }
}

/// Returns the offsets in the names of the files with some extension, in order.
pub(super) fn offsets_of(dir: &Path, extension: &str) -> Result<Vec<i64>, FileError> {
    let mut offsets = Vec::new();
    for entry in fs::read_dir(dir).doing("list", dir)? {
        let path = entry.doing("list", dir)?.path();
        if path.extension().is_some_and(|found| found == extension) {
            offsets.extend(path.file_stem().and_then(|stem| stem.to_str()?.parse::<i64>().ok()));
        }
    }
    offsets.sort_unstable();
    Ok(offsets)
}

/// Removes replacements of files that were never finished.
fn remove_temporary(dir: &Path) -> Result<(), FileError> {
    for entry in fs::read_dir(dir).doing("list", dir)? {
        let path = entry.doing("list", dir)?.path();
        let name = path.as_os_str().as_encoded_bytes();
        if name.ends_with(TEMPORARY.as_bytes())
            || path.extension().is_some_and(|extension| extension == CLEANED)
        {
            files::remove(&path)?;
        }
    }
    Ok(())
}
