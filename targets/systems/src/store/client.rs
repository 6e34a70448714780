//! A client of the store's registers.
//!
//! | operation | command | answers |
//! |---|---|---|
//! | read `k` | `GET k` | the value, or nil where nothing was ever written |
//! | write `k` `v` | `SET k v` | `OK` |
//! | cas `k` from `old` to `new` | `SET k new IFEQ old` | `OK`, or nil if `k` holds something else or nothing |
//! | cas `k` from nil to `new` | `SET k new NX` | `OK`, or nil if `k` holds anything |
//!
//! The store's error replies begin with a word that says what may have happened: `CLUSTERDOWN` and `ERR`, certainly not
//! executed; `UNKNOWN`, perhaps. A word that the contract does not have is read as perhaps.

use std::net::SocketAddr;

use async_trait::async_trait;
use duress_history::register::{Register, RegisterOp};
use redis_protocol::resp2::types::{BytesFrame, Resp2Frame};
use tokio::time::Instant;

use crate::client::{Client, Seat};
use crate::outcome::{Cause, CauseKind, Outcome, RequestError};
use crate::resp::RespConnection;
use crate::text;

/// A client that speaks to one node.
pub(super) struct StoreClient {
    seat: Seat,
    to: SocketAddr,
    connection: Option<RespConnection>,
}

impl StoreClient {
    /// A client that will connect from its seat to `to` when it has to.
    pub(super) fn new(seat: Seat, to: SocketAddr) -> Self {
        Self { seat, to, connection: None }
    }

    async fn request(&mut self, action: &Register) -> Result<Outcome<Register>, RequestError> {
        let command = Command::of(action)?;
        let deadline = Instant::now() + self.seat.timeout;
        // Taken out, so that a request that ends early, however it ends, leaves no connection behind.
        let mut connection = match self.connection.take().filter(RespConnection::is_idle) {
            Some(connection) => connection,
            None => RespConnection::open(&*self.seat.place, self.to, deadline).await?,
        };
        let reply = connection.call(&command.words(), deadline).await?;
        let outcome = interpret(action, &reply);
        if !matches!(&outcome, Err(failure) if failure.cause.kind == CauseKind::Unreadable) {
            self.connection = Some(connection);
        }
        outcome
    }
}

#[async_trait]
impl Client<Register> for StoreClient {
    async fn invoke(&mut self, action: &Register) -> Outcome<Register> {
        self.request(action).await.unwrap_or_else(|failure| Outcome::failed(action, failure))
    }
}

/// A command, with its keys and values already text.
enum Command {
    Get { key: String },
    Set { key: String, value: String },
    SetIfEqual { key: String, old: String, new: String },
    SetIfAbsent { key: String, new: String },
}

impl Command {
    fn of(action: &Register) -> Result<Self, RequestError> {
        let key = text::encode(&action.key)?;
        Ok(match &action.op {
            RegisterOp::Read(_) => Self::Get { key },
            RegisterOp::Write(value) => Self::Set { key, value: text::encode(value)? },
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
            Self::SetIfEqual { key, old, new } => {
                vec![b"SET", key.as_bytes(), new.as_bytes(), b"IFEQ", old.as_bytes()]
            }
            Self::SetIfAbsent { key, new } => vec![b"SET", key.as_bytes(), new.as_bytes(), b"NX"],
        }
    }
}

/// What a whole reply says of `action`.
fn interpret(action: &Register, reply: &BytesFrame) -> Result<Outcome<Register>, RequestError> {
    if let BytesFrame::Error(error) = reply {
        return Err(error_reply(error));
    }
    match (&action.op, reply) {
        (RegisterOp::Read(_), BytesFrame::BulkString(value)) => {
            let op = RegisterOp::Read(Some(text::decode(value)?));
            Ok(Outcome::Ok(Register { key: action.key.clone(), op }))
        }
        (RegisterOp::Read(_), BytesFrame::Null) => {
            Ok(Outcome::Ok(Register { key: action.key.clone(), op: RegisterOp::Read(None) }))
        }
        (RegisterOp::Write(_) | RegisterOp::Cas { .. }, BytesFrame::SimpleString(word)) if word == "OK" => {
            Ok(Outcome::Ok(action.clone()))
        }
        (RegisterOp::Cas { .. }, BytesFrame::Null) => Ok(Outcome::Fail(Cause::new(
            CauseKind::Precondition,
            "the register did not hold the value compared with",
        ))),
        _ => Err(RequestError::open(
            CauseKind::Unreadable,
            format!("a reply of kind {:?}, which answers no such command", reply.kind()),
        )),
    }
}

/// The store's contract of errors, and Redis's where the store is silent.
pub(super) fn error_reply(error: &str) -> RequestError {
    let text = error.to_owned();
    match error.split(' ').next() {
        Some("CLUSTERDOWN") => RequestError::definite(CauseKind::NoLeader, text),
        Some("ERR") => RequestError::definite(CauseKind::Rejected, text),
        _ => RequestError::open(CauseKind::Unknown, text),
    }
}
