//! A client of the store's sets: the elements of a set are the value of one key, a JSON array.
//!
//! | operation | commands | answers |
//! |---|---|---|
//! | read `k` | `GET k` | the elements; none if the key has no value |
//! | add `v` to `k` | `GET k`, then `SET k new IFEQ old`, or `SET k new NX` if the key had no value | `OK`; nil if another client was faster, and then both once more |
//!
//! An add changes the whole set only if it has not changed since it was read: an acknowledged add can only be
//! missing if the store lost or reordered a write. A comparison that failed changed nothing, so the add may
//! be retried within its time; an add that fails before its `SET` was sent certainly did not happen.

use std::net::SocketAddr;

use async_trait::async_trait;
use duress_history::Scalar;
use duress_history::set::{Set, SetOp};
use redis_protocol::resp2::types::BytesFrame;
use tokio::time::Instant;

use super::session::{Session, unexpected};
use crate::client::{Client, Seat};
use crate::outcome::{Cause, CauseKind, Outcome, Reach, RequestError};
use crate::text;

/// A client that speaks to one node.
pub(super) struct SetClient(Session);

impl SetClient {
    /// Returns a client that will connect from its seat to `to` when it has to.
    pub(super) fn new(seat: Seat, to: SocketAddr) -> Self {
        Self(Session::new(seat, to))
    }

    async fn request(&mut self, action: &Set) -> Result<Outcome<Set>, RequestError> {
        let key = text::of_key(action.key.as_ref())?;
        let deadline = self.0.deadline();
        match &action.op {
            SetOp::Read(_) => {
                let elements = match self.held(&key, deadline).await? {
                    Some(held) => elements(&held)?,
                    None => Vec::new(),
                };
                Ok(Outcome::Ok(Set { key: action.key.clone(), op: SetOp::Read(Some(elements)) }))
            }
            SetOp::Add(element) => {
                while Instant::now() < deadline {
                    let before_anything = |failure| RequestError { reach: Reach::Nothing, ..failure };
                    let held = self.held(&key, deadline).await.map_err(before_anything)?;
                    let mut elements =
                        held.as_deref().map_or(Ok(Vec::new()), elements).map_err(before_anything)?;
                    elements.push(element.clone());
                    let new = array(&elements)?;
                    let condition: &[&[u8]] = match &held {
                        Some(held) => &[b"IFEQ", held],
                        None => &[b"NX"],
                    };
                    let words = [&[&b"SET"[..], key.as_bytes(), &new], condition].concat();
                    let done = self.0.ask(&words, deadline, |reply| match reply {
                        BytesFrame::SimpleString(word) if word == "OK" => Ok(true),
                        BytesFrame::Null => Ok(false),
                        other => Err(unexpected(other)),
                    });
                    if done.await? {
                        return Ok(Outcome::Ok(action.clone()));
                    }
                }
                Ok(Outcome::Fail(Cause::new(CauseKind::Precondition, "other adds were faster each time")))
            }
        }
    }

    /// Returns the value of `key`.
    async fn held(&mut self, key: &str, deadline: Instant) -> Result<Option<Vec<u8>>, RequestError> {
        let read = |reply: &BytesFrame| match reply {
            BytesFrame::BulkString(value) => Ok(Some(value.to_vec())),
            BytesFrame::Null => Ok(None),
            other => Err(unexpected(other)),
        };
        self.0.ask(&[b"GET", key.as_bytes()], deadline, read).await
    }
}

#[async_trait]
impl Client<Set> for SetClient {
    async fn invoke(&mut self, action: &Set) -> Outcome<Set> {
        self.request(action).await.unwrap_or_else(|failure| Outcome::failed(action, failure))
    }
}

/// Returns the elements of a set that is stored as `value`.
pub(super) fn elements(value: &[u8]) -> Result<Vec<Scalar>, RequestError> {
    serde_json::from_slice(value).map_err(|cause| {
        RequestError::open(CauseKind::Unreadable, format!("a value that is not an array: {cause}"))
    })
}

/// Returns the value that a set of these elements is stored as.
pub(super) fn array(elements: &[Scalar]) -> Result<Vec<u8>, RequestError> {
    serde_json::to_vec(elements)
        .map_err(|cause| RequestError::definite(CauseKind::Rejected, format!("encoding the set: {cause}")))
}
