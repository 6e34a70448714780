//! An event: one line of a history.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::shortened;
use crate::nemesis::NemesisEvent;
use crate::node::NodeId;
use crate::scalar::Scalar;

/// The type of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OpType {
    /// It began: stamped before the request could leave.
    Invoke,
    /// It happened: stamped after the answer had arrived.
    Ok,
    /// It certainly did not happen, and never will.
    Fail,
    /// It may have happened, may yet happen, or may never happen. Its process is retired.
    Info,
}

impl fmt::Display for OpType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Invoke => "invoke",
            Self::Ok => "ok",
            Self::Fail => "fail",
            Self::Info => "info",
        })
    }
}

/// A logical single-threaded client. After [`OpType::Info`] its number is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Process(pub u64);

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// An event of a client, its `f` and `value` typed by the vocabulary `A`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<A> {
    /// Position in the history, from 0, strictly rising. The only order that checkers use.
    pub index: u64,
    /// Nanoseconds since the run began, never falling.
    pub time: u64,
    /// The process.
    pub process: Process,
    /// The event's type.
    pub op_type: OpType,
    /// The request, or, in an `ok`, the answer.
    pub action: A,
    /// The node that the client spoke to.
    pub node: Option<NodeId>,
    /// Why it failed or is unknown: elsewhere, since most events have none.
    pub error: Option<Box<OpError>>,
}

/// Why an operation did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpError {
    /// The kind of error, as statistics count it: `refused`, `timeout`, …; `None` if the recorder gave none.
    pub kind: Option<Cow<'static, str>>,
    /// The target's or the network's words.
    pub text: String,
    /// The value that the target reports to have found instead of the compared one, `None` if there was none:
    /// the result of a failed comparison. Present only if the target promises that this is a read of its own,
    /// atomic with the comparison.
    pub saw: Option<Option<Scalar>>,
}

impl fmt::Display for OpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

/// A whole history in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct History<A> {
    /// The clients' events, by index.
    pub events: Vec<Event<A>>,
    /// The nemesis's events, by index.
    pub nemesis: Vec<NemesisEvent>,
    /// Whether the end of the file was torn, as after a `kill -9`, and therefore left out.
    pub torn: Torn,
    /// The number of events that were left out because they are irrelevant to the vocabulary, by their `f`.
    pub skipped: BTreeMap<String, u64>,
    /// Other names that the file has for operations, by their `f`: `put` for `write`.
    pub other_names: BTreeMap<&'static str, BTreeSet<String>>,
    /// Whether the times of its events can be subtracted from each other.
    pub timing: Timing,
}

/// Whether the times of events can be subtracted from each other. The order of events does not depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timing {
    /// They can.
    #[default]
    Recorded,
    /// The time of some event is missing, or falls behind that of an earlier one, and was filled in.
    Incomplete,
}

impl<A> Default for History<A> {
    fn default() -> Self {
        Self {
            events: Vec::new(),
            nemesis: Vec::new(),
            torn: Torn::No,
            skipped: BTreeMap::new(),
            other_names: BTreeMap::new(),
            timing: Timing::Recorded,
        }
    }
}

impl<A> History<A> {
    /// Takes note of the name `theirs` in a file for the operation `ours`.
    pub(crate) fn note_name(&mut self, ours: &'static str, theirs: &str) {
        if ours != theirs && !self.other_names.get(ours).is_some_and(|names| names.contains(theirs)) {
            self.other_names.entry(ours).or_default().insert(theirs.to_owned());
        }
    }

    /// Whether it has no events, neither a client's nor the nemesis's.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.nemesis.is_empty()
    }
}

/// Whether a file ended in the middle of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Torn {
    /// Every event was whole.
    #[default]
    No,
    /// The last event was cut short and was left out, or the end of the file is missing.
    LastLine,
}

/// The fields of an event that a vocabulary reads.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fields<'a> {
    /// The argument or the answer.
    pub value: Option<&'a RawValue>,
    /// The object that the operation is about, where it has a field of its own.
    pub key: Option<&'a RawValue>,
    /// Whether the event has `seek-to-beginning?`, as Jepsen's consumers do that begin again.
    pub from_beginning: bool,
}

impl Fields<'_> {
    /// Whether the value is missing or null.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        is_null(self.value)
    }

    /// Whether there is a key of its own.
    #[must_use]
    pub fn has_key(&self) -> bool {
        !is_null(self.key)
    }

    /// Refuses a key of its own, for the vocabulary `model`, which has none.
    pub(crate) fn refuse_key(&self, model: &'static str) -> Result<(), PayloadError> {
        match self.key {
            Some(key) if self.has_key() => Err(PayloadError::Key { model, found: shortened(key.get()) }),
            _ => Ok(()),
        }
    }
}

