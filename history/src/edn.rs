//! Jepsen's `history.edn`: read, and written.
//!
//! ```text
//! {:type :invoke, :f :cas, :value [1 2], :process 3, :time 120345678, :index 7}
//! {:type :info, :f :start-partition, :value nil, :process :nemesis, :time 120400000, :index 8}
//! ```
//!
//! A history is one operation a line, or all of them in one vector or list. An operation is a map or a tagged map
//! (`#jepsen.history.Op{…}`). Jepsen's clocks are read in several places, so `:time` may step back a little; it is
//! raised to the time before it. `:index` and `:time` are filled in where they are missing. An `:info` or `:fail`
//! without its `:value` has that of its invocation. Other keys are ignored.

mod syntax;

use std::io::{self, BufRead, Write};
use std::path::Path;

use serde_json::Value;

pub use syntax::EdnError;

use crate::event::{History, Payload};
use crate::import;
use crate::jsonl::{Assembler, Origin, ReadError};
use syntax::{Forms, Opening, quote};

/// Reads the whole history at `path`.
///
/// # Errors
/// [`ReadError`].
pub fn read<A: Payload>(path: &Path) -> Result<History<A>, ReadError> {
    read_str(&import::text(path)?)
}

/// Reads the whole history in `input`.
///
/// # Errors
/// [`ReadError`].
pub fn read_from<A: Payload>(mut input: impl BufRead) -> Result<History<A>, ReadError> {
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes).map_err(|source| ReadError::Io { line: 0, source })?;
    read_str(&import::decode(bytes)?)
}

/// Reads the whole history in `text`.
///
/// # Errors
/// [`ReadError`]. A text without any operation is [`ReadError::Empty`] only when there is nothing in it at all: an
/// empty vector, or a file of nothing but white space, is how others write a history in which nothing happened.
pub fn read_str<A: Payload>(text: &str) -> Result<History<A>, ReadError> {
    if text.is_empty() {
        return Err(ReadError::Empty);
    }
    let mut reader = Reader {
        forms: Forms::new(text),
        assembler: Assembler::new(Origin::Foreign),
        history: History::new(),
    };
    reader.read()?;
    Ok(reader.history)
}

struct Reader<'a, A> {
    forms: Forms<'a>,
    assembler: Assembler<A>,
    history: History<A>,
}

impl<'a, A: Payload> Reader<'a, A> {
    fn read(&mut self) -> Result<(), ReadError> {
        let mut whole = false;
        while let Some(next) = self.wrap(|forms| forms.peek())? {
            if whole {
                let expected = "the end: the history is one vector or list";
                return Err(self.error(EdnError::Unexpected { found: next, expected }));
            }
            let began = self.forms.line();
            match self.wrap(Forms::open)? {
                Some(Opening::Map) => self.operation(began)?,
                Some(Opening::Sequence(closing)) if self.history.is_empty() => {
                    whole = true;
                    self.elements(closing, began)?;
                }
                _ => return Err(self.not_an_operation()),
            }
        }
        Ok(())
    }

    fn elements(&mut self, closing: char, began: u64) -> Result<(), ReadError> {
        while !self.wrap(|forms| forms.close(closing, "the history", began))? {
            let line = self.forms.line();
            match self.wrap(Forms::open)? {
                Some(Opening::Map) => self.operation(line)?,
                _ => return Err(self.not_an_operation()),
            }
        }
        Ok(())
    }

