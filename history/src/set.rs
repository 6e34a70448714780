//! The set vocabularies: `set`, of one set or of many by key, and `set-full`, of one whose elements have any shape.
//!
//! | `f` | `value` of one set | of many sets |
//! |---|---|---|
//! | `add` | `v` | `[k, v]` |
//! | `read` | `null` invoked, `[v, …]` answered | `[k, null]` invoked, `[k, [v, …]]` answered |
//!
//! Elements are only added, and a run adds each element of a set once. The order of an answer means nothing;
//! a repeated element does. In `set-full`, as other programs record it, an element that is neither a number
//! nor a string is known by its JSON, and the value of a read's invocation means nothing.

use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::event::{OpType, Payload, PayloadError};
use crate::scalar::Scalar;

const KNOWN: &str = "add, read";

/// An operation on a set.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SetOp {
    /// Put this element into it.
    Add(Scalar),
    /// Read all of it; `None` if it was not answered.
    Read(Option<Vec<Scalar>>),
}

impl SetOp {
    fn f(&self) -> &'static str {
        match self {
            Self::Add(_) => "add",
            Self::Read(_) => "read",
        }
    }

    fn completed_by(&self, completion: &Self) -> bool {
        match (self, completion) {
            (Self::Read(_), Self::Read(_)) => true,
            _ => self == completion,
        }
    }
}

/// An operation on one of many sets, or on the only one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Set {
    /// The set's key; `None` for the only one.
    pub key: Option<Scalar>,
    /// The operation.
    pub op: SetOp,
}

/// An operation on the only set, whose elements have any shape.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SetFull(
    /// The operation.
    pub SetOp,
);

impl From<SetFull> for Set {
    fn from(SetFull(op): SetFull) -> Self {
        Self { key: None, op }
    }
}

/// `value`, by key or bare.
pub(crate) fn keyed<'a, T: Deserialize<'a>>(
    model: &'static str,
    f: &'static str,
    value: Option<&'a RawValue>,
    expected: &'static str,
) -> Result<(Option<Scalar>, T), PayloadError> {
    let text = value.map_or("null", RawValue::get);
    if let Ok((key, of_key)) = serde_json::from_str::<(Scalar, T)>(text) {
        return Ok((Some(key), of_key));
    }
    let bare = serde_json::from_str(text);
    bare.map(|bare| (None, bare)).map_err(|source| PayloadError::shape(model, f, value, expected, source))
}

/// Writes `value`, by key or bare.
pub(crate) fn serialize_keyed<T: Serialize, S: Serializer>(
    key: Option<&Scalar>,
    value: T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match key {
        Some(key) => (key, value).serialize(serializer),
        None => value.serialize(serializer),
    }
}

impl Payload for Set {
    const NAME: &'static str = "set";

    fn f(&self) -> &'static str {
        self.op.f()
    }

    fn serialize_value<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.op {
            SetOp::Add(element) => serialize_keyed(self.key.as_ref(), element, serializer),
            SetOp::Read(elements) => serialize_keyed(self.key.as_ref(), elements, serializer),
        }
    }

    fn parse(_: OpType, f: &str, value: Option<&RawValue>) -> Result<Self, PayloadError> {
        match f {
            "add" => {
                let (key, element) = keyed(Self::NAME, "add", value, "v or [k, v]")?;
                Ok(Self { key, op: SetOp::Add(element) })
            }
            "read" => {
                let expected = "null, [v, …], [k, null] or [k, [v, …]]";
                let (key, elements) = keyed(Self::NAME, "read", value, expected)?;
                Ok(Self { key, op: SetOp::Read(elements) })
            }
            _ => Err(PayloadError::UnknownF { model: Self::NAME, f: f.to_owned(), known: KNOWN }),
        }
    }

    fn completed_by(&self, completion: &Self) -> bool {
        self.key == completion.key && self.op.completed_by(&completion.op)
    }
}

/// Returns an element of any shape as a scalar.
fn element(json: &RawValue) -> Scalar {
    serde_json::from_str(json.get()).unwrap_or_else(|_| {
        // Written in one way, however it was written.
        let value: Result<serde_json::Value, _> = serde_json::from_str(json.get());
        Scalar::from(value.map_or_else(|_| json.get().to_owned(), |value| value.to_string()).as_str())
    })
}

impl Payload for SetFull {
    const NAME: &'static str = "set-full";

    fn f(&self) -> &'static str {
        self.0.f()
    }

    fn serialize_value<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            SetOp::Add(element) => element.serialize(serializer),
            SetOp::Read(elements) => elements.serialize(serializer),
        }
    }

    fn parse(op_type: OpType, f: &str, value: Option<&RawValue>) -> Result<Self, PayloadError> {
        match (f, value) {
            ("add", Some(value)) => Ok(Self(SetOp::Add(element(value)))),
            ("add", None) => Ok(Self(SetOp::Add(Scalar::from("null")))),
            ("read", value) if op_type == OpType::Ok => {
                let elements: Vec<&RawValue> = serde_json::from_str(value.map_or("null", RawValue::get))
                    .map_err(|source| PayloadError::shape(Self::NAME, "read", value, "[v, …]", source))?;
                Ok(Self(SetOp::Read(Some(elements.into_iter().map(element).collect()))))
            }
            ("read", _) => Ok(Self(SetOp::Read(None))),
            _ => Err(PayloadError::UnknownF { model: Self::NAME, f: f.to_owned(), known: KNOWN }),
        }
    }

    fn completed_by(&self, completion: &Self) -> bool {
        self.0.completed_by(&completion.0)
    }
}
