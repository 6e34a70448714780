//! Random appends, reads, truncations and crashes, against a list of batches.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::Path;

use bytes::Bytes;
use duress_broker::log::{
    AppendError, BatchHeader, Durability, FsyncPolicy, LogConfig, Novelty, PartitionLog, ProducerState,
    SequenceFault, SequencedBatch, TimedOffset,
};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::wire::{Numbered, batch, decode, read_all, segments, split, value};

#[derive(Debug, Clone)]
enum Step {
    /// Some records without a producer or from one, at the epoch in force or the next one.
    Append {
        records: usize,
        producer: Option<i64>,
        next_epoch: bool,
    },
    /// A producer sends one of its batches again.
    Repeat {
        producer: i64,
        back: usize,
    },
    /// A producer leaves out a number.
    Gap {
        producer: i64,
    },
    /// A producer begins again with its next epoch.
    Restart {
        producer: i64,
    },
    Persist,
    Truncate(Index),
    RaiseStart(Index),
    FindTime(i64),
    Reopen,
    /// The process ends; the file is cut, or a byte of it is wrong, somewhere in the unsynced part.
    Crash {
        batch: Index,
        byte: Index,
        how: Damage,
    },
}

#[derive(Debug, Clone, Copy)]
enum Damage {
    None,
    Cut,
    Flip,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let producer = 0..3_i64;
    let damage = prop_oneof![Just(Damage::None), Just(Damage::Cut), Just(Damage::Flip)];
    let step = prop_oneof![
        8 => (1..4_usize, proptest::option::of(producer.clone()), proptest::bool::weighted(0.2))
            .prop_map(|(records, producer, next_epoch)| Step::Append { records, producer, next_epoch }),
        2 => (producer.clone(), 0..7_usize).prop_map(|(producer, back)| Step::Repeat { producer, back }),
        1 => producer.clone().prop_map(|producer| Step::Gap { producer }),
        1 => producer.prop_map(|producer| Step::Restart { producer }),
        2 => Just(Step::Persist),
        1 => any::<Index>().prop_map(Step::Truncate),
        1 => any::<Index>().prop_map(Step::RaiseStart),
        1 => (0..60_i64).prop_map(Step::FindTime),
        1 => Just(Step::Reopen),
        2 => (any::<Index>(), any::<Index>(), damage)
            .prop_map(|(batch, byte, how)| Step::Crash { batch, byte, how }),
    ];
    proptest::collection::vec(step, 1..60)
}

/// The expected state of the log.
#[derive(Debug, Default)]
struct Model {
    /// Every batch that was appended and not cut off, even those before the log start.
    batches: Vec<(BatchHeader, Bytes)>,
    start: i64,
    /// The log below this offset is on the device.
    synced: i64,
    epoch: i32,
    producer_epochs: BTreeMap<i64, i16>,
    clock: i64,
}

impl Model {
    fn end(&self) -> i64 {
        self.batches.last().map_or(self.start, |(header, _)| header.next_offset())
    }

    /// A log that is cut down to its start knows nothing any more.
    fn forget_if_empty(&mut self) {
        if self.batches.last().is_none_or(|(header, _)| header.next_offset() <= self.start) {
            self.batches.clear();
        }
    }

    fn producers(&self) -> BTreeMap<i64, ProducerState> {
        let mut states: BTreeMap<i64, ProducerState> = BTreeMap::new();
        for (header, _) in self.batches.iter().filter(|(header, _)| header.producer_id >= 0) {
            let fresh = ProducerState { epoch: header.producer_epoch, batches: VecDeque::new() };
            let state = states.entry(header.producer_id).or_insert(fresh.clone());
            if state.epoch != header.producer_epoch {
                *state = fresh;
            }
            state.batches.push_back(SequencedBatch {
                first_sequence: header.base_sequence,
                last_sequence: header.last_sequence(),
                base_offset: header.base_offset,
                last_offset: header.last_offset(),
                timestamp: header.max_timestamp,
            });
            if state.batches.len() > 5 {
                state.batches.pop_front();
            }
        }
        since(states, self.start)
    }

