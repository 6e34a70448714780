//! The options of the workload `long-fork`.

use serde::{Deserialize, Serialize};

use crate::plan::range::{RangeError, range, weights};
use crate::workload::option::WorkloadOption;

/// The options on the command line.
pub const ON_COMMAND_LINE: &[WorkloadOption] = &[
    WorkloadOption::number("groups", "groups", "how many groups are written and read at a time"),
    WorkloadOption::number("keys-per-group", "keys_per_group", "how many keys a group has"),
    WorkloadOption::number(
        "operations-per-group",
        "operations_per_group",
        "after how many operations on a group a new one takes its place",
    ),
    WorkloadOption::weight("writes"),
    WorkloadOption::weight("reads"),
];

/// How groups of registers are exercised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LongForkOptions {
    /// How many groups are written and read at a time.
    pub groups: u32,
    /// How many keys a group has.
    pub keys_per_group: u32,
    /// After how many operations on a group a new one takes its place.
    pub operations_per_group: u32,
    /// Weight of writes in the mix, as long as a key of the group was not written.
    pub writes: u32,
    /// Weight of reads.
    pub reads: u32,
}

impl Default for LongForkOptions {
    fn default() -> Self {
        // Two writes that are concurrent, and many reads of them meanwhile.
        Self { groups: 4, keys_per_group: 3, operations_per_group: 60, writes: 1, reads: 3 }
    }
}

impl LongForkOptions {
    /// Whether every option is within its range.
    ///
    /// # Errors
    /// [`RangeError`].
    pub fn validate(&self) -> Result<(), RangeError> {
        let Self { groups, keys_per_group, operations_per_group, writes, reads } = *self;
        range("groups", &groups, (1..=1000).contains(&groups), "1 to 1000 groups")?;
        let fine = (2..=32).contains(&keys_per_group);
        range("keys per group", &keys_per_group, fine, "2 to 32 keys in a group")?;
        let fine = (keys_per_group..=1_000_000).contains(&operations_per_group);
        range(
            "operations per group",
            &operations_per_group,
            fine,
            "no fewer than it has keys, at most 1000000",
        )?;
        weights(&[writes, reads])
    }
}
