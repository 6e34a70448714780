//! A history in whatever format it was recorded.
//!
//! | format | told by |
//! |---|---|
//! | [JSON lines](crate::jsonl) | the extension `jsonl`; otherwise it begins with `{"` |
//! | one JSON array of the same objects, as elle-cli has it | it begins with `[` and, in it, `{"` |
//! | [EDN](crate::edn) | the extension `edn`; otherwise anything else |

use std::fs;
use std::io;
use std::path::Path;

use serde_json::value::RawValue;

use crate::edn;
use crate::event::{History, Payload};
use crate::jsonl::{self, Assembler, Origin, ReadError};

/// A way to write a history down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    JsonLines,
    /// One JSON array of objects.
    JsonArray,
    /// Jepsen's.
    Edn,
}

/// Reads the whole history at `path`, in any [`Format`].
///
/// # Errors
/// [`ReadError`].
pub fn read_any<A: Payload>(path: &Path) -> Result<History<A>, ReadError> {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    if extension == "jsonl" {
        return jsonl::read(path);
    }
    let text = text(path)?;
    match format(extension, &text) {
        Format::JsonLines => jsonl::read_from(text.as_bytes()),
        Format::JsonArray => read_array(&text),
        Format::Edn => edn::read_str(&text),
    }
}

/// The format of `text`, from a file with `extension`.
#[must_use]
pub fn format(extension: &str, text: &str) -> Format {
    let mut solid = text.chars().filter(|next| !next.is_whitespace() && *next != '\u{feff}');
    let (first, second, third) = (solid.next(), solid.next(), solid.next());
    match (extension, first, second, third) {
        ("edn", ..) => Format::Edn,
        ("jsonl", ..) => Format::JsonLines,
        (_, Some('['), Some('{'), Some('"' | '}')) | ("json", Some('['), ..) => Format::JsonArray,
        (_, Some('{'), Some('"' | '}'), _) | ("json", ..) => Format::JsonLines,
        _ => Format::Edn,
    }
}

/// Reads a history that is one JSON array of objects, each as a line of the [history file](crate::jsonl).
///
/// As in [EDN](crate::edn), `index` and `time` may be missing, `time` may step back, and an `info` or `fail` without
/// `value` has that of its invocation.
///
/// # Errors
/// [`ReadError`].
pub fn read_array<A: Payload>(text: &str) -> Result<History<A>, ReadError> {
    if text.is_empty() {
        return Err(ReadError::Empty);
    }
    let elements: Vec<&RawValue> = serde_json::from_str(text.trim_start_matches('\u{feff}'))
        .map_err(|source| ReadError::Line { line: source.line() as u64, source })?;
    let mut assembler = Assembler::new(Origin::Foreign);
    let mut history = History::new();
    // Elements borrow from the text, so where one begins says on which line.
    let (mut line, mut counted) = (1, 0);
    for element in elements {
        let begins = element.get().as_ptr() as usize - text.as_ptr() as usize;
        line += text.as_bytes()[counted..begins].iter().filter(|byte| **byte == b'\n').count() as u64;
        counted = begins;
        history.push(assembler.entry(line, element.get())?);
    }
    Ok(history)
}

/// The whole of the text file at `path`.
pub(crate) fn text(path: &Path) -> Result<String, ReadError> {
    let open = |source| ReadError::Open { path: path.to_owned(), source };
    if fs::metadata(path).map_err(open)?.is_dir() {
        return Err(open(io::ErrorKind::IsADirectory.into()));
    }
    decode(fs::read(path).map_err(open)?)
}

/// `bytes` as text.
pub(crate) fn decode(bytes: Vec<u8>) -> Result<String, ReadError> {
    let line = |bytes: &[u8]| 1 + bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
    let control = |byte: &u8| *byte < 0x20 && !byte.is_ascii_whitespace();
    if let Some(at) = bytes.iter().position(control) {
        return Err(ReadError::Binary { line: line(&bytes[..at]), byte: bytes[at] });
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        ReadError::Binary { line: line(&error.as_bytes()[..at]), byte: error.as_bytes()[at] }
    })
}
