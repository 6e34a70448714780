//! Why a history could not be read: where, and what to do about it.

use std::io;
use std::path::PathBuf;

use crate::event::PayloadError;
use crate::syntax::SyntaxError;

/// A line or an operation longer than this is not part of a history: reading it whole could take all memory.
pub(crate) const OPERATION_BYTES_MAX: usize = 64 << 20;

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
    /// The folder has no history in it.
    #[error("there is no history in the folder {}: it has none of {}", path.display(), looked_for.join(", "))]
    NoHistory {
        /// The folder.
        path: PathBuf,
        /// The names that a history could have.
        looked_for: Vec<&'static str>,
    },
    /// One of several files could not be read.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<ReadError>,
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
    /// There is nothing at all.
    #[error("the history is empty: there is nothing to check")]
    Empty,
    /// The file is not text.
    #[error("line {line} is not text (byte {byte:#04x}): this is not a history file")]
    Binary {
        /// The line.
        line: u64,
        /// A byte that text does not have.
        byte: u8,
    },
    /// The file is packed in a way that is not read.
    #[error("this is {format} data: unpack it first")]
    Packed {
        /// The name of the format.
        format: &'static str,
    },
    /// An operation of absurd length.
    #[error(
        "the operation at line {line} is longer than {OPERATION_BYTES_MAX} bytes: this is not a history file"
    )]
    TooLong {
        /// The line.
        line: u64,
    },
    /// It is neither EDN nor JSON.
    #[error("line {line} is neither EDN nor JSON")]
    Syntax {
        /// The line.
        line: u64,
        /// What is wrong with it.
        #[source]
        source: SyntaxError,
    },
    /// Something that is not an event.
    #[error("line {line}: expected {expected}; found {found}")]
    NotAnEvent {
        /// The line.
        line: u64,
        /// What an event looks like.
        expected: &'static str,
        /// What is there, shortened.
        found: String,
    },
    /// An object has not the fields of an event.
    #[error(
        "line {line}: the object has no `{missing}`; its fields are {}: name the one that is meant with \
         --map FIELD={missing}", found.join(", ")
    )]
    Missing {
        /// The line.
        line: u64,
        /// The field that every event has.
        missing: &'static str,
        /// The object's own fields.
        found: Vec<String>,
    },
    /// A field has a value of another kind.
    #[error("line {line}: `{field}` is {found}: expected {expected}")]
    Field {
        /// The line.
        line: u64,
        /// The field.
        field: &'static str,
        /// What it is, shortened.
        found: String,
        /// What it could be.
        expected: &'static str,
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
    /// The order of events is unclear.
    #[error("line {line}: `{field}` is {found} after {before}, {trouble}")]
    Order {
        /// The line.
        line: u64,
        /// `index` or `time`.
        field: &'static str,
        /// What the line has.
        found: i64,
        /// What the line before it has, or the event of the same process before it.
        before: i64,
        /// Why that leaves the order open, and what to do.
        trouble: &'static str,
    },
    /// Several files without a common order.
    #[error("{}", .0)]
    NoCommonOrder(&'static str),
    /// Two logs have events at one time, and the verdict may depend on which came first.
    #[error(
        "events of several logs have the same `time` {time}, and which came first cannot be known: record finer times, \
         or one file in the order of events"
    )]
    Tied {
        /// The time.
        time: i64,
    },
}

impl ReadError {
    /// With the file that it is about.
    pub(crate) fn of(self, path: &std::path::Path) -> Self {
        match self {
            open @ (Self::Open { .. } | Self::NoHistory { .. } | Self::File { .. }) => open,
            other => Self::File { path: path.to_owned(), source: Box::new(other) },
        }
    }
}

/// `text`, at most 60 characters of it.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
