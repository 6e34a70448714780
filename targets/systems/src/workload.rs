//! What a workload asks a system to have ready before its clients begin.

use serde::{Deserialize, Serialize};

/// What a workload needs of a system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum WorkloadSetup {
    /// Keys that hold one value each: nothing needs to be made.
    Register,
    /// Topics that keep every message.
    Log {
        /// Their names.
        topics: Vec<String>,
        /// How many partitions each has; they are numbered from 0.
        partitions: u32,
    },
    /// Topics whose messages one group of consumers works off.
    Queue {
        /// Their names.
        topics: Vec<String>,
        /// How many partitions each has.
        partitions: u32,
    },
    /// The topic [`TABLE_TOPIC`], compacted: it keeps the last message of every key.
    Table {
        /// How many partitions it has.
        partitions: u32,
    },
}

/// The topic that a table's puts and deletes go to.
pub const TABLE_TOPIC: &str = "table";
