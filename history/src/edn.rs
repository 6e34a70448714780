//! Jepsen's `history.edn`: read, and written.
//!
//! ```text
//! {:type :invoke, :f :cas, :value [1 2], :process 3, :time 120345678, :index 7}
//! {:type :info, :f :start-partition, :value nil, :process :nemesis, :time 120400000, :index 8}
//! ```
//!
//! A history has one operation a line, or all of them in one vector or list. An operation is a map or a
//! tagged map (`#jepsen.history.Op{…}`). [`import`](crate::import) reads it, and documents how it handles
//! missing fields.

use std::io::{self, Write};

use serde_json::Value;

use crate::error::ReadError;
use crate::event::{History, Payload};
use crate::import::{self, Options};
use crate::syntax::{Forms, quote};

/// Returns the string encoded by the JSON text `json`, without the colours and other control characters of a
/// terminal; other JSON unchanged.
pub(crate) fn plain_text(json: &str) -> String {
    let text: String = serde_json::from_str(json).unwrap_or_else(|_| json.to_owned());
    if !text.contains(char::is_control) {
        return text;
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(next) = chars.next() {
        match next {
            '\u{1b}' if chars.next_if_eq(&'[').is_some() => {
                // Up to the letter that ends the sequence.
                while chars.next_if(|next| !('@'..='~').contains(next)).is_some() {}
                chars.next();
            }
            '\n' | '\t' => plain.push(next),
            control if control.is_control() => {}
            other => plain.push(other),
        }
    }
    plain
}

/// Reads the history in `text`, as [`import`](crate::import) does.
///
/// # Errors
/// [`ReadError`], also for an empty history.
pub fn read_str<A: Payload>(text: &str) -> Result<History<A>, ReadError> {
    import::read_from(text.as_bytes(), &Options::default())
}

/// Writes `history` as Jepsen does, one operation a line, clients and nemesis in the order of their indices.
///
/// # Errors
/// Any error of `output`.
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
    for field in
        ["index", "time", "type", "process", "f", "key", "value", "node", "error", "error_kind", "saw"]
    {
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
            ("value", Value::Array(micros)) if micros.iter().all(is_micro) && !micros.is_empty() => {
                line.push('[');
                for (at, micro) in micros.iter().enumerate() {
                    line.push_str(if at > 0 { " [:" } else { "[:" });
                    line.push_str(micro[0].as_str().unwrap_or_default());
                    for part in micro.as_array().into_iter().flatten().skip(1) {
                        line.push(' ');
                        form(part, line);
                    }
                    line.push(']');
                }
                line.push(']');
            }
            ("value", Value::Object(transfer)) if event["f"] == "transfer" => {
                line.push('{');
                for (at, (name, part)) in transfer.iter().enumerate() {
                    line.push_str(if at > 0 { ", :" } else { ":" });
                    line.push_str(name);
                    line.push(' ');
                    form(part, line);
                }
                line.push('}');
            }
            _ => form(value, line),
        }
    }
    line.push_str("}\n");
}

/// Whether `value` is an operation of a transaction, whose name Jepsen and Elle have as a keyword.
fn is_micro(value: &Value) -> bool {
    let name = value.get(0).and_then(Value::as_str);
    matches!(name, Some("append" | "r" | "w" | "send" | "poll"))
}

/// Whether `text` can be a keyword, after a colon.
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
            if let (1, Some(Value::String(number))) = (map.len(), map.get("number"))
                && is_odd_number(number)
            {
                line.push_str(if number.ends_with(['N', 'f']) { "##" } else { "" });
                line.push_str(number);
                return;
            }
            line.push('{');
            for (at, (key, value)) in map.iter().enumerate() {
                if at > 0 {
                    line.push_str(", ");
                }
                // JSON's keys are strings, also of numbers: {"0": 100} is {0 100}.
                match key.parse::<i64>() {
                    Ok(number) if number.to_string() == *key => line.push_str(key),
                    _ => quote(key, line),
                }
                line.push(' ');
                form(value, line);
            }
            line.push('}');
        }
    }
}

/// Whether `text` is a number that EDN has and JSON lacks.
fn is_odd_number(text: &str) -> bool {
    let mut json = String::new();
    let literal = if matches!(text, "NaN" | "Inf" | "-Inf") { format!("##{text}") } else { text.to_owned() };
    let read = Forms::new(&literal, 1).form("a number", &mut json);
    read.is_ok() && json.starts_with("{\"number\":")
}
