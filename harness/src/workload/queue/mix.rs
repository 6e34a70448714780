//! Some processes send; the others are one group, and each message is for one of them. Where there are many, one only watches
//! how far the group is: while senders and members all wait for a leader, it sees what a new coordinator answers.

use std::collections::BTreeMap;
use std::time::Duration;

use duress_history::log::{Log, LogMicro};
use duress_history::{Event, OpType, Process};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::options::QueueOptions;
use crate::workload::generator::{Context, Generator, Next};
use crate::workload::log::mix::{Partitions, Sends};

/// The streams of chance of consumers follow this one, a stream for each process slot.
const MEMBERSHIP_STREAM: u64 = 2000;
/// A consumer that commits by itself does so after about so many polls.
const POLLS_PER_COMMIT: u32 = 4;
/// A producer asks how far the group is after about so many sends: a commit that was lost or went back is seen before the next.
const SENDS_PER_QUESTION: u32 = 8;
/// The watcher asks no sooner than this after its last question.
const WATCH_EVERY: Duration = Duration::from_millis(5);
/// The fewest processes of which one can be spared to watch.
const WATCHED_FROM: usize = 6;

/// The role of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It sends.
    Producer,
    /// It is a member of the group.
    Consumer,
    /// It asks how far the group is.
    Watcher,
}

impl Part {
    /// Returns the part of one of so many process slots: every other one consumes.
    #[must_use]
    pub fn of(slot: usize, slots: usize) -> Self {
        match slot {
            0 if slots >= WATCHED_FROM => Self::Watcher,
            _ if slot.is_multiple_of(2) => Self::Producer,
            _ => Self::Consumer,
        }
    }
}

/// Sends without end by half of the processes, and polls by the others, which die now and then without a word.
#[derive(Debug)]
pub struct QueueMix {
    options: QueueOptions,
    partitions: Partitions,
    seed: u64,
    sends: Sends,
    questions: ChaCha8Rng,
    /// When the watcher asks next.
    watch_at: Duration,
    members: BTreeMap<usize, Member>,
}

/// A consumer's slot.
#[derive(Debug)]
struct Member {
    rng: ChaCha8Rng,
    dies: Duration,
    /// The process that subscribed, or is about to.
    subscribed: Option<Process>,
}

impl QueueMix {
    /// Returns a mix drawn from `seed`. Numbers in `options` are at least one.
    #[must_use]
    pub fn new(options: QueueOptions, seed: u64) -> Self {
        let partitions = Partitions::new(options.topics, options.partitions);
        let sends = Sends::new(partitions.keys.clone(), options.sends_max, seed);
        let mut questions = ChaCha8Rng::seed_from_u64(seed);
        questions.set_stream(MEMBERSHIP_STREAM - 1);
        let (watch_at, members) = (Duration::ZERO, BTreeMap::new());
        Self { options, partitions, seed, sends, questions, watch_at, members }
    }

    /// Returns the partitions.
    #[must_use]
    pub fn partitions(&self) -> &Partitions {
        &self.partitions
    }

    fn consume(&mut self, context: &Context) -> Log {
        let Context { now, slot, process, .. } = *context;
        let (seed, mean) = (self.seed, self.options.membership_ms);
        let member = self.members.entry(slot).or_insert_with(|| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(MEMBERSHIP_STREAM + slot as u64);
            let dies = now + life(&mut rng, mean);
            Member { rng, dies, subscribed: None }
        });
        if member.subscribed != Some(process) {
            member.subscribed = Some(process);
            return Log::Subscribe(self.partitions.topic_names());
        }
        if member.dies <= now {
            member.dies = now + life(&mut member.rng, mean);
            return Log::Crash;
        }
        if member.rng.random_ratio(1, POLLS_PER_COMMIT) {
            Log::Commit(None)
        } else {
            Log::Poll(vec![LogMicro::Poll(None)])
        }
    }
}

fn life(rng: &mut ChaCha8Rng, mean_ms: u64) -> Duration {
    Duration::from_millis(rng.random_range(mean_ms / 2..=mean_ms + mean_ms / 2).max(1))
}

impl Generator<Log> for QueueMix {
    fn next(&mut self, context: &Context) -> Next<Log> {
        Next::Op(match Part::of(context.slot, context.slots) {
            Part::Watcher if context.now < self.watch_at => return Next::Pending,
            Part::Watcher => {
                self.watch_at = context.now + WATCH_EVERY;
                Log::Committed(None)
            }
            Part::Producer if self.questions.random_ratio(1, SENDS_PER_QUESTION) => Log::Committed(None),
            Part::Producer => self.sends.draw(),
            Part::Consumer => self.consume(context),
        })
    }

    fn update(&mut self, event: &Event<Log>) {
        if event.op_type == OpType::Fail && matches!(event.action, Log::Subscribe(_)) {
            for member in self.members.values_mut().filter(|member| member.subscribed == Some(event.process))
            {
                member.subscribed = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_them_send_and_the_others_consume_until_they_die() {
        let mut mix = QueueMix::new(QueueOptions { membership_ms: 200, ..QueueOptions::default() }, 5);
        let (mut sends, mut questions, mut polls, mut crashes, mut process) = (0, 0, 0, 0, Process(1));
        for ms in 0..4000 {
            let slot = ms as usize % 2;
            let asker = if slot == 0 { Process(0) } else { process };
            let now = Duration::from_millis(ms);
            let Next::Op(action) = mix.next(&Context { now, slot, slots: 2, process: asker }) else {
                panic!("there is always something to do")
            };
            match (slot, action) {
                (0, Log::Send(micros)) => sends += micros.len(),
                (0, Log::Committed(None)) => questions += 1,
                (1, Log::Poll(_)) => polls += 1,
                (1, Log::Subscribe(_) | Log::Commit(_)) => {}
                (1, Log::Crash) => {
                    crashes += 1;
                    process = Process(process.0 + 1);
                }
                (_, action) => panic!("slot {slot} does {action:?}"),
            }
        }
        assert!(sends >= 2000 && questions > 150 && polls > 1000, "{sends} {questions} {polls}");
        assert!((14..=40).contains(&crashes), "{crashes} lives of 200 ms in 4 s");
    }

    #[test]
    fn one_of_many_only_watches_so_that_no_send_keeps_it_from_asking() {
        let mut mix = QueueMix::new(QueueOptions::default(), 5);
        let mut at = |ms, slot| {
            let now = Duration::from_millis(ms);
            mix.next(&Context { now, slot, slots: WATCHED_FROM, process: Process(slot as u64) })
        };
        for ms in 0..40 {
            let due = ms % 5 == 0;
            assert_eq!(at(ms, 0), if due { Next::Op(Log::Committed(None)) } else { Next::Pending }, "{ms}");
        }
        assert!((0..40).all(|ms| !matches!(at(ms, 1), Next::Op(Log::Send(_)))));
        assert!((0..40).any(|ms| matches!(at(ms, 2), Next::Op(Log::Send(_)))));
    }
}
