//! Sends to the partitions of a log, and consumers that come and go.

use std::time::Duration;

use duress_history::log::{Log, LogMicro, Offset, Start};
use duress_history::{Event, OpType, Process, Scalar};
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::options::LogOptions;
use crate::workload::generator::{Context, Generator, Next, WORKLOAD_STREAM};

/// The streams of chance of consumers follow this one, a stream for each process slot.
const TENURE_STREAM: u64 = 1000;
/// How often an assignment begins again at the beginning; else it continues.
const BEGINNING: f64 = 0.2;
/// How often a message goes where the one before it in the same operation went, so that clients make batches.
const SAME_PARTITION: f64 = 0.5;
/// How often a tenure ends with the death of its process.
const CRASHES: f64 = 0.25;
/// One of so many processes sends nothing. A leader that cannot replicate holds each process that sends to it until the time-out,
/// and the others see what it shows meanwhile.
const PER_READER: usize = 4;

/// The topics and partitions of a log, by name.
#[derive(Clone, Debug)]
pub struct Partitions {
    /// The topics: `t0`, `t1`, …
    pub topics: Vec<String>,
    /// The partitions of all topics: `t0-0`, `t0-1`, …
    pub keys: Vec<Scalar>,
}

impl Partitions {
    /// Returns the names of `topics` topics with `partitions` partitions each.
    #[must_use]
    pub fn new(topics: u32, partitions: u32) -> Self {
        let topics: Vec<String> = (0..topics).map(|number| format!("t{number}")).collect();
        let keys = topics
            .iter()
            .flat_map(|topic| {
                (0..partitions).map(move |partition| Scalar::from(format!("{topic}-{partition}").as_str()))
            })
            .collect();
        Self { topics, keys }
    }

    /// Returns the topics, as operations name them.
    #[must_use]
    pub fn topic_names(&self) -> Vec<Scalar> {
        self.topics.iter().map(|topic| Scalar::from(topic.as_str())).collect()
    }
}

/// Draws the messages of sends, each value once over the whole run.
#[derive(Debug)]
pub struct Sends {
    rng: ChaCha8Rng,
    keys: Vec<Scalar>,
    per_operation_max: u32,
    latest: i64,
    /// How many messages were drawn for each key.
    drawn: Vec<u64>,
}

impl Sends {
    /// Returns sends to `keys`, at least one, of 1 to `per_operation_max` messages each, drawn from `seed`.
    #[must_use]
    pub fn new(keys: Vec<Scalar>, per_operation_max: u32, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(WORKLOAD_STREAM);
        Self { rng, drawn: vec![0; keys.len()], keys, per_operation_max, latest: 0 }
    }

    /// Returns the next operation; there always is one.
    pub fn draw(&mut self) -> Log {
        let count = self.rng.random_range(1..=self.per_operation_max);
        let mut at = self.rng.random_range(0..self.keys.len());
        let mut micros = Vec::new();
        for number in 0..count {
            if number > 0 && !self.rng.random_bool(SAME_PARTITION) {
                at = self.rng.random_range(0..self.keys.len());
            }
            micros.push(self.message(at));
        }
        Log::Send(micros)
    }

    fn message(&mut self, at: usize) -> LogMicro {
        self.drawn[at] += 1;
        self.latest += 1;
        LogMicro::Send { key: self.keys[at].clone(), value: Scalar::Int(self.latest), offset: None }
    }
}

/// How a process consumes, for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    Assigned(Vec<Scalar>, Start),
    Subscribed(Vec<Scalar>),
}

impl Way {
    fn operation(&self) -> Log {
        match self {
            Self::Assigned(keys, from) => Log::Assign { keys: keys.clone(), from: *from },
            Self::Subscribed(topics) => Log::Subscribe(topics.clone()),
        }
    }
}

/// A process slot's consumer.
#[derive(Debug)]
struct Tenure {
    rng: ChaCha8Rng,
    way: Way,
    until: Duration,
    /// The process that was asked to consume this way, and did not fail to.
    told: Option<Process>,
}

/// An endless mix of sends and polls by processes that consume now by assignment, now as members of a group.
///
/// The messages depend on the seed alone, and so do the ways in which each process slot consumes and when
/// they change. The changes are at times, not at numbers of operations: a group that rebalanced with every
/// hundredth operation would, behind a fast target, do nothing else.
#[derive(Debug)]
pub struct LogMix {
    options: LogOptions,
    partitions: Partitions,
    seed: u64,
    rng: ChaCha8Rng,
    sends: Sends,
    tenures: Vec<Tenure>,
}

