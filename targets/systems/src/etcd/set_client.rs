//! A client of etcd's sets: each element is a key of its own, below the name of its set.
//!
//! | operation | request |
//! |---|---|
//! | read `k` | `/v3/kv/range` from `k/` to the end of the keys with that prefix, all as of one revision; linearizable unless `read=serializable` |
//! | add `v` to `k` | `/v3/kv/put` of the key `k/v` |
//!
//! An element's key is written only once, so that no later write hides its loss.

use std::net::SocketAddr;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use duress_history::set::{Set, SetOp};
use serde_json::json;

use crate::client::{Client, Seat};
use crate::etcd::answer::{Change, Range};
use crate::etcd::session::{ReadLevel, Session};
use crate::outcome::{Outcome, RequestError};
use crate::text;

/// A client that speaks to one node.
pub(super) struct SetClient {
    session: Session,
    read_level: ReadLevel,
}

impl SetClient {
    /// Returns a client that will connect from its seat to `to` when it has to.
    pub(super) fn new(seat: Seat, to: SocketAddr, read_level: ReadLevel) -> Self {
        Self { session: Session::new(seat, to), read_level }
    }

    async fn request(&mut self, action: &Set) -> Result<Outcome<Set>, RequestError> {
        let set = text::of_key(action.key.as_ref())?;
        let deadline = self.session.deadline();
        match &action.op {
            SetOp::Add(element) => {
                let key = STANDARD.encode(format!("{set}/{}", text::encode(element)?));
                let request = ("/v3/kv/put", json!({"key": key, "value": ""}));
                self.session.ask(request, deadline, |_: Change| Ok(Outcome::Ok(action.clone()))).await
            }
            SetOp::Read(_) => {
                // '0' comes right after '/'.
                let request = json!({
                    "key": STANDARD.encode(format!("{set}/")),
                    "range_end": STANDARD.encode(format!("{set}0")),
                    "keys_only": true,
                    "serializable": self.read_level == ReadLevel::Serializable,
                });
                let below = set.len() + 1;
                let read = |range: Range| {
                    let keys = range.keys()?;
                    let elements = keys.iter().map(|key| text::decode(key.get(below..).unwrap_or_default()));
                    let op = SetOp::Read(Some(elements.collect::<Result<_, _>>()?));
                    Ok(Outcome::Ok(Set { key: action.key.clone(), op }))
                };
                self.session.ask(("/v3/kv/range", request), deadline, read).await
            }
        }
    }
}

#[async_trait]
impl Client<Set> for SetClient {
    async fn invoke(&mut self, action: &Set) -> Outcome<Set> {
        self.request(action).await.unwrap_or_else(|failure| Outcome::failed(action, failure))
    }
}
