//! The resources that a workload needs before its clients begin.

use serde::{Deserialize, Serialize};

/// The needs of a workload; keys that hold values need nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setup {
    /// The topics that its messages go to.
    pub topics: Vec<Topic>,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// How many partitions it has; they are numbered from 0.
    pub partitions: u32,
    /// Its retention of messages.
    pub keeps: Keeps,
}

/// The retention of a topic's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keeps {
    /// Every message.
    Everything,
    /// The last message of every key: it is compacted.
    Latest,
}

/// The topic that a table's puts and deletes go to.
pub const TABLE_TOPIC: &str = "table";

/// The topic of a stream's inputs.
pub const STREAM_INPUTS: &str = "in";

/// The topic of a stream's outputs.
pub const STREAM_OUTPUTS: &str = "out";
