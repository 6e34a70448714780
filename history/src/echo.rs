//! The `echo` vocabulary: requests that the system answers with what they contain, as Maelstrom's workload `echo` has them.
//!
//! | `f` | `value` |
//! |---|---|
//! | `echo` | the payload, of any kind; answered, the payload of the reply |

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::event::{OpType, Payload, PayloadError, parse_json};
use crate::scalar::{Scalar, Value};

/// A request, or its reply, with its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Echo(pub Scalar);

impl Payload for Echo {
    const NAME: &'static str = "echo";
    const ONLY_F: Option<&'static str> = Some("echo");

    fn f(&self) -> &'static str {
        "echo"
    }

    fn serialize_value<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }

    fn parse(_: OpType, f: &str, value: Option<&RawValue>) -> Result<Self, PayloadError> {
        if f != "echo" {
            return Err(PayloadError::UnknownF { model: Self::NAME, f: f.to_owned(), known: "echo" });
        }
        let Value(payload) = parse_json::<Self, _>("echo", value, "a payload")?;
        Ok(Self(payload))
    }

    /// Whatever it was answered with: that it is the same is what the checker decides.
    fn completed_by(&self, _: &Self) -> bool {
        true
    }
}
