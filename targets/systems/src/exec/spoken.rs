//! Vocabularies as client programs speak them: `f`, `key` and `value`.

use duress_history::bank::{Bank, Reading};
use duress_history::counter::{Counter, CounterOp};
use duress_history::fenced_mutex::FencedMutex;
use duress_history::job::Job;
use duress_history::log::Log;
use duress_history::mutex::MutexOp;
use duress_history::register::{Register, RegisterOp};
use duress_history::set::{Set, SetOp};
use duress_history::stream::Stream;
use duress_history::table::Table;
use duress_history::txn::{Act, Answer, Txn};
use duress_history::unique_ids::UniqueIds;
use duress_history::{OpType, Payload, PayloadError, Scalar};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::outcome::Action;

/// A vocabulary that client programs can speak.
pub(crate) trait Spoken: Payload + Action + Send + Sync + 'static {
    /// Whether a client keeps no state between operations, so that its process may serve another client after it.
    const STATELESS: bool;

    /// Returns the object that the operation is about, where it has one, and the argument.
    fn asked(&self) -> (Option<&Scalar>, Value);

    /// Returns the operation with the answer `value`.
    ///
    /// # Errors
    /// [`AnswerError`], when `value` is no answer to it.
    fn answered(&self, value: Option<&RawValue>) -> Result<Self, AnswerError>;
}

/// Why a value is not the answer of an operation.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    /// It is of another shape.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// It is missing.
    #[error("`value` is missing: {0}")]
    Missing(&'static str),
}

/// Parses `value` as the answer of the operation `f` of the vocabulary `A`.
fn parsed<A: Payload>(f: &str, value: Option<&RawValue>) -> Result<A, AnswerError> {
    Ok(A::parse(OpType::Ok, f, value)?)
}

/// Parses the answer of an operation on `key` of a vocabulary whose values are pairs of key and value.
fn of_key<A: Payload>(f: &str, key: &Value, value: Option<&RawValue>) -> Result<A, AnswerError> {
    // A number stays as it is written, whatever its size.
    let pair = format!("[{key},{}]", value.map_or("null", RawValue::get));
    let pair = RawValue::from_string(pair);
    parsed(f, pair.as_deref().ok())
}

impl Spoken for Register {
    const STATELESS: bool = true;

    fn asked(&self) -> (Option<&Scalar>, Value) {
        let argument = match &self.op {
            RegisterOp::Read(_) | RegisterOp::Delete => Value::Null,
            RegisterOp::Write(value) => json!(value),
            RegisterOp::Cas { old, new } => json!([old, new]),
        };
        (Some(&self.key), argument)
    }

    fn answered(&self, value: Option<&RawValue>) -> Result<Self, AnswerError> {
        match &self.op {
            RegisterOp::Read(_) => of_key("read", &json!(self.key), value),
            // The answer says no more than that it happened.
            _ if value.is_none() => Ok(self.clone()),
            _ => of_key(self.f(), &json!(self.key), value),
        }
    }
}

impl Spoken for Set {
    const STATELESS: bool = true;

    fn asked(&self) -> (Option<&Scalar>, Value) {
        let argument = match &self.op {
            SetOp::Read(_) => Value::Null,
            SetOp::Add(element) => json!(element),
        };
        (self.key.as_ref(), argument)
    }

    fn answered(&self, value: Option<&RawValue>) -> Result<Self, AnswerError> {
        match (&self.op, value) {
            (SetOp::Add(_), None) => Ok(self.clone()),
            (SetOp::Read(_), None) => Err(AnswerError::Missing("a set has elements, perhaps none: []")),
            _ => match &self.key {
                Some(key) => of_key(self.f(), &json!(key), value),
                None => parsed(self.f(), value),
            },
        }
    }
}

impl Spoken for Counter {
    const STATELESS: bool = true;

    fn asked(&self) -> (Option<&Scalar>, Value) {
        let argument = match self.op {
            CounterOp::Read(_) => Value::Null,
            CounterOp::Add(delta) => json!(delta),
        };
        (self.key.as_ref(), argument)
    }

    fn answered(&self, value: Option<&RawValue>) -> Result<Self, AnswerError> {
        match (self.op, value) {
            (CounterOp::Add(_), None) => Ok(self.clone()),
            (CounterOp::Read(_), None) => Err(AnswerError::Missing("a counter has a value, perhaps 0")),
            _ => match &self.key {
                Some(key) => of_key(self.f(), &json!(key), value),
                None => parsed(self.f(), value),
            },
        }
    }
}

