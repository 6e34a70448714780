//! The options of the workloads of transactions.

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
        "after how many reads and writes a key is left for a fresh one",
    ),
    WorkloadOption::number(
        "cold-keys",
        "cold_keys",
        "how many keys live for the whole run and are written rarely",
    ),
    WorkloadOption::number("txn-length-min", "txn_length_min", "the fewest operations of a transaction"),
    WorkloadOption::number("txn-length-max", "txn_length_max", "the most operations of a transaction"),
    WorkloadOption::number(
        "read-only-percent",
        "read_only_percent",
        "how many of a hundred transactions only read",
    ),
    WorkloadOption::weight("reads"),
    WorkloadOption::weight("writes"),
];

/// How transactions are exercised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TxnOptions {
    /// How many keys are in use at a time, in addition to the cold ones.
    pub keys: u32,
    /// After how many reads and writes a key is left for a fresh one: what bounds the length of a list.
    pub operations_per_key: u32,
    /// How many keys live for the whole run and are written rarely.
    pub cold_keys: u32,
    /// The fewest operations of a transaction.
    pub txn_length_min: u32,
    /// The most operations of a transaction.
    pub txn_length_max: u32,
    /// How many of a hundred transactions only read.
    pub read_only_percent: u32,
    /// Weight of reads in the other transactions.
    pub reads: u32,
    /// Weight of writes.
    pub writes: u32,
}

impl Default for TxnOptions {
    fn default() -> Self {
        Self {
            keys: 10,
            operations_per_key: 120,
            cold_keys: 30,
            txn_length_min: 1,
            txn_length_max: 4,
            read_only_percent: 20,
            reads: 1,
            writes: 1,
        }
    }
}

impl TxnOptions {
    /// Whether every option is within its range.
    ///
    /// # Errors
    /// [`RangeError`].
    pub fn validate(&self) -> Result<(), RangeError> {
        let Self {
            keys,
            operations_per_key,
            cold_keys,
            txn_length_min,
            txn_length_max,
            read_only_percent,
            reads,
            writes,
        } = *self;
        range("keys", &keys, (1..=100_000).contains(&keys), "1 to 100000 keys at a time")?;
        range("cold keys", &cold_keys, cold_keys <= 100_000, "at most 100000 of them")?;
        // Each read of a list returns all of it.
        let fine = (1..=10_000).contains(&operations_per_key);
        range("operations per key", &operations_per_key, fine, "1 to 10000")?;
        let fine = (1..=64).contains(&txn_length_max);
        range("greatest length of a transaction", &txn_length_max, fine, "1 to 64 operations")?;
        let fine = (1..=txn_length_max).contains(&txn_length_min);
        range("least length of a transaction", &txn_length_min, fine, "1 to the greatest length")?;
        range("read-only percent", &read_only_percent, read_only_percent <= 100, "0 to 100")?;
        weights(&[reads, writes])
    }
}
