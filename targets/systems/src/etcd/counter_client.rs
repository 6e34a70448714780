//! A client of etcd's counters, which etcd does not have: a number is read, and the sum put if nothing else was meanwhile.
//!
//! | operation | requests |
//! |---|---|
//! | read `k` | `/v3/kv/range`, linearizable unless `read=serializable`; 0 where there is no such key |
//! | add `n` to `k` | `/v3/kv/range`, linearizable, then `/v3/kv/txn`: if the revision of `k` is still that, put the sum; where another client was faster, both once more |
//!
//! A comparison that failed changed nothing, so an add may be tried again within its time; what fails before its transaction
//! was sent certainly did not happen.

use std::net::SocketAddr;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use duress_history::counter::{Counter, CounterOp};
use serde_json::json;
use tokio::time::Instant;

use crate::client::{Client, Seat};
use crate::etcd::answer::{Range, Txn};
use crate::etcd::session::{ReadLevel, Session, encode, put_if, range};
use crate::outcome::{Cause, CauseKind, Outcome, Reach, RequestError};
use crate::text;

/// A client that speaks to one node.
pub(super) struct CounterClient {
    session: Session,
    read_level: ReadLevel,
}

impl CounterClient {
    /// A client that will connect from its seat to `to` when it has to.
    pub(super) fn new(seat: Seat, to: SocketAddr, read_level: ReadLevel) -> Self {
        Self { session: Session::new(seat, to), read_level }
    }

    async fn request(&mut self, action: &Counter) -> Result<Outcome<Counter>, RequestError> {
        let key = STANDARD.encode(text::of_key(action.key.as_ref())?);
        let deadline = self.session.deadline();
        match action.op {
            CounterOp::Read(_) => {
                let (value, _) = self.held(&key, self.read_level, deadline).await?;
                Ok(Outcome::Ok(Counter { key: action.key.clone(), op: CounterOp::Read(Some(value)) }))
            }
            CounterOp::Add(delta) => {
                while Instant::now() < deadline {
                    let held = self.held(&key, ReadLevel::Linearizable, deadline).await;
                    let before_anything = |failure| RequestError { reach: Reach::Nothing, ..failure };
                    let (value, revision) = held.map_err(before_anything)?;
                    let sum = value.checked_add(delta).ok_or_else(|| {
                        RequestError::definite(CauseKind::Rejected, "the sum does not fit 64 bits: not sent")
                    })?;
                    let compare = json!({
                        "key": key, "target": "MOD", "result": "EQUAL", "mod_revision": revision,
                    });
                    let put = json!({"key": key, "value": encode(&sum.into())?});
                    let request = put_if(&compare, &put);
                    if self.session.ask(request, deadline, |txn: Txn| Ok(txn.succeeded)).await? {
                        return Ok(Outcome::Ok(action.clone()));
                    }
                }
                Ok(Outcome::Fail(Cause::new(CauseKind::Precondition, "other adds were faster each time")))
            }
        }
    }

    /// The number that the counter holds, and the revision of its key: both 0 where there is none.
    async fn held(
        &mut self,
        key: &str,
        read_level: ReadLevel,
        deadline: Instant,
    ) -> Result<(i64, String), RequestError> {
        let read = |range: Range| match range.only()? {
            Some(only) => Ok((text::number(&only.value()?)?, only.mod_revision.clone())),
            None => Ok((0, "0".to_owned())),
        };
        self.session.ask(range(key, read_level), deadline, read).await
    }
}

#[async_trait]
impl Client<Counter> for CounterClient {
    async fn invoke(&mut self, action: &Counter) -> Outcome<Counter> {
        self.request(action).await.unwrap_or_else(|failure| Outcome::failed(action, failure))
    }
}