    /// By definition: the largest epoch up to `epoch` that wrote something, and the first offset of a larger one.
    fn end_of_epoch(&self, epoch: i32) -> Option<(i32, i64)> {
        let mut readable = self.batches.iter().filter(|(header, _)| header.base_offset >= self.start);
        let wrote = readable.clone().rev().find(|(header, _)| header.leader_epoch <= epoch);
        let next = readable.find(|(header, _)| header.leader_epoch > epoch);
        match (wrote, next) {
            (Some((wrote, _)), Some((next, _))) => Some((wrote.leader_epoch, next.base_offset)),
            (Some((wrote, _)), None) if wrote.leader_epoch == epoch => Some((epoch, self.end())),
            (None, Some((next, _))) => Some((epoch, next.base_offset)),
            _ => None,
        }
    }
}

/// Returns the producers with their appends from `start` on.
fn since(states: BTreeMap<i64, ProducerState>, start: i64) -> BTreeMap<i64, ProducerState> {
    let mut states = states;
    for state in states.values_mut() {
        state.batches.retain(|batch| batch.base_offset >= start);
    }
    states.retain(|_, state| !state.batches.is_empty());
    states
}

struct Run {
    dir: tempfile::TempDir,
    options: LogConfig,
    log: Option<PartitionLog>,
    model: Model,
}

impl Run {
    fn new(options: LogConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = PartitionLog::open(dir.path(), options.clone()).unwrap();
        Self { dir, options, log: Some(log), model: Model::default() }
    }

    fn log(&mut self) -> &mut PartitionLog {
        self.log.as_mut().unwrap()
    }

    fn append(&mut self, records: usize, numbered: Option<Numbered>) -> Result<Novelty, AppendError> {
        self.model.clock += 1;
        // Timestamps are a producer's: they need not grow.
        let timestamp = (self.model.clock * 7) % 50;
        let plain: Vec<_> = (0..records as i64).map(|at| value(self.model.clock, timestamp + at)).collect();
        let (epoch, now, end) = (self.model.epoch, self.model.clock, self.model.end());
        let appended = self.log().append_leader(&batch(&plain, numbered), epoch, now)?;
        if appended.novelty == Novelty::New {
            assert_eq!((appended.base_offset, appended.last_offset), (end, end + records as i64 - 1));
            let bytes = self.log().read(end, 1, i64::MAX).unwrap();
            self.model.batches.extend(split(&bytes));
            if self.options.fsync == FsyncPolicy::BeforeAck {
                // Closed segments are durable already.
                let active = segments(self.dir.path()).pop().unwrap();
                let base: i64 = active.file_stem().unwrap().to_str().unwrap().parse().unwrap();
                self.model.synced = self.model.synced.max(base);
            }
        }
        Ok(appended.novelty)
    }

