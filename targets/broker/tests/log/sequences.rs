//! Producers' sequence numbers across leaders, and without the checks.

use bytes::Bytes;
use duress_broker::log::{
    FollowerProducers, LogConfig, Novelty, PartitionLog, ProducersOnOpen, SequenceCheck,
};

use crate::wire::{Numbered, batch, value};

fn numbered(sequence: i32) -> Bytes {
    batch(&[value(sequence, 0)], Some(Numbered { producer_id: 9, producer_epoch: 0, sequence }))
}

fn open(options: &LogConfig) -> (tempfile::TempDir, PartitionLog) {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = PartitionLog::open(dir.path(), options.clone()).unwrap();
    (dir, log)
}

/// A leader has three batches, a follower copies them and becomes leader; the producer sends the last one again.
fn after_failover(options: &LogConfig) -> Novelty {
    let (_leader_dir, mut leader) = open(options);
    for sequence in 0..3 {
        leader.append_leader(&numbered(sequence), 0, 0).unwrap();
    }
    let (_dir, mut follower) = open(options);
    let copied = leader.read(0, 1 << 20, 3).unwrap();
    assert_eq!(follower.append_follower(&copied, 0).unwrap(), copied.len());
    follower.begin_epoch(1).unwrap();
    follower.append_leader(&numbered(2), 1, 0).unwrap().novelty
}

#[test]
fn a_new_leader_knows_what_the_old_one_had_appended() {
    assert_eq!(after_failover(&LogConfig::default()), Novelty::Duplicate);
    let forgetful = LogConfig { follower_producers: FollowerProducers::Ignored, ..LogConfig::default() };
    assert_eq!(after_failover(&forgetful), Novelty::New);
}

/// A log is closed with three batches and opened again; the producer sends the last one again.
fn after_restart(options: &LogConfig) -> Novelty {
    let (dir, mut log) = open(options);
    for sequence in 0..3 {
        log.append_leader(&numbered(sequence), 0, 0).unwrap();
    }
    drop(log);
    let (mut log, _) = PartitionLog::open(dir.path(), options.clone()).unwrap();
    log.append_leader(&numbered(2), 0, 0).unwrap().novelty
}

#[test]
fn a_log_that_is_opened_again_knows_what_it_holds() {
    assert_eq!(after_restart(&LogConfig::default()), Novelty::Duplicate);
    let forgetful = LogConfig { producers_on_open: ProducersOnOpen::Unknown, ..LogConfig::default() };
    assert_eq!(after_restart(&forgetful), Novelty::New);
}

#[test]
fn unchecked_everything_is_appended() {
    let (_dir, mut log) = open(&LogConfig { sequence_check: SequenceCheck::Ignored, ..LogConfig::default() });
    for (at, sequence) in [0, 0, 5].into_iter().enumerate() {
        assert_eq!(log.append_leader(&numbered(sequence), 0, 0).unwrap().base_offset, at as i64);
    }
}

#[test]
fn numbers_begin_again_after_the_largest() {
    let (_dir, mut log) = open(&LogConfig::default());
    for sequence in [i32::MAX - 1, i32::MAX, 0, 1] {
        assert_eq!(log.append_leader(&numbered(sequence), 0, 0).unwrap().novelty, Novelty::New);
    }
    assert_eq!(log.append_leader(&numbered(i32::MAX), 0, 0).unwrap().novelty, Novelty::Duplicate);
}

#[test]
fn a_follower_takes_only_what_continues_its_log() {
    let (_leader_dir, mut leader) = open(&LogConfig::default());
    for sequence in 0..3 {
        leader.append_leader(&numbered(sequence), 0, 0).unwrap();
    }
    let all = leader.read(0, 1 << 20, 3).unwrap();
    let (_dir, mut follower) = open(&LogConfig::default());
    assert!(follower.append_follower(&all.slice(all.len() / 3..), 0).is_err(), "begins at offset 1");
    let torn = all.slice(..all.len() - 1);
    assert_eq!(
        follower.append_follower(&torn, 0).unwrap(),
        all.len() / 3 * 2,
        "without the incomplete batch"
    );
    assert!(follower.append_follower(&all, 0).is_err(), "begins at offset 0 again");
    let mut wrong = all.slice(all.len() / 3 * 2..).to_vec();
    *wrong.last_mut().unwrap() ^= 1;
    assert!(follower.append_follower(&wrong.into(), 0).is_err(), "is not what its checksum says");
    assert_eq!(follower.log_end_offset(), 2);
}

#[test]
fn an_epoch_in_which_nothing_was_written_gives_way() {
    let (_dir, mut log) = open(&LogConfig::default());
    log.append_leader(&numbered(0), 0, 0).unwrap();
    log.begin_epoch(1).unwrap();
    assert_eq!(log.end_offset_for_epoch(0).unwrap().end_offset, 1);
    assert_eq!(log.end_offset_for_epoch(1).unwrap().end_offset, 1);
    // Another broker, elected after it, turns out to have had a record of epoch 0 more.
    let (_other_dir, mut other) = open(&LogConfig::default());
    for sequence in 0..2 {
        other.append_leader(&numbered(sequence), 0, 0).unwrap();
    }
    log.append_follower(&other.read(1, 1 << 20, 2).unwrap(), 0).unwrap();
    assert_eq!(log.epoch_starts(), other.epoch_starts());
}
