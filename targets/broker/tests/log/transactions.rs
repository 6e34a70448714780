//! Transactions in one log: the last stable offset, the list of aborted ones, and their markers.

use std::time::Duration;

use bytes::Bytes;
use duress_broker::log::{
    Aborted, AppendError, BatchFault, BatchHeader, Cleanup, LogConfig, Marker, Novelty, Outcome, OwnRecord,
    PartitionLog, SequenceFault, build_batch, build_transactional,
};

use crate::wire::{decode, read_all, split};

const ONE: i64 = 7;
const OTHER: i64 = 8;

fn part(producer: i64, epoch: i16, key: &str, value: &str) -> Bytes {
    let bytes = |text: &str| Some(Bytes::copy_from_slice(text.as_bytes()));
    build_transactional(&[OwnRecord { key: bytes(key), value: bytes(value) }], 5000, (producer, epoch))
}

fn marker(producer_id: i64, epoch: i16, number: u64, outcome: Outcome) -> Marker {
    Marker { producer_id, producer_epoch: epoch, number, outcome, coordinator_epoch: 3 }
}

fn open(options: &LogConfig) -> (tempfile::TempDir, PartitionLog) {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = PartitionLog::open(dir.path(), options.clone()).unwrap();
    (dir, log)
}

fn append(log: &mut PartitionLog, batch: &Bytes) -> i64 {
    log.append_leader(batch, 0, 0).unwrap().base_offset
}

fn end(log: &mut PartitionLog, marker: Marker) -> Novelty {
    log.append_marker(&marker, 0, 0).unwrap().novelty
}

/// Two transactions, one aborted and one committed, and a third that is open from offset 4 on.
fn three(options: &LogConfig) -> (tempfile::TempDir, PartitionLog) {
    let (dir, mut log) = open(options);
    append(&mut log, &part(ONE, 0, "k", "aborted"));
    append(&mut log, &part(OTHER, 0, "k", "committed"));
    end(&mut log, marker(ONE, 0, 1, Outcome::Abort));
    end(&mut log, marker(OTHER, 0, 1, Outcome::Commit));
    append(&mut log, &part(ONE, 0, "k", "open"));
    (dir, log)
}

fn is_as_made(log: &PartitionLog) {
    assert_eq!(log.last_stable_offset(5), 4, "the third is open");
    assert_eq!(log.last_stable_offset(3), 1, "and the marker of the second is not committed");
    assert_eq!(log.last_stable_offset(2), 0, "nor that of the first");
    let aborted = Aborted { producer_id: ONE, first_offset: 0, marker_offset: 2 };
    assert_eq!(log.aborted(0, 5), [aborted]);
    assert_eq!(log.aborted(3, 5), [], "it has ended before");
}

#[test]
fn what_is_stable_and_aborted_is_known_to_a_follower_and_after_a_restart() {
    for segment_bytes_max in [64 << 20, 90] {
        let options = LogConfig { segment_bytes_max, ..LogConfig::default() };
        let (dir, log) = three(&options);
        is_as_made(&log);

        let (_dir, mut follower) = open(&options);
        follower.append_follower(&read_all(&log), 0).unwrap();
        is_as_made(&follower);

        drop(log);
        let (mut log, _) = PartitionLog::open(dir.path(), options).unwrap();
        is_as_made(&log);

        // Without its marker a transaction is open again, as it is when another leader never had it.
        log.truncate_to(2).unwrap();
        assert_eq!((log.last_stable_offset(2), log.aborted(0, 2)), (0, vec![]));
        end(&mut log, marker(OTHER, 0, 1, Outcome::Commit));
        assert_eq!(log.last_stable_offset(3), 0);
    }
}

#[test]
fn markers_below_the_high_watermark_are_settled() {
    let (_dir, mut log) = three(&LogConfig::default());
    log.settle_transactions(4);
    assert_eq!((log.last_stable_offset(4), log.last_stable_offset(5)), (4, 4));
    end(&mut log, marker(ONE, 0, 2, Outcome::Commit));
    assert_eq!((log.last_stable_offset(5), log.last_stable_offset(6)), (4, 6));
}

