//! A client of the store's registers.
//!
//! | operation | command | answers |
//! |---|---|---|
//! | read `k` | `GET k` | the value, or nil if there is none |
//! | write `k` `v` | `SET k v` | `OK` |
//! | delete `k` | `DEL k` | how many keys were there: 0 or 1 |
//! | cas `k` from `old` to `new` | `SET k new IFEQ old GET` | the old value of `k`: `old` if it was set, else another value or nil |
//! | cas `k` from nil to `new` | `SET k new NX GET` | the old value of `k`: nil if it was set |
//!
//! The answer of a compare-and-set is read as it is executed, in the order of all writes: if it failed, that
//! is a linearizable read, whichever copy answers other reads.

use std::net::SocketAddr;

use async_trait::async_trait;
use duress_history::register::{Register, RegisterOp};
use redis_protocol::resp2::types::BytesFrame;

use super::session::{Session, unexpected};
use crate::client::{Client, Seat};
use crate::outcome::{Cause, Outcome, RequestError};
use crate::text;

/// A client that speaks to one node.
pub(super) struct StoreClient(Session);

impl StoreClient {
    /// Returns a client that will connect from its seat to `to` when it has to.
    pub(super) fn new(seat: Seat, to: SocketAddr) -> Self {
        Self(Session::new(seat, to))
    }

    async fn request(&mut self, action: &Register) -> Result<Outcome<Register>, RequestError> {
        let command = Command::of(action)?;
        let deadline = self.0.deadline();
        self.0.ask(&command.words(), deadline, |reply| interpret(action, reply)).await
    }
}

#[async_trait]
impl Client<Register> for StoreClient {
    async fn invoke(&mut self, action: &Register) -> Outcome<Register> {
        self.request(action).await.unwrap_or_else(|failure| Outcome::failed(action, failure))
    }
}

/// A command, with its keys and values encoded as strings.
enum Command {
    Get { key: String },
    Set { key: String, value: String },
    Delete { key: String },
    SetIfEqual { key: String, old: String, new: String },
    SetIfAbsent { key: String, new: String },
}

impl Command {
    fn of(action: &Register) -> Result<Self, RequestError> {
        let key = text::encode(&action.key)?;
        Ok(match &action.op {
            RegisterOp::Read(_) => Self::Get { key },
            RegisterOp::Write(value) => Self::Set { key, value: text::encode(value)? },
            RegisterOp::Delete => Self::Delete { key },
            RegisterOp::Cas { old: Some(old), new } => {
                Self::SetIfEqual { key, old: text::encode(old)?, new: text::encode(new)? }
            }
            RegisterOp::Cas { old: None, new } => Self::SetIfAbsent { key, new: text::encode(new)? },
        })
    }

    fn words(&self) -> Vec<&[u8]> {
        match self {
            Self::Get { key } => vec![b"GET", key.as_bytes()],
            Self::Set { key, value } => vec![b"SET", key.as_bytes(), value.as_bytes()],
            Self::Delete { key } => vec![b"DEL", key.as_bytes()],
            Self::SetIfEqual { key, old, new } => {
                vec![b"SET", key.as_bytes(), new.as_bytes(), b"IFEQ", old.as_bytes(), b"GET"]
            }
            Self::SetIfAbsent { key, new } => vec![b"SET", key.as_bytes(), new.as_bytes(), b"NX", b"GET"],
        }
    }
}

/// Returns the meaning of a whole reply to `action`.
fn interpret(action: &Register, reply: &BytesFrame) -> Result<Outcome<Register>, RequestError> {
    match (&action.op, reply) {
        (RegisterOp::Read(_), BytesFrame::BulkString(value)) => {
            let op = RegisterOp::Read(Some(text::decode(value)?));
            Ok(Outcome::Ok(Register { key: action.key.clone(), op }))
        }
        (RegisterOp::Read(_), BytesFrame::Null) => {
            Ok(Outcome::Ok(Register { key: action.key.clone(), op: RegisterOp::Read(None) }))
        }
        (RegisterOp::Write(_), BytesFrame::SimpleString(word)) if word == "OK" => {
            Ok(Outcome::Ok(action.clone()))
        }
        (RegisterOp::Delete, BytesFrame::Integer(0 | 1)) => Ok(Outcome::Ok(action.clone())),
        (RegisterOp::Cas { old, .. }, BytesFrame::BulkString(_) | BytesFrame::Null) => {
            let saw = match reply {
                BytesFrame::BulkString(value) => Some(text::decode(value)?),
                _ => None,
            };
            Ok(if saw == *old { Outcome::Ok(action.clone()) } else { Outcome::Fail(Cause::differs(saw)) })
        }
        (_, other) => Err(unexpected(other)),
    }
}
