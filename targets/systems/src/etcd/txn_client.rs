//! A client of transactions on etcd, whose own transactions compare and put but cannot append.
//!
//! | operation | requests |
//! |---|---|
//! | a transaction that only reads | one `/v3/kv/txn` that ranges over each of its keys; linearizable unless `read=serializable` |
//! | any other | one `/v3/kv/txn` that ranges over the keys that it reads or appends to, linearizable; then one `/v3/kv/txn`: if the revision of each of these is still that, put each key that it writes |
//!
//! A list is the value of its key, a JSON array. The client computes what the transaction reads after its own
//! writes. If every comparison holds, nothing it read has changed meanwhile, so that all of it took effect
//! together with the puts; if one fails, nothing was put. A transaction that fails before its puts were sent
//! certainly did not happen.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use duress_history::Scalar;
use duress_history::txn::{Act, Answer, Elements, Held, Micro, Txn};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::client::{Client, Seat};
use crate::etcd::answer;
use crate::etcd::session::{ReadLevel, Session, encode};
use crate::outcome::{Action, Cause, CauseKind, Effect, Outcome, Reach, RequestError};
use crate::text;

/// An object that is the value of a key.
pub(super) trait Stored: Answer {
    /// Whether a write needs what was there before.
    const WRITE_READS: bool;

    /// Returns the object that was never written.
    fn empty() -> Self;

    /// Returns the object stored as `value`.
    ///
    /// # Errors
    /// An open [`RequestError`] when it cannot be read.
    fn load(value: &[u8]) -> Result<Self, RequestError>;

    /// Returns the object after a write of `value`.
    fn written(self, value: &Scalar) -> Self;

    /// Returns the value to store, in base64.
    ///
    /// # Errors
    /// A definite [`RequestError`] when it cannot be stored.
    fn store(&self) -> Result<String, RequestError>;
}

impl Stored for Elements {
    const WRITE_READS: bool = true;

    fn empty() -> Self {
        Self(Box::default())
    }

    fn load(value: &[u8]) -> Result<Self, RequestError> {
        serde_json::from_slice(value).map_err(|cause| {
            RequestError::open(CauseKind::Unreadable, format!("a value that is not an array: {cause}"))
        })
    }

    fn written(self, value: &Scalar) -> Self {
        let mut elements = self.0.into_vec();
        elements.push(value.clone());
        Self(elements.into_boxed_slice())
    }

    fn store(&self) -> Result<String, RequestError> {
        let array = serde_json::to_vec(self).map_err(|cause| {
            RequestError::definite(CauseKind::Rejected, format!("encoding the list: {cause}"))
        })?;
        Ok(STANDARD.encode(array))
    }
}

impl Stored for Held {
    const WRITE_READS: bool = false;

    fn empty() -> Self {
        Self(None)
    }

    fn load(value: &[u8]) -> Result<Self, RequestError> {
        Ok(Self(Some(text::decode(value)?)))
    }

    fn written(self, value: &Scalar) -> Self {
        Self(Some(value.clone()))
    }

    fn store(&self) -> Result<String, RequestError> {
        let unwritten =
            || RequestError::definite(CauseKind::Rejected, "a register without a value: not sent");
        encode(self.0.as_ref().ok_or_else(unwritten)?)
    }
}

/// An object as it was read: its content, and the revision of its key, 0 if there is none.
pub(super) struct Version<R> {
    pub(super) content: R,
    revision: String,
}

impl<R: Stored> Version<R> {
    /// Returns that of a key that is not there.
    pub(super) fn missing() -> Self {
        Self { content: R::empty(), revision: "0".to_owned() }
    }
}

/// A client that speaks to one node.
pub(super) struct TxnClient {
    pub(super) session: Session,
    pub(super) read_level: ReadLevel,
}

impl TxnClient {
    /// Returns a client that will connect from its seat to `to` when it has to.
    pub(super) fn new(seat: Seat, to: SocketAddr, read_level: ReadLevel) -> Self {
        Self { session: Session::new(seat, to), read_level }
    }

    async fn request<R: Stored>(&mut self, action: &Txn<R>) -> Result<Outcome<Txn<R>>, RequestError> {
        let deadline = self.session.deadline();
        let reads = |micro: &&Micro<R>| R::WRITE_READS || matches!(micro.act, Act::Read(_));
        let mut keys = BTreeMap::new();
        for micro in action.micros.iter().filter(reads) {
            keys.insert(&micro.key, encode(&micro.key)?);
        }
        if action.effect() == Effect::None {
            let versions = self.versions(&keys, self.read_level, deadline).await?;
            return Ok(Outcome::Ok(carried_out(action, &versions).0));
        }
        let before_anything = |failure| RequestError { reach: Reach::Nothing, ..failure };
        let versions =
            self.versions(&keys, ReadLevel::Linearizable, deadline).await.map_err(before_anything)?;
        let (answered, written) = carried_out(action, &versions);
        match self.put_if_unchanged(&versions, &written, deadline).await? {
            true => Ok(Outcome::Ok(answered)),
            false => Ok(Outcome::Fail(Cause::new(
                CauseKind::Precondition,
                "another transaction changed a key that this one had read",
            ))),
        }
    }

