//! The `table` vocabulary: a compacted log, which must keep only the latest record of each key.
//!
//! A stream of changes is also a table: folded in order, the last value of each key is the key's value, and a
//! deletion removes the key. Compaction may drop every record that a later one of the same key supersedes, so
//! that folding the remaining records must give the same table as folding all records ever appended. To make
//! that checkable, a write is answered with its place, and the remaining records are read whole.
//!
//! | `f` | `value` invoked | `value` answered |
//! |---|---|---|
//! | `put` | `[k, v]` | `[k, v, [partition, offset]]`, or as invoked if the place is unknown |
//! | `delete` | `[k]` | `[k, [partition, offset]]`, or as invoked |
//! | `read-log` | `null` | `{partition: {"next": offset, "records": [[offset, k, v], …]}, …}`, `v` null for a deletion |
//! | `end-offsets` | `null` | `{partition: offset, …}` |
//!
//! A run puts each value once. Partitions are named as in the [`log`](crate::log) vocabulary (`"t0-2"`), their
//! names made one by [`canonical_key`](crate::log::canonical_key); the keys of records are scalars as they are.

use std::collections::BTreeMap;

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::event::{OpType, Payload, PayloadError, parse_json};
use crate::log::{ByKey, Key, Offset, Offsets, serialize_by_key};
use crate::scalar::Scalar;

/// The place of a record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The partition.
    pub partition: Scalar,
    /// The record's offset in it.
    pub offset: Offset,
}

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableRecord {
    /// Its offset.
    pub offset: Offset,
    /// Its key.
    pub key: Scalar,
    /// The key's new value; `None` deletes it.
    pub value: Option<Scalar>,
}

/// The remaining records of one partition when it was read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PartitionRead {
    /// How far it was read: every record that remained below this offset is among `records`.
    pub next: Offset,
    /// The records, in the order in which they came.
    pub records: Vec<TableRecord>,
}

/// An operation on a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Table {
    /// Append that `key` is now `value`.
    Put {
        /// The key.
        key: Scalar,
        /// Its new value.
        value: Scalar,
        /// The record's place; `None` in an invocation, and if the answer did not include it.
        place: Option<Place>,
    },
    /// Append the deletion of `key`.
    Delete {
        /// The key.
        key: Scalar,
        /// The record's place; `None` in an invocation, and if the answer did not include it.
        place: Option<Place>,
    },
    /// Read everything that remains, from the beginning to the end; `None` in an invocation.
    ReadLog(Option<BTreeMap<Scalar, PartitionRead>>),
    /// Ask how far each partition can be read: the offset after its last record.
    EndOffsets(Option<Offsets>),
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.partition, self.offset).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (Key(partition), offset) = Deserialize::deserialize(deserializer)?;
        Ok(Self { partition, offset })
    }
}

impl Serialize for TableRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.offset, &self.key, &self.value).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for TableRecord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (offset, key, value) = Deserialize::deserialize(deserializer)?;
        Ok(Self { offset, key, value })
    }
}

impl Serialize for PartitionRead {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("next", &self.next)?;
        map.serialize_entry("records", &self.records)?;
        map.end()
    }
}

/// Either shape of a write: as invoked, or with its place.
#[derive(Deserialize)]
#[serde(untagged)]
enum Write<Invoked, Answered> {
    Answered(Answered),
    Invoked(Invoked),
}

impl Payload for Table {
    const NAME: &'static str = "table";

    fn f(&self) -> &'static str {
        match self {
            Self::Put { .. } => "put",
            Self::Delete { .. } => "delete",
            Self::ReadLog(_) => "read-log",
            Self::EndOffsets(_) => "end-offsets",
        }
    }

    fn serialize_value<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Put { key, value, place } => {
                let mut sequence = serializer.serialize_seq(Some(2 + usize::from(place.is_some())))?;
                sequence.serialize_element(key)?;
                sequence.serialize_element(value)?;
                if let Some(place) = place {
                    sequence.serialize_element(place)?;
                }
                sequence.end()
            }
            Self::Delete { key, place } => {
                let mut sequence = serializer.serialize_seq(Some(1 + usize::from(place.is_some())))?;
                sequence.serialize_element(key)?;
                if let Some(place) = place {
                    sequence.serialize_element(place)?;
                }
                sequence.end()
            }
            Self::ReadLog(Some(read)) => serialize_by_key(read, serializer),
            Self::EndOffsets(Some(offsets)) => serialize_by_key(offsets, serializer),
            Self::ReadLog(None) | Self::EndOffsets(None) => serializer.serialize_unit(),
        }
    }

    fn parse(_: OpType, f: &str, value: Option<&RawValue>) -> Result<Self, PayloadError> {
        match f {
            "put" => {
                let expected = "[key, value] or [key, value, [partition, offset]]";
                Ok(match parse_json::<Table, _>("put", value, expected)? {
                    Write::Invoked((key, value)) => Self::Put { key, value, place: None },
                    Write::Answered((key, value, place)) => Self::Put { key, value, place: Some(place) },
                })
            }
            "delete" => {
                let expected = "[key] or [key, [partition, offset]]";
                Ok(match parse_json::<Table, _>("delete", value, expected)? {
                    Write::Invoked((key,)) => Self::Delete { key, place: None },
                    Write::Answered((key, place)) => Self::Delete { key, place: Some(place) },
                })
            }
            "read-log" => {
                let expected = "null or {partition: {\"next\": offset, \"records\": [[offset, key, value or null], …]}, …}";
                let read: Option<ByKey<PartitionRead>> = parse_json::<Table, _>("read-log", value, expected)?;
                Ok(Self::ReadLog(read.map(|read| read.0)))
            }
            "end-offsets" => {
                let offsets: Option<ByKey<Offset>> =
                    parse_json::<Table, _>("end-offsets", value, "null or {partition: offset, …}")?;
                Ok(Self::EndOffsets(offsets.map(|offsets| offsets.0)))
            }
            _ => Err(PayloadError::UnknownF {
                model: Self::NAME,
                f: f.to_owned(),
                known: "put, delete, read-log, end-offsets",
            }),
        }
    }

    fn completed_by(&self, completion: &Self) -> bool {
        match (self, completion) {
            (Self::Put { key, value, .. }, Self::Put { key: other_key, value: other_value, .. }) => {
                key == other_key && value == other_value
            }
            (Self::Delete { key, .. }, Self::Delete { key: other, .. }) => key == other,
            (Self::ReadLog(_), Self::ReadLog(_)) | (Self::EndOffsets(_), Self::EndOffsets(_)) => true,
            _ => false,
        }
    }
}
