//! Porcupine's operations, written: an array of whole operations, each with the times of its call and its return.
//!
//! ```text
//! [{"ClientId":3,"Input":{"Op":"cas","Key":"x","From":1,"To":2},"Call":120345678,"Output":{"Value":[1,2]},"Return":120400000}]
//! ```
//!
//! [`import`](crate::import) reads them. Times are nanoseconds since the run began, moved by as little as makes each later than
//! the one before it: events at one time count as concurrent. An operation of unknown outcome returns at the end of time, with
//! `"unknown": true` as its output; one that failed has `"Status": "fail"` in its input. The form has no place for nodes, the nemesis
//! and the words of errors.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::event::{Event, History, OpType, Payload, Process};
use crate::pairs::{Completion, PairError, pair};
use crate::register::Register;

/// Why a history cannot be written as operations.
#[derive(Debug, thiserror::Error)]
pub enum PorcupineError {
    /// Failed compare-and-sets are reads too.
    #[error(
        "the failed operation at index {index} says which value it saw (`saw`), and Porcupine's form has no place for that: the \
         exported history would prove less"
    )]
    Saw {
        /// The index of its completion.
        index: u64,
    },
    /// Its events do not pair.
    #[error(transparent)]
    Pair(#[from] PairError),
    /// The output fails.
    #[error("cannot write")]
    Write(#[from] io::Error),
}

/// Writes the clients' operations of `history`, one a line, in the order of their invocations.
///
/// # Errors
/// [`PorcupineError`].
pub fn write<A: Payload>(history: History<A>, mut output: impl Write) -> Result<(), PorcupineError> {
    let mut events = history.events;
    let mut time = None;
    for event in &mut events {
        if event.error.as_ref().is_some_and(|error| error.saw.is_some()) {
            return Err(PorcupineError::Saw { index: event.index });
        }
        event.time = time.map_or(event.time, |before: u64| event.time.max(before + 1));
        time = Some(event.time);
    }
    let mut separator = "[";
    for operation in pair(events)? {
        let end = match &operation.completion {
            Completion::Ok { time, answer, .. } => End::Ok(*time, fields(answer)?.value),
            Completion::Fail { time, .. } => End::Fail(*time),
            Completion::Info { .. } => End::Info,
        };
        let line = line(operation.process, operation.time, fields(&operation.action)?, end);
        write!(output, "{separator}{line}")?;
        separator = ",\n";
    }
    writeln!(output, "{}]", if separator == "[" { "[" } else { "" })?;
    output.flush()?;
    Ok(())
}

/// A request or an answer, as its line in a history file has it.
struct Said {
    key: Option<Value>,
    f: Value,
    value: Value,
}

/// How an operation ended, at its time.
enum End {
    Ok(u64, Value),
    Fail(u64),
    Info,
}

/// Returns an operation that was called at `call`.
fn line(process: Process, call: u64, asked: Said, end: End) -> Value {
    let Said { key, f, value } = asked;
    let mut input = json!({ "Op": f });
    if let Some(key) = key {
        input["Key"] = key;
    }
    match value {
        Value::Array(mut pair) if f == "cas" && pair.len() == 2 => {
            input["To"] = pair.swap_remove(1);
            input["From"] = pair.swap_remove(0);
        }
        value => input["Value"] = value,
    }
    let (returned, answer) = match end {
        End::Ok(time, value) => (time, json!({ "Value": value })),
        End::Fail(time) => {
            input["Status"] = "fail".into();
            (time, json!({}))
        }
        End::Info => (i64::MAX as u64, json!({ "unknown": true })),
    };
    json!({ "ClientId": process.0, "Input": input, "Call": call, "Output": answer, "Return": returned })
}

/// Returns what `action` says.
fn fields<A: Payload>(action: &A) -> io::Result<Said> {
    let (process, op_type, action) = (Process(0), OpType::Ok, action.clone());
    let event = Event { index: 0, time: 0, process, op_type, action, node: None, error: None };
    let mut line = serde_json::to_value(event)?;
    let mut key = line.get_mut("key").map(Value::take);
    let mut value = line["value"].take();
    // The one vocabulary whose values are always of the form [key, value].
    if let (Value::Array(pair), true) = (&mut value, A::NAME == Register::NAME) {
        let inner = pair.pop();
        key = pair.pop();
        value = inner.unwrap_or_default();
    }
    Ok(Said { key, f: line["f"].take(), value })
}
