//! A client of registers, sets and counters: each operation is one statement, and so a transaction of its own.

use async_trait::async_trait;
use duress_history::Scalar;
use duress_history::counter::{Counter, CounterOp};
use duress_history::register::{Register, RegisterOp};
use duress_history::set::{Set, SetOp};

use super::session::{Call, Session};
use crate::client::Client;
use crate::outcome::{Cause, CauseKind, Outcome, RequestError};
use crate::text;

/// A client that speaks to one node.
pub(super) struct ObjectClient(pub(super) Session);

impl ObjectClient {
    async fn register(&mut self, action: &Register) -> Result<Outcome<Register>, RequestError> {
        let (options, key) = (self.0.options(), text::encode(&action.key)?);
        let sql = &options.statements;
        let call = match &action.op {
            RegisterOp::Read(_) => {
                let answer = self.0.execute(Call::ask(&sql.register_read, vec![key])).await?;
                let held = first(&answer.values)?;
                return Ok(Outcome::Ok(Register { key: action.key.clone(), op: RegisterOp::Read(held) }));
            }
            RegisterOp::Write(value) => Call::change(&sql.register_write, vec![key, text::encode(value)?]),
            // One that finds nothing to delete has happened.
            RegisterOp::Delete => Call::ask(&sql.register_delete, vec![key]),
            RegisterOp::Cas { old: Some(old), new } => {
                Call::ask(&sql.register_cas, vec![key, text::encode(old)?, text::encode(new)?])
            }
            RegisterOp::Cas { old: None, new } => {
                Call::ask(&sql.register_create, vec![key, text::encode(new)?])
            }
        };
        let answer = self.0.execute(call).await?;
        Ok(match (&action.op, answer.rows) {
            (RegisterOp::Cas { .. }, 0) => Outcome::Fail(Cause::new(
                CauseKind::Precondition,
                "the register did not hold the value compared with",
            )),
            _ => Outcome::Ok(action.clone()),
        })
    }

    async fn set(&mut self, action: &Set) -> Result<Outcome<Set>, RequestError> {
        let (options, key) = (self.0.options(), text::of_key(action.key.as_ref())?);
        let sql = &options.statements;
        let op = match &action.op {
            SetOp::Read(_) => {
                let answer = self.0.execute(Call::ask(&sql.set_read, vec![key])).await?;
                SetOp::Read(Some(all(&answer.values)?))
            }
            SetOp::Add(element) => {
                let params = vec![key, text::encode(element)?];
                self.0.execute(Call::change(&sql.set_add, params)).await?;
                action.op.clone()
            }
        };
        Ok(Outcome::Ok(Set { key: action.key.clone(), op }))
    }

    async fn counter(&mut self, action: &Counter) -> Result<Outcome<Counter>, RequestError> {
        let (options, key) = (self.0.options(), text::of_key(action.key.as_ref())?);
        let sql = &options.statements;
        let op = match action.op {
            CounterOp::Read(_) => {
                let answer = self.0.execute(Call::ask(&sql.counter_read, vec![key])).await?;
                let number = answer.values.first().and_then(Option::as_ref);
                CounterOp::Read(Some(number.map_or(Ok(0), |number| text::number(number.as_bytes()))?))
            }
            CounterOp::Add(delta) => {
                let params = vec![key, delta.to_string()];
                self.0.execute(Call::change(&sql.counter_add, params)).await?;
                action.op
            }
        };
        Ok(Outcome::Ok(Counter { key: action.key.clone(), op }))
    }
}

/// Returns the value of the first row; `None` if there is no row, or null in it.
pub(super) fn first(values: &[Option<String>]) -> Result<Option<Scalar>, RequestError> {
    values.first().and_then(Option::as_ref).map(|value| text::decode(value.as_bytes())).transpose()
}

/// Returns the value of each row.
pub(super) fn all(values: &[Option<String>]) -> Result<Vec<Scalar>, RequestError> {
    let null = || RequestError::open(CauseKind::Unreadable, "null where an element was stored");
    values.iter().map(|value| text::decode(value.as_ref().ok_or_else(null)?.as_bytes())).collect()
}

#[async_trait]
impl Client<Register> for ObjectClient {
    async fn invoke(&mut self, action: &Register) -> Outcome<Register> {
        self.register(action).await.unwrap_or_else(|failure| Outcome::failed(action, failure))
    }
}

#[async_trait]
impl Client<Set> for ObjectClient {
    async fn invoke(&mut self, action: &Set) -> Outcome<Set> {
        self.set(action).await.unwrap_or_else(|failure| Outcome::failed(action, failure))
    }
}

#[async_trait]
impl Client<Counter> for ObjectClient {
    async fn invoke(&mut self, action: &Counter) -> Outcome<Counter> {
        self.counter(action).await.unwrap_or_else(|failure| Outcome::failed(action, failure))
    }
}
