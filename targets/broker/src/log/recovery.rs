//! Opening a log, whatever the last owner was doing when it ended.
//!
//! Segments are taken in order. One that was synced and closed is trusted as its index file describes it; from the
//! first other one on every batch is read. At the first that is not whole, valid and in order the log ends: the rest of
//! the file is cut off and later segments are removed, because nothing says what was between. What was cut is reported,
//! so that it can be seen in a broker's output; replication, not this module, decides whether that was acknowledged.
//!
//! What was read is synced before the log is used: the last owner may have been killed before its sync, and whoever
//! asks now is going to rely on it.

use std::fs;
use std::path::{Path, PathBuf};

use super::batch::BatchFault;
use super::compaction::{CLEANED, finish_swaps};
use super::disk::{self, Disk, DiskError, Doing, TEMPORARY};
use super::epochs::EpochCache;
use super::error::LogError;
use super::options::{FsyncPolicy, LogOptions, TornTail};
use super::partition_log::{CHECKPOINT, Checkpoint, Health, PartitionLog};
use super::producers::Producers;
use super::segment::{INDEX, LOG, NextOffset, SealFound, Segment, path_of};
use super::walk::WalkError;

/// Extension of what was known of producers before some offset.
pub(super) const PRODUCERS: &str = "producers";

/// What was found when a log was opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovery {
    /// What was cut off, in order.
    pub cuts: Vec<Cut>,
    /// Segments that were known to be whole.
    pub segments_trusted: usize,
    /// Batches that were read and checked.
    pub batches_checked: usize,
}

/// A part of the log that was thrown away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The segment.
    pub path: PathBuf,
    /// Where it ends now, bytes; 0 when it was removed.
    pub position: u64,
    /// How many bytes went.
    pub bytes: u64,
    /// What was wrong with the first of them.
    pub fault: BatchFault,
}

impl PartitionLog {
    /// Opens the log in `dir`, or makes a new one there.
    ///
    /// # Errors
    /// The disk failed.
    pub fn open(dir: impl Into<PathBuf>, options: LogOptions) -> Result<(Self, Recovery), LogError> {
        let dir = dir.into();
        let disk = Disk { durability: options.durability };
        fs::create_dir_all(&dir).doing("create", &dir)?;
        remove_temporary(&dir)?;
        let checkpoint = disk::load::<Checkpoint>(&dir.join(CHECKPOINT))?;
        let next_offset = match &checkpoint {
            _ if options.cleanup.compacts() || options.torn_tail == TornTail::Keep => NextOffset::AtLeast,
            Some(checkpoint) => checkpoint.next_offset,
            None => NextOffset::Exactly,
        };
        let mut log = Self {
            disk,
            segments: Vec::new(),
            log_start_offset: checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.log_start_offset),
            log_end_offset: 0,
            next_offset,
            epochs: EpochCache::default(),
            producers: Producers::default(),
            last_sync_ms: 0,
            compacted_to: 0,
            health: Health::Known,
            options,
            dir,
        };
        let mut trust = if checkpoint.is_some() { SealFound::Trusted } else { SealFound::No };
        if let Some(checkpoint) = checkpoint {
            log.epochs = EpochCache::from_starts(checkpoint.epochs);
        }
        let recovery = log.take_in_segments(&mut trust)?;
        log.settle_ends()?;
        if log.options.fsync != FsyncPolicy::Never {
            log.flush()?;
        }
        log.write_checkpoint()?;
        log.rebuild_producers()?;
        Ok((log, recovery))
    }

    /// Opens the segments in order, as far as they are whole and follow each other.
    fn take_in_segments(&mut self, trust: &mut SealFound) -> Result<Recovery, LogError> {
        let mut recovery = Recovery::default();
        finish_swaps(self.disk, &self.dir)?;
        self.remove_before_start()?;
        let bases = offsets_of(&self.dir, LOG)?;
        let mut broken = None;
        let mut keep = 0;
        for (at, &base) in bases.iter().enumerate() {
            let mut segment = Segment::open(self.disk, &self.dir, base, &self.options)?;
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
            // It is written again when the segment is closed; and what it says may have been cut off.
            disk::remove(&segment.index_path())?;
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

    /// Removes segments that retention gave up but did not get to, or whose removal a power loss has undone: the segments
    /// after them may be gone for good.
    fn remove_before_start(&self) -> Result<(), LogError> {
        let bases = offsets_of(&self.dir, LOG)?;
        let given_up = bases.partition_point(|base| *base <= self.log_start_offset).saturating_sub(1);
        for base in &bases[..given_up] {
            let path = path_of(&self.dir, *base, LOG);
            disk::remove(&path.with_extension(INDEX))?;
            disk::remove(&path)?;
        }
        Ok(())
    }

    /// Makes the first and the last offset fit what was found.
    fn settle_ends(&mut self) -> Result<(), LogError> {
        let first = self.segments.first().map(|segment| segment.base_offset);
        self.log_start_offset = self.log_start_offset.max(first.unwrap_or(0));
        self.log_end_offset = self.segments.last().map_or(0, |segment| segment.next_offset);
        if self.segments.is_empty() || self.log_end_offset < self.log_start_offset {
            // It was being started anew, or lost more than may be read.
            return self.start_at(self.log_start_offset);
        }
        self.epochs.forget_before(self.log_start_offset);
        self.epochs.truncate_from(self.log_end_offset);
        Ok(())
    }

    /// Finds out what producers have appended: from the last snapshot on, by the headers of batches.
    pub(super) fn rebuild_producers(&mut self) -> Result<(), LogError> {
        let mut from = i64::MIN;
        self.producers = Producers::default();
        for offset in offsets_of(&self.dir, PRODUCERS)?.into_iter().rev() {
            let path = path_of(&self.dir, offset, PRODUCERS);
            if offset > self.log_end_offset {
                // Of a log that was cut: not of what is going to be at those offsets.
                disk::remove(&path)?;
            } else if let Some(snapshot) = disk::load(&path)? {
                self.producers = snapshot;
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
                            self.producers.note(&header);
                        }
                        walk.pass(&header);
                    }
                    // A reader is going to meet it and will be told; everything else can be served.
                    Ok(None) | Err(WalkError::Batch { .. }) => break,
                    Err(WalkError::Disk(error)) => return Err(error.into()),
                }
            }
        }
        self.producers.forget_before(self.log_start_offset);
        Ok(())
    }
}

/// The offsets in the names of the files with some extension, in order.
pub(super) fn offsets_of(dir: &Path, extension: &str) -> Result<Vec<i64>, DiskError> {
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
fn remove_temporary(dir: &Path) -> Result<(), DiskError> {
    for entry in fs::read_dir(dir).doing("list", dir)? {
        let path = entry.doing("list", dir)?.path();
        let name = path.as_os_str().as_encoded_bytes();
        if name.ends_with(TEMPORARY.as_bytes())
            || path.extension().is_some_and(|extension| extension == CLEANED)
        {
            disk::remove(&path)?;
        }
    }
    Ok(())
}
