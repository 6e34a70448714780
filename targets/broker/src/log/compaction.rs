//! "A stream is also a table": keeping the latest record of every key.
//!
//! Compaction looks at closed segments below the high watermark. It reads them once to learn the last offset of every
//! key, and writes each group of neighbouring segments again without the records that a later one of the same key
//! replaces. Offsets do not change; gaps are left. A batch that loses records keeps its header (base offset,
//! sequence numbers); only count, length and checksum change. A batch without any record left is removed, unless it is
//! the last of its producer: the log must keep that sequence number.
//!
//! A tombstone (a record without a value) must be seen by readers that have seen the value, however slow. The first
//! compaction that meets one sets the batch's *delete horizon*, the time until which it stays; readers that take longer
//! from the value to the tombstone may miss it. It is set once, so that frequent compactions do not postpone it.
//!
//! # Crashes
//!
//! A group of the segments from FROM to before TO is written to `FROM-TO.cleaned`, synced, and renamed to
//! `FROM-TO.swap`. With that rename the compaction of the group has happened: opening the log removes the
//! segments of the group and gives the new one their name, again if that was interrupted. Before it, nothing has
//! happened. It is synced whatever the policy of appends is, because it removes durable records.
//!
//! # Transactions
//!
//! Only settled records are compacted, those below the last stable offset. The records of an aborted transaction never
//! replace others, and are removed; markers stay.
//!
//! Source: the Kafka manual, "Log Compaction"; improvement proposal 534 for the delete horizon.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use super::batch::{BatchFault, BatchHeader};
use super::config::CompactionKeeps;
use super::error::LogError;
use super::files::{self, FileContext, FileError, LogFiles};
use super::index::Synced;
use super::partition_log::{PartitionLog, millis};
use super::record::records;
use super::recovery::offsets_of;
use super::segment::{INDEX, LOG, NextOffset, Segment, path_of};

/// Extension of a segment that is being written.
pub(super) const CLEANED: &str = "cleaned";
const SWAP: &str = "swap";

/// Approximate memory of one key besides its bytes.
const KEY_OVERHEAD_BYTES: usize = 64;

/// The result of a compaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compaction {
    /// Everything before this offset has been compacted.
    pub up_to: i64,
    /// Segments it read.
    pub segments_before: usize,
    /// Segments that took their place.
    pub segments_after: usize,
    /// Records that stayed.
    pub records_kept: u64,
    /// Records that were removed.
    pub records_removed: u64,
}

/// The last offset of every key.
type Keys = HashMap<Box<[u8]>, i64>;

impl PartitionLog {
    /// Compacts the closed segments below `high_watermark`, if the topic is compacted and enough of them is
    /// new. Closes the active segment first if it is old. `now_ms` is the broker's wall clock, Unix time.
    /// Returns `None` if nothing was due.
    ///
    /// # Errors
    /// A batch is corrupt or compressed (its keys cannot be read), or the disk failed; in the latter case the log is
    /// stopped.
    pub fn compact(&mut self, now_ms: i64, high_watermark: i64) -> Result<Option<Compaction>, LogError> {
        self.usable()?;
        if !self.config.cleanup.compacts() {
            return Ok(None);
        }
        self.make_room(0, now_ms)?;
        let closed = self.segments.len() - 1;
        let stable = self.last_stable_offset(high_watermark);
        let cleanable =
            self.segments[..closed].iter().take_while(|segment| segment.next_offset <= stable).count();
        let bytes = |segments: &[Segment]| segments.iter().map(|segment| segment.size).sum::<u64>();
        let total = bytes(&self.segments[..cleanable]);
        let old =
            self.segments[..cleanable].partition_point(|segment| segment.base_offset < self.compacted_to);
        let new = bytes(&self.segments[old..cleanable]);
        if total == 0 || (new as f64) < self.config.dirty_ratio_min * total as f64 {
            return Ok(None);
        }
        let (keys, count) = self.learn_keys(cleanable)?;
        let mut done = Compaction { segments_before: count, ..Compaction::default() };
        let mut from = 0;
        let mut left = count;
        while left > 0 {
            let size = self.group_at(from, left);
            self.guarded(|log| log.compact_group(from, size, &keys, now_ms, &mut done))?;
            from += 1;
            left -= size;
            done.segments_after += 1;
        }
        done.up_to = self.segments[from].base_offset;
        self.compacted_to = done.up_to;
        Ok(Some(done))
    }

