//! The options of the workload `queue`.

use serde::{Deserialize, Serialize};

use crate::plan::range::{RangeError, range};
use crate::workload::log::options::log_ranges;
use crate::workload::option::WorkloadOption;

/// The options on the command line.
pub const ON_COMMAND_LINE: &[WorkloadOption] = &[
    WorkloadOption::number("topics", "topics", "how many topics there are"),
    WorkloadOption::number("partitions", "partitions", "how many partitions each topic has"),
    WorkloadOption::number("messages", "sends_max", "the most messages of one send"),
    WorkloadOption::duration("tenure", "membership_ms", "how long, on average, a consumer lives"),
];

/// How a queue is exercised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueOptions {
    /// How many topics there are; the group works off all of them.
    pub topics: u32,
    /// How many partitions each has.
    pub partitions: u32,
    /// The most messages of one operation.
    pub sends_max: u32,
    /// How long, on average, a consumer lives, in milliseconds.
    pub membership_ms: u64,
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self { topics: 1, partitions: 6, sends_max: 4, membership_ms: 10_000 }
    }
}

impl QueueOptions {
    /// Whether every option is within its range, for so many processes at a time.
    ///
    /// # Errors
    /// [`RangeError`].
    pub fn validate(&self, concurrency: usize) -> Result<(), RangeError> {
        let Self { topics, partitions, sends_max, membership_ms } = *self;
        range("concurrency", &concurrency, concurrency > 1, "a queue needs a producer and a consumer")?;
        log_ranges(topics, partitions, sends_max)?;
        let fine = (10..=86_400_000).contains(&membership_ms);
        range("membership", &membership_ms, fine, "10 ms to one day")
    }
}
