//! The `log` vocabulary: partitions of an append-only log, with Jepsen's shapes of operations.
//!
//! A *key* names one partition: a topic and a partition of it as one string (`"t0-2"`), or, in histories of
//! other programs, a whole number. Values are the sent messages; a run sends each value once. An *offset* is
//! a message's place in its partition.
//!
//! | `f` | `value` invoked | `value` answered |
//! |---|---|---|
//! | `send`, `poll`, `txn` | `[micro, …]` | the same, each with its answer |
//! | `assign` | `[k, …]` to continue, `{"keys": [k, …], "from": "beginning"}`, or a field `seek-to-beginning?`, to begin again | the same |
//! | `subscribe` | `[topic, …]` | the same |
//! | `seek` | `{k: offset, …}` | the same |
//! | `commit`, `committed`, `end-offsets` | `null` | `{k: offset, …}` |
//! | `crash` | `null` | never: it is always of unknown outcome |
//!
//! | micro-operation | invoked | answered |
//! |---|---|---|
//! | send a value to a key | `["send", k, v]` | `["send", k, [offset, v]]`, or as invoked if the offset is unknown |
//! | poll once, or as often as necessary | `["poll"]` | `["poll", {k: [[offset, v], …], …}]`, one for each |
//!
//! Operations of other programs that send nothing, such as `debug-topic-partitions`, are left out.
//!
//! JSON's objects have strings for keys, EDN's maps have anything. So that one partition has one name, a key
//! that is written like a whole number is that number everywhere: `["send", "0", 7]` sends to the key of
//! `{"0": …}` and of EDN's `{0 …}`, which is [`Scalar::Int`]; see [`canonical_key`].

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use arcstr::ArcStr;
use rustc_hash::FxHashSet;
use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::event::{Fields, OpType, Payload, PayloadError, parse_json};
use crate::scalar::Scalar;

const KNOWN: &str = "send, poll, txn, assign, subscribe, seek, commit, committed, end-offsets, crash";

/// The offset that Kafka's clients give for an unknown one.
const NO_OFFSET: i64 = -1;

/// A message's place in its partition, from 0. Also the place that will be given next: a committed offset and an end
/// offset are one more than that of the last message they cover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(pub u64);

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Offsets by partition.
pub type Offsets = BTreeMap<Scalar, Offset>;

/// The answer of one poll: by partition, its messages in the order in which the client got them.
pub type Polled = BTreeMap<Scalar, Vec<(Offset, Scalar)>>;

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogMicro {
    /// Append `value` to the partition `key`.
    Send {
        /// The partition.
        key: Scalar,
        /// The message.
        value: Scalar,
        /// The message's offset; `None` in an invocation, and if the answer did not include it.
        offset: Option<Offset>,
    },
    /// Ask for messages once; `None` in an invocation.
    Poll(Option<Polled>),
}

/// The position at which a consumer begins in partitions that it assigns to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the beginning of each.
    Beginning,
    /// After the messages that this client has polled; at the beginning if it has polled none.
    Position,
}

/// An operation on a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Log {
    /// Sends only.
    Send(Vec<LogMicro>),
    /// Polls only.
    Poll(Vec<LogMicro>),
    /// Sends and polls, in one transaction.
    Txn(Vec<LogMicro>),
    /// Consume exactly these partitions from now on.
    Assign {
        /// The partitions.
        keys: Vec<Scalar>,
        /// The position at which to begin.
        from: Start,
    },
    /// Consume these topics as a member of the run's consumer group, which decides who gets which partition.
    Subscribe(Vec<Scalar>),
    /// Go to these offsets.
    Seek(Offsets),
    /// Commit the consumed messages of this client; the answer has their offsets.
    Commit(Option<Offsets>),
    /// Ask for the group's committed offsets; a partition without one is not in the answer.
    Committed(Option<Offsets>),
    /// Ask how far each partition can be read: the offset after its last message.
    EndOffsets(Option<Offsets>),
    /// The client dies without a word to the cluster.
    Crash,
}

impl Log {
    /// Returns the steps of a `send`, `poll` or `txn`; none for the others.
    #[must_use]
    pub fn micros(&self) -> &[LogMicro] {
        match self {
            Self::Send(micros) | Self::Poll(micros) | Self::Txn(micros) => micros,
            _ => &[],
        }
    }
}

