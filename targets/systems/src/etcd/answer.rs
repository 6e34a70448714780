//! The meaning of an answer of etcd's gateway.
//!
//! | answer | reach |
//! |---|---|
//! | 200 and a body with etcd's response header | definite: it was done |
//! | `etcdserver: too many requests` | nothing: refused before it is proposed |
//! | `etcdserver: request is too large`, `key is not provided`, `value is provided`, `too many operations in txn request`, `duplicate key given in txn request` | nothing: refused as malformed, before it is proposed |
//! | `etcdserver: unhealthy cluster` | nothing: refused before it is proposed |
//! | `etcdserver: no leader`, `leader changed`, `request timed out`, `server stopped`, every other UNAVAILABLE | unknown: the proposal may be in a log |
//! | `etcdserver: mvcc: database space exceeded` | unknown: checked before the proposal *and* after applying it |
//! | anything else | unknown |
//!
//! Sources: etcd 3.4 `etcdserver/v3_server.go`, `processInternalRaftRequestOnce` (the checks before
//! `Propose`, and the errors after it), `etcdserver/apply.go`, `quotaApplierV3` (the write is applied, then
//! the error returned), and the error strings in `etcdserver/api/v3rpc/rpctypes/error.go`. They agree with
//! the error rules of Jepsen's etcd tests. The string decides, not the gRPC code: "too many requests" travels
//! as RESOURCE_EXHAUSTED or UNKNOWN by version, and "database space exceeded" shares its code.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::http::Answer;
use crate::outcome::{CauseKind, RequestError};

/// Refused before the request is proposed.
const DEFINITE: [&str; 7] = [
    "etcdserver: too many requests",
    "etcdserver: request is too large",
    "etcdserver: key is not provided",
    "etcdserver: value is provided",
    "etcdserver: too many operations in txn request",
    "etcdserver: duplicate key given in txn request",
    "etcdserver: unhealthy cluster",
];

/// The header that every successful response has. Its absence means that something else answered, and the defaults that
/// JSON leaves out (`"succeeded": false`, no keys) must not be read as answers.
#[derive(Deserialize)]
pub(super) struct Change {
    #[serde(rename = "header")]
    _header: IgnoredAny,
}

/// The header of an answer whose revision matters.
#[derive(Deserialize)]
struct Header {
    /// That of the store after the request.
    #[serde(default)]
    revision: String,
}

/// The answer to the grant of a lease.
#[derive(Deserialize)]
pub(super) struct Lease {
    #[serde(rename = "header")]
    _header: IgnoredAny,
    #[serde(rename = "ID")]
    pub(super) id: String,
}

/// The answer to a transaction.
#[derive(Deserialize)]
pub(super) struct Txn {
    header: Header,
    /// Whether all comparisons held; left out when false.
    #[serde(default)]
    pub(super) succeeded: bool,
    #[serde(default)]
    responses: Vec<TxnResponse>,
}

/// The answer to one operation of a transaction.
#[derive(Deserialize)]
struct TxnResponse {
    #[serde(default)]
    response_range: Option<Range>,
}

impl Txn {
    /// Returns the revision of what it changed, if it changed anything.
    ///
    /// # Errors
    /// An open [`RequestError`] when it is not a number.
    pub(super) fn revision(&self) -> Result<i64, RequestError> {
        let revision = &self.header.revision;
        let unreadable = |_| {
            let text = format!("\"{revision}\" where a revision is expected");
            RequestError::open(CauseKind::Unreadable, text)
        };
        revision.parse().map_err(unreadable)
    }

    /// Returns the result of its read, if the branch taken reads.
    pub(super) fn read(&self) -> Option<&Range> {
        self.ranges().into_iter().next()
    }

    /// Returns the results of all its reads, in order.
    pub(super) fn ranges(&self) -> Vec<&Range> {
        self.responses.iter().filter_map(|response| response.response_range.as_ref()).collect()
    }
}

