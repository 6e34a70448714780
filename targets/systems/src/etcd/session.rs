//! A client's side of etcd: one connection to a gateway, one request at a time.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use duress_history::Scalar;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::client::Seat;
use crate::etcd::answer;
use crate::http::HttpConnection;
use crate::outcome::{CauseKind, RequestError};
use crate::text;

/// How a read is answered: the values of the option `read`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ReadLevel {
    /// After asking the leader, which asks its quorum.
    Linearizable,
    /// From the node's own copy. The word is etcd's.
    Serializable,
}

/// The part that all clients of etcd share.
pub(super) struct Session {
    seat: Seat,
    to: SocketAddr,
    gateway: Option<HttpConnection>,
}

impl Session {
    /// Returns one that will connect from its seat to `to` when it has to.
    pub(super) fn new(seat: Seat, to: SocketAddr) -> Self {
        Self { seat, to, gateway: None }
    }

    /// When an operation that begins now is given up.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.seat.timeout
    }

    /// Posts a request and reads its answer by `read`.
    ///
    /// # Errors
    /// A [`RequestError`]: no answer, an error of etcd's, or what `read` makes of the answer.
    pub(super) async fn ask<A: DeserializeOwned, T>(
        &mut self,
        (path, body): (&str, Value),
        deadline: Instant,
        read: impl FnOnce(A) -> Result<T, RequestError>,
    ) -> Result<T, RequestError> {
        // Taken out, so that a request that ends early, however it ends, leaves no connection behind.
        let kept = match self.gateway.take() {
            Some(mut gateway) => gateway.is_idle().await.then_some(gateway),
            None => None,
        };
        let mut gateway = match kept {
            Some(gateway) => gateway,
            None => HttpConnection::open(&*self.seat.place, self.to, deadline).await?,
        };
        let answer = gateway.post(path, body.to_string().into_bytes(), deadline).await?;
        let answer = answer::read::<A>(&answer).and_then(read);
        if !matches!(&answer, Err(failure) if failure.cause.kind == CauseKind::Unreadable) {
            self.gateway = Some(gateway);
        }
        answer
    }
}

/// Returns a range request for the one key that `key` is the base64 of.
pub(super) fn range(key: &str, read_level: ReadLevel) -> (&'static str, Value) {
    ("/v3/kv/range", json!({"key": key, "serializable": read_level == ReadLevel::Serializable}))
}

/// Returns a transaction that does `put` if `compare` holds, and otherwise reads its key.
pub(super) fn put_or_read(compare: &Value, put: &Value) -> (&'static str, Value) {
    let read = json!({"request_range": {"key": put["key"]}});
    let put = json!({"request_put": put});
    ("/v3/kv/txn", json!({"compare": [compare], "success": [put], "failure": [read]}))
}

/// Returns a transaction that does `put` if `compare` holds, and nothing otherwise.
pub(super) fn put_if(compare: &Value, put: &Value) -> (&'static str, Value) {
    ("/v3/kv/txn", json!({"compare": [compare], "success": [{"request_put": put}]}))
}

/// Encodes `scalar` as a string, in base64.
///
/// # Errors
/// As [`text::encode`].
pub(super) fn encode(scalar: &Scalar) -> Result<String, RequestError> {
    Ok(STANDARD.encode(text::encode(scalar)?))
}