impl LogMicro {
    fn completed_by(&self, completion: &Self) -> bool {
        match (self, completion) {
            (
                Self::Send { key, value, .. },
                Self::Send { key: completed_key, value: completed_value, .. },
            ) => key == completed_key && value == completed_value,
            (Self::Poll(_), Self::Poll(_)) => true,
            _ => false,
        }
    }

    fn is_send(&self) -> bool {
        matches!(self, Self::Send { .. })
    }
}

/// Whether `answered` sent the messages of `asked`, in that order. Clients may poll more often than
/// requested.
fn sent_as_asked(asked: &[LogMicro], answered: &[LogMicro]) -> bool {
    let sends = |micros: &'_ [LogMicro]| micros.iter().filter(|micro| micro.is_send()).count();
    let mut pairs =
        asked.iter().filter(|micro| micro.is_send()).zip(answered.iter().filter(|micro| micro.is_send()));
    sends(asked) == sends(answered) && pairs.all(|(asked, answered)| asked.completed_by(answered))
}

/// Returns the canonical form of `key`: a string that is written like a whole number is that number.
///
/// `"12"` and `"-3"` are numbers; `"012"`, `"+3"` and numbers that do not fit 64 bits are strings.
#[must_use]
pub fn canonical_key(key: Scalar) -> Scalar {
    match &key {
        Scalar::Text(text) => number(text).map_or(key, Scalar::Int),
        Scalar::Int(_) | Scalar::Other(_) => key,
    }
}

/// Parses `text` as the number whose decimal form it is.
fn number(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    // Most keys are names: their first character distinguishes them.
    if !digits.starts_with(|first: char| first.is_ascii_digit()) || (digits.starts_with('0') && text != "0") {
        return None;
    }
    text.parse().ok()
}

/// A key, by its one name.
pub(crate) struct Key(pub(crate) Scalar);

/// The number of strings that [`shared`] keeps.
const SHARED_MAX: usize = 4_096;

thread_local! {
    static SHARED: RefCell<FxHashSet<ArcStr>> = RefCell::default();
}

/// Returns `text` as a string shared by all equal ones that a thread reads: partitions are few, and a history
/// names each of them a million times. That takes less memory, and a comparison of names finds them in the
/// processor's cache.
fn shared(text: &str) -> ArcStr {
    SHARED.with_borrow_mut(|texts| {
        if let Some(known) = texts.get(text) {
            return known.clone();
        }
        let new = ArcStr::from(text);
        if texts.len() < SHARED_MAX {
            texts.insert(new.clone());
        }
        new
    })
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl Visitor<'_> for KeyVisitor {
            type Value = Key;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(Scalar::EXPECTED)
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Key, E> {
                Ok(Key(Scalar::Int(number)))
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Key, E> {
                Ok(Key(Scalar::whole(number)))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Key, E> {
                Ok(Key(canonical_key(Scalar::Text(shared(text)))))
            }
        }
        deserializer.deserialize_any(KeyVisitor)
    }
}

/// Keys, by their one names.
pub(crate) fn keys(keys: Vec<Key>) -> Vec<Scalar> {
    keys.into_iter().map(|key| key.0).collect()
}

/// A map by key.
pub(crate) struct ByKey<T>(pub(crate) BTreeMap<Scalar, T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for ByKey<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ByKeyVisitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ByKeyVisitor<T> {
            type Value = ByKey<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map by key")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut access: M) -> Result<ByKey<T>, M::Error> {
                let mut map = BTreeMap::new();
                while let Some((Key(key), value)) = access.next_entry::<Key, T>()? {
                    if map.contains_key(&key) {
                        return Err(M::Error::custom(format_args!("the key {key} occurs twice")));
                    }
                    map.insert(key, value);
                }
                Ok(ByKey(map))
            }
        }
        deserializer.deserialize_map(ByKeyVisitor(std::marker::PhantomData))
    }
}

/// Writes a map by key, whose keys become strings.
pub(crate) fn serialize_by_key<T: Serialize, S: Serializer>(
    map: &BTreeMap<Scalar, T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(map.iter().map(|(key, value)| (KeyText(key), value)))
}

/// A key in the form in which an object contains it.
struct KeyText<'a>(&'a Scalar);

impl Serialize for KeyText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Scalar::Int(number) => serializer.collect_str(number),
            Scalar::Text(text) | Scalar::Other(text) => serializer.serialize_str(text),
        }
    }
}

/// A map by key as a value.
struct MapValue<'a, T>(&'a BTreeMap<Scalar, T>);

impl<T: Serialize> Serialize for MapValue<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_by_key(self.0, serializer)
    }
}

