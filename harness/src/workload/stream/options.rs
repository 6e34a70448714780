//! The options of the workload `stream`.

use serde::{Deserialize, Serialize};

use crate::plan::range::{RangeError, range};
use crate::workload::option::WorkloadOption;

/// The options on the command line.
pub const ON_COMMAND_LINE: &[WorkloadOption] = &[
    WorkloadOption::number("keys", "keys", "how many keys the inputs have"),
    WorkloadOption::number("partitions", "partitions", "how many partitions each of the two topics has"),
    WorkloadOption::duration("tenure", "tenure_ms", "how long, on average, a worker lives"),
];

/// How a stream is exercised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamOptions {
    /// How many keys the inputs have; all inputs of a key are in one partition.
    pub keys: u32,
    /// How many partitions each of the two topics has.
    pub partitions: u32,
    /// How long, on average, a worker lives, in milliseconds.
    pub tenure_ms: u64,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self { keys: 24, partitions: 4, tenure_ms: 15_000 }
    }
}

impl StreamOptions {
    /// Whether every option is within its range, for so many processes at a time.
    ///
    /// # Errors
    /// [`RangeError`].
    pub fn validate(&self, concurrency: usize) -> Result<(), RangeError> {
        let Self { keys, partitions, tenure_ms } = *self;
        let three = "a stream needs a sender, a worker and a reader";
        range("concurrency", &concurrency, concurrency > 2, three)?;
        range("keys", &keys, (1..=100_000).contains(&keys), "1 to 100000 keys")?;
        range("partitions", &partitions, (1..=1000).contains(&partitions), "1 to 1000 partitions")?;
        range("tenure", &tenure_ms, (10..=86_400_000).contains(&tenure_ms), "10 ms to one day")
    }
}
