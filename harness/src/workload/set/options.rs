//! The options of the workload `set`.

use serde::{Deserialize, Serialize};

use crate::plan::range::{RangeError, range, weights};
use crate::workload::option::WorkloadOption;

/// The options on the command line.
pub const ON_COMMAND_LINE: &[WorkloadOption] = &[
    WorkloadOption::number("keys", "keys", "how many sets are in use at a time, beside the cold ones"),
    WorkloadOption::number(
        "operations-per-key",
        "operations_per_key",
        "after how many operations a set is left for a fresh one",
    ),
    WorkloadOption::number(
        "cold-keys",
        "cold_keys",
        "how many sets live for the whole run and are written rarely",
    ),
    WorkloadOption::weight("adds"),
    WorkloadOption::weight("reads"),
];

/// How sets are exercised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetOptions {
    /// How many sets are in use at a time.
    pub keys: u32,
    /// After how many operations a set is left for a fresh one: what bounds the length of an answer.
    pub operations_per_key: u32,
    /// How many sets live for the whole run and are written rarely.
    #[serde(default)]
    pub cold_keys: u32,
    /// Weight of adds in the mix.
    pub adds: u32,
    /// Weight of reads.
    pub reads: u32,
}

impl Default for SetOptions {
    fn default() -> Self {
        Self { keys: 6, operations_per_key: 240, cold_keys: 12, adds: 1, reads: 1 }
    }
}

impl SetOptions {
    /// Whether every option is within its range.
    ///
    /// # Errors
    /// [`RangeError`].
    pub fn validate(&self) -> Result<(), RangeError> {
        let Self { keys, operations_per_key, cold_keys, adds, reads } = *self;
        range("keys", &keys, (1..=100_000).contains(&keys), "1 to 100000 sets at a time")?;
        range("cold keys", &cold_keys, cold_keys <= 100_000, "at most 100000 of them")?;
        let fine = (1..=10_000_000).contains(&operations_per_key);
        range("operations per key", &operations_per_key, fine, "1 to 10000000")?;
        weights(&[adds, reads])
    }
}
