//! The `unique-ids` vocabulary: identifiers that the system generates, as Jepsen's `unique-ids` checks them.
//!
//! | `f` | `value` |
//! |---|---|
//! | `generate` | null invoked; the identifier answered, of any kind |

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::event::{OpType, Payload, PayloadError, parse_json};
use crate::scalar::{Scalar, Value};

/// A request for an identifier; `None` without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UniqueIds(pub Option<Scalar>);

impl Payload for UniqueIds {
    const NAME: &'static str = "unique-ids";
    const ONLY_F: Option<&'static str> = Some("generate");

    fn f(&self) -> &'static str {
        "generate"
    }

    fn serialize_value<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }

    fn parse(op_type: OpType, f: &str, value: Option<&RawValue>) -> Result<Self, PayloadError> {
        if f != "generate" {
            return Err(PayloadError::UnknownF { model: Self::NAME, f: f.to_owned(), known: "generate" });
        }
        if op_type != OpType::Ok {
            return Ok(Self(None));
        }
        let Value(id) = parse_json::<Self, _>("generate", value, "an identifier")?;
        Ok(Self(Some(id)))
    }

    fn completed_by(&self, _: &Self) -> bool {
        true
    }
}
