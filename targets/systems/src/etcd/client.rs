//! A client of etcd's keys as registers.
//!
//! | operation | request |
//! |---|---|
//! | read `k` | `/v3/kv/range`, linearizable unless `read=serializable` |
//! | write `k` `v` | `/v3/kv/put` |
//! | cas `k` from `old` to `new` | `/v3/kv/txn`: if the value of `k` equals `old`, put `new`; a missing key equals nothing |
//! | cas `k` from nil to `new` | `/v3/kv/txn`: if the create revision of `k` is 0, put `new` |

use std::net::SocketAddr;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use duress_history::Scalar;
use duress_history::register::{Register, RegisterOp};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::client::{Client, Seat};
use crate::etcd::answer::{self, Put, Range, Txn};
use crate::etcd::gateway::{Answer, Gateway};
use crate::outcome::{Cause, CauseKind, Outcome, RequestError};
use crate::text;

/// How a read is answered: the values of the option `read`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ReadLevel {
    /// After asking the leader, which asks its quorum.
    Linearizable,
    /// From the node's own copy. The word is etcd's.
    Serializable,
}

/// A client that speaks to one node.
pub(super) struct EtcdClient {
    seat: Seat,
    to: SocketAddr,
    read_level: ReadLevel,
    gateway: Option<Gateway>,
}

impl EtcdClient {
    /// A client that will connect from its seat to `to` when it has to.
    pub(super) fn new(seat: Seat, to: SocketAddr, read_level: ReadLevel) -> Self {
        Self { seat, to, read_level, gateway: None }
    }

    async fn request(&mut self, action: &Register) -> Result<Outcome<Register>, RequestError> {
        let (path, body) = request(action, self.read_level)?;
        let deadline = Instant::now() + self.seat.timeout;
        // Taken out, so that a request that ends early, however it ends, leaves no connection behind.
        let kept = match self.gateway.take() {
            Some(mut gateway) => gateway.is_idle().await.then_some(gateway),
            None => None,
        };
        let mut gateway = match kept {
            Some(gateway) => gateway,
            None => Gateway::open(&*self.seat.place, self.to, deadline).await?,
        };
        let answer = gateway.post(path, body.to_string().into_bytes(), deadline).await?;
        let outcome = interpret(action, &answer);
        if !matches!(&outcome, Err(failure) if failure.cause.kind == CauseKind::Unreadable) {
            self.gateway = Some(gateway);
        }
        outcome
    }
}

#[async_trait]
impl Client<Register> for EtcdClient {
    async fn invoke(&mut self, action: &Register) -> Outcome<Register> {
        self.request(action).await.unwrap_or_else(|failure| Outcome::failed(action, failure))
    }
}

/// The path and the body of the request for `action`.
fn request(action: &Register, read_level: ReadLevel) -> Result<(&'static str, Value), RequestError> {
    let key = encode(&action.key)?;
    Ok(match &action.op {
        RegisterOp::Read(_) => range(&key, read_level),
        RegisterOp::Write(value) => ("/v3/kv/put", json!({"key": key, "value": encode(value)?})),
        RegisterOp::Cas { old, new } => {
            let compare = match old {
                Some(old) => json!({"key": key, "target": "VALUE", "result": "EQUAL", "value": encode(old)?}),
                None => json!({"key": key, "target": "CREATE", "result": "EQUAL", "create_revision": "0"}),
            };
            let put = json!({"request_put": {"key": key, "value": encode(new)?}});
            ("/v3/kv/txn", json!({"compare": [compare], "success": [put]}))
        }
    })
}

/// A range request for the one key that `key` is the base64 of.
pub(super) fn range(key: &str, read_level: ReadLevel) -> (&'static str, Value) {
    ("/v3/kv/range", json!({"key": key, "serializable": read_level == ReadLevel::Serializable}))
}

fn encode(scalar: &Scalar) -> Result<String, RequestError> {
    Ok(STANDARD.encode(text::encode(scalar)?))
}

/// What a whole answer says of `action`.
fn interpret(action: &Register, answer: &Answer) -> Result<Outcome<Register>, RequestError> {
    match &action.op {
        RegisterOp::Read(_) => {
            let op = RegisterOp::Read(answer::read::<Range>(answer)?.value()?);
            Ok(Outcome::Ok(Register { key: action.key.clone(), op }))
        }
        RegisterOp::Write(_) => answer::read::<Put>(answer).map(|_| Outcome::Ok(action.clone())),
        RegisterOp::Cas { .. } => answer::read::<Txn>(answer).map(|txn| match txn.succeeded {
            true => Outcome::Ok(action.clone()),
            false => Outcome::Fail(Cause::new(
                CauseKind::Precondition,
                "the register did not hold the value compared with",
            )),
        }),
    }
}