    /// Returns the number that a producer's next batch has.
    fn next_number(&self, producer: i64) -> Numbered {
        let producer_epoch = self.model.producer_epochs.get(&producer).copied().unwrap_or(0);
        let last = self.model.producers().get(&producer).cloned();
        let sequence = last
            .filter(|state| state.epoch == producer_epoch)
            .map_or(0, |state| state.batches.back().unwrap().last_sequence + 1);
        Numbered { producer_id: producer, producer_epoch, sequence }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Append { records, producer, next_epoch } => {
                self.model.epoch += i32::from(*next_epoch);
                let numbered = producer.map(|producer| self.next_number(producer));
                // The log may know an epoch that the model has lost with the cut part.
                assert_eq!(self.append(*records, numbered).unwrap(), Novelty::New);
            }
            Step::Repeat { producer, back } => self.repeat(*producer, *back),
            Step::Gap { producer } => {
                let known = self.model.producers().contains_key(producer);
                let next = self.next_number(*producer);
                if known && next.sequence > 0 {
                    let skipped = Numbered { sequence: next.sequence + 1, ..next };
                    let refused = self.append(1, Some(skipped));
                    assert!(
                        matches!(refused, Err(AppendError::Sequence(SequenceFault::OutOfOrder { .. }))),
                        "{refused:?}"
                    );
                }
            }
            Step::Restart { producer } => {
                *self.model.producer_epochs.entry(*producer).or_insert(0) += 1;
                let next = self.next_number(*producer);
                self.append(1, Some(next)).unwrap();
                let stale = Numbered { producer_epoch: next.producer_epoch - 1, ..next };
                let refused = self.append(1, Some(stale));
                assert!(
                    matches!(refused, Err(AppendError::Sequence(SequenceFault::Fenced { .. }))),
                    "{refused:?}"
                );
            }
            Step::Persist => {
                self.log().persist(0).unwrap();
                if self.options.fsync == FsyncPolicy::BeforeAck {
                    self.model.synced = self.model.end();
                }
            }
            Step::Truncate(index) => {
                let (start, end) = (self.model.start, self.model.end());
                let offset = start + index.index((end - start) as usize + 1) as i64;
                self.log().truncate_to(offset).unwrap();
                self.model.batches.retain(|(header, _)| header.next_offset() <= offset);
                self.model.synced = self.model.synced.min(self.model.end());
                self.model.forget_if_empty();
            }
            Step::RaiseStart(index) => {
                let (start, end) = (self.model.start, self.model.end());
                // At the beginning of a batch, as a leader's retention does.
                let offset = start + index.index((end - start) as usize + 1) as i64;
                let at =
                    self.model.batches.iter().map(|(header, _)| header.base_offset).find(|at| *at >= offset);
                if let Some(at) = at.filter(|at| *at > start) {
                    self.log().raise_log_start(at).unwrap();
                    self.model.start = at;
                }
            }
            Step::FindTime(timestamp) => {
                let all = self.all();
                let first = decode(&all).into_iter().find(|record| record.timestamp >= *timestamp);
                let expected =
                    first.map(|record| TimedOffset { offset: record.offset, timestamp: record.timestamp });
                assert_eq!(self.log().offset_for_time(*timestamp).unwrap(), expected);
            }
            Step::Reopen => {
                self.reopen();
                assert_eq!(self.log().log_end_offset(), self.model.end());
            }
            Step::Crash { batch, byte, how } => self.crash(*batch, *byte, *how),
        }
    }

    fn repeat(&mut self, producer: i64, back: usize) {
        let sent: Vec<_> =
            self.model.batches.iter().filter(|(header, _)| header.producer_id == producer).collect();
        let Some(&(earlier, ref bytes)) = sent.len().checked_sub(back + 1).map(|at| sent[at]) else { return };
        let bytes = bytes.clone();
        let known = self.model.producers();
        let remembered = known.get(&producer).and_then(|state| {
            let same = |batch: &&SequencedBatch| batch.base_offset == earlier.base_offset;
            (state.epoch == earlier.producer_epoch).then(|| state.batches.iter().find(same))?
        });
        let remembered = remembered.copied();
        let (epoch, end) = (self.model.epoch, self.model.end());
        let start = self.model.start;
        let answer = self.log().append_leader(&bytes, epoch, 0);
        match remembered {
            Some(batch) => {
                let appended = answer.unwrap();
                assert_eq!((appended.base_offset, appended.novelty), (batch.base_offset, Novelty::Duplicate));
            }
            // A producer whose batches are before the log start may be unknown.
            None if earlier.base_offset < start => {
                if answer.is_ok_and(|appended| appended.novelty == Novelty::New) {
                    let bytes = self.log().read(end, 1, i64::MAX).unwrap();
                    self.model.batches.extend(split(&bytes));
                }
            }
            None => assert!(matches!(answer, Err(AppendError::Sequence(_))), "{answer:?}"),
        }
    }

    fn reopen(&mut self) {
        drop(self.log.take());
        let (log, recovery) = PartitionLog::open(self.dir.path(), self.options.clone()).unwrap();
        assert!(recovery.cuts.is_empty(), "{recovery:?}");
        self.log = Some(log);
    }

    fn crash(&mut self, batch: Index, byte: Index, how: Damage) {
        drop(self.log.take());
        let safe = self.model.synced.max(self.model.start);
        let unsynced = self.model.batches.iter().filter(|(header, _)| header.base_offset >= safe);
        let unsynced: Vec<_> = unsynced.map(|(header, _)| *header).collect();
        if unsynced.is_empty() || matches!(how, Damage::None) {
            return self.reopen();
        }
        let broken = unsynced[batch.index(unsynced.len())];
        damage(self.dir.path(), &broken, byte, how);
        let (log, recovery) = PartitionLog::open(self.dir.path(), self.options.clone()).unwrap();
        self.model.batches.retain(|(header, _)| header.base_offset < broken.base_offset);
        self.model.forget_if_empty();
        assert_eq!(log.log_end_offset(), self.model.end(), "{recovery:?}");
        self.model.synced = self.model.end();
        self.log = Some(log);
    }

    fn all(&mut self) -> Bytes {
        read_all(self.log())
    }

    fn check(&mut self) {
        let expected: Vec<u8> = self
            .model
            .batches
            .iter()
            .filter(|(header, _)| header.base_offset >= self.model.start)
            .flat_map(|(_, bytes)| bytes.iter().copied())
            .collect();
        assert_eq!(self.all(), expected);
        assert_eq!(self.log().log_start_offset(), self.model.start);
        assert_eq!(self.log().log_end_offset(), self.model.end());
        let start = self.model.start;
        assert_eq!(since(self.log().producers().clone(), start), self.model.producers());
        for epoch in 0..=self.model.epoch + 1 {
            let end = self.log().end_offset_for_epoch(epoch).map(|end| (end.epoch, end.end_offset));
            assert_eq!(end, self.model.end_of_epoch(epoch), "epoch {epoch}: {:?}", self.log().epoch_starts());
        }
    }
}

