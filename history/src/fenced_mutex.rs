//! The `fenced-mutex` vocabulary: `acquire` and `release` of locks that hand out fencing tokens.
//!
//! | `f` | `value` |
//! |---|---|
//! | `acquire` | null invoked, or `{"lease_ms": n}` for a lock that is lost after so long; the token answered: a whole number, or an object that has it as `fence` or `token` |
//! | `release` | null; a token or anything else is ignored |
//!
//! Locks are named as in [`mutex`](crate::mutex); where that is `[lock, null]`, the answer is `[lock, token]`. An acquisition
//! may be answered with null: its token is not known then.

use serde::de::Error;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::event::{Fields, OpType, Payload, PayloadError, parse_json};
use crate::mutex::{Mutex, MutexOp};
use crate::scalar::Scalar;

/// An operation on a lock that hands out fencing tokens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FencedMutex {
    /// The operation on the lock.
    pub mutex: Mutex,
    /// The token with which an acquisition was answered, where it is known; for a client that is to release the lock, that of its
    /// acquisition.
    pub fence: Option<i64>,
    /// How long, in milliseconds, the lock is asked for, unless it is until it is released.
    pub lease_ms: Option<u64>,
}

/// The value with which a client invokes the acquisition of a lease.
#[derive(Serialize, Deserialize)]
struct Lease {
    #[serde(alias = "lease-ms")]
    lease_ms: u64,
}

/// Returns the token in an answer, if it has the form of one.
fn token(answer: &Value) -> Option<Option<i64>> {
    match answer {
        Value::Null => Some(None),
        Value::Array(pair) => match pair.as_slice() {
            [_, answer] if !answer.is_array() => token(answer),
            _ => None,
        },
        Value::Object(fields) if !fields.contains_key("number") => {
            fields.get("fence").or_else(|| fields.get("token")).and_then(token)
        }
        _ => match Scalar::deserialize(answer) {
            Ok(Scalar::Int(token)) => Some(Some(token)),
            _ => None,
        },
    }
}

impl FencedMutex {
    fn new(op_type: OpType, mutex: Mutex, value: Option<&RawValue>) -> Result<Self, PayloadError> {
        let (mut fence, mut lease_ms) = (None, None);
        if mutex.op == MutexOp::Acquire && op_type != OpType::Ok {
            let lease = value.and_then(|value| serde_json::from_str::<Lease>(value.get()).ok());
            lease_ms = lease.map(|lease| lease.lease_ms);
        } else if mutex.op == MutexOp::Acquire {
            let expected = "a fencing token, which is a whole number, or {fence: number}";
            fence = token(&parse_json::<Self, _>("acquire", value, expected)?).ok_or_else(|| {
                let source = serde_json::Error::custom("it is not a whole number of 64 bits");
                PayloadError::shape(Self::NAME, "acquire", value, expected, source)
            })?;
        }
        Ok(Self { mutex, fence, lease_ms })
    }
}

impl Payload for FencedMutex {
    const NAME: &'static str = "fenced-mutex";

    fn f(&self) -> &'static str {
        self.mutex.f()
    }

    fn serialize_value<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.fence, self.lease_ms) {
            (None, Some(lease_ms)) => Lease { lease_ms }.serialize(serializer),
            (fence, _) => fence.serialize(serializer),
        }
    }

    fn parse(op_type: OpType, f: &str, value: Option<&RawValue>) -> Result<Self, PayloadError> {
        Self::new(op_type, Mutex::parse_as(Self::NAME, op_type, f, value)?, value)
    }

    fn completed_by(&self, completion: &Self) -> bool {
        self.mutex == completion.mutex
    }

    fn read(
        op_type: OpType,
        f: &str,
        fields: Fields<'_>,
        invoked: Option<&Self>,
    ) -> Result<Self, PayloadError> {
        let mutex = Mutex::read_as(Self::NAME, op_type, f, fields, invoked.map(|invoked| &invoked.mutex))?;
        Self::new(op_type, mutex, fields.value)
    }

    fn key(&self) -> Option<&Scalar> {
        self.mutex.key()
    }

    fn spelled(f: &str) -> &str {
        Mutex::spelled(f)
    }
}
