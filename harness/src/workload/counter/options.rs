//! The options of the workload `counter`.

use serde::{Deserialize, Serialize};

use crate::plan::range::{RangeError, range, weights};
use crate::workload::option::WorkloadOption;

/// The options on the command line.
pub const ON_COMMAND_LINE: &[WorkloadOption] = &[
    WorkloadOption::number(
        "keys",
        "keys",
        "how many counters are in use at a time, in addition to the cold ones",
    ),
    WorkloadOption::number(
        "operations-per-key",
        "operations_per_key",
        "after how many operations a counter is left for a fresh one",
    ),
    WorkloadOption::number(
        "cold-keys",
        "cold_keys",
        "how many counters live for the whole run and are written rarely",
    ),
    WorkloadOption::number("step", "step_max", "the most that is added at once"),
    WorkloadOption::switch("negative", "negative", "whether half of the numbers that are added are negative"),
    WorkloadOption::weight("adds"),
    WorkloadOption::weight("reads"),
];

/// How counters are exercised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CounterOptions {
    /// How many counters are in use at a time.
    pub keys: u32,
    /// After how many operations a counter is left for a fresh one.
    pub operations_per_key: u32,
    /// How many counters live for the whole run and are written rarely.
    #[serde(default)]
    pub cold_keys: u32,
    /// The most that is added at once. Only where it is 1 does the check decide linearizability.
    pub step_max: u32,
    /// Whether half of the numbers that are added are negative.
    #[serde(default)]
    pub negative: bool,
    /// Weight of adds in the mix.
    pub adds: u32,
    /// Weight of reads.
    pub reads: u32,
}

impl Default for CounterOptions {
    fn default() -> Self {
        Self {
            keys: 6,
            operations_per_key: 1000,
            cold_keys: 24,
            step_max: 1,
            negative: false,
            adds: 1,
            reads: 1,
        }
    }
}

impl CounterOptions {
    /// Whether every option is within its range.
    ///
    /// # Errors
    /// [`RangeError`].
    pub fn validate(&self) -> Result<(), RangeError> {
        let Self { keys, operations_per_key, cold_keys, step_max, negative: _, adds, reads } = *self;
        range("keys", &keys, (1..=100_000).contains(&keys), "1 to 100000 counters at a time")?;
        range("cold keys", &cold_keys, cold_keys <= 100_000, "at most 100000 of them")?;
        let fine = (1..=10_000_000).contains(&operations_per_key);
        range("operations per key", &operations_per_key, fine, "1 to 10000000")?;
        range("step", &step_max, (1..=1_000_000).contains(&step_max), "1 to 1000000")?;
        weights(&[adds, reads])
    }
}