    /// Puts the objects `written`, all at once, if none of `versions` has changed; returns whether it did.
    pub(super) async fn put_if_unchanged<R: Stored>(
        &mut self,
        versions: &BTreeMap<&Scalar, Version<R>>,
        written: &Written<'_, R>,
        deadline: Instant,
    ) -> Result<bool, RequestError> {
        let mut compare = Vec::with_capacity(versions.len());
        for (key, version) in versions {
            compare.push(json!({
                "key": encode(key)?, "target": "MOD", "result": "EQUAL", "mod_revision": version.revision,
            }));
        }
        let mut puts = Vec::with_capacity(written.len());
        for (key, content) in written {
            puts.push(json!({"request_put": {"key": encode(key)?, "value": content.store()?}}));
        }
        // Without a comparison none can have failed: such an answer is none.
        let succeeded = |txn: answer::Txn| match txn.succeeded || !versions.is_empty() {
            true => Ok(txn.succeeded),
            false => Err(RequestError::open(
                CauseKind::Unreadable,
                "a failed comparison, though none was asked for",
            )),
        };
        let request = ("/v3/kv/txn", json!({"compare": compare, "success": puts}));
        self.session.ask(request, deadline, succeeded).await
    }

    /// Reads all `keys`, which are there in base64 too, as of one revision.
    pub(super) async fn versions<'k, R: Stored>(
        &mut self,
        keys: &BTreeMap<&'k Scalar, String>,
        read_level: ReadLevel,
        deadline: Instant,
    ) -> Result<BTreeMap<&'k Scalar, Version<R>>, RequestError> {
        if keys.is_empty() {
            return Ok(BTreeMap::new());
        }
        let serializable = read_level == ReadLevel::Serializable;
        let ranges: Vec<Value> = keys
            .values()
            .map(|key| json!({"request_range": {"key": key, "serializable": serializable}}))
            .collect();
        let read = |txn: answer::Txn| {
            let ranges = txn.ranges();
            if !txn.succeeded || ranges.len() != keys.len() {
                let text = format!("{} ranges instead of {}", ranges.len(), keys.len());
                return Err(RequestError::open(CauseKind::Unreadable, text));
            }
            let version = |(key, range): (&&'k Scalar, &answer::Range)| {
                let version = match range.only()? {
                    Some(only) => {
                        Version { content: R::load(&only.value()?)?, revision: only.mod_revision.clone() }
                    }
                    None => Version::missing(),
                };
                Ok((*key, version))
            };
            keys.keys().zip(ranges).map(version).collect()
        };
        self.session.ask(("/v3/kv/txn", json!({"success": ranges})), deadline, read).await
    }
}

/// The objects that a transaction leaves, by key.
pub(super) type Written<'k, R> = BTreeMap<&'k Scalar, R>;

/// Returns `action` with the answers to its reads, and the objects that it writes, where `versions` has every
/// key whose content matters.
fn carried_out<'k, R: Stored>(
    action: &'k Txn<R>,
    versions: &BTreeMap<&Scalar, Version<R>>,
) -> (Txn<R>, Written<'k, R>) {
    let mut written: Written<'k, R> = BTreeMap::new();
    let mut micros = Vec::with_capacity(action.micros.len());
    for micro in &action.micros {
        let before = match (written.get(&micro.key), versions.get(&micro.key)) {
            (Some(content), _) => content.clone(),
            (None, Some(version)) => version.content.clone(),
            (None, None) => R::empty(),
        };
        let act = match &micro.act {
            Act::Read(_) => Act::Read(Some(before)),
            Act::Write(value) => {
                written.insert(&micro.key, before.written(value));
                micro.act.clone()
            }
        };
        micros.push(Micro { key: micro.key.clone(), act });
    }
    (Txn { micros: micros.into_boxed_slice() }, written)
}

#[async_trait]
impl<R: Stored> Client<Txn<R>> for TxnClient {
    async fn invoke(&mut self, action: &Txn<R>) -> Outcome<Txn<R>> {
        self.request(action).await.unwrap_or_else(|failure| Outcome::failed(action, failure))
    }
}