#[test]
fn a_marker_that_is_sent_again_does_not_end_a_later_transaction() {
    let (_dir, mut log) = three(&LogConfig::default());
    assert_eq!(end(&mut log, marker(ONE, 0, 1, Outcome::Abort)), Novelty::Duplicate);
    assert_eq!((log.log_end_offset(), log.last_stable_offset(5)), (5, 4));
    assert_eq!(end(&mut log, marker(ONE, 0, 2, Outcome::Commit)), Novelty::New);
    assert_eq!(end(&mut log, marker(ONE, 0, 2, Outcome::Commit)), Novelty::Duplicate);
    assert_eq!(log.last_stable_offset(6), 6);
}

#[test]
fn a_marker_of_a_later_epoch_fences_its_producer() {
    let (dir, mut log) = three(&LogConfig::default());
    end(&mut log, marker(ONE, 1, 2, Outcome::Abort));
    drop(log);
    let (mut log, _) = PartitionLog::open(dir.path(), LogConfig::default()).unwrap();
    let refused = log.append_leader(&part(ONE, 0, "k", "zombie"), 0, 0);
    let fault = SequenceFault::Fenced { producer_id: ONE, current: 1, found: 0 };
    assert!(matches!(refused, Err(AppendError::Sequence(found)) if found == fault), "{refused:?}");
    assert_eq!(append(&mut log, &part(ONE, 1, "k", "successor")), 6);
}

/// The transactions of a log, from which the answers follow by definition.
#[derive(Default)]
struct Model {
    /// By producer: the offset of the first record of the open transaction, and how many have ended.
    producers: [(Option<i64>, u64); 3],
    /// Producer, first offset, offset of the marker, and the outcome.
    ended: Vec<(i64, i64, i64, Outcome)>,
}

impl Model {
    fn last_stable_offset(&self, high_watermark: i64) -> i64 {
        let open = self.producers.iter().filter_map(|(first, _)| *first);
        let unsettled = self.ended.iter().filter(|(_, _, marker, _)| *marker >= high_watermark);
        open.chain(unsettled.map(|(_, first, ..)| *first)).fold(high_watermark, i64::min)
    }

    fn aborted(&self, from: i64, to: i64) -> Vec<Aborted> {
        let aborted = self.ended.iter().filter(|(_, first, marker, outcome)| {
            *outcome == Outcome::Abort && *marker >= from && *first < to
        });
        aborted
            .map(|(producer_id, first_offset, marker_offset, _)| Aborted {
                producer_id: *producer_id,
                first_offset: *first_offset,
                marker_offset: *marker_offset,
            })
            .collect()
    }
}

#[test]
fn what_is_stable_and_aborted_is_so_by_definition() {
    for seed in 0..20_u64 {
        let mut random = seed * 2 + 1;
        let mut below = |limit: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % limit
        };
        let (_dir, mut log) = open(&LogConfig { segment_bytes_max: 400, ..LogConfig::default() });
        let (mut model, mut high_watermark) = (Model::default(), 0);
        for _ in 0..60 {
            let producer = below(3);
            let id = producer as i64;
            let (first, ended) = &mut model.producers[producer as usize];
            match below(4) {
                0 | 1 => {
                    let offset = append(&mut log, &part(id, 0, "k", "v"));
                    first.get_or_insert(offset);
                }
                2 if first.is_some() => {
                    *ended += 1;
                    let outcome = if below(2) == 0 { Outcome::Abort } else { Outcome::Commit };
                    let offset = log.log_end_offset();
                    assert_eq!(end(&mut log, marker(id, 0, *ended, outcome)), Novelty::New);
                    model.ended.extend(first.take().map(|first| (id, first, offset, outcome)));
                }
                // A marker that was sent before comes again.
                2 if *ended > 0 => {
                    let old = marker(id, 0, 1 + below(*ended), Outcome::Abort);
                    assert_eq!(end(&mut log, old), Novelty::Duplicate);
                }
                _ => {
                    high_watermark += below((log.log_end_offset() - high_watermark + 1) as u64) as i64;
                    log.settle_transactions(high_watermark);
                }
            }
            for at in high_watermark..=log.log_end_offset() {
                assert_eq!(log.last_stable_offset(at), model.last_stable_offset(at), "seed {seed}, {at}");
            }
            let to = log.log_end_offset();
            let from = below(to as u64 + 1) as i64;
            assert_eq!(log.aborted(from, to), model.aborted(from, to), "seed {seed}, {from} to {to}");
            assert_eq!(log.aborted(0, from), model.aborted(0, from), "seed {seed}, up to {from}");
        }
    }
}

