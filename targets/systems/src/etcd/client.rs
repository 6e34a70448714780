//! A client of etcd's keys as registers.
//!
//! | operation | request |
//! |---|---|
//! | read `k` | `/v3/kv/range`, linearizable unless `read=serializable` |
//! | write `k` `v` | `/v3/kv/put` |
//! | cas `k` from `old` to `new` | `/v3/kv/txn`: if the value of `k` equals `old`, put `new`, else read `k`; a missing key equals no value |
//! | cas `k` from nil to `new` | `/v3/kv/txn`: if the create revision of `k` is 0, put `new`, else read `k` |
//!
//! A transaction that may write is ordered by the log whichever of its branches is taken, and is atomic: the
//! read of a failed one is a linearizable read, whatever level other reads have.

use std::net::SocketAddr;

use async_trait::async_trait;
use duress_history::Scalar;
use duress_history::register::{Register, RegisterOp};
use serde_json::json;

use crate::client::{Client, Seat};
use crate::etcd::answer::{Change, Range, Txn};
use crate::etcd::session::{ReadLevel, Session, encode, put_or_read, range};
use crate::outcome::{Cause, CauseKind, Outcome, RequestError};
use crate::text;

/// A client that speaks to one node.
pub(super) struct EtcdClient {
    session: Session,
    read_level: ReadLevel,
}

impl EtcdClient {
    /// Returns a client that will connect from its seat to `to` when it has to.
    pub(super) fn new(seat: Seat, to: SocketAddr, read_level: ReadLevel) -> Self {
        Self { session: Session::new(seat, to), read_level }
    }

    async fn request(&mut self, action: &Register) -> Result<Outcome<Register>, RequestError> {
        let key = encode(&action.key)?;
        let deadline = self.session.deadline();
        match &action.op {
            RegisterOp::Read(_) => {
                let read = |range: Range| {
                    let op = RegisterOp::Read(value(&range)?);
                    Ok(Outcome::Ok(Register { key: action.key.clone(), op }))
                };
                self.session.ask(range(&key, self.read_level), deadline, read).await
            }
            RegisterOp::Write(value) => {
                let request = ("/v3/kv/put", json!({"key": key, "value": encode(value)?}));
                self.session.ask(request, deadline, |_: Change| Ok(Outcome::Ok(action.clone()))).await
            }
            RegisterOp::Delete => {
                let request = ("/v3/kv/deleterange", json!({"key": key}));
                self.session.ask(request, deadline, |_: Change| Ok(Outcome::Ok(action.clone()))).await
            }
            RegisterOp::Cas { old, new } => {
                let compare = match old {
                    Some(old) => {
                        json!({"key": key, "target": "VALUE", "result": "EQUAL", "value": encode(old)?})
                    }
                    None => {
                        json!({"key": key, "target": "CREATE", "result": "EQUAL", "create_revision": "0"})
                    }
                };
                let request = put_or_read(&compare, &json!({"key": key, "value": encode(new)?}));
                let read = |txn: Txn| match txn.succeeded {
                    true => Ok(Outcome::Ok(action.clone())),
                    false => Ok(Outcome::Fail(match txn.read() {
                        Some(range) => Cause::differs(value(range)?),
                        None => Cause::new(CauseKind::Precondition, "the comparison failed"),
                    })),
                };
                self.session.ask(request, deadline, read).await
            }
        }
    }
}

#[async_trait]
impl Client<Register> for EtcdClient {
    async fn invoke(&mut self, action: &Register) -> Outcome<Register> {
        self.request(action).await.unwrap_or_else(|failure| Outcome::failed(action, failure))
    }
}

/// Returns the value of the one requested key, if it exists.
fn value(range: &Range) -> Result<Option<Scalar>, RequestError> {
    range.only()?.map(|only| text::decode(&only.value()?)).transpose()
}
