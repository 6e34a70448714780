//! The options of the workload `register`.

use serde::{Deserialize, Serialize};

use crate::plan::range::{RangeError, range, weights};
use crate::workload::option::WorkloadOption;

/// The options on the command line.
pub const ON_COMMAND_LINE: &[WorkloadOption] = &[
    WorkloadOption::number(
        "keys",
        "keys",
        "how many keys are in use at a time, in addition to the cold ones",
    ),
    WorkloadOption::number(
        "operations-per-key",
        "operations_per_key",
        "after how many operations a key is left for a fresh one",
    ),
    WorkloadOption::number(
        "cold-keys",
        "cold_keys",
        "how many keys live for the whole run and are written rarely",
    ),
    WorkloadOption::weight("reads"),
    WorkloadOption::weight("writes"),
    WorkloadOption::weight("deletes"),
    WorkloadOption::weight("cas"),
];

/// How registers are exercised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisterOptions {
    /// How many keys are in use at a time.
    pub keys: u32,
    /// After how many operations a key is left for a fresh one: what bounds the cost of checking it.
    pub operations_per_key: u32,
    /// How many keys live for the whole run and are written rarely.
    #[serde(default)]
    pub cold_keys: u32,
    /// Weight of reads in the mix.
    pub reads: u32,
    /// Weight of writes.
    pub writes: u32,
    /// Weight of deletes.
    #[serde(default)]
    pub deletes: u32,
    /// Weight of compare-and-sets.
    pub cas: u32,
}

impl Default for RegisterOptions {
    fn default() -> Self {
        Self { keys: 6, operations_per_key: 240, cold_keys: 60, reads: 2, writes: 1, deletes: 0, cas: 1 }
    }
}

impl RegisterOptions {
    /// Whether every option is within its range.
    ///
    /// # Errors
    /// [`RangeError`].
    pub fn validate(&self) -> Result<(), RangeError> {
        let Self { keys, operations_per_key, cold_keys, reads, writes, deletes, cas } = *self;
        range("keys", &keys, (1..=100_000).contains(&keys), "1 to 100000 keys at a time")?;
        range("cold keys", &cold_keys, cold_keys <= 100_000, "at most 100000 of them")?;
        let fine = (1..=10_000_000).contains(&operations_per_key);
        range("operations per key", &operations_per_key, fine, "1 to 10000000")?;
        weights(&[reads, writes, deletes, cas])
    }
}
