//! Removal of old records: whole segments, by age or by size.

use super::config::LogConfig;
use super::error::LogError;
use super::files;
use super::partition_log::{PartitionLog, millis};
use super::recovery::{PRODUCERS, offsets_of};
use super::segment::{Segment, path_of};

impl PartitionLog {
    /// Removes segments beyond the age or size that the options keep, and raises the log start offset. Only records below
    /// `high_watermark` are removed. A segment is as old as its newest record by its timestamp, which producers set;
    /// without timestamps it does not age. `now_ms` is the broker's wall clock, Unix time. Returns how many segments
    /// were removed.
    ///
    /// # Errors
    /// The disk failed; the log is stopped.
    pub fn retain(&mut self, now_ms: i64, high_watermark: i64) -> Result<usize, LogError> {
        self.usable()?;
        if !self.config.cleanup.deletes() {
            return Ok(0);
        }
        let mut excess =
            self.config.retention_bytes.map_or(0, |most| i128::from(self.size_bytes()) - i128::from(most));
        let mut going = 0;
        for segment in self.segments.iter().take_while(|segment| segment.next_offset <= high_watermark) {
            // By size, a segment is removed only if the log is still large enough without it.
            let too_many = excess > 0 && excess >= i128::from(segment.size);
            let is_empty_end = segment.size == 0 && going + 1 == self.segments.len();
            if is_empty_end || !(segment.size == 0 || too_many || is_old(segment, &self.config, now_ms)) {
                break;
            }
            excess -= i128::from(segment.size);
            going += 1;
        }
        if going == self.segments.len() {
            // The log must have an active segment.
            self.roll()?;
        }
        if going > 0 {
            self.raise_log_start(self.segments[going].base_offset)?;
        }
        Ok(going)
    }

    /// Makes `offset` the first that may be read, and removes the segments that end before it. For a follower, as its
    /// leader did. An offset before the log start or past the log end changes nothing.
    ///
    /// # Errors
    /// The disk failed; the log is stopped.
    pub fn raise_log_start(&mut self, offset: i64) -> Result<(), LogError> {
        self.usable()?;
        if offset <= self.log_start_offset || offset > self.log_end_offset {
            return Ok(());
        }
        self.guarded(|log| {
            log.log_start_offset = offset;
            log.epochs.forget_before(offset);
            log.producers.forget_before(offset);
            log.transactions.forget_before(offset);
            // Before any segment is removed, so that a missing segment is known to have been given up.
            log.write_checkpoint()?;
            let given_up =
                log.segments.partition_point(|segment| segment.base_offset <= offset).saturating_sub(1);
            for segment in log.segments.drain(..given_up) {
                files::remove(&segment.index_path())?;
                files::remove(&segment.path)?;
            }
            let first = log.segments[0].base_offset;
            for snapshot in offsets_of(&log.dir, PRODUCERS)?.into_iter().filter(|snapshot| *snapshot < first)
            {
                files::remove(&path_of(&log.dir, snapshot, PRODUCERS))?;
            }
            Ok(())
        })
    }
}

fn is_old(segment: &Segment, config: &LogConfig, now_ms: i64) -> bool {
    config.retention_age.is_some_and(|age| {
        segment.max_timestamp >= 0 && now_ms.saturating_sub(segment.max_timestamp) > millis(age)
    })
}
