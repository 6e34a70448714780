//! A client of the store's counters.
//!
//! | operation | command | answers |
//! |---|---|---|
//! | read `k` | `GET k` | the number; 0 where the key has no value |
//! | add `n` to `k` | `INCRBY k n` | the sum |

use std::net::SocketAddr;

use async_trait::async_trait;
use duress_history::counter::{Counter, CounterOp};
use redis_protocol::resp2::types::BytesFrame;

use super::session::{Session, unexpected};
use crate::client::{Client, Seat};
use crate::outcome::{Outcome, RequestError};
use crate::text;

/// A client that speaks to one node.
pub(super) struct CounterClient(Session);

impl CounterClient {
    /// A client that will connect from its seat to `to` when it has to.
    pub(super) fn new(seat: Seat, to: SocketAddr) -> Self {
        Self(Session::new(seat, to))
    }

    async fn request(&mut self, action: &Counter) -> Result<Outcome<Counter>, RequestError> {
        let key = text::of_key(action.key.as_ref())?;
        let deadline = self.0.deadline();
        let op = match action.op {
            CounterOp::Read(_) => {
                let read = |reply: &BytesFrame| match reply {
                    BytesFrame::BulkString(value) => text::number(value),
                    BytesFrame::Null => Ok(0),
                    other => Err(unexpected(other)),
                };
                CounterOp::Read(Some(self.0.ask(&[b"GET", key.as_bytes()], deadline, read).await?))
            }
            CounterOp::Add(delta) => {
                let delta = delta.to_string();
                let words = [&b"INCRBY"[..], key.as_bytes(), delta.as_bytes()];
                let read = |reply: &BytesFrame| match reply {
                    BytesFrame::Integer(_) => Ok(()),
                    other => Err(unexpected(other)),
                };
                self.0.ask(&words, deadline, read).await?;
                action.op
            }
        };
        Ok(Outcome::Ok(Counter { key: action.key.clone(), op }))
    }
}

#[async_trait]
impl Client<Counter> for CounterClient {
    async fn invoke(&mut self, action: &Counter) -> Outcome<Counter> {
        self.request(action).await.unwrap_or_else(|failure| Outcome::failed(action, failure))
    }
}
