//! The `total-queue` vocabulary: a queue without an order, whose every element must come out.
//!
//! | `f` | `value` invoked | `value` answered |
//! |---|---|---|
//! | `enqueue` | `v` | `v` |
//! | `dequeue` | `null` | `v`; null if the queue was empty |
//! | `drain` | `null` | `[v, …]`: all remaining elements, until the queue was empty |

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::event::{Fields, OpType, Payload, PayloadError, parse_json};
use crate::scalar::Scalar;

/// An operation on a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TotalQueue {
    /// Put this in.
    Enqueue(Scalar),
    /// Dequeue one element; `None` in an invocation, and in an answer if the queue was empty.
    Dequeue(Option<Scalar>),
    /// Dequeue all remaining elements; `None` in an invocation.
    Drain(Option<Vec<Scalar>>),
}

impl Payload for TotalQueue {
    const NAME: &'static str = "total-queue";

    fn f(&self) -> &'static str {
        match self {
            Self::Enqueue(_) => "enqueue",
            Self::Dequeue(_) => "dequeue",
            Self::Drain(_) => "drain",
        }
    }

    fn serialize_value<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Enqueue(value) => value.serialize(serializer),
            Self::Dequeue(value) => value.serialize(serializer),
            Self::Drain(values) => values.serialize(serializer),
        }
    }

    fn parse(_: OpType, f: &str, value: Option<&RawValue>) -> Result<Self, PayloadError> {
        match f {
            "enqueue" => Ok(Self::Enqueue(parse_json::<TotalQueue, _>("enqueue", value, "a value")?)),
            "dequeue" => Ok(Self::Dequeue(parse_json::<TotalQueue, _>("dequeue", value, "a value or null")?)),
            "drain" => Ok(Self::Drain(parse_json::<TotalQueue, _>("drain", value, "[value, …] or null")?)),
            _ => {
                let known = "enqueue, dequeue, drain";
                Err(PayloadError::UnknownF { model: Self::NAME, f: f.to_owned(), known })
            }
        }
    }

    fn completed_by(&self, completion: &Self) -> bool {
        match (self, completion) {
            (Self::Enqueue(asked), Self::Enqueue(answered)) => asked == answered,
            (Self::Dequeue(_), Self::Dequeue(_)) | (Self::Drain(_), Self::Drain(_)) => true,
            _ => false,
        }
    }

    fn read(
        op_type: OpType,
        f: &str,
        fields: Fields<'_>,
        invoked: Option<&Self>,
    ) -> Result<Self, PayloadError> {
        fields.refuse_key(Self::NAME)?;
        match (op_type, f, invoked) {
            (OpType::Invoke, "dequeue", _) => Ok(Self::Dequeue(None)),
            (OpType::Invoke, "drain", _) => Ok(Self::Drain(None)),
            // The answer says no more than that it happened.
            (_, "enqueue", Some(invoked @ Self::Enqueue(_))) if fields.is_empty() => Ok(invoked.clone()),
            _ => Self::parse(op_type, f, fields.value),
        }
    }

    fn spelled(f: &str) -> &str {
        match f {
            "enq" | "add" | "push" => "enqueue",
            "deq" | "pop" | "take" => "dequeue",
            _ => f,
        }
    }
}