    /// The map that was just opened at line `began`.
    fn operation(&mut self, began: u64) -> Result<(), ReadError> {
        let (mut process, mut op_type, mut f) = (None, None, None);
        let mut json = String::from("{");
        while !self.wrap(|forms| forms.close('}', "an operation", began))? {
            let mut key = String::new();
            let mut value = String::new();
            self.wrap(|forms| forms.form("an operation", &mut key))?;
            if self.wrap(|forms| forms.peek())? == Some('}') {
                return Err(self.error(EdnError::OddMap));
            }
            self.wrap(|forms| forms.form("an operation", &mut value))?;
            match key.as_str() {
                "\"process\"" => process = Some(value),
                "\"type\"" => op_type = Some(value),
                "\"f\"" => f = Some(value),
                "\"index\"" | "\"time\"" | "\"value\"" | "\"node\"" | "\"error\"" | "\"error_kind\""
                    if value != "null" =>
                {
                    json.push_str(&key);
                    json.push(':');
                    json.push_str(&value);
                    json.push(',');
                }
                _ => {}
            }
        }
        let missing = |field| ReadError::Edn { line: began, source: EdnError::Missing { field } };
        let process = process.ok_or_else(|| missing(":process"))?;
        let (op_type, f) = if process == "\"nemesis\"" {
            // Jepsen's nemesis also invokes; here all it does is `info`.
            ("\"info\"".to_owned(), f.unwrap_or_else(|| "null".to_owned()))
        } else {
            (op_type.ok_or_else(|| missing(":type"))?, f.ok_or_else(|| missing(":f"))?)
        };
        json.push_str(&format!("\"process\":{process},\"type\":{op_type},\"f\":{f}}}"));
        self.history.push(self.assembler.entry(began, &json)?);
        Ok(())
    }

    fn not_an_operation(&mut self) -> ReadError {
        let mut found = String::new();
        match self.forms.form("an operation", &mut found) {
            Ok(()) => {
                let found = found.chars().take(60).collect();
                self.error(EdnError::NotAnOperation { found })
            }
            Err(error) => self.error(error),
        }
    }

    fn error(&self, source: EdnError) -> ReadError {
        ReadError::Edn { line: self.forms.line(), source }
    }

    fn wrap<T>(&mut self, read: impl FnOnce(&mut Forms<'a>) -> Result<T, EdnError>) -> Result<T, ReadError> {
        read(&mut self.forms).map_err(|source| self.error(source))
    }
}

/// Writes `history` as Jepsen does, one operation a line, clients and nemesis in the order of their indices.
///
/// # Errors
/// Whatever `output` reports.
pub fn write<A: Payload>(history: &History<A>, mut output: impl Write) -> io::Result<()> {
    let mut nemesis = history.nemesis.iter().peekable();
    let mut line = String::new();
    for event in &history.events {
        while let Some(before) = nemesis.next_if(|before| before.index < event.index) {
            operation(&serde_json::to_value(before)?, &mut line);
            output.write_all(line.as_bytes())?;
        }
        operation(&serde_json::to_value(event)?, &mut line);
        output.write_all(line.as_bytes())?;
    }
    for after in nemesis {
        operation(&serde_json::to_value(after)?, &mut line);
        output.write_all(line.as_bytes())?;
    }
    output.flush()
}

/// Makes `line` the operation `event`, given as a line of the history file.
fn operation(event: &Value, line: &mut String) {
    line.clear();
    line.push('{');
    for field in ["index", "time", "type", "process", "f", "value", "node", "error", "error_kind"] {
        let Some(value) = event.get(field) else { continue };
        if line.len() > 1 {
            line.push_str(", ");
        }
        line.push(':');
        line.push_str(field);
        line.push(' ');
        match (field, value) {
            ("type" | "f" | "process", Value::String(text)) if is_keyword(text) => {
                line.push(':');
                line.push_str(text);
            }
            _ => form(value, line),
        }
    }
    line.push_str("}\n");
}

/// Whether `text` can stand behind a colon.
fn is_keyword(text: &str) -> bool {
    let fits = |next: char| next.is_ascii_alphanumeric() || "-_.*+!?".contains(next);
    text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.chars().all(fits)
}

fn form(value: &Value, line: &mut String) {
    match value {
        Value::Null => line.push_str("nil"),
        Value::Bool(_) | Value::Number(_) => line.push_str(&value.to_string()),
        Value::String(text) => quote(text, line),
        Value::Array(values) => {
            line.push('[');
            for (at, value) in values.iter().enumerate() {
                if at > 0 {
                    line.push(' ');
                }
                form(value, line);
            }
            line.push(']');
        }
        Value::Object(map) => {
            line.push('{');
            for (at, (key, value)) in map.iter().enumerate() {
                if at > 0 {
                    line.push_str(", ");
                }
                quote(key, line);
                line.push(' ');
                form(value, line);
            }
            line.push('}');
        }
    }
}