impl Serialize for LogMicro {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Send { key, value, offset: None } => ("send", key, value).serialize(serializer),
            Self::Send { key, value, offset: Some(offset) } => {
                ("send", key, (offset, value)).serialize(serializer)
            }
            Self::Poll(None) => ("poll",).serialize(serializer),
            Self::Poll(Some(polled)) => ("poll", MapValue(polled)).serialize(serializer),
        }
    }
}

/// The value of a send, with its offset where it is known.
struct Sent(Option<Offset>, Scalar);

impl<'de> Deserialize<'de> for Sent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SentVisitor;
        impl<'de> Visitor<'de> for SentVisitor {
            type Value = Sent;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value, or [offset, value]")
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Sent, E> {
                Ok(Sent(None, Scalar::Int(number)))
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Sent, E> {
                Ok(Sent(None, Scalar::whole(number)))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Sent, E> {
                Ok(Sent(None, Scalar::from(text)))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Sent, A::Error> {
                let Given(offset) =
                    access.next_element()?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
                let value = access.next_element()?.ok_or_else(|| A::Error::invalid_length(1, &self))?;
                end(&mut access)?;
                Ok(Sent(offset, value))
            }
        }
        deserializer.deserialize_any(SentVisitor)
    }
}

/// The offset that an acknowledgement gives, if it gives one.
struct Given(Option<Offset>);

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct GivenVisitor;
        impl Visitor<'_> for GivenVisitor {
            type Value = Given;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an offset or null")
            }
            fn visit_unit<E: Error>(self) -> Result<Given, E> {
                Ok(Given(None))
            }
            fn visit_u64<E: Error>(self, offset: u64) -> Result<Given, E> {
                Ok(Given(Some(Offset(offset))))
            }
            fn visit_i64<E: Error>(self, offset: i64) -> Result<Given, E> {
                match offset {
                    NO_OFFSET => Ok(Given(None)),
                    0.. => Ok(Given(Some(Offset(offset as u64)))),
                    _ => Err(E::invalid_value(Unexpected::Signed(offset), &self)),
                }
            }
        }
        deserializer.deserialize_any(GivenVisitor)
    }
}

/// Refuses elements beyond those expected.
fn end<'de, A: SeqAccess<'de>>(access: &mut A) -> Result<(), A::Error> {
    match access.next_element::<IgnoredAny>()? {
        None => Ok(()),
        Some(_) => Err(A::Error::custom("there are more elements than expected")),
    }
}

impl<'de> Deserialize<'de> for LogMicro {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MicroVisitor;
        impl<'de> Visitor<'de> for MicroVisitor {
            type Value = LogMicro;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("[\"send\", key, value], [\"poll\"] or their answers")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<LogMicro, A::Error> {
                let micro = match access.next_element()?.ok_or_else(|| A::Error::invalid_length(0, &self))? {
                    Name::Send => {
                        let Key(key) =
                            access.next_element()?.ok_or_else(|| A::Error::invalid_length(1, &self))?;
                        let Sent(offset, value) =
                            access.next_element()?.ok_or_else(|| A::Error::invalid_length(2, &self))?;
                        LogMicro::Send { key, value, offset }
                    }
                    Name::Poll => {
                        let polled: Option<Option<ByKey<_>>> = access.next_element()?;
                        LogMicro::Poll(polled.flatten().map(|polled| polled.0))
                    }
                };
                end(&mut access)?;
                Ok(micro)
            }
        }
        deserializer.deserialize_seq(MicroVisitor)
    }
}

/// The name of a micro-operation.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Name {
    Send,
    Poll,
}

/// The value of an `assign`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Assignment {
    Continue(Vec<Key>),
    From { keys: Vec<Key>, from: StartName },
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum StartName {
    Beginning,
    Position,
}

fn offsets(f: &'static str, value: Option<&RawValue>) -> Result<Option<Offsets>, PayloadError> {
    let map: Option<ByKey<Offset>> = parse_json::<Log, _>(f, value, "null or {key: offset, …}")?;
    Ok(map.map(|map| map.0))
}

impl Payload for Log {
    const NAME: &'static str = "log";

