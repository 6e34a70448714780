//! A client of sets in the store's mode `ring`, which merges what was written without knowledge of each other.
//!
//! | operation | commands | answers |
//! |---|---|---|
//! | read `k` | `RING.GET k` | a context, and any number of values: JSON arrays, whose union is the set |
//! | add `v` to `k` | `RING.GET k`, then `RING.SET k context new`, where `new` is the union and `v` | `OK` |
//!
//! An add replaces only what it has seen, and has the elements of all that: with `conflict=siblings` an acknowledged add can only be
//! missing if the store lost a write. An add that fails before its `RING.SET` was sent certainly did not happen.

use std::collections::HashSet;
use std::net::SocketAddr;

use async_trait::async_trait;
use duress_history::Scalar;
use duress_history::set::{Set, SetOp};
use redis_protocol::resp2::types::BytesFrame;
use tokio::time::Instant;

use super::session::{Session, unexpected};
use super::set_client::{array, elements};
use crate::client::{Client, Seat};
use crate::outcome::{Outcome, Reach, RequestError};
use crate::text;

/// A client that speaks to one node.
pub(super) struct MergedSetClient(Session);

/// The values of a key.
struct Merged {
    /// The context of a write that replaces them.
    context: Vec<u8>,
    /// The elements that some value has.
    elements: Vec<Scalar>,
}

impl MergedSetClient {
    /// Returns a client that will connect from its seat to `to` when it has to.
    pub(super) fn new(seat: Seat, to: SocketAddr) -> Self {
        Self(Session::new(seat, to))
    }

    async fn request(&mut self, action: &Set) -> Result<Outcome<Set>, RequestError> {
        let key = text::of_key(action.key.as_ref())?;
        let deadline = self.0.deadline();
        match &action.op {
            SetOp::Read(_) => {
                let elements = self.merged(&key, deadline).await?.elements;
                Ok(Outcome::Ok(Set { key: action.key.clone(), op: SetOp::Read(Some(elements)) }))
            }
            SetOp::Add(element) => {
                let before_anything = |failure| RequestError { reach: Reach::Nothing, ..failure };
                let Merged { context, mut elements } =
                    self.merged(&key, deadline).await.map_err(before_anything)?;
                elements.push(element.clone());
                let words: [&[u8]; 4] = [b"RING.SET", key.as_bytes(), &context, &array(&elements)?];
                let read = |reply: &BytesFrame| match reply {
                    BytesFrame::SimpleString(word) if word == "OK" => Ok(Outcome::Ok(action.clone())),
                    other => Err(unexpected(other)),
                };
                self.0.ask(&words, deadline, read).await
            }
        }
    }

    async fn merged(&mut self, key: &str, deadline: Instant) -> Result<Merged, RequestError> {
        self.0.ask(&[b"RING.GET", key.as_bytes()], deadline, merged).await
    }
}

/// Reads the reply to `RING.GET`.
fn merged(reply: &BytesFrame) -> Result<Merged, RequestError> {
    let BytesFrame::Array(parts) = reply else { return Err(unexpected(reply)) };
    let bytes = |part: &BytesFrame| match part {
        BytesFrame::BulkString(bytes) => Ok(bytes.to_vec()),
        other => Err(unexpected(other)),
    };
    let (context, values) = parts.split_first().ok_or_else(|| unexpected(reply))?;
    let mut merged = Merged { context: bytes(context)?, elements: Vec::new() };
    let mut known = HashSet::new();
    for value in values {
        let fresh = elements(&bytes(value)?)?.into_iter().filter(|element| known.insert(element.clone()));
        merged.elements.extend(fresh);
    }
    Ok(merged)
}

#[async_trait]
impl Client<Set> for MergedSetClient {
    async fn invoke(&mut self, action: &Set) -> Outcome<Set> {
        self.request(action).await.unwrap_or_else(|failure| Outcome::failed(action, failure))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_set_is_the_union_of_all_values() {
        let bulk = |text: &'static str| BytesFrame::BulkString(text.into());
        let read =
            |parts: &[&'static str]| merged(&BytesFrame::Array(parts.iter().copied().map(bulk).collect()));
        let Merged { context, elements } = read(&["0.1.1=2", "[1,2]", "[3,2]"]).unwrap();
        assert_eq!((context, elements), (b"0.1.1=2".to_vec(), vec![1.into(), 2.into(), 3.into()]));
        assert!(read(&[""]).unwrap().elements.is_empty());
        for unreadable in [read(&[]), read(&["", "{}"]), merged(&BytesFrame::Null)] {
            assert!(unreadable.is_err());
        }
    }
}
