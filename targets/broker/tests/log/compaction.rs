//! "A stream is also a table".

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use duress_broker::log::{
    AppendError, BatchFault, Cleanup, CompactionKeeps, Durability, LogConfig, PartitionLog,
};
use kafka_protocol::records::Record;
use proptest::prelude::*;

use crate::wire::{Numbered, Plain, batch, copy_of, decode, read_all, segments, split, value};

fn options() -> LogConfig {
    LogConfig {
        cleanup: Cleanup::Compact,
        segment_bytes_max: 400,
        dirty_ratio_min: 0.0,
        delete_retention: Duration::from_millis(1000),
        ..LogConfig::default()
    }
}

fn pair(key: u8, value: Option<u32>) -> Plain {
    let value = value.map(|value| value.to_string());
    Plain { key: Some(format!("k{key}")), value, timestamp: 5000 + i64::from(key) }
}

type Table = BTreeMap<String, String>;

/// Returns the latest value of every key.
fn fold(records: &[Record]) -> Table {
    let text = |bytes: &bytes::Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let mut table = Table::new();
    for record in records {
        let key = text(record.key.as_ref().unwrap());
        match &record.value {
            Some(value) => table.insert(key, text(value)),
            None => table.remove(&key),
        };
    }
    table
}

fn contents(log: &PartitionLog) -> Vec<Record> {
    decode(&read_all(log))
}

fn same_record(one: &Record, other: &Record) -> bool {
    (one.offset, one.timestamp, &one.key, &one.value, one.sequence)
        == (other.offset, other.timestamp, &other.key, &other.value, other.sequence)
}

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<(u8, Option<u32>)>),
    Compact { later_ms: i64 },
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let record = (0..6_u8, proptest::option::weighted(0.7, 0..1000_u32));
    let step = prop_oneof![
        6 => proptest::collection::vec(record, 1..4).prop_map(Step::Append),
        2 => (0..700_i64).prop_map(|later_ms| Step::Compact { later_ms }),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn the_table_is_the_fold_of_everything_that_was_appended(
        steps in steps(),
        key_map_bytes_max in prop_oneof![Just(usize::MAX), Just(150)],
    ) {
        // The test has no power loss: waiting for the device would only take time.
        let options = LogConfig { key_map_bytes_max, durability: Durability::Skipped, ..options() };
        let dir = tempfile::tempdir().unwrap();
        let mut log = PartitionLog::open(dir.path(), options.clone()).unwrap().0;
        let mut everything: Vec<Record> = Vec::new();
        let mut now_ms = 10_000;
        let mut sequence = 0;
        for step in &steps {
            match step {
                Step::Append(pairs) => {
                    let plain: Vec<_> = pairs.iter().map(|(key, value)| pair(*key, *value)).collect();
                    let numbered = Numbered { producer_id: 1, producer_epoch: 0, sequence };
                    let appended = log.append_leader(&batch(&plain, Some(numbered)), 0, now_ms).unwrap();
                    sequence += plain.len() as i32;
                    everything.extend(decode(&log.read(appended.base_offset, 1, i64::MAX).unwrap()));
                }
                Step::Compact { later_ms } => {
                    now_ms += later_ms;
                    let before = contents(&log);
                    let done = log.compact(now_ms, log.log_end_offset()).unwrap();
                    let after = contents(&log);
                    if let Some(done) = done {
                        prop_assert_eq!(done.records_removed as usize, before.len() - after.len());
                    }
                    // A read within the last second did not miss a tombstone.
                    if *later_ms == 0 {
                        let gone = before.iter().filter(|old| after.iter().all(|new| new.offset != old.offset));
                        for gone in gone {
                            prop_assert!(before.iter().any(|later| later.key == gone.key && later.offset > gone.offset)
                                || gone.value.is_none());
                        }
                    }
                }
                Step::Reopen => {
                    drop(log);
                    let (opened, recovery) = PartitionLog::open(dir.path(), options.clone()).unwrap();
                    prop_assert!(recovery.cuts.is_empty());
                    log = opened;
                }
            }
            let left = contents(&log);
            prop_assert_eq!(fold(&left), fold(&everything));
            for record in &left {
                prop_assert!(everything.iter().any(|appended| same_record(appended, record)), "{:?}", record);
            }
            let end = everything.last().map_or(0, |record| record.offset + 1);
            prop_assert_eq!(log.log_end_offset(), end);
            // A retry is recognised, whatever compaction has removed.
            if sequence > 0 {
                let last = log.producers()[&1].batches.back().unwrap().last_sequence;
                prop_assert_eq!(last, sequence - 1);
            }
        }
        // A follower that copies the remaining records arrives at the same table, offsets and sequence
        // numbers.
        let copy = tempfile::tempdir().unwrap();
        let mut follower = PartitionLog::open(copy.path(), options).unwrap().0;
        follower.append_follower(&read_all(&log), 0).unwrap();
        prop_assert_eq!(fold(&contents(&follower)), fold(&everything));
        prop_assert_eq!(follower.log_end_offset(), log.log_end_offset());
        if sequence > 0 {
            let last = |log: &PartitionLog| log.producers()[&1].batches.back().copied();
            prop_assert_eq!(last(&follower), last(&log));
        }
    }
}