impl LogMix {
    /// Returns a mix drawn from `seed`. Numbers in `options` but the weights are at least one, and one weight
    /// is.
    #[must_use]
    pub fn new(options: LogOptions, seed: u64) -> Self {
        let partitions = Partitions::new(options.topics, options.partitions);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(TENURE_STREAM - 1);
        let sends = Sends::new(partitions.keys.clone(), options.sends_max, seed);
        Self { options, partitions, seed, rng, sends, tenures: Vec::new() }
    }

    /// Returns the partitions.
    #[must_use]
    pub fn partitions(&self) -> &Partitions {
        &self.partitions
    }

    /// Returns the way in which the slot consumes, and until when, from `now` on.
    fn tenure(&mut self, slot: usize, now: Duration) -> &mut Tenure {
        while self.tenures.len() <= slot {
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            rng.set_stream(TENURE_STREAM + self.tenures.len() as u64);
            let way = way(&mut rng, &self.partitions, self.options.subscriptions);
            // The first one may end at any time, so that not all end together.
            let until = Duration::from_millis(rng.random_range(0..=2 * self.options.tenure_ms));
            self.tenures.push(Tenure { rng, way, until, told: None });
        }
        let tenure = &mut self.tenures[slot];
        while tenure.until <= now {
            tenure.until += length(&mut tenure.rng, self.options.tenure_ms);
            tenure.way = way(&mut tenure.rng, &self.partitions, self.options.subscriptions);
            tenure.told = None;
        }
        tenure
    }

    fn draw(&mut self, context: &Context) -> Log {
        let Context { now, slot, process, .. } = *context;
        let (ends, told) = match self.tenures.get(slot) {
            Some(tenure) => (tenure.until <= now, tenure.told),
            None => (false, None),
        };
        if ends && told == Some(process) && self.tenures[slot].rng.random_bool(CRASHES) {
            // Its successor begins the next tenure.
            self.tenures[slot].told = None;
            return Log::Crash;
        }
        let tenure = self.tenure(slot, now);
        if tenure.told != Some(process) {
            tenure.told = Some(process);
            return tenure.way.operation();
        }
        let assigned = matches!(tenure.way, Way::Assigned(..));
        let LogOptions { sends, polls, seeks, commits, committed, subscriptions, .. } = self.options;
        let choice = self.rng.random_range(0..sends + polls + seeks + commits + committed);
        if choice < sends && slot % PER_READER == PER_READER - 1 {
            Log::Poll(vec![LogMicro::Poll(None)])
        } else if choice < sends {
            self.sends.draw()
        } else if choice < sends + polls {
            Log::Poll(vec![LogMicro::Poll(None)])
        } else if choice < sends + polls + seeks && assigned {
            self.seek(slot)
        } else if choice < sends + polls + seeks + commits && (!assigned || subscriptions == 0) {
            Log::Commit(None)
        } else if choice < sends + polls + seeks + commits {
            Log::Poll(vec![LogMicro::Poll(None)])
        } else {
            Log::Committed(None)
        }
    }

    /// Returns a position in the first half of the messages sent to one of the slot's partitions: as a rule
    /// one exists there.
    fn seek(&mut self, slot: usize) -> Log {
        let Way::Assigned(keys, _) = &self.tenures[slot].way else {
            unreachable!("only who consumes by assignment seeks")
        };
        let key = keys.choose(&mut self.rng).expect("an assignment has a partition").clone();
        let at = self.partitions.keys.iter().position(|known| *known == key).expect("of ours");
        let offset = self.rng.random_range(0..=self.sends.drawn[at] / 2);
        Log::Seek([(key, Offset(offset))].into())
    }
}

fn length(rng: &mut ChaCha8Rng, mean_ms: u64) -> Duration {
    Duration::from_millis(rng.random_range(mean_ms / 2..=mean_ms + mean_ms / 2).max(1))
}

/// Draws a way to consume, by subscription with this weight beside 1 of an assignment.
fn way(rng: &mut ChaCha8Rng, partitions: &Partitions, subscriptions: u32) -> Way {
    if rng.random_bool(f64::from(subscriptions) / (f64::from(subscriptions) + 1.0)) {
        Way::Subscribed(some(rng, &partitions.topic_names()))
    } else {
        let from = if rng.random_bool(BEGINNING) { Start::Beginning } else { Start::Position };
        Way::Assigned(some(rng, &partitions.keys), from)
    }
}

