//! The history file: one JSON object a line.
//!
//! ```text
//! {"index":7,"time":120345678,"process":3,"type":"ok","f":"cas","value":["x",[1,2]],"node":"n2"}
//! {"index":8,"time":120400000,"process":"nemesis","type":"info","f":"start-partition","value":{…}}
//! ```
//!
//! | field | type | meaning |
//! |---|---|---|
//! | `index` | integer | position in the history, strictly rising; where it is missing, lines count from 0 |
//! | `time` | integer | nanoseconds since the run began, never falling; 0 where it is missing |
//! | `process` | integer or `"nemesis"` | the logical client |
//! | `type` | `invoke`, `ok`, `fail`, `info` | see [`OpType`]; the nemesis's events are always `info` |
//! | `f` | string | the operation, from the model's vocabulary; the nemesis's are in [`crate::nemesis`] |
//! | `value` | any | its argument or answer, from the model's vocabulary; `null` where it is missing |
//! | `node` | string, optional | the node the client spoke to |
//! | `error` | string, optional | why it failed or is unknown |
//! | `error_kind` | string, optional | the same as statistics count it: `refused`, `timeout`, … |
//!
//! Other fields are ignored. A last line that was cut short (the recorder was killed) is left out and reported as
//! [`Torn::LastLine`]; anything else that cannot be understood is an error naming its line.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::de::{Unexpected, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::edn::EdnError;
use crate::event::{Entry, Event, History, OpError, OpType, Payload, PayloadError, Process, Torn};
use crate::nemesis::{NemesisAct, NemesisEvent};
use crate::node::NodeId;

/// A line longer than this is no history: reading it whole could take all memory.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// Why a history could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file could not be opened.
    #[error("cannot open the history {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Reading stopped half-way.
    #[error("cannot read the history after line {line}")]
    Io {
        /// The last line that was read.
        line: u64,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There is no event at all.
    #[error("the history is empty: there is nothing to check")]
    Empty,
    /// The file is not text.
    #[error("line {line} is not text (byte {byte:#04x}): this is no history file")]
    Binary {
        /// The line.
        line: u64,
        /// A byte that text has not.
        byte: u8,
    },
    /// A line of absurd length.
    #[error("line {line} is longer than {LINE_BYTES_MAX} bytes: this is no history file")]
    LongLine {
        /// The line.
        line: u64,
    },
    /// A line is no event.
    #[error("line {line} is not an event of a history")]
    Line {
        /// The line.
        line: u64,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A line is an event of another vocabulary.
    #[error("line {line} does not fit the model")]
    Payload {
        /// The line.
        line: u64,
        /// What is wrong with it.
        #[source]
        source: PayloadError,
    },
    /// The order of events is broken.
    #[error("line {line}: `{field}` is {found} after {before}; a history is in rising order")]
    Order {
        /// The line.
        line: u64,
        /// `index` or `time`.
        field: &'static str,
        /// What the line has.
        found: u64,
        /// What the line before it has.
        before: u64,
    },
    /// The EDN in it is malformed.
    #[error("line {line} is not the EDN of a history")]
    Edn {
        /// The line.
        line: u64,
        /// What is wrong with it.
        #[source]
        source: EdnError,
    },
}

/// `process` of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A client, by its process's number.
    Client(u64),
    /// The nemesis.
    Nemesis,
}

impl<'de> Deserialize<'de> for Who {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WhoVisitor;
        impl Visitor<'_> for WhoVisitor {
            type Value = Who;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a process: a whole number, or \"nemesis\"")
            }
            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Who, E> {
                Ok(Who::Client(number))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Who, E> {
                match text {
                    "nemesis" => Ok(Who::Nemesis),
                    _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(WhoVisitor)
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
    /// Nanoseconds since the run began.
    #[serde(default)]
    pub time: u64,
    /// The client, or the nemesis.
    pub process: Who,
    /// What it says of the operation.
    #[serde(rename = "type")]
    pub op_type: OpType,
    /// A client's is a string; a foreign nemesis's may be anything, or missing.
    #[serde(borrow, default)]
    f: Option<&'a RawValue>,
    /// What was asked or answered, or the particulars of what the nemesis did.
    #[serde(borrow, default)]
    pub value: Option<&'a RawValue>,
    #[serde(borrow, default)]
    node: Option<Name<'a>>,
    /// Why it failed or is unknown.
    #[serde(default, deserialize_with = "error_text")]
    pub error: Option<String>,
    /// The same as statistics count it.
    #[serde(default)]
    pub error_kind: Option<String>,
}

/// A name that is not kept: of few names there are many copies in a file.
#[derive(Debug, Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl Line<'_> {
    /// A client's operation; it is copied only where it has escapes.
    ///
    /// # Errors
    /// When there is none, or it is not a string.
    pub fn f(&self) -> serde_json::Result<Cow<'_, str>> {
        let raw = self.f.ok_or_else(|| serde::de::Error::missing_field("f"))?.get();
        let plain = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        match plain.filter(|text| !text.contains('\\')) {
            Some(text) => Ok(Cow::Borrowed(text)),
            None => serde_json::from_str(raw).map(Cow::Owned),
        }
    }

    /// The node that the client spoke to.
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        self.node.as_ref().map(|Name(name)| name.as_ref())
    }

    /// What the nemesis did; to be asked only where `process` is the nemesis.
    ///
    /// # Errors
    /// When `f` or `value` is not JSON that can be kept, as a number beyond all bounds.
    pub fn act(&self) -> serde_json::Result<NemesisAct> {
        let any = |raw: &RawValue| serde_json::from_str(raw.get());
        let f = self.f.map(any).transpose()?.unwrap_or_default();
        let value = self.value.map(any).transpose()?.unwrap_or_default();
        Ok(NemesisAct::read(self.time, f, value, self.error.clone()))
    }
}

