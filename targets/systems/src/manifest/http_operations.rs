//! Clients over HTTP of the vocabularies whose operations have arguments and answers of several values. Those are in the requests
//! and answers as client programs have them, as JSON.
//!
//! Statuses mean what they mean to a register ([`super::http_client`]): `mismatch` is that of a transfer, an acquisition, a release
//! or a transaction that was refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::document::HttpRequest;
use super::http_client::{HttpClient, Meaning, unreadable, value};
use crate::client::Client;
use crate::exec::Spoken;
use crate::outcome::{CauseKind, Outcome, RequestError};
use crate::text;

/// The requests of a vocabulary, by operation.
pub(super) type Operations = BTreeMap<String, HttpRequest>;

/// An operation, and the placeholders of its request.
type Operation = (&'static str, &'static [&'static str]);

/// The vocabularies, each with its operations.
pub(super) const VOCABULARIES: [(&str, &[Operation]); 5] = [
    ("list-append", &[("txn", &["value"])]),
    ("rw-register", &[("txn", &["value"])]),
    (
        "bank",
        &[("create", &["value"]), ("transfer", &["value", "from", "to", "amount"]), ("read", &["value"])],
    ),
    ("fenced-mutex", &[("acquire", &["key", "lease"]), ("release", &["key", "value"])]),
    ("unique-ids", &[("generate", &[])]),
];

/// The operations whose answer has a value.
pub(super) const ANSWERED: [&str; 4] = ["read", "acquire", "generate", "txn"];
/// The operations that a status may refuse as a mismatch.
pub(super) const REFUSED: [&str; 5] = ["cas", "transfer", "acquire", "release", "txn"];

/// A client that speaks to one node.
pub(super) struct HttpOperations {
    client: HttpClient,
    requests: Arc<Operations>,
}

impl HttpOperations {
    /// Returns a client that sends these requests.
    pub(super) fn new(client: HttpClient, requests: Arc<Operations>) -> Self {
        Self { client, requests }
    }

    async fn request<A: Spoken>(&mut self, action: &A) -> Result<Outcome<A>, RequestError> {
        let rejected = |text: String| RequestError::definite(CauseKind::Rejected, text);
        let requests = Arc::clone(&self.requests);
        let request = requests
            .get(action.f())
            .ok_or_else(|| rejected(format!("the manifest has no request {}: not sent", action.f())))?;
        let values = values(action)?;
        let leased = values.iter().any(|(name, lease)| *name == "lease" && lease != "null");
        if leased && !request.mentions("lease") {
            return Err(rejected("the request of an acquisition has no {lease}: not sent".to_owned()));
        }
        let body = match self.client.ask(request, &values).await? {
            Meaning::Not(cause) => return Ok(Outcome::Fail(cause)),
            Meaning::Absent => return Err(unreadable("an answer without a value")),
            Meaning::Happened(body) => body,
        };
        let answer = ANSWERED.contains(&action.f()) && !body.trim().is_empty();
        let answer = answer.then(|| raw(request, &body)).transpose()?;
        let answered = action.answered(answer.as_deref()).map_err(unreadable)?;
        match action.completed_by(&answered) {
            true => Ok(Outcome::Ok(answered)),
            false => Err(unreadable(format!("not the answer to this operation: {body:.200}"))),
        }
    }
}

/// Returns what the placeholders of a request stand for.
fn values<A: Spoken>(action: &A) -> Result<Vec<(&'static str, String)>, RequestError> {
    let plain = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let (key, value) = action.asked();
    let key = key.map(text::encode).transpose()?.map(|key| ("key", key));
    let fields = ["from", "to", "amount"];
    let fields = fields.into_iter().filter_map(|name| Some((name, plain(value.get(name)?))));
    let lease = value.get("lease_ms").map_or("null".to_owned(), plain);
    Ok(key.into_iter().chain(fields).chain([("lease", lease), ("value", value.to_string())]).collect())
}

/// Returns the value in an answer, as it is written there where that is the whole of it.
fn raw(request: &HttpRequest, body: &str) -> Result<Box<RawValue>, RequestError> {
    if request.value.is_none()
        && let Ok(whole) = RawValue::from_string(body.trim().to_owned())
    {
        return Ok(whole);
    }
    let found = match value(request, body)? {
        // Words before a value say nothing of its type.
        Value::String(word) if !request.value.as_deref().unwrap_or_default().starts_with('/') => {
            serde_json::to_value(text::decode(word.as_bytes())?).map_err(unreadable)?
        }
        found => found,
    };
    if rounded(&found) {
        return Err(unreadable(format!("a number that does not fit 64 bits, or is not whole: {body:.200}")));
    }
    to_raw_value(&found).map_err(unreadable)
}

/// Whether a number in `value` may not be the one that was written.
fn rounded(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(items) => items.iter().any(rounded),
        Value::Object(fields) => fields.values().any(rounded),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}

#[async_trait]
impl<A: Spoken> Client<A> for HttpOperations {
    async fn invoke(&mut self, action: &A) -> Outcome<A> {
        self.request(action).await.unwrap_or_else(|failure| Outcome::failed(action, failure))
    }
}
