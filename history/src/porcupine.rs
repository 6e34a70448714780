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

use crate::event::{Event, History, OpType, Payload};
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
        let action = |op_type, action: &A| fields(&event(op_type, action));
        let (key, f, asked) = action(OpType::Invoke, &operation.action)?;
        let mut input = json!({ "Op": f });
        if let Some(key) = key {
            input["Key"] = key;
        }
        match asked {
            Value::Array(mut pair) if f == "cas" && pair.len() == 2 => {
                input["To"] = pair.swap_remove(1);
                input["From"] = pair.swap_remove(0);
            }
            asked => input["Value"] = asked,
        }
        let (returned, answer) = match &operation.completion {
            Completion::Ok { time, answer, .. } => {
                let (_, _, value) = action(OpType::Ok, answer)?;
                (*time, json!({ "Value": value }))
            }
            Completion::Fail { time, .. } => {
                input["Status"] = "fail".into();
                (*time, json!({}))
            }
            Completion::Info { .. } => (i64::MAX as u64, json!({ "unknown": true })),
        };
        let line = json!({
            "ClientId": operation.process.0,
            "Input": input,
            "Call": operation.time,
            "Output": answer,
            "Return": returned,
        });
        write!(output, "{separator}{line}")?;
        separator = ",\n";
    }
    writeln!(output, "{}]", if separator == "[" { "[" } else { "" })?;
    output.flush()?;
    Ok(())
}

/// Returns an event with `action`.
fn event<A: Payload>(op_type: OpType, action: &A) -> Event<A> {
    let (process, action) = (crate::Process(0), action.clone());
    Event { index: 0, time: 0, process, op_type, action, node: None, error: None }
}

/// Returns the key, `f` and value of `event`, as its line in a history file has them.
fn fields<A: Payload>(event: &Event<A>) -> io::Result<(Option<Value>, Value, Value)> {
    let mut line = serde_json::to_value(event)?;
    let mut key = line.get_mut("key").map(Value::take);
    let mut value = line["value"].take();
    // The one vocabulary whose values are always of the form [key, value].
    if let (Value::Array(pair), true) = (&mut value, A::NAME == Register::NAME) {
        let inner = pair.pop();
        key = pair.pop();
        value = inner.unwrap_or_default();
    }
    Ok((key, line["f"].take(), value))
}