/// `error` as text, whatever it is: other recorders write keywords and vectors there.
fn error_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    // Handed on as it is: a custom error would hide that the text ended, and a torn line be taken for a wrong one.
    Ok(match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(text),
        other => Some(other.to_string()),
    })
}

/// Who wrote a history, which says how much may be asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Our recorder: time never falls, and completions repeat what was invoked.
    Recorder,
    /// Others. Time may step back, and is raised to the time before; an `info` or `fail` may lack its value, and has
    /// that of its invocation.
    Foreign,
}

/// Turns lines into entries and watches their order.
pub(crate) struct Assembler<A> {
    origin: Origin,
    next_index: u64,
    last_time: u64,
    /// What each process has invoked and not completed; kept for foreign histories only.
    open: HashMap<u64, A>,
    /// Every node that was named so far: its events share one name.
    nodes: HashSet<NodeId>,
}

impl<A: Payload> Assembler<A> {
    pub(crate) fn new(origin: Origin) -> Self {
        Self { origin, next_index: 0, last_time: 0, open: HashMap::new(), nodes: HashSet::new() }
    }

    /// The action of an event of `process`.
    fn action(
        &mut self,
        number: u64,
        process: u64,
        op_type: OpType,
        f: &str,
        value: Option<&RawValue>,
    ) -> Result<A, ReadError> {
        let parsed = A::parse(op_type, f, value);
        if self.origin == Origin::Recorder {
            return parsed.map_err(|source| ReadError::Payload { line: number, source });
        }
        let empty = value.is_none_or(|raw| raw.get() == "null");
        let invoked = match op_type {
            OpType::Invoke => None,
            OpType::Ok | OpType::Fail | OpType::Info => self.open.remove(&process),
        };
        let action = match (parsed, invoked) {
            (Err(PayloadError::Shape { .. }), Some(invoked))
                if empty && op_type != OpType::Ok && invoked.f() == f =>
            {
                invoked
            }
            (parsed, _) => parsed.map_err(|source| ReadError::Payload { line: number, source })?,
        };
        if op_type == OpType::Invoke {
            self.open.insert(process, action.clone());
        }
        Ok(action)
    }

    /// The node that is called `name`.
    fn node(&mut self, name: &str) -> NodeId {
        if let Some(node) = self.nodes.get(name) {
            return node.clone();
        }
        let node = NodeId::new(name);
        self.nodes.insert(node.clone());
        node
    }

    /// The entry that the JSON text `line`, the `number`th of its file, stands for.
    pub(crate) fn entry(&mut self, number: u64, line: &str) -> Result<Entry<A>, ReadError> {
        let mut line: Line<'_> =
            serde_json::from_str(line).map_err(|source| ReadError::Line { line: number, source })?;
        let index = line.index.unwrap_or(self.next_index);
        if index < self.next_index {
            let before = self.next_index - 1;
            return Err(ReadError::Order { line: number, field: "index", found: index, before });
        }
        if line.time < self.last_time {
            if self.origin == Origin::Recorder {
                let before = self.last_time;
                return Err(ReadError::Order { line: number, field: "time", found: line.time, before });
            }
            line.time = self.last_time;
        }
        let wrong = |source| ReadError::Line { line: number, source };
        let entry = match line.process {
            Who::Nemesis => {
                let act = line.act().map_err(wrong)?;
                Entry::Nemesis(NemesisEvent { index, time: line.time, act })
            }
            Who::Client(process) => {
                let f = line.f().map_err(wrong)?;
                Entry::Client(Event {
                    index,
                    time: line.time,
                    process: Process(process),
                    op_type: line.op_type,
                    action: self.action(number, process, line.op_type, &f, line.value)?,
                    node: line.node().map(|name| self.node(name)),
                    error: line.error.map(|text| OpError { kind: line.error_kind.map(Cow::Owned), text }),
                })
            }
        };
        self.next_index = index.saturating_add(1);
        self.last_time = line.time;
        Ok(entry)
    }
}

