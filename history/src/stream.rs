//! The `stream` vocabulary: consume, transform, produce.
//!
//! Inputs are sent to the partitions of one topic. Workers read them, count how often each key has come, and write for each
//! input an output to the partition of the same number of another topic; they commit, with the outputs, how far they
//! have read. Folded in order, the outputs are a table as well: the last count of each key.
//!
//! | `f` | `value` invoked | `value` answered |
//! |---|---|---|
//! | `send` | `[partition, k, v]` | `[partition, k, v, offset]`, or as invoked if the offset is unknown |
//! | `process` | `{"worker": w, "attempt": a, "then": "commit"}`, or `"abort"`, or `"die"` | the same and `"outputs": [[partition, k, count, v], …]` |
//! | `read` | `{"from": "beginning"}`, or `"position"` | the same and `"read": {partition: {"from": offset, "next": offset, "records": [[offset, k, count, v, a], …]}, …}` |
//! | `progress` | `null` | `{"committed": {partition: offset, …}, "inputs": {…}, "outputs": {…}}` |
//!
//! A run sends each value `v` once, and each attempt to process has a number `a` of its own, which its outputs bear. A
//! `process` that fails has committed nothing. `read` is about committed outputs: it has every one of a partition from
//! `from` up to and without `next`. `progress` asks first for the group's committed offsets, and then for the ends of the
//! partitions of both topics, open transactions included.
//!
//! Partitions are named as in the [`log`](crate::log) vocabulary.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::event::{OpType, Payload, PayloadError, parse_json};
use crate::log::{ByKey, Key, Offset, Offsets, serialize_by_key};
use crate::scalar::Scalar;

const KNOWN: &str = "send, process, read, progress";

/// The end that a worker is to make of what it has processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Then {
    /// It commits.
    Commit,
    /// It gives up: it aborts its transaction, and begins again where the group has committed.
    Abort,
    /// It crashes.
    Die,
}

/// An output as its worker wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The partition.
    pub partition: Scalar,
    /// The key of its input.
    pub key: Scalar,
    /// How often the key has come.
    pub count: u64,
    /// The input's value.
    pub value: Scalar,
}

/// An output as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRecord {
    /// Its offset.
    pub offset: Offset,
    /// The key of its input.
    pub key: Scalar,
    /// How often the key has come.
    pub count: u64,
    /// The input's value.
    pub value: Scalar,
    /// The attempt that wrote it.
    pub attempt: u64,
}

/// The committed outputs in a part of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartRead {
    /// The first offset of the part.
    pub from: Offset,
    /// The offset after the part.
    pub next: Offset,
    /// The outputs, in the order in which they came.
    pub records: Vec<StreamRecord>,
}

/// Where a read begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReadFrom {
    /// At the beginning of every partition.
    Beginning,
    /// After what this client has read.
    Position,
}

/// How far everything is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The group's committed offsets in the inputs; a partition without one is not there.
    pub committed: Offsets,
    /// The ends of the inputs.
    pub inputs: Offsets,
    /// The ends of the outputs.
    pub outputs: Offsets,
}

/// An operation on a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Send an input.
    Send {
        /// The partition.
        partition: Scalar,
        /// The key.
        key: Scalar,
        /// The value.
        value: Scalar,
        /// Its offset; `None` in an invocation, and if the answer did not include it.
        offset: Option<Offset>,
    },
    /// Process the next inputs.
    Process {
        /// The worker: its successors have the same number.
        worker: u64,
        /// The number of the attempt.
        attempt: u64,
        /// The end to make of it.
        then: Then,
        /// The outputs; `None` in an invocation.
        outputs: Option<Vec<Output>>,
    },
    /// Read committed outputs.
    Read {
        /// Where to begin.
        from: ReadFrom,
        /// The outputs read, by partition; `None` in an invocation.
        read: Option<BTreeMap<Scalar, PartRead>>,
    },
    /// Ask how far everything is; `None` in an invocation.
    Progress(Option<Progress>),
}

impl Serialize for Output {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.partition, &self.key, self.count, &self.value).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Output {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (Key(partition), key, count, value) = Deserialize::deserialize(deserializer)?;
        Ok(Self { partition, key, count, value })
    }
}

impl Serialize for StreamRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.offset, &self.key, self.count, &self.value, self.attempt).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for StreamRecord {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (offset, key, count, value, attempt) = Deserialize::deserialize(deserializer)?;
        Ok(Self { offset, key, count, value, attempt })
    }
}

/// A map by key, as a value.
struct Map<'a, T>(&'a BTreeMap<Scalar, T>);

impl<T: Serialize> Serialize for Map<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_by_key(self.0, serializer)
    }
}

