//! The `counter` vocabulary, of one counter or of many by key.
//!
//! | `f` | `value` of one counter | of many counters |
//! |---|---|---|
//! | `add` | `delta`, which may be negative | `[k, delta]` |
//! | `read` | `null` invoked, `value` answered | `[k, null]` invoked, `[k, value]` answered |
//!
//! A counter is 0 at first. Two adds of the same are two adds.

use serde::Serializer;
use serde_json::value::RawValue;

use crate::event::{OpType, Payload, PayloadError};
use crate::scalar::Scalar;
use crate::set::{keyed, serialize_keyed};

/// An operation on a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CounterOp {
    /// Add this to it.
    Add(i64),
    /// Read it; `None` if it was not answered.
    Read(Option<i64>),
}

/// An operation on one of many counters, or on the only one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Counter {
    /// The counter's key; `None` for the only one.
    pub key: Option<Scalar>,
    /// The operation.
    pub op: CounterOp,
}

impl Payload for Counter {
    const NAME: &'static str = "counter";

    fn f(&self) -> &'static str {
        match self.op {
            CounterOp::Add(_) => "add",
            CounterOp::Read(_) => "read",
        }
    }

    fn serialize_value<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.op {
            CounterOp::Add(delta) => serialize_keyed(self.key.as_ref(), delta, serializer),
            CounterOp::Read(value) => serialize_keyed(self.key.as_ref(), value, serializer),
        }
    }

    fn parse(_: OpType, f: &str, value: Option<&RawValue>) -> Result<Self, PayloadError> {
        match f {
            "add" => {
                let (key, delta) = keyed(Self::NAME, "add", value, "a whole number or [k, number]")?;
                Ok(Self { key, op: CounterOp::Add(delta) })
            }
            "read" => {
                let expected = "a whole number, null, [k, number] or [k, null]";
                let (key, read) = keyed(Self::NAME, "read", value, expected)?;
                Ok(Self { key, op: CounterOp::Read(read) })
            }
            _ => Err(PayloadError::UnknownF { model: Self::NAME, f: f.to_owned(), known: "add, read" }),
        }
    }

    fn completed_by(&self, completion: &Self) -> bool {
        let op = match (self.op, completion.op) {
            (CounterOp::Read(_), CounterOp::Read(_)) => true,
            (one, other) => one == other,
        };
        self.key == completion.key && op
    }
}
