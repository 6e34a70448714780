//! The options of the workload `table`.

use serde::{Deserialize, Serialize};

use crate::plan::range::{RangeError, range, weights};
use crate::workload::option::WorkloadOption;

/// The options on the command line.
pub const ON_COMMAND_LINE: &[WorkloadOption] = &[
    WorkloadOption::number("keys", "keys", "how many keys there are, beside the cold ones"),
    WorkloadOption::number("cold-keys", "cold_keys", "how many keys are written rarely"),
    WorkloadOption::number("partitions", "partitions", "how many partitions the topic has"),
    WorkloadOption::weight("puts"),
    WorkloadOption::weight("deletes"),
    WorkloadOption::weight("reads"),
];

/// How a table is exercised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableOptions {
    /// How many keys there are, beside the cold ones.
    pub keys: u32,
    /// How many keys are written rarely.
    #[serde(default)]
    pub cold_keys: u32,
    /// How many partitions the topic has.
    pub partitions: u32,
    /// Weight of puts in the mix.
    pub puts: u32,
    /// Weight of deletes.
    pub deletes: u32,
    /// Weight of reads of the whole log.
    pub reads: u32,
}

impl Default for TableOptions {
    fn default() -> Self {
        Self { keys: 12, cold_keys: 200, partitions: 2, puts: 160, deletes: 39, reads: 1 }
    }
}

impl TableOptions {
    /// Whether every option is within its range.
    ///
    /// # Errors
    /// [`RangeError`].
    pub fn validate(&self) -> Result<(), RangeError> {
        let Self { keys, cold_keys, partitions, puts, deletes, reads } = *self;
        range("keys", &keys, (1..=100_000).contains(&keys), "1 to 100000 keys")?;
        range("cold keys", &cold_keys, cold_keys <= 100_000, "at most 100000 of them")?;
        range("partitions", &partitions, (1..=1000).contains(&partitions), "1 to 1000 partitions")?;
        weights(&[puts, deletes, reads])
    }
}