/// Reads a history file line by line, in constant memory.
pub struct Reader<R, A> {
    input: R,
    line: String,
    number: u64,
    torn: Torn,
    assembler: Assembler<A>,
}

impl<R: BufRead, A: Payload> Reader<R, A> {
    /// Reads from `input`.
    pub fn new(input: R) -> Self {
        Self {
            input,
            line: String::new(),
            number: 0,
            torn: Torn::No,
            assembler: Assembler::new(Origin::Recorder),
        }
    }

    /// Whether the last line was torn; known once the iterator has ended.
    pub fn torn(&self) -> Torn {
        self.torn
    }

    /// The next entry, or `None` at the end.
    fn entry(&mut self) -> Result<Option<Entry<A>>, ReadError> {
        loop {
            let mut bytes = std::mem::take(&mut self.line).into_bytes();
            bytes.clear();
            let line = self.number + 1;
            let read = io::Read::take(&mut self.input, LINE_BYTES_MAX)
                .read_until(b'\n', &mut bytes)
                .map_err(|source| ReadError::Io { line: self.number, source })?;
            if read == 0 {
                return Ok(None);
            }
            let whole = bytes.ends_with(b"\n");
            if !whole && read as u64 == LINE_BYTES_MAX {
                return Err(ReadError::LongLine { line });
            }
            self.number = line;
            match String::from_utf8(bytes) {
                Ok(text) => self.line = text,
                // A cut through a character is as good as a cut anywhere else in the last line.
                Err(error)
                    if !whole
                        && error.utf8_error().error_len().is_none()
                        && (line > 1 || error.as_bytes().starts_with(b"{")) =>
                {
                    self.torn = Torn::LastLine;
                    return Ok(None);
                }
                Err(error) => {
                    let byte = error.as_bytes()[error.utf8_error().valid_up_to()];
                    return Err(ReadError::Binary { line, byte });
                }
            }
            let text = self.line.trim();
            if text.is_empty() {
                continue;
            }
            return match self.assembler.entry(line, text) {
                Err(ReadError::Line { source, .. }) => {
                    // No JSON has such bytes, so that only what is no event need be searched for them.
                    if let Some(byte) = text.bytes().find(|byte| *byte < 0x20 && !byte.is_ascii_whitespace())
                    {
                        return Err(ReadError::Binary { line, byte });
                    }
                    if !whole && cut_short(&source, text) {
                        self.torn = Torn::LastLine;
                        return Ok(None);
                    }
                    Err(ReadError::Line { line, source })
                }
                other => other.map(Some),
            };
        }
    }
}

/// Whether `text` is wrong only in that it ends too early. Behind `1e`, the parser misses a digit, not the end.
fn cut_short(error: &serde_json::Error, text: &str) -> bool {
    error.is_eof() || (error.is_syntax() && text.ends_with(['-', '+', '.', 'e', 'E']))
}

impl<R: BufRead, A: Payload> Iterator for Reader<R, A> {
    type Item = Result<Entry<A>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.entry().transpose()
    }
}

/// Reads the whole history at `path`.
///
/// # Errors
/// [`ReadError`], also when there is no event in it.
pub fn read<A: Payload>(path: &Path) -> Result<History<A>, ReadError> {
    let open = |source| ReadError::Open { path: path.to_owned(), source };
    let file = File::open(path).map_err(open)?;
    if file.metadata().map_err(open)?.is_dir() {
        return Err(open(io::ErrorKind::IsADirectory.into()));
    }
    read_from(BufReader::with_capacity(1 << 16, file))
}

/// Reads the whole history in `input`.
///
/// # Errors
/// [`ReadError`], also when there is no event in it.
pub fn read_from<A: Payload>(input: impl BufRead) -> Result<History<A>, ReadError> {
    let mut reader = Reader::new(input);
    let mut history = History::new();
    for entry in &mut reader {
        history.push(entry?);
    }
    if history.is_empty() {
        return Err(ReadError::Empty);
    }
    history.torn = reader.torn();
    Ok(history)
}

/// `value` of a payload, for serde.
struct Value<'a, A>(&'a A);

impl<A: Payload> Serialize for Value<'_, A> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize_value(serializer)
    }
}

impl<A: Payload> Serialize for Event<A> {
    /// The line of the history file, without its line end.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut line = serializer.serialize_struct("Event", 9)?;
        line.serialize_field("index", &self.index)?;
        line.serialize_field("time", &self.time)?;
        line.serialize_field("process", &self.process)?;
        line.serialize_field("type", &self.op_type)?;
        line.serialize_field("f", self.action.f())?;
        line.serialize_field("value", &Value(&self.action))?;
        if let Some(node) = &self.node {
            line.serialize_field("node", node)?;
        }
        if let Some(OpError { kind, text }) = &self.error {
            line.serialize_field("error", text)?;
            if let Some(kind) = kind {
                line.serialize_field("error_kind", kind)?;
            }
        }
        line.end()
    }
}