/// The answer to a range request.
#[derive(Deserialize)]
pub(super) struct Range {
    #[serde(rename = "header")]
    _header: IgnoredAny,
    /// Omitted when empty.
    #[serde(default)]
    kvs: Vec<KeyValue>,
}

/// A key with its value.
#[derive(Deserialize)]
pub(super) struct KeyValue {
    /// In base64.
    #[serde(default)]
    key: String,
    /// In base64; left out when empty.
    #[serde(default)]
    value: String,
    /// The revision of its last change.
    #[serde(default)]
    pub(super) mod_revision: String,
    /// How often it was changed since it was made.
    #[serde(default)]
    version: String,
}

impl KeyValue {
    /// Returns the value.
    ///
    /// # Errors
    /// An open [`RequestError`] when it cannot be read.
    pub(super) fn value(&self) -> Result<Vec<u8>, RequestError> {
        bytes(&self.value)
    }
}

impl Range {
    /// Returns the one requested key, if it exists.
    ///
    /// # Errors
    /// An open [`RequestError`] when there are several.
    pub(super) fn only(&self) -> Result<Option<&KeyValue>, RequestError> {
        match self.kvs.as_slice() {
            [] => Ok(None),
            [only] => Ok(Some(only)),
            several => {
                let text = format!("{} keys instead of one", several.len());
                Err(RequestError::open(CauseKind::Unreadable, text))
            }
        }
    }

    /// Returns all keys.
    ///
    /// # Errors
    /// An open [`RequestError`] when one cannot be read.
    pub(super) fn keys(&self) -> Result<Vec<Vec<u8>>, RequestError> {
        self.kvs.iter().map(|kv| bytes(&kv.key)).collect()
    }
}

impl Range {
    /// Returns each key, with its value and revisions.
    ///
    /// # Errors
    /// An open [`RequestError`] when one cannot be read.
    pub(super) fn texts(&self) -> Result<BTreeMap<String, String>, RequestError> {
        let text = |base64: &str| Ok(String::from_utf8_lossy(&bytes(base64)?).into_owned());
        let of = |kv: &KeyValue| {
            let (value, at) = (text(&kv.value)?, &kv.mod_revision);
            Ok((text(&kv.key)?, format!("{value} (version {} at revision {at})", kv.version)))
        };
        self.kvs.iter().map(of).collect()
    }
}

/// Decodes base64.
fn bytes(base64: &str) -> Result<Vec<u8>, RequestError> {
    STANDARD.decode(base64).map_err(|cause| {
        RequestError::open(CauseKind::Unreadable, format!("a key or value that is not base64: {cause}"))
    })
}

/// The gateway's form of an error: `message` in some versions, `error` in others, both in 3.4.
#[derive(Deserialize)]
struct GatewayError {
    message: Option<String>,
    error: Option<String>,
}

/// Reads `answer` as a successful `T`.
///
/// # Errors
/// The node's error, by the table above.
pub(super) fn read<T: DeserializeOwned>(answer: &Answer) -> Result<T, RequestError> {
    if answer.status == hyper::StatusCode::OK {
        return serde_json::from_slice(&answer.body).map_err(|cause| {
            RequestError::open(CauseKind::Unreadable, format!("{cause}: {}", excerpt(&answer.body)))
        });
    }
    let message = serde_json::from_slice::<GatewayError>(&answer.body)
        .ok()
        .and_then(|error| error.message.or(error.error))
        .unwrap_or_else(|| format!("HTTP {}: {}", answer.status, excerpt(&answer.body)));
    Err(classify(message))
}

/// Returns an error of etcd in its own words.
fn classify(message: String) -> RequestError {
    if DEFINITE.contains(&message.as_str()) {
        return RequestError::definite(CauseKind::Rejected, message);
    }
    let kind = match message.as_str() {
        "etcdserver: no leader" => CauseKind::NoLeader,
        text if text.starts_with("etcdserver: request timed out") => CauseKind::Timeout,
        _ => CauseKind::Unknown,
    };
    RequestError::open(kind, message)
}

fn excerpt(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(120)]).trim_end().to_owned()
}
