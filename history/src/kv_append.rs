//! The `kv-append` vocabulary: strings by key, with appends.
//!
//! | `f` | `value` | with the key in the value |
//! |---|---|---|
//! | `put` | `"text"` | `[k, "text"]` |
//! | `append` | `"text"` | `[k, "text"]` |
//! | `get` | null invoked; `"text"` answered, or null, which is the empty string | `[k, null]`, `[k, "text"]` |
//!
//! The key has a field of its own, or is in the value; in a history without keys there is one string.

use arcstr::ArcStr;
use serde::{Deserialize, Serializer};
use serde_json::value::RawValue;

use crate::event::{Fields, OpType, Payload, PayloadError};
use crate::scalar::Scalar;

/// An operation on a string.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KvOp {
    /// It is this now.
    Put(ArcStr),
    /// It is longer by this.
    Append(ArcStr),
    /// Reads the string; `None` in an invocation.
    Get(Option<ArcStr>),
}

/// An operation on a string.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KvAppend {
    /// The string's key; `None` if there is only one.
    pub key: Option<Scalar>,
    /// The operation.
    pub op: KvOp,
}

/// A value as a string: numbers and booleans as they are printed, null as the empty string.
#[derive(Deserialize)]
struct Text(Option<Scalar>);

impl Text {
    fn into_string(self) -> ArcStr {
        match self.0 {
            None => ArcStr::new(),
            Some(Scalar::Text(text)) => text,
            Some(other) => ArcStr::from(other.to_string()),
        }
    }
}

impl KvAppend {
    fn new(key: Option<Scalar>, f: &str, text: Text) -> Result<Self, PayloadError> {
        let op = match f {
            "put" => KvOp::Put(text.into_string()),
            "append" => KvOp::Append(text.into_string()),
            "get" => KvOp::Get(Some(text.into_string())),
            _ => {
                let known = "put, append, get";
                return Err(PayloadError::UnknownF { model: Self::NAME, f: f.to_owned(), known });
            }
        };
        Ok(Self { key, op })
    }
}

impl Payload for KvAppend {
    const NAME: &'static str = "kv-append";

    fn f(&self) -> &'static str {
        match self.op {
            KvOp::Put(_) => "put",
            KvOp::Append(_) => "append",
            KvOp::Get(_) => "get",
        }
    }

    fn serialize_value<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.op {
            KvOp::Put(text) | KvOp::Append(text) | KvOp::Get(Some(text)) => serializer.serialize_str(text),
            KvOp::Get(None) => serializer.serialize_unit(),
        }
    }

    fn parse(_: OpType, f: &str, value: Option<&RawValue>) -> Result<Self, PayloadError> {
        let name = match f {
            "put" => "put",
            "append" => "append",
            _ => "get",
        };
        let text = value.map_or("null", RawValue::get);
        if let Ok((key, text)) = serde_json::from_str(text) {
            return Self::new(Some(key), f, text);
        }
        let shape =
            |source| PayloadError::shape(Self::NAME, name, value, "a string, or [key, string]", source);
        Self::new(None, f, serde_json::from_str(text).map_err(shape)?)
    }

    fn completed_by(&self, completion: &Self) -> bool {
        self.key == completion.key
            && match (&self.op, &completion.op) {
                (KvOp::Get(_), KvOp::Get(_)) => true,
                (asked, answered) => asked == answered,
            }
    }

    fn read(
        op_type: OpType,
        f: &str,
        fields: Fields<'_>,
        invoked: Option<&Self>,
    ) -> Result<Self, PayloadError> {
        let mut read = match invoked {
            // The answer says no more than that it happened.
            Some(invoked) if f != "get" && invoked.f() == f && fields.is_empty() => invoked.clone(),
            _ => Self::parse(op_type, f, fields.value)?,
        };
        if let (Some(key), true) = (fields.key, fields.has_key()) {
            let shape = |source| PayloadError::shape(Self::NAME, "key", fields.key, Scalar::EXPECTED, source);
            read.key = Some(serde_json::from_str(key.get()).map_err(shape)?);
        } else if read.key.is_none() {
            read.key = invoked.and_then(|invoked| invoked.key.clone());
        }
        if let (OpType::Invoke, KvOp::Get(answer)) = (op_type, &mut read.op) {
            *answer = None;
        }
        Ok(read)
    }

    fn spelled(f: &str) -> &str {
        match f {
            "write" | "set" => "put",
            "read" => "get",
            _ => f,
        }
    }

    fn key(&self) -> Option<&Scalar> {
        self.key.as_ref()
    }
}
