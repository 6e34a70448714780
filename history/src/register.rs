//! The register vocabularies: `register` over many keys, `cas-register` with one.
//!
//! | `f` | `value` of `register` | of `cas-register` |
//! |---|---|---|
//! | `read` | `[k, null]` invoked, `[k, v]` answered; `v` is null where nothing was ever written | `null`, `v` |
//! | `write` | `[k, v]` | `v` |
//! | `cas` | `[k, [old, new]]` | `[old, new]` |

use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::event::{OpType, Payload, PayloadError};
use crate::scalar::Scalar;

const KNOWN: &str = "read, write, cas";

/// An operation on one register.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RegisterOp {
    /// Read; `None` in an invocation, and in an answer when the register was never written.
    Read(Option<Scalar>),
    /// Write this value.
    Write(Scalar),
    /// Replace `old` by `new` if the register holds `old`.
    Cas {
        /// The value it must hold.
        old: Option<Scalar>,
        /// The value it gets.
        new: Scalar,
    },
}

impl RegisterOp {
    fn f(&self) -> &'static str {
        match self {
            Self::Read(_) => "read",
            Self::Write(_) => "write",
            Self::Cas { .. } => "cas",
        }
    }

    fn completed_by(&self, completion: &Self) -> bool {
        match (self, completion) {
            (Self::Read(_), Self::Read(_)) => true,
            _ => self == completion,
        }
    }
}

/// An operation on one of many registers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Register {
    /// Which register.
    pub key: Scalar,
    /// What is done to it.
    pub op: RegisterOp,
}

/// An operation on the only register there is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CasRegister(
    /// What is done to it.
    pub RegisterOp,
);

/// `null`, without a line's `value`.
fn text(value: Option<&RawValue>) -> &str {
    value.map_or("null", RawValue::get)
}

fn parse_json<'a, T: Deserialize<'a>>(
    model: &'static str,
    f: &'static str,
    value: Option<&'a RawValue>,
    expected: &'static str,
) -> Result<T, PayloadError> {
    serde_json::from_str(text(value)).map_err(|source| PayloadError::shape(model, f, value, expected, source))
}

impl Payload for Register {
    const NAME: &'static str = "register";

    fn f(&self) -> &'static str {
        self.op.f()
    }

    fn serialize_value<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.op {
            RegisterOp::Read(value) => (&self.key, value).serialize(serializer),
            RegisterOp::Write(value) => (&self.key, value).serialize(serializer),
            RegisterOp::Cas { old, new } => (&self.key, (old, new)).serialize(serializer),
        }
    }

    fn parse(_: OpType, f: &str, value: Option<&RawValue>) -> Result<Self, PayloadError> {
        let name = Self::NAME;
        match f {
            "read" => {
                let (key, read) = parse_json(name, "read", value, "[key, value or null]")?;
                Ok(Self { key, op: RegisterOp::Read(read) })
            }
            "write" => {
                let (key, written) = parse_json(name, "write", value, "[key, value]")?;
                Ok(Self { key, op: RegisterOp::Write(written) })
            }
            "cas" => {
                let (key, (old, new)) = parse_json(name, "cas", value, "[key, [old, new]]")?;
                Ok(Self { key, op: RegisterOp::Cas { old, new } })
            }
            _ => Err(PayloadError::UnknownF { model: name, f: f.to_owned(), known: KNOWN }),
        }
    }

    fn completed_by(&self, completion: &Self) -> bool {
        self.key == completion.key && self.op.completed_by(&completion.op)
    }
}

impl Payload for CasRegister {
    const NAME: &'static str = "cas-register";

    fn f(&self) -> &'static str {
        self.0.f()
    }

    fn serialize_value<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            RegisterOp::Read(value) => value.serialize(serializer),
            RegisterOp::Write(value) => value.serialize(serializer),
            RegisterOp::Cas { old, new } => (old, new).serialize(serializer),
        }
    }

    fn parse(_: OpType, f: &str, value: Option<&RawValue>) -> Result<Self, PayloadError> {
        let name = Self::NAME;
        match f {
            "read" => Ok(Self(RegisterOp::Read(parse_json(name, "read", value, "a value or null")?))),
            "write" => Ok(Self(RegisterOp::Write(parse_json(name, "write", value, "a value")?))),
            "cas" => {
                let (old, new) = parse_json(name, "cas", value, "[old, new]")?;
                Ok(Self(RegisterOp::Cas { old, new }))
            }
            _ => Err(PayloadError::UnknownF { model: name, f: f.to_owned(), known: KNOWN }),
        }
    }

    fn completed_by(&self, completion: &Self) -> bool {
        self.0.completed_by(&completion.0)
    }
}