#[test]
fn a_part_of_a_transaction_names_its_producer() {
    let (_dir, mut log) = open(&LogConfig::default());
    let refused = log.append_leader(&part(-1, -1, "k", "without a producer"), 0, 0);
    assert!(matches!(refused, Err(AppendError::Batch(BatchFault::NoProducer))), "{refused:?}");
    assert_eq!(append(&mut log, &build_batch(&[OwnRecord { key: None, value: None }], 5000)), 0);
    assert_eq!(log.last_stable_offset(1), 1, "nothing is open");
}

#[test]
fn a_marker_is_what_kafka_writes() {
    let (_dir, log) = three(&LogConfig::default());
    let read = decode(&read_all(&log));
    let control: Vec<(i64, Vec<u8>)> = read
        .iter()
        .filter(|record| record.control && record.transactional)
        .map(|record| (record.producer_id, record.key.clone().unwrap().to_vec()))
        .collect();
    assert_eq!(control, [(ONE, vec![0, 0, 0, 0]), (OTHER, vec![0, 0, 0, 1])]);
    let (header, batch): (BatchHeader, Bytes) = split(&read_all(&log)).swap_remove(2);
    assert_eq!(Marker::read(&header, &batch), Some(marker(ONE, 0, 1, Outcome::Abort)));
}

#[test]
fn compaction_neither_keeps_aborted_records_nor_lets_them_replace_others_nor_touches_open_ones() {
    let options = LogConfig {
        cleanup: Cleanup::Compact,
        segment_bytes_max: 90,
        dirty_ratio_min: 0.0,
        delete_retention: Duration::ZERO,
        ..LogConfig::default()
    };
    let (dir, mut log) = open(&options);
    append(&mut log, &part(ONE, 0, "k", "first"));
    end(&mut log, marker(ONE, 0, 1, Outcome::Commit));
    append(&mut log, &part(ONE, 0, "k", "aborted"));
    end(&mut log, marker(ONE, 0, 2, Outcome::Abort));
    append(&mut log, &part(OTHER, 0, "other", "open"));
    append(&mut log, &part(OTHER, 0, "k", "open too"));
    log.compact(0, log.log_end_offset()).unwrap().expect("something was due");
    let values = |log: &PartitionLog| -> Vec<String> {
        let records = decode(&read_all(log)).into_iter().filter(|record| !record.control);
        records.map(|record| String::from_utf8(record.value.unwrap().to_vec()).unwrap()).collect()
    };
    assert_eq!(values(&log), ["first", "open", "open too"]);
    end(&mut log, marker(OTHER, 0, 1, Outcome::Commit));
    append(&mut log, &part(ONE, 0, "z", "last"));
    log.compact(0, log.log_end_offset() - 1).unwrap();
    assert_eq!(values(&log), ["open", "open too", "last"]);
    let stable = log.last_stable_offset(log.log_end_offset());
    drop(log);
    let (log, _) = PartitionLog::open(dir.path(), options).unwrap();
    assert_eq!((log.last_stable_offset(log.log_end_offset()), stable), (7, 7), "the last one is open");
}