#[derive(Serialize)]
struct ProcessOut<'a> {
    worker: u64,
    attempt: u64,
    then: Then,
    #[serde(skip_serializing_if = "Option::is_none")]
    outputs: Option<&'a [Output]>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProcessIn {
    worker: u64,
    attempt: u64,
    then: Then,
    outputs: Option<Vec<Output>>,
}

#[derive(Serialize)]
struct ReadOut<'a> {
    from: ReadFrom,
    #[serde(skip_serializing_if = "Option::is_none")]
    read: Option<Map<'a, PartRead>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadIn {
    from: ReadFrom,
    read: Option<ByKey<PartRead>>,
}

#[derive(Serialize)]
struct ProgressOut<'a> {
    committed: Map<'a, Offset>,
    inputs: Map<'a, Offset>,
    outputs: Map<'a, Offset>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProgressIn {
    committed: ByKey<Offset>,
    inputs: ByKey<Offset>,
    outputs: ByKey<Offset>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum SendIn {
    Answered((Key, Scalar, Scalar, Offset)),
    Invoked((Key, Scalar, Scalar)),
}

impl Payload for Stream {
    const NAME: &'static str = "stream";

    fn f(&self) -> &'static str {
        match self {
            Self::Send { .. } => "send",
            Self::Process { .. } => "process",
            Self::Read { .. } => "read",
            Self::Progress(_) => "progress",
        }
    }

    fn serialize_value<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Send { partition, key, value, offset: None } => {
                (partition, key, value).serialize(serializer)
            }
            Self::Send { partition, key, value, offset: Some(offset) } => {
                (partition, key, value, offset).serialize(serializer)
            }
            Self::Process { worker, attempt, then, outputs } => {
                let (worker, attempt, then) = (*worker, *attempt, *then);
                ProcessOut { worker, attempt, then, outputs: outputs.as_deref() }.serialize(serializer)
            }
            Self::Read { from, read } => {
                ReadOut { from: *from, read: read.as_ref().map(Map) }.serialize(serializer)
            }
            Self::Progress(Some(Progress { committed, inputs, outputs })) => {
                let (committed, inputs, outputs) = (Map(committed), Map(inputs), Map(outputs));
                ProgressOut { committed, inputs, outputs }.serialize(serializer)
            }
            Self::Progress(None) => serializer.serialize_unit(),
        }
    }

    fn parse(_: OpType, f: &str, value: Option<&RawValue>) -> Result<Self, PayloadError> {
        match f {
            "send" => {
                let expected = "[partition, key, value] or [partition, key, value, offset]";
                let (Key(partition), key, value, offset) =
                    match parse_json::<Self, _>("send", value, expected)? {
                        SendIn::Invoked((partition, key, value)) => (partition, key, value, None),
                        SendIn::Answered((partition, key, value, offset)) => {
                            (partition, key, value, Some(offset))
                        }
                    };
                Ok(Self::Send { partition, key, value, offset })
            }
            "process" => {
                let expected = "{\"worker\": number, \"attempt\": number, \"then\": \"commit\", \"abort\" or \"die\"}, and perhaps \"outputs\": [[partition, key, count, value], …]";
                let ProcessIn { worker, attempt, then, outputs } =
                    parse_json::<Self, _>("process", value, expected)?;
                Ok(Self::Process { worker, attempt, then, outputs })
            }
            "read" => {
                let expected = "{\"from\": \"beginning\" or \"position\"}, and perhaps \"read\": {partition: {\"from\": offset, \"next\": offset, \"records\": [[offset, key, count, value, attempt], …]}, …}";
                let ReadIn { from, read } = parse_json::<Self, _>("read", value, expected)?;
                Ok(Self::Read { from, read: read.map(|read| read.0) })
            }
            "progress" => {
                let expected =
                    "null or {\"committed\": {partition: offset, …}, \"inputs\": {…}, \"outputs\": {…}}";
                let progress: Option<ProgressIn> = parse_json::<Self, _>("progress", value, expected)?;
                Ok(Self::Progress(progress.map(|told| Progress {
                    committed: told.committed.0,
                    inputs: told.inputs.0,
                    outputs: told.outputs.0,
                })))
            }
            _ => Err(PayloadError::UnknownF { model: Self::NAME, f: f.to_owned(), known: KNOWN }),
        }
    }

    fn completed_by(&self, completion: &Self) -> bool {
        match (self, completion) {
            (
                Self::Send { partition, key, value, .. },
                Self::Send { partition: other_partition, key: other_key, value: other_value, .. },
            ) => (partition, key, value) == (other_partition, other_key, other_value),
            (
                Self::Process { worker, attempt, then, .. },
                Self::Process { worker: other_worker, attempt: other_attempt, then: other_then, .. },
            ) => (worker, attempt, then) == (other_worker, other_attempt, other_then),
            (Self::Read { from, .. }, Self::Read { from: other, .. }) => from == other,
            (Self::Progress(_), Self::Progress(_)) => true,
            _ => false,
        }
    }
}