/// Returns a log in `dir` with some closed segments of values of three keys.
fn grown(dir: &Path, options: &LogConfig) -> PartitionLog {
    let mut log = PartitionLog::open(dir, options.clone()).unwrap().0;
    for at in 0..40 {
        log.append_leader(&batch(&[pair((at % 3) as u8, Some(at))], None), 0, 0).unwrap();
    }
    log
}

#[test]
fn a_tombstone_stays_until_its_horizon() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogConfig { segment_bytes_max: 1, ..options() };
    let mut log = PartitionLog::open(dir.path(), options).unwrap().0;
    for record in [pair(1, Some(1)), pair(1, None), pair(2, Some(2))] {
        log.append_leader(&batch(&[record], None), 0, 0).unwrap();
    }
    let offsets = |log: &PartitionLog| contents(log).iter().map(|record| record.offset).collect::<Vec<_>>();
    log.compact(100, 3).unwrap();
    assert_eq!(offsets(&log), [1, 2]);
    assert_eq!(contents(&log)[0].timestamp, 5001, "the time of the record is still its own");
    log.compact(600, 3).unwrap();
    log.compact(1099, 3).unwrap();
    assert_eq!(offsets(&log), [1, 2]);
    log.compact(1100, 3).unwrap();
    assert_eq!(offsets(&log), [2]);
}

#[test]
fn nothing_above_the_high_watermark_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = grown(dir.path(), &options());
    let before = contents(&log);
    log.compact(0, 20).unwrap();
    let after = contents(&log);
    let above = |records: &[Record]| records.iter().filter(|record| record.offset >= 20).count();
    assert_eq!(above(&after), above(&before));
    assert!(after.len() < before.len());
}

#[test]
fn keys_must_be_there_and_readable() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = PartitionLog::open(dir.path(), options()).unwrap().0;
    let refused = log.append_leader(&batch(&[value("v", 0)], None), 0, 0);
    assert!(matches!(refused, Err(AppendError::Batch(BatchFault::NoKey(0)))), "{refused:?}");
}

#[test]
fn interrupted_anywhere_it_is_done_or_not_done() {
    let dir = tempfile::tempdir().unwrap();
    let before = contents(&grown(dir.path(), &options()));
    let done = copy_of(dir.path());
    let roomier = LogConfig { segment_bytes_max: 1000, ..options() };
    let mut log = PartitionLog::open(done.path(), roomier).unwrap().0;
    let made = log.compact(0, 40).unwrap().unwrap();
    let after = contents(&log);
    assert!(after.len() < before.len());
    assert_eq!(fold(&after), fold(&before));
    assert!(made.segments_after < made.segments_before, "{made:?}");
    drop(log);

    // The first group: from its first segment to before the second one that is left.
    let old = segments(dir.path());
    let new = segments(done.path());
    let stem = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let name = format!("{}-{}", stem(&new[0]), stem(&new[1]));
    let group: Vec<_> =
        old.iter().filter(|path| stem(path) >= stem(&new[0]) && stem(path) < stem(&new[1])).collect();
    assert!(group.len() > 1);
    let compacted = fs::read(&new[0]).unwrap();

    for written in [0, compacted.len() / 2, compacted.len()] {
        let copy = copy_of(dir.path());
        fs::write(copy.path().join(format!("{name}.cleaned")), &compacted[..written]).unwrap();
        let log = PartitionLog::open(copy.path(), options()).unwrap().0;
        assert_eq!(contents(&log), before, "not renamed: no change");
    }
    for removed in 0..group.len() {
        let copy = copy_of(dir.path());
        fs::write(copy.path().join(format!("{name}.swap")), &compacted).unwrap();
        for path in &group[1..=removed] {
            fs::remove_file(copy.path().join(path.file_name().unwrap())).unwrap();
        }
        let (log, recovery) = PartitionLog::open(copy.path(), options()).unwrap();
        assert!(recovery.cuts.is_empty());
        let left = contents(&log);
        assert!(left.len() < before.len(), "renamed: it has happened");
        assert_eq!(fold(&left), fold(&before));
        assert_eq!(fs::read(copy.path().join(new[0].file_name().unwrap())).unwrap(), compacted);
        assert!(
            fs::read_dir(copy.path()).unwrap().all(|entry| entry
                .unwrap()
                .path()
                .extension()
                .is_none_or(|extension| extension != "swap"))
        );
        split(&read_all(&log))
            .windows(2)
            .for_each(|pair| assert!(pair[0].0.next_offset() <= pair[1].0.base_offset));
    }
}

#[test]
fn keeping_the_first_record_loses_the_latest() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogConfig { compaction_keeps: CompactionKeeps::First, ..options() };
    let mut log = grown(dir.path(), &options);
    let before = fold(&contents(&log));
    for key in 0..3 {
        log.append_leader(&batch(&[pair(key, Some(100))], None), 0, 0).unwrap();
    }
    log.compact(i64::MAX / 2, 43).unwrap();
    assert_eq!(contents(&log)[0].offset, 0);
    assert_ne!(fold(&contents(&log)), before);
}