/// Returns the value of an operation as a history has it.
fn recorded<A: Payload>(action: &A) -> Value {
    // A vocabulary writes its own values, whose keys are text.
    action.serialize_value(serde_json::value::Serializer).unwrap_or(Value::Null)
}

impl Spoken for Log {
    const STATELESS: bool = false;

    fn asked(&self) -> (Option<&Scalar>, Value) {
        (None, recorded(self))
    }

    fn answered(&self, value: Option<&RawValue>) -> Result<Self, AnswerError> {
        parsed(self.f(), value)
    }
}

impl Spoken for Table {
    const STATELESS: bool = false;

    fn asked(&self) -> (Option<&Scalar>, Value) {
        (None, recorded(self))
    }

    fn answered(&self, value: Option<&RawValue>) -> Result<Self, AnswerError> {
        parsed(self.f(), value)
    }
}

impl Spoken for Stream {
    const STATELESS: bool = false;

    fn asked(&self) -> (Option<&Scalar>, Value) {
        (None, recorded(self))
    }

    fn answered(&self, value: Option<&RawValue>) -> Result<Self, AnswerError> {
        match (self, value) {
            // The answer says no more than that it happened.
            (Self::Send { .. }, None) => Ok(self.clone()),
            _ => parsed(self.f(), value),
        }
    }
}

impl Spoken for Job {
    const STATELESS: bool = true;

    fn asked(&self) -> (Option<&Scalar>, Value) {
        (None, recorded(self))
    }

    fn answered(&self, value: Option<&RawValue>) -> Result<Self, AnswerError> {
        match (self, value) {
            (Self::Load { .. }, None) => Ok(self.clone()),
            (Self::Count { .. }, None) => Err(AnswerError::Missing("a task has its counts, perhaps null")),
            (Self::Gather(_), None) => Err(AnswerError::Missing("parts have counts, perhaps null")),
            _ => parsed(self.f(), value),
        }
    }
}

impl Spoken for Bank {
    const STATELESS: bool = true;

    fn asked(&self) -> (Option<&Scalar>, Value) {
        (None, recorded(self))
    }

    fn answered(&self, value: Option<&RawValue>) -> Result<Self, AnswerError> {
        match (self, value) {
            (Self::Create(_) | Self::Transfer(_), None) => Ok(self.clone()),
            (Self::Read(_), None) => Err(AnswerError::Missing("accounts have balances, perhaps null")),
            _ => {
                let mut answered = parsed(self.f(), value)?;
                if let (Self::Read(Reading::Asked(accounts)), Self::Read(Reading::Answered(balances))) =
                    (self, &mut answered)
                {
                    // In the order asked, whatever the order of a map.
                    balances.0.sort_by_key(|(account, _)| accounts.iter().position(|asked| asked == account));
                }
                Ok(answered)
            }
        }
    }
}

impl Spoken for FencedMutex {
    const STATELESS: bool = true;

    fn asked(&self) -> (Option<&Scalar>, Value) {
        (self.mutex.lock.as_ref(), recorded(self))
    }

    fn answered(&self, value: Option<&RawValue>) -> Result<Self, AnswerError> {
        let fence = match self.mutex.op {
            MutexOp::Acquire => parsed::<Self>(self.f(), value)?.fence,
            MutexOp::Release => self.fence,
        };
        Ok(Self { mutex: self.mutex.clone(), fence, lease_ms: None })
    }
}

impl Spoken for UniqueIds {
    const STATELESS: bool = true;

    fn asked(&self) -> (Option<&Scalar>, Value) {
        (None, Value::Null)
    }

    fn answered(&self, value: Option<&RawValue>) -> Result<Self, AnswerError> {
        parsed("generate", value)
    }
}

impl<R: Answer> Spoken for Txn<R> {
    const STATELESS: bool = true;

    fn asked(&self) -> (Option<&Scalar>, Value) {
        (None, recorded(self))
    }

    fn answered(&self, value: Option<&RawValue>) -> Result<Self, AnswerError> {
        match value {
            // The answer says no more than that it happened.
            None if self.micros.iter().all(|micro| matches!(micro.act, Act::Write(_))) => Ok(self.clone()),
            None => Err(AnswerError::Missing("a transaction that reads has answers")),
            value => parsed(self.f(), value),
        }
    }
}