    fn f(&self) -> &'static str {
        match self {
            Self::Send(_) => "send",
            Self::Poll(_) => "poll",
            Self::Txn(_) => "txn",
            Self::Assign { .. } => "assign",
            Self::Subscribe(_) => "subscribe",
            Self::Seek(_) => "seek",
            Self::Commit(_) => "commit",
            Self::Committed(_) => "committed",
            Self::EndOffsets(_) => "end-offsets",
            Self::Crash => "crash",
        }
    }

    fn serialize_value<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Send(micros) | Self::Poll(micros) | Self::Txn(micros) => {
                let mut sequence = serializer.serialize_seq(Some(micros.len()))?;
                for micro in micros {
                    sequence.serialize_element(micro)?;
                }
                sequence.end()
            }
            Self::Assign { keys, from: Start::Position } | Self::Subscribe(keys) => {
                keys.serialize(serializer)
            }
            Self::Assign { keys, from: Start::Beginning } => {
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("keys", keys)?;
                map.serialize_entry("from", "beginning")?;
                map.end()
            }
            Self::Seek(offsets) => serialize_by_key(offsets, serializer),
            Self::Commit(offsets) | Self::Committed(offsets) | Self::EndOffsets(offsets) => match offsets {
                Some(offsets) => serialize_by_key(offsets, serializer),
                None => serializer.serialize_unit(),
            },
            Self::Crash => serializer.serialize_unit(),
        }
    }

    fn parse(_: OpType, f: &str, value: Option<&RawValue>) -> Result<Self, PayloadError> {
        const MICROS: &str = "[micro-operation, …], each [\"send\", key, value] or [\"poll\"], or its answer";
        match f {
            "send" => Ok(Self::Send(parse_json::<Log, _>("send", value, MICROS)?)),
            "poll" => Ok(Self::Poll(parse_json::<Log, _>("poll", value, MICROS)?)),
            "txn" => Ok(Self::Txn(parse_json::<Log, _>("txn", value, MICROS)?)),
            "assign" => {
                let expected = "[key, …] or {\"keys\": [key, …], \"from\": \"beginning\" or \"position\"}";
                let (named, from) = match parse_json::<Log, _>("assign", value, expected)? {
                    Assignment::Continue(named) => (named, Start::Position),
                    Assignment::From { keys, from: StartName::Position } => (keys, Start::Position),
                    Assignment::From { keys, from: StartName::Beginning } => (keys, Start::Beginning),
                };
                Ok(Self::Assign { keys: keys(named), from })
            }
            "subscribe" => Ok(Self::Subscribe(keys(parse_json::<Log, _>("subscribe", value, "[topic, …]")?))),
            "seek" => {
                let map: ByKey<Offset> = parse_json::<Log, _>("seek", value, "{key: offset, …}")?;
                Ok(Self::Seek(map.0))
            }
            "commit" => Ok(Self::Commit(offsets("commit", value)?)),
            "committed" => Ok(Self::Committed(offsets("committed", value)?)),
            "end-offsets" => Ok(Self::EndOffsets(offsets("end-offsets", value)?)),
            // The value is ignored: other programs write anything there.
            "crash" => Ok(Self::Crash),
            _ => Err(PayloadError::UnknownF { model: Self::NAME, f: f.to_owned(), known: KNOWN }),
        }
    }

    fn completed_by(&self, completion: &Self) -> bool {
        match (self, completion) {
            (Self::Send(asked), Self::Send(answered))
            | (Self::Poll(asked), Self::Poll(answered))
            | (Self::Txn(asked), Self::Txn(answered)) => sent_as_asked(asked, answered),
            (Self::Commit(_), Self::Commit(_))
            | (Self::Committed(_), Self::Committed(_))
            | (Self::EndOffsets(_), Self::EndOffsets(_)) => true,
            _ => self == completion,
        }
    }
    fn read(
        op_type: OpType,
        f: &str,
        fields: Fields<'_>,
        invoked: Option<&Self>,
    ) -> Result<Self, PayloadError> {
        fields.refuse_key(Self::NAME)?;
        match invoked {
            // The answer says no more than that it happened.
            Some(invoked @ (Self::Assign { .. } | Self::Subscribe(_) | Self::Seek(_)))
                if invoked.f() == f && fields.is_empty() =>
            {
                return Ok(invoked.clone());
            }
            _ => {}
        }
        let mut read = Self::parse(op_type, f, fields.value)?;
        if let Self::Assign { from, .. } = &mut read {
            match invoked {
                Some(Self::Assign { from: asked, .. }) => *from = *asked,
                _ if fields.from_beginning => *from = Start::Beginning,
                _ => {}
            }
        }
        Ok(read)
    }

    fn is_irrelevant(f: &str, value: Option<&RawValue>) -> bool {
        !KNOWN.split(", ").any(|known| known == f)
            && value.is_none_or(|value| !value.get().contains("\"send\""))
    }
}
