//! The `mutex` vocabulary: `acquire` and `release` of locks.
//!
//! | `f` | `value` |
//! |---|---|
//! | `acquire`, `release` | null |
//!
//! Where there are several locks, a field `key` names each; others have `[lock, null]` as the value instead. Apart from
//! that, recorded histories carry fencing tokens and owners in `value`, which this model ignores
//! ([`fenced_mutex`](crate::fenced_mutex) does not). Others call these operations `lock` and `unlock` too.

use serde::Serializer;
use serde_json::value::RawValue;

use crate::event::{Fields, OpType, Payload, PayloadError};
use crate::scalar::Scalar;

/// An operation on a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MutexOp {
    /// Take the lock; possible while no client holds it.
    Acquire,
    /// Give it back; possible while a client holds it.
    Release,
}

/// An operation on a lock.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mutex {
    /// The lock's key; `None` if there is only one.
    pub lock: Option<Scalar>,
    /// The operation.
    pub op: MutexOp,
}

impl Mutex {
    /// Reads `f` and `value` for the vocabulary `model`.
    pub(crate) fn parse_as(
        model: &'static str,
        op_type: OpType,
        f: &str,
        value: Option<&RawValue>,
    ) -> Result<Self, PayloadError> {
        let op = match f {
            "acquire" => MutexOp::Acquire,
            "release" => MutexOp::Release,
            _ => {
                let known = "acquire, release";
                return Err(PayloadError::UnknownF { model, f: f.to_owned(), known });
            }
        };
        let pair: Option<(Scalar, serde_json::Value)> =
            value.and_then(|value| serde_json::from_str(value.get()).ok());
        match pair {
            // Two locks, or two owners of one: the verdict depends on which it is.
            Some((_, second)) if op_type == OpType::Invoke && !second.is_null() => {
                let source = serde::de::Error::custom("it may name a lock or an owner");
                let f = if op == MutexOp::Acquire { "acquire" } else { "release" };
                Err(PayloadError::shape(model, f, value, "[lock, null], or a field `key`", source))
            }
            pair => Ok(Self { lock: pair.map(|(lock, _)| lock), op }),
        }
    }

    /// Reads an event that another program recorded, for the vocabulary `model`.
    pub(crate) fn read_as(
        model: &'static str,
        op_type: OpType,
        f: &str,
        fields: Fields<'_>,
        invoked: Option<&Self>,
    ) -> Result<Self, PayloadError> {
        let parsed = Self::parse_as(model, op_type, f, fields.value)?;
        let lock = match fields.key.filter(|_| fields.has_key()) {
            Some(key) => {
                let shape = |source| PayloadError::shape(model, "key", fields.key, Scalar::EXPECTED, source);
                Some(serde_json::from_str(key.get()).map_err(shape)?)
            }
            // The invocation names the lock; an answer may name its token.
            None => invoked.map_or(parsed.lock, |invoked| invoked.lock.clone()),
        };
        Ok(Self { lock, op: parsed.op })
    }
}

impl Payload for Mutex {
    const NAME: &'static str = "mutex";

    fn f(&self) -> &'static str {
        match self.op {
            MutexOp::Acquire => "acquire",
            MutexOp::Release => "release",
        }
    }

    fn serialize_value<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }

    fn parse(op_type: OpType, f: &str, value: Option<&RawValue>) -> Result<Self, PayloadError> {
        Self::parse_as(Self::NAME, op_type, f, value)
    }

    fn completed_by(&self, completion: &Self) -> bool {
        self == completion
    }

    fn read(
        op_type: OpType,
        f: &str,
        fields: Fields<'_>,
        invoked: Option<&Self>,
    ) -> Result<Self, PayloadError> {
        Self::read_as(Self::NAME, op_type, f, fields, invoked)
    }

    fn key(&self) -> Option<&Scalar> {
        self.lock.as_ref()
    }

    fn spelled(f: &str) -> &str {
        match f {
            "lock" => "acquire",
            "unlock" => "release",
            _ => f,
        }
    }
}
