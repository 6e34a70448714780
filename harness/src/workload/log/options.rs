//! The options of the workload `log`.

use duress_targets::{Keeps, Setup, Topic};
use serde::{Deserialize, Serialize};

use super::mix::Partitions;
use crate::plan::range::{RangeError, range, weights};
use crate::workload::option::WorkloadOption;

/// The options on the command line.
pub const ON_COMMAND_LINE: &[WorkloadOption] = &[
    WorkloadOption::number("topics", "topics", "how many topics there are"),
    WorkloadOption::number("partitions", "partitions", "how many partitions each topic has"),
    WorkloadOption::number("messages", "sends_max", "the most messages of one send"),
    WorkloadOption::duration("tenure", "tenure_ms", "how long, on average, a process consumes in one way"),
    WorkloadOption::weight("sends"),
    WorkloadOption::weight("polls"),
    WorkloadOption::weight("seeks"),
    WorkloadOption::weight("commits"),
    WorkloadOption::weight("committed"),
    WorkloadOption::weight("subscriptions"),
];

/// How a log is exercised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogOptions {
    /// How many topics there are.
    pub topics: u32,
    /// How many partitions each has.
    pub partitions: u32,
    /// The most messages of one operation.
    pub sends_max: u32,
    /// How long, on average, a process consumes in one way before it does so in another, in milliseconds.
    pub tenure_ms: u64,
    /// Weight of sends in the mix.
    pub sends: u32,
    /// Weight of polls.
    pub polls: u32,
    /// Weight of seeks; only those who consume by assignment seek.
    pub seeks: u32,
    /// Weight of commits; only those who consume by subscription commit.
    pub commits: u32,
    /// Weight of questions for the group's committed offsets.
    pub committed: u32,
    /// Weight of consuming by subscription, beside 1 of doing so by assignment. Without subscriptions, assigned consumers commit.
    #[serde(default = "subscriptions")]
    pub subscriptions: u32,
}

/// As often as assignments.
fn subscriptions() -> u32 {
    1
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            topics: 2,
            partitions: 3,
            sends_max: 4,
            tenure_ms: 6000,
            sends: 40,
            polls: 40,
            seeks: 1,
            commits: 4,
            committed: 2,
            subscriptions: subscriptions(),
        }
    }
}

impl LogOptions {
    /// Whether every option is within its range.
    ///
    /// # Errors
    /// [`RangeError`].
    pub fn validate(&self) -> Result<(), RangeError> {
        let Self { topics, partitions, sends_max, tenure_ms, .. } = *self;
        log_ranges(topics, partitions, sends_max)?;
        range("tenure", &tenure_ms, (10..=86_400_000).contains(&tenure_ms), "10 ms to one day")?;
        weights(&[self.sends, self.polls, self.seeks, self.commits, self.committed])
    }
}

/// `topics` topics with `partitions` partitions each, which keep every message.
#[must_use]
pub fn topics(topics: u32, partitions: u32) -> Setup {
    let Partitions { topics, .. } = Partitions::new(topics, partitions);
    let topics = topics.into_iter().map(|name| Topic { name, partitions, keeps: Keeps::Everything });
    Setup { topics: topics.collect() }
}

/// Checks whether topics, partitions and messages are within the limits of a run.
///
/// # Errors
/// [`RangeError`].
pub fn log_ranges(topics: u32, partitions: u32, sends_max: u32) -> Result<(), RangeError> {
    range("topics", &topics, (1..=100).contains(&topics), "1 to 100 topics")?;
    let fine = (1..=1000).contains(&partitions);
    range("partitions", &partitions, fine, "1 to 1000 partitions of each topic")?;
    range("sends", &sends_max, (1..=1000).contains(&sends_max), "1 to 1000 messages of an operation")
}