    /// Reads the first `cleanable` segments, or as many of them as the memory for keys allows but at least one, and
    /// notes the offset of each key's record that stays. Returns how many segments were read to the end.
    fn learn_keys(&self, cleanable: usize) -> Result<(Keys, usize), LogError> {
        let mut keys = Keys::new();
        let mut used = 0;
        for (at, segment) in self.segments[..cleanable].iter().enumerate() {
            let mut walk = segment.walk_from(segment.base_offset);
            while let Some(header) = walk.header()? {
                if header.codec() != 0 {
                    return Err(walk.fault(BatchFault::Compressed(header.codec())).into());
                }
                if !header.is_control() && !self.transactions.is_aborted(&header) {
                    let batch = walk.batch(&header)?;
                    if let Err(fault) = self.note_keys(&header, batch, &mut keys, &mut used) {
                        return Err(walk.fault(fault).into());
                    }
                }
                walk.pass(&header);
                if used > self.config.key_map_bytes_max && at > 0 {
                    return Ok((keys, at));
                }
            }
        }
        Ok((keys, cleanable))
    }

    fn note_keys(
        &self,
        header: &BatchHeader,
        batch: &[u8],
        keys: &mut Keys,
        used: &mut usize,
    ) -> Result<(), BatchFault> {
        for record in records(header, batch) {
            let record = record?;
            let Some(key) = record.key else { continue };
            let offset = header.base_offset + i64::from(record.offset_delta);
            match (keys.get_mut(key), self.config.compaction_keeps) {
                (Some(kept), CompactionKeeps::Latest) => *kept = offset,
                (Some(_), CompactionKeeps::First) => {}
                (None, _) => {
                    *used += key.len() + KEY_OVERHEAD_BYTES;
                    keys.insert(key.into(), offset);
                }
            }
        }
        Ok(())
    }

    /// How many of the `left` segments from `from` on fit into one.
    fn group_at(&self, from: usize, left: usize) -> usize {
        let mut bytes = 0;
        let fit = self.segments[from..from + left].iter().take_while(|segment| {
            bytes += segment.size;
            bytes <= self.config.segment_bytes_max
        });
        fit.count().max(1)
    }

    /// Puts one segment in the place of the `size` segments from `from` on.
    fn compact_group(
        &mut self,
        from: usize,
        size: usize,
        keys: &Keys,
        now_ms: i64,
        done: &mut Compaction,
    ) -> Result<(), LogError> {
        let base = self.segments[from].base_offset;
        let name = format!("{base:020}-{:020}", self.segments[from + size].base_offset);
        let cleaned = self.dir.join(format!("{name}.{CLEANED}"));
        let mut rewriter = Rewriter {
            out: BufWriter::new(File::create(&cleaned).doing("create", &cleaned)?),
            path: &cleaned,
            keys,
            now_ms,
            horizon_ms: now_ms.saturating_add(millis(self.config.delete_retention)),
            done,
        };
        let last_offsets = self.producers.last_offsets();
        for segment in &self.segments[from..from + size] {
            let mut walk = segment.walk_from(segment.base_offset);
            while let Some(header) = walk.header()? {
                let last_of_producer = last_offsets.get(&header.producer_id) == Some(&header.last_offset());
                let batch = walk.batch(&header)?;
                if header.is_control() {
                    rewriter.put(batch)?;
                } else {
                    let rewritten = match self.transactions.is_aborted(&header) {
                        true => rewriter.drop_all(&header),
                        false => rewriter.rewrite(&header, batch),
                    };
                    match rewritten {
                        Ok(Some(rewritten)) => rewriter.put(&rewritten)?,
                        Ok(None) if last_of_producer => {
                            rewriter.put(&BatchHeader { record_count: 0, ..header }.encode(&[]))?;
                        }
                        Ok(None) => {}
                        Err(fault) => return Err(walk.fault(fault).into()),
                    }
                }
                walk.pass(&header);
            }
        }
        let file = rewriter.out.into_inner().map_err(|error| error.into_error()).doing("write", &cleaned)?;
        self.files.sync_file(&file, &cleaned)?;
        self.files.rename(&cleaned, &cleaned.with_extension(SWAP))?;
        finish_swaps(self.files, &self.dir)?;
        let mut segment = Segment::open(self.files, &self.dir, base, &self.config)?;
        segment.scan(NextOffset::AtLeast, |_| {})?;
        segment.synced = Synced::Yes;
        segment.seal(self.files)?;
        self.segments.splice(from..from + size, [segment]);
        Ok(())
    }
}