/// Cuts the segment within a batch, or makes one byte of it wrong (but not of the leader epoch, which no checksum
/// covers).
fn damage(dir: &Path, broken: &BatchHeader, byte: Index, how: Damage) {
    for path in segments(dir) {
        let mut bytes = fs::read(&path).unwrap();
        let mut position = 0;
        while position < bytes.len() {
            let header = BatchHeader::parse(&bytes[position..]).unwrap();
            if header.base_offset == broken.base_offset {
                match how {
                    Damage::None => {}
                    // Cut before its first byte it would merely not be there.
                    Damage::Cut => bytes.truncate(position + 1 + byte.index(header.size - 1)),
                    Damage::Flip => {
                        let at = byte.index(header.size - 4);
                        bytes[position + if at < 12 { at } else { at + 4 }] ^= 0x10;
                    }
                }
                return fs::write(&path, bytes).unwrap();
            }
            position += header.size;
        }
    }
    panic!("batch {broken:?} is not on disk");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_log_is_what_was_appended(
        steps in steps(),
        segment_bytes_max in 100..2000_u64,
        index_interval_bytes in 1..300_u64,
        fsync in prop_oneof![Just(FsyncPolicy::BeforeAck), Just(FsyncPolicy::Never)],
    ) {
        // A crash is made by hand here, of the files as they are: waiting for the device would only take time.
        let durability = Durability::Skipped;
        let options =
            LogConfig { segment_bytes_max, index_interval_bytes, fsync, durability, ..LogConfig::default() };
        let mut run = Run::new(options);
        for step in &steps {
            run.step(step);
            run.check();
        }
    }
}