/// Whether the value is missing or null.
fn is_null(value: Option<&RawValue>) -> bool {
    value.is_none_or(|value| value.get() == "null")
}

/// A vocabulary: the operations of one kind of workload, as `f` and `value`.
pub trait Payload: Clone + fmt::Debug + PartialEq {
    /// The vocabulary's name, as the command line's `--model` has it.
    const NAME: &'static str;

    /// The `f` of every event, in a vocabulary that has one only: others leave it out.
    const ONLY_F: Option<&'static str> = None;

    /// Returns the `f` field.
    fn f(&self) -> &'static str;

    /// Writes the `value` field.
    ///
    /// # Errors
    /// Any error of the serializer.
    fn serialize_value<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;

    /// Reads `f` and `value` of an event of type `op_type`; no `value` is the same as `null`.
    ///
    /// # Errors
    /// [`PayloadError`] when `f` is not of this vocabulary, or `value` is not of its shape.
    fn parse(op_type: OpType, f: &str, value: Option<&RawValue>) -> Result<Self, PayloadError>;

    /// Whether `completion` can complete `self`: the same `f` on the same key, with the request unchanged.
    fn completed_by(&self, completion: &Self) -> bool;

    /// Reads an event that another program recorded: `fields` of one of type `op_type`, and, for an `ok`, its
    /// invocation.
    ///
    /// A vocabulary with keys or flags in fields of their own has its own version of this.
    ///
    /// # Errors
    /// [`PayloadError`], also when there is a key and the vocabulary has none.
    fn read(
        op_type: OpType,
        f: &str,
        fields: Fields<'_>,
        invoked: Option<&Self>,
    ) -> Result<Self, PayloadError> {
        let _ = invoked;
        fields.refuse_key(Self::NAME)?;
        Self::parse(op_type, f, fields.value)
    }

    /// Returns the name that this vocabulary has for an `f` of others.
    fn spelled(f: &str) -> &str {
        f
    }

    /// Whether an operation `f` of another program, with this `value`, is irrelevant to the check of this
    /// vocabulary, so that it can be left out.
    fn is_irrelevant(f: &str, value: Option<&RawValue>) -> bool {
        let _ = (f, value);
        false
    }

    /// Returns the object that it is about, in vocabularies in which that may be left out: the field `key` of
    /// its event.
    fn key(&self) -> Option<&Scalar> {
        None
    }
}

/// Why `f` and `value` are not of a vocabulary.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// `f` is not in the vocabulary.
    #[error("`f` is \"{f}\", which is not an operation of the model \"{model}\" (its operations: {known})")]
    UnknownF {
        /// The vocabulary's name.
        model: &'static str,
        /// The `f` of the line.
        f: String,
        /// The names in the vocabulary, in words.
        known: &'static str,
    },
    /// There is a key of its own, in a vocabulary without keys.
    #[error(
        "`key` is {found}, and the model \"{model}\" is about one object without a name: check the events of each key \
         as a history of its own"
    )]
    Key {
        /// The vocabulary's name.
        model: &'static str,
        /// The line's key, shortened.
        found: String,
    },
    /// Values name one of several objects, in a vocabulary of one.
    #[error(
        "`value` is a vector of two, as where there are keys, and the model \"{model}\" is about one object: check it with \
             --model {keyed}"
    )]
    Keyed {
        /// The vocabulary's name.
        model: &'static str,
        /// The one with keys.
        keyed: &'static str,
    },
    /// `value` has another shape.
    #[error("`value` of \"{f}\" is {found}: expected {expected} for the model \"{model}\"")]
    Shape {
        /// The vocabulary's name.
        model: &'static str,
        /// The operation.
        f: &'static str,
        /// The line's value, shortened.
        found: String,
        /// The shape it should have.
        expected: &'static str,
        /// The JSON reader's error.
        #[source]
        source: serde_json::Error,
    },
}

impl PayloadError {
    /// Returns a [`PayloadError::Shape`] that quotes at most 60 characters of `value`.
    pub(crate) fn shape(
        model: &'static str,
        f: &'static str,
        value: Option<&RawValue>,
        expected: &'static str,
        source: serde_json::Error,
    ) -> Self {
        let found = shortened(value.map_or("null", RawValue::get));
        Self::Shape { model, f, found, expected, source }
    }
}

/// Reads `value` of an event `f` of the vocabulary `A`; no value is the same as `null`.
pub(crate) fn parse_json<'a, A: Payload, T: Deserialize<'a>>(
    f: &'static str,
    value: Option<&'a RawValue>,
    expected: &'static str,
) -> Result<T, PayloadError> {
    serde_json::from_str(value.map_or("null", RawValue::get))
        .map_err(|source| PayloadError::shape(A::NAME, f, value, expected, source))
}