/// Writes a compacted segment.
struct Rewriter<'a> {
    out: BufWriter<File>,
    path: &'a Path,
    keys: &'a Keys,
    now_ms: i64,
    /// Until when a tombstone stays that is met for the first time, ms.
    horizon_ms: i64,
    done: &'a mut Compaction,
}

impl Rewriter<'_> {
    fn put(&mut self, batch: &[u8]) -> Result<(), FileError> {
        self.out.write_all(batch).doing("write", self.path)
    }

    /// Removes every record of a batch.
    fn drop_all(&mut self, header: &BatchHeader) -> Result<Option<Vec<u8>>, BatchFault> {
        self.done.records_removed += u64::from(header.record_count.unsigned_abs());
        Ok(None)
    }

    /// Returns the batch without the removed records; `None` if none is left.
    fn rewrite(&mut self, header: &BatchHeader, batch: &[u8]) -> Result<Option<Vec<u8>>, BatchFault> {
        let horizon = header.delete_horizon_ms();
        let mut kept = Vec::new();
        for record in records(header, batch) {
            let record = record?;
            let offset = header.base_offset + i64::from(record.offset_delta);
            let stays = record.key.is_none_or(|key| self.keys.get(key) == Some(&offset));
            let forgotten = record.value.is_none() && horizon.is_some_and(|horizon| horizon <= self.now_ms);
            if stays && !forgotten {
                kept.push(record);
            }
        }
        let count = i32::try_from(kept.len()).expect("no more records than there were");
        self.done.records_kept += u64::from(count.unsigned_abs());
        self.done.records_removed += u64::from((header.record_count - count).unsigned_abs());
        if kept.is_empty() {
            return Ok(None);
        }
        let mut rewritten = BatchHeader { record_count: count, ..*header };
        let mut bytes = Vec::with_capacity(batch.len());
        if horizon.is_none() && kept.iter().any(|record| record.value.is_none()) {
            rewritten.set_delete_horizon_ms(self.horizon_ms);
            for record in &kept {
                let timestamp = header.base_timestamp.saturating_add(record.timestamp_delta);
                record.copy_with_delta(timestamp.saturating_sub(self.horizon_ms), &mut bytes);
            }
        } else {
            kept.iter().for_each(|record| record.copy_to(&mut bytes));
        }
        Ok(Some(rewritten.encode(&bytes)))
    }
}

/// Replaces segments by the compacted segments made from them.
pub(super) fn finish_swaps(files: LogFiles, dir: &Path) -> Result<(), FileError> {
    for entry in fs::read_dir(dir).doing("list", dir)? {
        let swap = entry.doing("list", dir)?.path();
        if swap.extension().is_none_or(|extension| extension != SWAP) {
            continue;
        }
        let range = swap.file_stem().and_then(|stem| stem.to_str()?.split_once('-'));
        let offsets = range.and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
        let Some((from, to)): Option<(i64, i64)> = offsets else { continue };
        let target = path_of(dir, from, LOG);
        files::remove(&target.with_extension(INDEX))?;
        for base in offsets_of(dir, LOG)?.into_iter().filter(|base| from < *base && *base < to) {
            let replaced = path_of(dir, base, LOG);
            files::remove(&replaced.with_extension(INDEX))?;
            files::remove(&replaced)?;
        }
        // The old segments are durably removed before their name is reused: one that came back would hold records twice.
        files.sync_dir(dir)?;
        files.rename(&swap, &target)?;
    }
    Ok(())
}
