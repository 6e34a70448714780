//! The history file: one JSON object a line.
//!
//! ```text
//! {"index":7,"time":120345678,"process":3,"type":"ok","f":"cas","value":["x",[1,2]],"node":"n2"}
//! {"index":8,"time":120400000,"process":"nemesis","type":"info","f":"start-partition","value":{…}}
//! ```
//!
//! | field | type | meaning |
//! |---|---|---|
//! | `index` | integer | position in the history, strictly rising |
//! | `time` | integer | nanoseconds since the run began, never falling |
//! | `process` | integer or `"nemesis"` | the logical client |
//! | `type` | `invoke`, `ok`, `fail`, `info` | see [`OpType`]; the nemesis's events are always `info` |
//! | `f` | string | the operation, from the model's vocabulary; the nemesis's are in [`crate::nemesis`] |
//! | `key` | any, optional | the key of its object, in vocabularies whose values do not name it |
//! | `value` | any | its argument or answer, from the model's vocabulary; `null` if missing |
//! | `node` | string, optional | the node the client spoke to |
//! | `error` | string, optional | why it failed or is unknown |
//! | `saw` | array, optional | in a failed compare-and-set the value that was there instead, if any was |
//! | `error_kind` | string, optional | the same as statistics count it: `refused`, `timeout`, … |
//!
//! Other fields are ignored. A last line that was cut short (the recorder was killed) is left out and
//! reported as [`Torn::LastLine`](crate::event::Torn); any other line that cannot be parsed is an error
//! naming its number. JSON lines of other programs may lack fields, or have others: see [`import`].

use std::borrow::Cow;
use std::io::Read;
use std::path::Path;

use serde::de::{Unexpected, Visitor};
use serde::ser::{Serialize, Serializer};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::edn::plain_text;
pub use crate::error::ReadError;
use crate::event::{Event, Fields, History, OpError, OpType, Payload, Process};
use crate::import::{self, Actor, Options, Raw, Time};
use crate::nemesis::NemesisAct;
use crate::node::NodeId;
use crate::scalar::Scalar;

/// `process` of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineProcess {
    /// A client, by its process's number.
    Client(u64),
    /// The nemesis.
    Nemesis,
}

impl<'de> Deserialize<'de> for LineProcess {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LineProcessVisitor;
        impl Visitor<'_> for LineProcessVisitor {
            type Value = LineProcess;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a process: a whole number, or \"nemesis\"")
            }
            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<LineProcess, E> {
                Ok(LineProcess::Client(number))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<LineProcess, E> {
                match text {
                    "nemesis" => Ok(LineProcess::Nemesis),
                    _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(LineProcessVisitor)
    }
}

/// A line with its payload still raw, so that a line of any vocabulary can be read.
///
/// ```
/// let line = r#"{"time":25,"process":0,"type":"ok","f":"write","value":["x",1]}"#;
/// let line: duress_history::jsonl::Line<'_> = serde_json::from_str(line)?;
/// assert_eq!(line.f()?, "write");
/// assert_eq!(line.value.map(|value| value.get()), Some("[\"x\",1]"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Deserialize)]
pub struct Line<'a> {
    /// Position in the history, where the line has one.
    pub index: Option<u64>,
    time: Option<u64>,
    /// The client, or the nemesis.
    pub process: LineProcess,
    /// The type of the event.
    #[serde(rename = "type")]
    pub op_type: OpType,
    /// A client's is a string; a foreign nemesis's may be anything, or missing.
    #[serde(borrow, default)]
    f: Option<&'a RawValue>,
    /// The request or answer, or the details of the nemesis's action.
    #[serde(borrow, default)]
    pub value: Option<&'a RawValue>,
    /// The object that the operation is about, where it has a field of its own.
    #[serde(borrow, default)]
    pub key: Option<&'a RawValue>,
    #[serde(rename = "seek-to-beginning?", default)]
    from_beginning: bool,
    #[serde(borrow, default)]
    node: Option<Name<'a>>,
    /// Why it failed or is unknown.
    #[serde(default, deserialize_with = "error_text")]
    pub error: Option<String>,
    /// The same as statistics count it.
    #[serde(default)]
    pub error_kind: Option<String>,
    /// The value that a failed comparison saw: empty if there was none.
    #[serde(default)]
    saw: Option<Vec<Scalar>>,
}

