//! The `mutex` vocabulary: `acquire` and `release` of one lock, without values.

use serde::Serializer;
use serde_json::value::RawValue;

use crate::event::{OpType, Payload, PayloadError};

/// An operation on the only lock there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutex {
    /// Take the lock; possible while nobody holds it.
    Acquire,
    /// Give it back; possible while somebody holds it.
    Release,
}

impl Payload for Mutex {
    const NAME: &'static str = "mutex";

    fn f(&self) -> &'static str {
        match self {
            Self::Acquire => "acquire",
            Self::Release => "release",
        }
    }

    fn serialize_value<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }

    /// Any `value` is accepted: recorded histories carry fencing tokens and owners there, which this model ignores.
    fn parse(_: OpType, f: &str, _: Option<&RawValue>) -> Result<Self, PayloadError> {
        match f {
            "acquire" => Ok(Self::Acquire),
            "release" => Ok(Self::Release),
            _ => {
                Err(PayloadError::UnknownF { model: Self::NAME, f: f.to_owned(), known: "acquire, release" })
            }
        }
    }

    fn completed_by(&self, completion: &Self) -> bool {
        self == completion
    }
}