/// At least one of `all`, in their order.
fn some(rng: &mut ChaCha8Rng, all: &[Scalar]) -> Vec<Scalar> {
    let count = rng.random_range(1..=all.len());
    let mut at: Vec<usize> = rand::seq::index::sample(rng, all.len(), count).into_vec();
    at.sort_unstable();
    at.into_iter().map(|at| all[at].clone()).collect()
}

impl Generator<Log> for LogMix {
    fn next(&mut self, context: &Context) -> Next<Log> {
        Next::Op(self.draw(context))
    }

    fn update(&mut self, event: &Event<Log>) {
        // A process that could not begin to consume tries again.
        if event.op_type == OpType::Fail && matches!(event.action, Log::Assign { .. } | Log::Subscribe(_)) {
            for tenure in self.tenures.iter_mut().filter(|tenure| tenure.told == Some(event.process)) {
                tenure.told = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    const SLOTS: usize = 6;

    /// Returns the operations that `seed` gives to processes that are asked in turn, one every millisecond,
    /// and die when asked to.
    fn drawn(seed: u64, count: u64) -> Vec<(usize, Log)> {
        drawn_of(LogOptions::default(), seed, count)
    }

    fn drawn_of(options: LogOptions, seed: u64, count: u64) -> Vec<(usize, Log)> {
        let mut mix = LogMix::new(LogOptions { tenure_ms: 500, ..options }, seed);
        let mut processes: Vec<u64> = (0..SLOTS as u64).collect();
        let mut next_process = SLOTS as u64;
        (0..count)
            .map(|ms| {
                let slot = ms as usize % SLOTS;
                let process = Process(processes[slot]);
                let context = Context { now: Duration::from_millis(ms), slot, slots: SLOTS, process };
                let operation = mix.draw(&context);
                if operation == Log::Crash {
                    processes[slot] = next_process;
                    next_process += 1;
                }
                (slot, operation)
            })
            .collect()
    }

    #[test]
    fn the_seed_decides_every_operation() {
        assert_eq!(drawn(1, 20_000), drawn(1, 20_000));
        assert_ne!(drawn(1, 20_000), drawn(2, 20_000));
    }

    #[test]
    fn every_value_is_sent_once() {
        let mut seen = HashSet::new();
        for (_, operation) in drawn(3, 20_000) {
            for micro in operation.micros() {
                if let LogMicro::Send { value, .. } = micro {
                    assert!(seen.insert(value.clone()), "{value} is sent twice");
                }
            }
        }
        assert!(seen.len() > 10_000);
    }

    #[test]
    fn processes_consume_in_turn_by_assignment_and_by_subscription() {
        let mut ways: HashMap<usize, HashSet<&str>> = HashMap::new();
        let (mut crashes, mut consumes) = (0, [false; SLOTS]);
        for (slot, operation) in drawn(4, 20_000) {
            match operation {
                Log::Assign { .. } => ways.entry(slot).or_default().insert("assign"),
                Log::Subscribe(_) => ways.entry(slot).or_default().insert("subscribe"),
                Log::Crash => {
                    crashes += 1;
                    consumes[slot] = false;
                    continue;
                }
                _ => {
                    assert!(consumes[slot], "a process assigns or subscribes before it polls");
                    continue;
                }
            };
            consumes[slot] = true;
        }
        assert!((0..SLOTS).all(|slot| ways[&slot].len() == 2), "{ways:?}");
        assert!(crashes > 10, "{crashes}");
    }

    #[test]
    fn one_in_four_only_reads() {
        let sends = |slot| {
            let is_send =
                move |(of, operation): &&(usize, Log)| *of == slot && matches!(operation, Log::Send(_));
            drawn(6, 6_000).iter().filter(is_send).count()
        };
        assert_eq!(sends(PER_READER - 1), 0);
        assert!((0..SLOTS).all(|slot| slot == PER_READER - 1 || sends(slot) > 100));
    }

    #[test]
    fn without_subscriptions_consumers_by_assignment_commit() {
        let drawn = drawn_of(LogOptions { subscriptions: 0, ..LogOptions::default() }, 5, 20_000);
        let commits = drawn.iter().filter(|(_, operation)| matches!(operation, Log::Commit(_))).count();
        assert!(commits > 100, "{commits}");
        assert!(drawn.iter().all(|(_, operation)| !matches!(operation, Log::Subscribe(_))));
    }
}
