//! Some processes send inputs, some process them, and the others read the outputs.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use duress_history::stream::{ReadFrom, Stream, Then};
use duress_history::{Event, Scalar};
use duress_targets::STREAM_INPUTS;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::options::StreamOptions;
use crate::workload::generator::{Context, Generator, Next, WORKLOAD_STREAM};

/// The streams of chance of workers follow this one, a stream for each process slot.
const TENURE_STREAM: u64 = 3000;
/// A worker gives up about one in so many attempts.
const ATTEMPTS_PER_ABORT: u32 = 10;

/// The role of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It sends inputs.
    Sender,
    /// It processes them, as a member of the group.
    Worker,
    /// It reads the outputs.
    Reader,
}

impl Part {
    /// Returns the part of a process slot: every third one is a worker.
    #[must_use]
    pub fn of(slot: usize) -> Self {
        match slot % 3 {
            0 => Self::Sender,
            1 => Self::Worker,
            _ => Self::Reader,
        }
    }
}

/// Returns an attempt of the worker in a slot.
pub(super) fn process(slot: usize, attempt: u64, then: Then) -> Stream {
    Stream::Process { worker: slot as u64, attempt, then, outputs: None }
}

/// Inputs, attempts to process them, and reads of outputs, without end.
#[derive(Debug)]
pub struct StreamMix {
    options: StreamOptions,
    seed: u64,
    rng: ChaCha8Rng,
    latest: i64,
    /// A run ends more than once if its nodes are restarted: no attempt may have the number of an earlier one.
    attempts: Cell<u64>,
    workers: BTreeMap<usize, Worker>,
}

/// A worker's slot.
#[derive(Debug)]
struct Worker {
    rng: ChaCha8Rng,
    dies: Duration,
}

impl StreamMix {
    /// Returns a mix drawn from `seed`. Numbers in `options` are at least one.
    #[must_use]
    pub fn new(options: StreamOptions, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(WORKLOAD_STREAM);
        Self { options, seed, rng, latest: 0, attempts: Cell::new(0), workers: BTreeMap::new() }
    }

    /// Returns the number of the last attempt.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        self.attempts.get()
    }

    /// Records that attempts were made up to this number.
    pub fn attempted(&self, attempts: u64) {
        self.attempts.set(attempts);
    }

    fn send(&mut self) -> Stream {
        self.latest += 1;
        let key = self.rng.random_range(0..self.options.keys);
        let partition = format!("{STREAM_INPUTS}-{}", key % self.options.partitions);
        Stream::Send {
            partition: Scalar::from(partition.as_str()),
            key: Scalar::from(format!("k{key}").as_str()),
            value: Scalar::Int(self.latest),
            offset: None,
        }
    }

    fn process(&mut self, context: &Context) -> Stream {
        let Context { now, slot, .. } = *context;
        let (seed, mean) = (self.seed, self.options.tenure_ms);
        let worker = self.workers.entry(slot).or_insert_with(|| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(TENURE_STREAM + slot as u64);
            let dies = now + life(&mut rng, mean);
            Worker { rng, dies }
        });
        let then = if worker.dies <= now {
            worker.dies = now + life(&mut worker.rng, mean);
            Then::Die
        } else if worker.rng.random_ratio(1, ATTEMPTS_PER_ABORT) {
            Then::Abort
        } else {
            Then::Commit
        };
        self.attempts.set(self.attempts.get() + 1);
        process(slot, self.attempts.get(), then)
    }
}

fn life(rng: &mut ChaCha8Rng, mean_ms: u64) -> Duration {
    Duration::from_millis(rng.random_range(mean_ms / 2..=mean_ms + mean_ms / 2).max(1))
}

impl Generator<Stream> for StreamMix {
    fn next(&mut self, context: &Context) -> Next<Stream> {
        Next::Op(match Part::of(context.slot) {
            Part::Sender => self.send(),
            Part::Worker => self.process(context),
            Part::Reader => Stream::Read { from: ReadFrom::Position, read: None },
        })
    }

    fn update(&mut self, _: &Event<Stream>) {}
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use duress_history::Process;

    use super::*;

    #[test]
    fn inputs_are_sent_once_and_those_of_a_key_to_one_partition_while_workers_die() {
        let options = StreamOptions { tenure_ms: 200, ..StreamOptions::default() };
        let mut mix = StreamMix::new(options, 5);
        let (mut values, mut homes, mut ends) = (HashSet::new(), HashMap::new(), HashMap::new());
        let mut attempts = HashSet::new();
        for ms in 0..6000 {
            let slot = ms as usize % 3;
            let context =
                Context { now: Duration::from_millis(ms), slot, slots: 3, process: Process(slot as u64) };
            let Next::Op(action) = mix.next(&context) else { panic!("there is always something to do") };
            match (slot, action) {
                (0, Stream::Send { partition, key, value, .. }) => {
                    assert!(values.insert(value), "sent twice");
                    assert_eq!(*homes.entry(key).or_insert_with(|| partition.clone()), partition);
                }
                (1, Stream::Process { worker: 1, attempt, then, .. }) => {
                    assert!(attempts.insert(attempt), "attempted twice");
                    *ends.entry(then).or_insert(0) += 1;
                }
                (2, Stream::Read { .. }) => {}
                (_, action) => panic!("slot {slot} does {action:?}"),
            }
        }
        assert_eq!((values.len(), homes.len()), (2000, 24));
        assert!((20..=60).contains(&ends[&Then::Die]) && ends[&Then::Abort] > 100, "{ends:?}");
    }
}
