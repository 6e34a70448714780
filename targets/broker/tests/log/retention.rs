//! Giving up old records.

use std::time::Duration;

use duress_broker::log::{LogConfig, LogError, PartitionLog};

use crate::wire::{batch, segments, value};

/// Ten segments of one batch each, with timestamps 0, 1000, 2000, ...
fn ten(options: LogConfig) -> (tempfile::TempDir, PartitionLog) {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = PartitionLog::open(dir.path(), LogConfig { segment_bytes_max: 1, ..options }).unwrap();
    for at in 0..10 {
        log.append_leader(&batch(&[value("v", at * 1000)], None), at as i32, 0).unwrap();
    }
    assert_eq!(segments(dir.path()).len(), 10);
    (dir, log)
}

#[test]
fn by_age_only_below_the_high_watermark() {
    let age = Duration::from_millis(4500);
    let (dir, mut log) = ten(LogConfig { retention_age: Some(age), ..LogConfig::default() });
    assert_eq!(log.retain(9000, 3).unwrap(), 3);
    assert_eq!(log.retain(9000, 10).unwrap(), 2);
    assert_eq!((log.log_start_offset(), segments(dir.path()).len()), (5, 5));
    assert!(matches!(log.read(4, 1000, 10), Err(LogError::OutOfRange { offset: 4, start: 5, end: 10 })));
    assert_eq!(log.epoch_starts()[0].epoch, 5);
    // Everything is old: the log continues, empty.
    assert_eq!(log.retain(100_000, 10).unwrap(), 5);
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (10, 10));
    drop(log);
    let (mut log, _) = PartitionLog::open(dir.path(), LogConfig::default()).unwrap();
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (10, 10));
    assert_eq!(log.append_leader(&batch(&[value("v", 0)], None), 20, 0).unwrap().base_offset, 10);
}

#[test]
fn by_size() {
    let (_dir, mut log) = ten(LogConfig { retention_age: None, ..LogConfig::default() });
    assert_eq!(log.retain(i64::MAX, 10).unwrap(), 0);
    let batch_bytes = log.size_bytes() / 10;
    let most = batch_bytes * 3 + 1;
    let (_dir, mut log) = ten(LogConfig { retention_bytes: Some(most), ..LogConfig::default() });
    log.retain(0, 10).unwrap();
    assert_eq!(log.log_start_offset(), 6, "four batches are left: three would be less than may be kept");
}

#[test]
fn a_follower_that_is_too_far_behind_begins_anew() {
    let (dir, mut log) = ten(LogConfig::default());
    log.start_at(50).unwrap();
    assert_eq!((log.log_start_offset(), log.log_end_offset(), log.latest_epoch()), (50, 50, None));
    drop(log);
    let (log, recovery) = PartitionLog::open(dir.path(), LogConfig::default()).unwrap();
    assert_eq!((log.log_start_offset(), log.log_end_offset(), recovery.cuts.len()), (50, 50, 0));
}
