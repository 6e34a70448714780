//! Clients of Maelstrom's workloads.
//!
//! | vocabulary | requests |
//! |---|---|
//! | `register` | `read`, `write` and `cas` of `lin-kv`; a key that does not exist is empty |
//! | `set` | `broadcast` of a `message` and `read` of `messages`; or `add` of an `element` and `read` of a `value` |
//! | `counter` | `add` of a `delta` and `read` of a `value` |
//! | `list-append`, `rw-register` | `txn` |
//! | `unique-ids` | `generate` |
//! | `echo` | `echo` |
//! | `log` | those of `kafka`: see [`log_client`](super::log_client) |
//!
//! Keys are numbers there: the number at the end of a key's name, with an offset for keys of another series. The cluster has
//! one set or counter, whatever its key.

use async_trait::async_trait;
use duress_history::counter::{Counter, CounterOp};
use duress_history::echo::Echo;
use duress_history::register::{Register, RegisterOp};
use duress_history::set::{Set, SetOp};
use duress_history::txn::{Act, Answer, Micro, Txn};
use duress_history::unique_ids::UniqueIds;
use duress_history::{OpType, Payload, PayloadError, Scalar};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::message::{Body, DIFFERS, NO_KEY, failure};
use super::session::Session;
use crate::client::Client;
use crate::outcome::{Cause, CauseKind, Outcome, RequestError};

/// The distance of the numbers of cold keys from those of others.
const COLD: u64 = 1_000_000;

/// Returns the number of a key, or the key itself if it ends in none.
fn key(name: &Scalar) -> Value {
    let Scalar::Text(text) = name else { return json!(name) };
    let digits = text.len() - text.trim_end_matches(|letter: char| letter.is_ascii_digit()).len();
    match text[text.len() - digits..].parse::<u64>() {
        Ok(number) if number < COLD => (number + if text.contains("cold") { COLD } else { 0 }).into(),
        _ => json!(name),
    }
}

/// Reads an argument of a reply. One that is missing is not null: an answer without a value says nothing about it.
pub(super) fn read<T: DeserializeOwned>(reply: &Body, field: &str) -> Result<T, RequestError> {
    let unreadable = |text: String| RequestError::open(CauseKind::Unreadable, text);
    let value = reply.fields.get(field);
    let value = value.ok_or_else(|| unreadable(format!("a reply {} without `{field}`", reply.kind)))?;
    T::deserialize(value).map_err(|error| unreadable(format!("`{field}` of {}: {error}", reply.kind)))
}

/// Returns `reply`, unless it is an error.
pub(super) fn ok(reply: Body) -> Result<Body, RequestError> {
    if reply.code().is_some() { Err(failure(&reply)) } else { Ok(reply) }
}

/// A client of registers.
pub(super) struct RegisterClient(pub(super) Session);

impl RegisterClient {
    async fn request(&mut self, action: &Register) -> Result<Outcome<Register>, RequestError> {
        let name = ("key", key(&action.key));
        match &action.op {
            RegisterOp::Read(_) => {
                let reply = self.0.ask("read", [name]).await?;
                let value = match reply.code() {
                    Some(NO_KEY) => None,
                    _ => read(&ok(reply)?, "value")?,
                };
                Ok(Outcome::Ok(Register { key: action.key.clone(), op: RegisterOp::Read(value) }))
            }
            RegisterOp::Write(value) => {
                ok(self.0.ask("write", [name, ("value", json!(value))]).await?)?;
                Ok(Outcome::Ok(action.clone()))
            }
            RegisterOp::Delete => {
                let text = "Maelstrom's protocol has no delete: not sent";
                Err(RequestError::definite(CauseKind::Rejected, text))
            }
            RegisterOp::Cas { old, new } => {
                let reply = self.0.ask("cas", [name, ("from", json!(old)), ("to", json!(new))]).await?;
                if let Some(NO_KEY | DIFFERS) = reply.code() {
                    return Ok(Outcome::Fail(Cause::new(
                        CauseKind::Precondition,
                        failure(&reply).cause.text,
                    )));
                }
                ok(reply)?;
                Ok(Outcome::Ok(action.clone()))
            }
        }
    }
}

/// The words of a workload on one set.
#[derive(Clone, Copy, Debug)]
pub(super) struct SetWords {
    /// The request that adds, and its argument.
    pub(super) add: (&'static str, &'static str),
    /// The argument of the reply to a read.
    pub(super) elements: &'static str,
}

/// A client of the set.
pub(super) struct SetClient(pub(super) Session, pub(super) SetWords);

impl SetClient {
    async fn request(&mut self, action: &Set) -> Result<Outcome<Set>, RequestError> {
        let Self(session, words) = self;
        let op = match &action.op {
            SetOp::Add(element) => {
                let (kind, field) = words.add;
                ok(session.ask(kind, [(field, json!(element))]).await?)?;
                action.op.clone()
            }
            SetOp::Read(_) => SetOp::Read(Some(read(&ok(session.ask("read", []).await?)?, words.elements)?)),
        };
        Ok(Outcome::Ok(Set { key: action.key.clone(), op }))
    }
}

/// A client of the counter.
pub(super) struct CounterClient(pub(super) Session);

impl CounterClient {
    async fn request(&mut self, action: &Counter) -> Result<Outcome<Counter>, RequestError> {
        let op = match action.op {
            CounterOp::Add(delta) => {
                ok(self.0.ask("add", [("delta", json!(delta))]).await?)?;
                action.op
            }
            CounterOp::Read(_) => CounterOp::Read(Some(read(&ok(self.0.ask("read", []).await?)?, "value")?)),
        };
        Ok(Outcome::Ok(Counter { key: action.key.clone(), op }))
    }
}