/// A name that is not kept: of few names there are many copies in a file.
#[derive(Debug, Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl Line<'_> {
    /// Nanoseconds since the run began.
    #[must_use]
    pub fn time(&self) -> u64 {
        self.time.unwrap_or_default()
    }

    /// Returns a client's operation; it is copied only if it has escapes.
    ///
    /// # Errors
    /// When it is missing, or not a string.
    pub fn f(&self) -> serde_json::Result<Cow<'_, str>> {
        let raw = self.f.ok_or_else(|| serde::de::Error::missing_field("f"))?.get();
        let plain = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        match plain.filter(|text| !text.contains('\\')) {
            Some(text) => Ok(Cow::Borrowed(text)),
            None => serde_json::from_str(raw).map(Cow::Owned),
        }
    }

    /// Returns the node that the client spoke to.
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        self.node.as_ref().map(|Name(name)| name.as_ref())
    }

    /// Returns the nemesis's action; call it only if `process` is the nemesis.
    ///
    /// # Errors
    /// When `f` or `value` is not JSON that can be kept, as a number beyond all bounds.
    pub fn act(&self) -> serde_json::Result<NemesisAct> {
        let any = |raw: &RawValue| serde_json::from_str(raw.get());
        let f = self.f.map(any).transpose()?.unwrap_or_default();
        let value = self.value.map(any).transpose()?.unwrap_or_default();
        Ok(NemesisAct::read(self.time(), f, value, self.error.clone()))
    }

    /// Returns a client's event of the vocabulary `A`, in a history of our own; `None` if it is not one.
    ///
    /// [`import`] reads whole histories, also those of other programs, and says what is wrong with a line.
    #[must_use]
    pub fn event<A: Payload>(&self) -> Option<Event<A>> {
        let LineProcess::Client(process) = self.process else { return None };
        let fields = Fields { value: self.value, key: self.key, from_beginning: self.from_beginning };
        let error = self.error.clone().map(|text| {
            let kind = self.error_kind.clone().map(Cow::Owned);
            Box::new(OpError { kind, text, saw: self.saw.as_ref().map(|saw| saw.first().cloned()) })
        });
        Some(Event {
            index: self.index?,
            time: self.time(),
            process: Process(process),
            op_type: self.op_type,
            action: A::read(self.op_type, &self.f().ok()?, fields, None).ok()?,
            node: self.node().map(NodeId::new),
            error,
        })
    }

    /// Returns the line, the `number`th of its file, as an event.
    pub(crate) fn raw(&self, number: u64) -> Raw<'_> {
        Raw {
            line: number,
            index: self.index,
            time: self.time.map(|time| Time::Whole(i64::try_from(time).unwrap_or(i64::MAX))),
            process: match self.process {
                LineProcess::Client(process) => Actor::Number(process),
                LineProcess::Nemesis => Actor::Nemesis,
            },
            op_type: self.op_type,
            f: self.f.map(RawValue::get),
            fields: Fields { value: self.value, key: self.key, from_beginning: self.from_beginning },
            node: self.node().map(Cow::Borrowed),
            error: self.error.clone(),
            error_kind: self.error_kind.clone(),
            saw: self.saw.clone(),
        }
    }
}

/// Reads `error` as a string, whatever its type: other recorders write keywords and vectors there.
fn error_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    // Passed on unchanged: a custom error would hide that the text ended, and a torn line would count as an
    // invalid one.
    Ok(match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::Null => None,
        other => Some(plain_text(&other.to_string())),
    })
}

/// Reads the history at `path`, as [`import`] does.
///
/// # Errors
/// [`ReadError`], also for an empty history.
pub fn read<A: Payload>(path: &Path) -> Result<History<A>, ReadError> {
    import::read_any(path)
}

/// Reads the history in `input`, as [`import`] does.
///
/// # Errors
/// [`ReadError`], also for an empty history.
pub fn read_from<A: Payload>(input: impl Read) -> Result<History<A>, ReadError> {
    import::read_from(input, &Options::default())
}

/// `value` of a payload, for serde.
struct Value<'a, A>(&'a A);

impl<A: Payload> Serialize for Value<'_, A> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize_value(serializer)
    }
}

impl<A: Payload> Serialize for Event<A> {
    /// Serializes the line of the history file, without its line end.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut line = serializer.serialize_struct("Event", 10)?;
        line.serialize_field("index", &self.index)?;
        line.serialize_field("time", &self.time)?;
        line.serialize_field("process", &self.process)?;
        line.serialize_field("type", &self.op_type)?;
        line.serialize_field("f", self.action.f())?;
        if let Some(key) = self.action.key() {
            line.serialize_field("key", key)?;
        }
        line.serialize_field("value", &Value(&self.action))?;
        if let Some(node) = &self.node {
            line.serialize_field("node", node)?;
        }
        if let Some(OpError { kind, text, saw }) = self.error.as_deref() {
            line.serialize_field("error", text)?;
            if let Some(kind) = kind {
                line.serialize_field("error_kind", kind)?;
            }
            if let Some(saw) = saw {
                line.serialize_field("saw", saw.as_slice())?;
            }
        }
        line.end()
    }
}
