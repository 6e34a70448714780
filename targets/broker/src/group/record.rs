//! The records of a group in the internal topic.
//!
//! Keys and values are encoded by postcard. A record without a value is a tombstone, as everywhere.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::member::Protocol;
use crate::log::OwnRecord;

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
}

/// The committed offset of a group in a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// The next offset to read.
    pub offset: i64,
    /// Leader epoch of the last record read; -1 if the member gave none.
    pub leader_epoch: i32,
    /// A string that the member wanted kept with it.
    pub metadata: Option<String>,
}

/// The handling of the committed offsets in the internal topic when it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetsOnLoad {
    /// They are restored like everything else.
    Replayed,
    /// Defect: only memberships are; offsets are treated as a cache that new commits will fill.
    Forgotten,
}

/// The subject of a record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Key {
    Offset { group: String, at: TopicPartition },
    Group { group: String },
}

/// A generation of a group, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Generation {
    pub(super) generation: i32,
    pub(super) protocol_type: String,
    /// `None` without members.
    pub(super) protocol: Option<String>,
    pub(super) leader: Option<String>,
    pub(super) members: Vec<KeptMember>,
}

/// A member, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptMember {
    pub(super) member_id: String,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) session_timeout: Duration,
    pub(super) rebalance_timeout: Duration,
    pub(super) protocols: Vec<Protocol>,
    pub(super) assignment: Bytes,
}

/// A record, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    Offset { group: String, at: TopicPartition, committed: Option<Committed> },
    Group { group: String, generation: Option<Generation> },
}

/// A record of the internal topic that this program did not write.
#[derive(Debug, thiserror::Error)]
#[error("the record at offset {offset} of the internal topic is not one of a group")]
pub struct UndecodableRecord {
    /// The offset of the record.
    pub offset: i64,
    /// The cause.
    #[source]
    pub cause: postcard::Error,
}

fn encode<T: Serialize>(value: &T) -> Bytes {
    postcard::to_stdvec(value).expect("plain data with known lengths can be encoded").into()
}

pub(super) fn offset_record(group: &str, at: &TopicPartition, committed: &Committed) -> OwnRecord {
    let key = Key::Offset { group: group.to_owned(), at: at.clone() };
    OwnRecord { key: Some(encode(&key)), value: Some(encode(committed)) }
}

pub(super) fn group_record(group: &str, generation: &Generation) -> OwnRecord {
    let key = Key::Group { group: group.to_owned() };
    OwnRecord { key: Some(encode(&key)), value: Some(encode(generation)) }
}

pub(super) fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Entry, postcard::Error> {
    Ok(match postcard::from_bytes(key)? {
        Key::Offset { group, at } => {
            Entry::Offset { group, at, committed: value.map(postcard::from_bytes).transpose()? }
        }
        Key::Group { group } => {
            Entry::Group { group, generation: value.map(postcard::from_bytes).transpose()? }
        }
    })
}