/// A client of transactions.
pub(super) struct TxnClient(pub(super) Session);

impl TxnClient {
    async fn request<R: Answer>(&mut self, action: &Txn<R>) -> Result<Outcome<Txn<R>>, RequestError> {
        let asked = action.micros.iter().map(|micro| match &micro.act {
            Act::Write(value) => json!([R::WRITE, key(&micro.key), value]),
            Act::Read(_) => json!(["r", key(&micro.key), null]),
        });
        let asked: Vec<Value> = asked.collect();
        let reply = ok(self.0.ask("txn", [("txn", json!(asked))]).await?)?;
        let answered: Vec<(String, Value, Value)> = read(&reply, "txn")?;
        let unreadable = |text: String| RequestError::open(CauseKind::Unreadable, text);
        let same = |((f, key, value), asked): (&(String, Value, Value), &Value)| {
            asked[0] == **f && asked[1] == *key && (f == "r" || asked[2] == *value)
        };
        if answered.len() != asked.len() || !answered.iter().zip(&asked).all(same) {
            let (asked, answered) = (json!(asked), json!(answered));
            return Err(unreadable(format!("the answer {answered} to the transaction {asked}")));
        }
        let micro = |(micro, (_, _, value)): (&Micro<R>, (String, Value, Value))| {
            let act = match &micro.act {
                Act::Write(value) => Act::Write(value.clone()),
                Act::Read(_) => {
                    let value = serde_json::from_value(value);
                    Act::Read(Some(
                        value.map_err(|error| unreadable(format!("a read of {}: {error}", micro.key)))?,
                    ))
                }
            };
            Ok(Micro { key: micro.key.clone(), act })
        };
        let micros = action.micros.iter().zip(answered).map(micro).collect::<Result<_, RequestError>>()?;
        Ok(Outcome::Ok(Txn { micros }))
    }
}

/// A client that asks for identifiers.
pub(super) struct IdClient(pub(super) Session);

impl IdClient {
    async fn request(&mut self) -> Result<Outcome<UniqueIds>, RequestError> {
        let reply = ok(self.0.ask("generate", []).await?)?;
        let id = RawValue::from_string(reply.field("id").to_string()).ok();
        let read = UniqueIds::parse(OpType::Ok, "generate", id.as_deref());
        let unreadable = |error: PayloadError| RequestError::open(CauseKind::Unreadable, error.to_string());
        Ok(Outcome::Ok(read.map_err(unreadable)?))
    }
}

/// A client that asks for its own payload.
pub(super) struct EchoClient(pub(super) Session);

impl EchoClient {
    async fn request(&mut self, Echo(payload): &Echo) -> Result<Outcome<Echo>, RequestError> {
        let reply = ok(self.0.ask("echo", [("echo", json!(payload))]).await?)?;
        let payload: Box<RawValue> = read(&reply, "echo")?;
        let unreadable = |error: PayloadError| RequestError::open(CauseKind::Unreadable, error.to_string());
        Ok(Outcome::Ok(Echo::parse(OpType::Ok, "echo", Some(&payload)).map_err(unreadable)?))
    }
}

#[async_trait]
impl Client<Register> for RegisterClient {
    async fn invoke(&mut self, action: &Register) -> Outcome<Register> {
        self.request(action).await.unwrap_or_else(|failure| Outcome::failed(action, failure))
    }
}

#[async_trait]
impl Client<Set> for SetClient {
    async fn invoke(&mut self, action: &Set) -> Outcome<Set> {
        self.request(action).await.unwrap_or_else(|failure| Outcome::failed(action, failure))
    }
}

#[async_trait]
impl Client<Counter> for CounterClient {
    async fn invoke(&mut self, action: &Counter) -> Outcome<Counter> {
        self.request(action).await.unwrap_or_else(|failure| Outcome::failed(action, failure))
    }
}

#[async_trait]
impl<R: Answer> Client<Txn<R>> for TxnClient {
    async fn invoke(&mut self, action: &Txn<R>) -> Outcome<Txn<R>> {
        self.request(action).await.unwrap_or_else(|failure| Outcome::failed(action, failure))
    }
}

#[async_trait]
impl Client<UniqueIds> for IdClient {
    async fn invoke(&mut self, action: &UniqueIds) -> Outcome<UniqueIds> {
        self.request().await.unwrap_or_else(|failure| Outcome::failed(action, failure))
    }
}

#[async_trait]
impl Client<Echo> for EchoClient {
    async fn invoke(&mut self, action: &Echo) -> Outcome<Echo> {
        self.request(action).await.unwrap_or_else(|failure| Outcome::failed(action, failure))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_a_value_is_not_an_empty_key() {
        let reply = Body::new("read_ok", [("value", Value::Null)]);
        assert_eq!(read::<Option<u64>>(&reply, "value").unwrap(), None);
        let error = read::<Option<u64>>(&Body::new("read_ok", []), "value").unwrap_err();
        assert_eq!(error.cause.kind, CauseKind::Unreadable);
    }

    #[test]
    fn keys_are_numbers_and_stay_apart() {
        assert_eq!(key(&"k7".into()), json!(7));
        assert_eq!(key(&"k-cold-7".into()), json!(1_000_007));
        assert_eq!(key(&7.into()), json!(7));
        assert_eq!(key(&"x".into()), json!("x"));
        assert_eq!(key(&"k99999999".into()), json!("k99999999"));
    }
}
