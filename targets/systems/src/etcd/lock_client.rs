//! A client of locks on etcd: a lock is a key that is there while a client holds it.
//!
//! | operation | requests |
//! |---|---|
//! | acquire `l` | `/v3/kv/txn`: if the create revision of `l` is 0, put it |
//! | acquire `l` with a lease | `/v3/lease/grant` of so many seconds, rounded up; then the same, with the lease: etcd deletes the key when it is over |
//! | release `l`, acquired with `n` | `/v3/kv/txn`: if the revision of `l` is `n`, delete it |
//!
//! The token is the revision of the put, which is greater than those of all changes before it. A lease of an acquisition that
//! failed runs out by itself; etcd grants none that is shorter than an election takes.

use std::net::SocketAddr;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use duress_history::fenced_mutex::FencedMutex;
use duress_history::mutex::MutexOp;
use serde_json::json;

use super::answer::{Lease, Txn};
use super::session::Session;
use crate::client::{Client, Seat};
use crate::lock;
use crate::outcome::{Outcome, Reach, RequestError};
use crate::text;

/// A client that speaks to one node.
pub(super) struct LockClient(Session);

impl LockClient {
    /// Returns a client that will connect from its seat to `to` when it has to.
    pub(super) fn new(seat: Seat, to: SocketAddr) -> Self {
        Self(Session::new(seat, to))
    }

    async fn request(&mut self, action: &FencedMutex) -> Result<Outcome<FencedMutex>, RequestError> {
        let key = STANDARD.encode(text::of_key(action.mutex.lock.as_ref())?);
        let deadline = self.0.deadline();
        match action.mutex.op {
            MutexOp::Acquire => {
                let mut put = json!({"key": key});
                if let Some(lease_ms) = action.lease_ms {
                    let grant = ("/v3/lease/grant", json!({"TTL": lease_ms.div_ceil(1000).to_string()}));
                    // A lease that no key has does nothing.
                    let before_anything = |failure| RequestError { reach: Reach::Nothing, ..failure };
                    let granted = self.0.ask(grant, deadline, |lease: Lease| Ok(lease.id)).await;
                    put["lease"] = granted.map_err(before_anything)?.into();
                }
                let absent = json!({
                    "key": key, "target": "CREATE", "result": "EQUAL", "create_revision": "0",
                });
                let request = ("/v3/kv/txn", json!({"compare": [absent], "success": [{"request_put": put}]}));
                let read = |txn: Txn| match txn.succeeded {
                    true => Ok(lock::acquired(action, txn.revision()?)),
                    false => Ok(lock::taken()),
                };
                self.0.ask(request, deadline, read).await
            }
            MutexOp::Release => {
                let revision = lock::token(action)?.to_string();
                let own = json!({"key": key, "target": "MOD", "result": "EQUAL", "mod_revision": revision});
                let delete = json!({"request_delete_range": {"key": key}});
                let request = ("/v3/kv/txn", json!({"compare": [own], "success": [delete]}));
                let read =
                    |txn: Txn| Ok(if txn.succeeded { Outcome::Ok(action.clone()) } else { lock::lost() });
                self.0.ask(request, deadline, read).await
            }
        }
    }
}

#[async_trait]
impl Client<FencedMutex> for LockClient {
    async fn invoke(&mut self, action: &FencedMutex) -> Outcome<FencedMutex> {
        self.request(action).await.unwrap_or_else(|failure| Outcome::failed(action, failure))
    }
}
