//! The messages between clients, nodes and services, as each end saw them.
//!
//! Every node has a file of what it sent and received, and all clients together have one: [`FILE`] in `nodes/n1` and in
//! `clients` of a run's folder. An event is a line:
//!
//! ```text
//! {"time":1795528025836000123,"end":"sent","number":7,"from":"n1","to":"n2","type":"merge","body":"{\"elements\":[3]}","bytes":81}
//! {"time":1795528025836200456,"end":"arrived","number":7,"from":"n1","to":"n2"}
//! {"time":1795528029000000000,"since":1795528028000000000,"missing":12}
//! ```
//!
//! | field | meaning |
//! |---|---|
//! | `time` | nanoseconds since 1970 by the machine's clock, which no fault moves |
//! | `end` | `sent` or `arrived` |
//! | `number` | the message among those from `from` to `to`; an answer has that of its request |
//! | `from`, `to` | nodes, clients or services by name |
//! | `type`, `msg_id`, `in_reply_to` | the message's own; left out where the sender's line has them |
//! | `body` | its other arguments as JSON; cut after [`BODY_MAX`] bytes, and then not JSON any more |
//! | `bytes` | the length of the whole message |
//! | `process` | in the clients' file, the process whose operation it belongs to |
//! | `missing` | so many events between `since` and `time` could not be written |
//!
//! A file is bounded ([`recorder`]): of a long run the last messages are kept. [`reader`] puts both ends together.

pub mod reader;
pub mod recorder;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::event::Process;

/// The file, in the folder of its node or of the clients.
pub const FILE: &str = "messages.jsonl";
/// More bytes of a body are not kept.
pub const BODY_MAX: usize = 512;

/// Returns the file of what was recorded before the file at `path` was begun.
#[must_use]
pub fn earlier(path: &Path) -> PathBuf {
    path.with_extension("earlier.jsonl")
}

/// The end at which a message was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// The sender's.
    Sent,
    /// The receiver's.
    Arrived,
}

/// A message as one end saw it: a line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen<'a> {
    /// When, in nanoseconds since 1970.
    pub time: u64,
    /// Where.
    pub end: End,
    /// The message among those between the two.
    pub number: u64,
    /// The sender.
    #[serde(borrow)]
    pub from: Cow<'a, str>,
    /// The receiver.
    #[serde(borrow)]
    pub to: Cow<'a, str>,
    /// Its content, if this end records it.
    #[serde(flatten)]
    pub content: Option<Content>,
    /// The process whose operation it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
}

/// The content of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its number as a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub msg_id: Option<u64>,
    /// The number of the request that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_reply_to: Option<u64>,
    /// Its arguments as JSON, cut after [`BODY_MAX`] bytes.
    pub body: String,
    /// The length of the whole message.
    pub bytes: u64,
}

/// A line that says what is not in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Missing {
    time: u64,
    since: u64,
    missing: u64,
}
