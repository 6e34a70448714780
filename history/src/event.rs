//! An event: one line of a history.

use std::borrow::Cow;
use std::fmt;

use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::nemesis::NemesisEvent;
use crate::node::NodeId;

/// What an event says of its operation.
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
    /// Who did it.
    pub process: Process,
    /// What the event says of the operation.
    pub op_type: OpType,
    /// What was asked, or, in an `ok`, what was answered.
    pub action: A,
    /// The node that the client spoke to.
    pub node: Option<NodeId>,
    /// Why it failed or is unknown.
    pub error: Option<OpError>,
}

/// Why an operation did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpError {
    /// What kind of trouble it was, as statistics count it: `refused`, `timeout`, …; none where the recorder gave none.
    pub kind: Option<Cow<'static, str>>,
    /// The target's or the network's words.
    pub text: String,
}

impl fmt::Display for OpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

/// One line of a history.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry<A> {
    /// A client's event.
    Client(Event<A>),
    /// The nemesis's.
    Nemesis(NemesisEvent),
}

/// A whole history in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct History<A> {
    /// The clients' events, by index.
    pub events: Vec<Event<A>>,
    /// What the nemesis did, by index.
    pub nemesis: Vec<NemesisEvent>,
    /// Whether the last line was torn, as after a `kill -9`, and therefore left out.
    pub torn: Torn,
}

impl<A> History<A> {
    /// One with nothing in it yet.
    pub(crate) const fn new() -> Self {
        Self { events: Vec::new(), nemesis: Vec::new(), torn: Torn::No }
    }

    /// Whether there is no event in it, neither a client's nor the nemesis's.
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.nemesis.is_empty()
    }

    /// Adds what comes next.
    pub(crate) fn push(&mut self, entry: Entry<A>) {
        match entry {
            Entry::Client(event) => self.events.push(event),
            Entry::Nemesis(event) => self.nemesis.push(event),
        }
    }
}

/// Whether a file ended in the middle of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Torn {
    /// Every line was whole.
    #[default]
    No,
    /// The last line was cut short and was left out.
    LastLine,
}

/// A vocabulary: the operations of one kind of workload, as `f` and `value`.
pub trait Payload: Clone + fmt::Debug + PartialEq {
    /// The vocabulary's name, as the command line's `--model` has it.
    const NAME: &'static str;

    /// The `f` field.
    fn f(&self) -> &'static str;

    /// Writes the `value` field.
    ///
    /// # Errors
    /// Whatever the serializer reports.
    fn serialize_value<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;

    /// Reads `f` and `value` of an event of type `op_type`; no `value` is the same as `null`.
    ///
    /// # Errors
    /// [`PayloadError`] when `f` is not of this vocabulary, or `value` is not of its shape.
    fn parse(op_type: OpType, f: &str, value: Option<&RawValue>) -> Result<Self, PayloadError>;

    /// Whether `completion` can complete `self`: the same `f` on the same key, with what was asked unchanged.
    fn completed_by(&self, completion: &Self) -> bool;
}

/// Why `f` and `value` are not of a vocabulary.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// `f` is none of the vocabulary's.
    #[error("`f` is \"{f}\", which is no operation of the model \"{model}\" (its operations: {known})")]
    UnknownF {
        /// The vocabulary's name.
        model: &'static str,
        /// What the line has.
        f: String,
        /// What the vocabulary has, in words.
        known: &'static str,
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
        /// What the JSON reader said.
        #[source]
        source: serde_json::Error,
    },
}

impl PayloadError {
    /// A [`PayloadError::Shape`] that quotes at most 60 characters of `value`.
    pub(crate) fn shape(
        model: &'static str,
        f: &'static str,
        value: Option<&RawValue>,
        expected: &'static str,
        source: serde_json::Error,
    ) -> Self {
        let text = value.map_or("null", RawValue::get);
        let found = match text.char_indices().nth(60) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text.to_owned(),
        };
        Self::Shape { model, f, found, expected, source }
    }
}
