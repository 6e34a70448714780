//! Clients over HTTP, whose requests the manifest describes.
//!
//! | status | a read | a possible change |
//! |---|---|---|
//! | one of `ok` (200 to 299 unless given) | `Ok`, with the value | `Ok` |
//! | one of `absent` | `Ok`, without a value | – |
//! | one of `mismatch` | – | `Fail` (precondition) |
//! | one of `fail` | `Fail` | `Fail` |
//! | any other | `Fail` | `Info`: an error of a server says nothing about what it has done |

use std::collections::BTreeSet;
use std::net::SocketAddr;

use async_trait::async_trait;
use duress_history::Scalar;
use duress_history::counter::{Counter, CounterOp};
use duress_history::register::{Register, RegisterOp};
use duress_history::set::{Set, SetOp};
use duress_settings::Settings;
use hyper::Method;
use serde_json::Value;
use tokio::time::Instant;

use super::cluster::incomplete;
use super::document::{AddRequests, ClientTable, HttpRequest, RegisterRequests};
use super::http_operations::{ANSWERED, REFUSED, VOCABULARIES};
use super::problem::Problem;
use super::template::{Scene, render_values};
use super::value::find;
use crate::client::{Client, Seat};
use crate::http::{Answer, HttpConnection};
use crate::outcome::{Cause, CauseKind, Outcome, RequestError};
use crate::system::KEYS;
use crate::text;
use crate::topology::Topology;

/// The requests of a manifest.
pub(super) struct Requests {
    register: Option<RegisterRequests>,
    set: Option<AddRequests>,
    counter: Option<AddRequests>,
}

impl Requests {
    pub(super) fn new(client: &ClientTable) -> Self {
        Self { register: client.register.clone(), set: client.set.clone(), counter: client.counter.clone() }
    }
}

/// Completes every request once, and returns the first that cannot be completed, or whose statuses mean nothing, or two things.
pub(super) fn try_out(client: &ClientTable) -> Result<(), Problem> {
    let mut all: Vec<([&str; 3], &HttpRequest, &[&str])> = Vec::new();
    if let Some(register) = &client.register {
        all.push((["client", "register", "read"], &register.read, &["key"]));
        all.push((["client", "register", "write"], &register.write, &["key", "value"]));
        let more: [(_, _, &[&str]); 2] =
            [("delete", &register.delete, &["key"]), ("cas", &register.cas, &["key", "old", "new"])];
        for (name, request, values) in more {
            all.extend(request.as_ref().map(|request| (["client", "register", name], request, values)));
        }
    }
    for (name, adds) in [("set", &client.set), ("counter", &client.counter)] {
        if let Some(adds) = adds {
            all.push((["client", name, "read"], &adds.read, &["key"]));
            all.push((["client", name, "add"], &adds.add, &["key", "value"]));
        }
    }
    for (vocabulary, operations) in VOCABULARIES {
        let Some(given) = client.operations(vocabulary) else { continue };
        for (name, known) in operations {
            let missing = || {
                let names: Vec<&str> = operations.iter().map(|(name, _)| *name).collect();
                let text = format!("has no request `{name}`: {vocabulary} has {}", names.join(", "));
                Problem::at(["client", vocabulary], text)
            };
            all.push((["client", vocabulary, name], given.get(*name).ok_or_else(missing)?, known));
        }
    }
    let one_object = client.lacks.iter().any(|lacking| lacking == KEYS);
    for ([client, vocabulary, operation], request, known) in all {
        let values: Vec<(&str, String)> = known.iter().map(|name| (*name, "0".to_owned())).collect();
        let wrong = |key, text: String| Problem::at([client, vocabulary, operation, key], text);
        // Else a change that found nothing would count as done.
        let of_one_value = ["register", "set", "counter"].contains(&vocabulary);
        let may_find_none = of_one_value && ["read", "delete"].contains(&operation);
        if !may_find_none && !request.absent.is_empty() {
            return Err(wrong(
                "absent",
                "only a read and a delete of one object may find no value".to_owned(),
            ));
        }
        if !ANSWERED.contains(&operation) && request.value.is_some() {
            return Err(wrong("value", format!("a {operation} has no value in its answer")));
        }
        if !REFUSED.contains(&operation) && !request.mismatch.is_empty() {
            return Err(wrong(
                "mismatch",
                format!("a {operation} compares nothing: `fail` says that it was not done"),
            ));
        }
        let mut seen = BTreeSet::new();
        let statuses = [
            ("ok", request.ok.as_deref().unwrap_or_default()),
            ("absent", &request.absent),
            ("mismatch", &request.mismatch),
            ("fail", &request.fail),
        ];
        for (key, statuses) in statuses {
            if let Some(twice) = statuses.iter().find(|status| !seen.insert(**status)) {
                return Err(wrong(key, format!("the status {twice} is listed twice")));
            }
        }
        let rejected = |text: String| wrong("path", text);
        let completed =
            complete(request, &values).map_err(|error| rejected(error.cause.text.into_owned()))?;
        let mut sent = hyper::Request::builder().method(completed.method).uri(completed.path);
        for (name, value) in completed.headers {
            sent = sent.header(name, value);
        }
        sent.body(()).map_err(|error| rejected(format!("this is not a request of HTTP: {error}")))?;
        let needed = needed(operation, request)
            .iter()
            .filter(|name| known.contains(name) && !(one_object && **name == "key"));
        // Else every key would be the same object, or every value the same.
        if let Some(missing) = needed.into_iter().find(|name| !request.mentions(name)) {
            return Err(rejected(format!(
                "the request has no {{{missing}}}, in its path, its body or a header"
            )));
        }
    }
    Ok(())
}

/// Returns the placeholders that a request for `operation` cannot do without, as far as its vocabulary has them.
fn needed(operation: &str, request: &HttpRequest) -> &'static [&'static str] {
    match operation {
        "transfer" if !request.mentions("value") => &["from", "to", "amount"],
        "cas" => &["key", "old", "new"],
        // The accounts of a bank may be all that there are, and a release may be known by its client.
        "read" | "delete" | "acquire" | "release" => &["key"],
        _ => &["key", "value"],
    }
}

/// A client that speaks to one node.
pub(super) struct HttpClient {
    to: SocketAddr,
    seat: Seat,
    requests: std::sync::Arc<Requests>,
    connection: Option<HttpConnection>,
}

/// A completed request.
struct Complete {
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: String,
}

fn complete(request: &HttpRequest, values: &[(&'static str, String)]) -> Result<Complete, RequestError> {
    // Requests know their operation, and nothing else.
    let topology = Topology { nodes: Vec::new() };
    let settings = Settings {
        mode: String::new(),
        options: std::collections::BTreeMap::new(),
        bug: None,
        programs: std::collections::BTreeMap::new(),
        upgrades: std::collections::BTreeMap::new(),
    };
    let scene = Scene {
        topology: &topology,
        roles: &[],
        settings: &settings,
        folder: std::path::Path::new("/"),
        node: None,
        places: None,
        files: None,
        operation: values,
    };
    let rejected = |text: String| RequestError::definite(CauseKind::Rejected, text);
    let method = request.method.as_deref().unwrap_or(if request.body.is_empty() { "GET" } else { "POST" });
    let complete = Complete {
        method: method.parse().map_err(|_| rejected(format!("\"{method}\" is not a method of HTTP")))?,
        path: scene.render(&request.path).map_err(|error| incomplete(&error))?,
        headers: render_values(&scene, &request.headers).map_err(|error| incomplete(&error))?,
        body: scene.render(&request.body).map_err(|error| incomplete(&error))?,
    };
    if !complete.path.starts_with('/') {
        return Err(rejected(format!("the path \"{}\" does not begin with a slash", request.path)));
    }
    Ok(complete)
}

/// The meaning of an answer.
pub(super) enum Meaning {
    /// It happened, with this body.
    Happened(String),
    /// There is no value.
    Absent,
    /// It did not happen.
    Not(Cause),
}

impl HttpClient {
    pub(super) fn new(to: SocketAddr, seat: Seat, requests: std::sync::Arc<Requests>) -> Self {
        Self { to, seat, requests, connection: None }
    }

    pub(super) async fn ask(
        &mut self,
        request: &HttpRequest,
        values: &[(&'static str, String)],
    ) -> Result<Meaning, RequestError> {
        let deadline = Instant::now() + self.seat.timeout;
        let Complete { method, path, headers, body } = complete(request, values)?;
        // Taken out, so that a request that ends early, however it ends, leaves no connection behind.
        let kept = match self.connection.take() {
            Some(mut kept) => kept.is_idle().await.then_some(kept),
            None => None,
        };
        let mut connection = match kept {
            Some(kept) => kept,
            None => HttpConnection::open(&*self.seat.place, self.to, deadline).await?,
        };
        let answer = connection.request(&method, &path, &headers, body.into_bytes(), deadline).await?;
        self.connection = Some(connection);
        meaning(request, &answer)
    }

    fn lacks(vocabulary: &str) -> RequestError {
        RequestError::definite(
            CauseKind::Rejected,
            format!("the manifest has no requests of {vocabulary}: not sent"),
        )
    }

    async fn register(&mut self, action: &Register) -> Result<Outcome<Register>, RequestError> {
        let requests = std::sync::Arc::clone(&self.requests);
        let requests = requests.register.as_ref().ok_or_else(|| Self::lacks("register"))?;
        let key = ("key", text::encode(&action.key)?);
        let text_of = |value: &Option<Scalar>| value.as_ref().map_or(Ok("null".to_owned()), text::encode);
        let (request, values) = match &action.op {
            RegisterOp::Read(_) => (&requests.read, vec![key]),
            RegisterOp::Write(value) => (&requests.write, vec![key, ("value", text::encode(value)?)]),
            RegisterOp::Delete => {
                let delete = requests.delete.as_ref().ok_or_else(|| Self::lacks("register.delete"))?;
                (delete, vec![key])
            }
            RegisterOp::Cas { old, new } => {
                let cas = requests.cas.as_ref().ok_or_else(|| Self::lacks("register.cas"))?;
                (cas, vec![key, ("old", text_of(old)?), ("new", text::encode(new)?)])
            }
        };
        let read = |value| Register { key: action.key.clone(), op: RegisterOp::Read(value) };
        Ok(match (self.ask(request, &values).await?, &action.op) {
            (Meaning::Not(cause), _) => Outcome::Fail(cause),
            (Meaning::Absent, RegisterOp::Read(_)) => Outcome::Ok(read(None)),
            (Meaning::Absent, RegisterOp::Delete) => Outcome::Ok(action.clone()),
            (Meaning::Happened(body), RegisterOp::Read(_)) => Outcome::Ok(read(scalar(request, &body)?)),
            (Meaning::Happened(_), _) => Outcome::Ok(action.clone()),
            (Meaning::Absent, _) => return Err(unreadable("a change found no value")),
        })
    }

    async fn set(&mut self, action: &Set) -> Result<Outcome<Set>, RequestError> {
        let requests = std::sync::Arc::clone(&self.requests);
        let requests = requests.set.as_ref().ok_or_else(|| Self::lacks("set"))?;
        let key = ("key", text::of_key(action.key.as_ref())?);
        let read = |elements| Set { key: action.key.clone(), op: SetOp::Read(Some(elements)) };
        match &action.op {
            SetOp::Read(_) => Ok(match self.ask(&requests.read, &[key]).await? {
                Meaning::Not(cause) => Outcome::Fail(cause),
                Meaning::Absent => Outcome::Ok(read(Vec::new())),
                Meaning::Happened(body) => match value(&requests.read, &body)? {
                    Value::Null => Outcome::Ok(read(Vec::new())),
                    found => Outcome::Ok(read(serde_json::from_value(found).map_err(unreadable)?)),
                },
            }),
            SetOp::Add(element) => {
                let values = [key, ("value", text::encode(element)?)];
                Ok(match self.ask(&requests.add, &values).await? {
                    Meaning::Not(cause) => Outcome::Fail(cause),
                    Meaning::Happened(_) => Outcome::Ok(action.clone()),
                    Meaning::Absent => return Err(unreadable("a change found no value")),
                })
            }
        }
    }

    async fn counter(&mut self, action: &Counter) -> Result<Outcome<Counter>, RequestError> {
        let requests = std::sync::Arc::clone(&self.requests);
        let requests = requests.counter.as_ref().ok_or_else(|| Self::lacks("counter"))?;
        let key = ("key", text::of_key(action.key.as_ref())?);
        let read = |value| Counter { key: action.key.clone(), op: CounterOp::Read(Some(value)) };
        match action.op {
            CounterOp::Read(_) => Ok(match self.ask(&requests.read, &[key]).await? {
                Meaning::Not(cause) => Outcome::Fail(cause),
                Meaning::Absent => Outcome::Ok(read(0)),
                Meaning::Happened(body) => match scalar(&requests.read, &body)? {
                    Some(Scalar::Int(value)) => Outcome::Ok(read(value)),
                    found => return Err(unreadable(format!("{found:?} is not a whole number"))),
                },
            }),
            CounterOp::Add(delta) => {
                let values = [key, ("value", delta.to_string())];
                Ok(match self.ask(&requests.add, &values).await? {
                    Meaning::Not(cause) => Outcome::Fail(cause),
                    Meaning::Happened(_) => Outcome::Ok(action.clone()),
                    Meaning::Absent => return Err(unreadable("a change found no value")),
                })
            }
        }
    }
}

pub(super) fn unreadable(cause: impl std::fmt::Display) -> RequestError {
    RequestError::open(CauseKind::Unreadable, format!("an answer that cannot be read: {cause}"))
}

fn meaning(request: &HttpRequest, answer: &Answer) -> Result<Meaning, RequestError> {
    let status = answer.status.as_u16();
    let body = || String::from_utf8_lossy(&answer.body).into_owned();
    let said = || {
        let said: String = body().chars().take(200).collect();
        format!("{}: {said}", answer.status)
    };
    if request.mismatch.contains(&status) {
        return Ok(Meaning::Not(Cause::new(CauseKind::Precondition, said())));
    }
    if request.absent.contains(&status) {
        return Ok(Meaning::Absent);
    }
    if request.fail.contains(&status) {
        return Ok(Meaning::Not(Cause::new(CauseKind::Rejected, said())));
    }
    let ok = request.ok.as_ref().map_or(answer.status.is_success(), |ok| ok.contains(&status));
    match ok {
        true => Ok(Meaning::Happened(body())),
        false => Err(RequestError::open(CauseKind::Unknown, said())),
    }
}

/// Returns the value in the answer of a read.
pub(super) fn value(request: &HttpRequest, body: &str) -> Result<Value, RequestError> {
    match &request.value {
        Some(place) => {
            find(body, place).ok_or_else(|| unreadable(format!("nothing is at {place} of {body:.200}")))
        }
        // JSON where it is, else text.
        None => Ok(serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.trim_end().to_owned()))),
    }
}

fn scalar(request: &HttpRequest, body: &str) -> Result<Option<Scalar>, RequestError> {
    match value(request, body)? {
        Value::Null => Ok(None),
        Value::String(text) => text::decode(text.as_bytes()).map(Some),
        other => serde_json::from_value(other).map(Some).map_err(unreadable),
    }
}

#[async_trait]
impl Client<Register> for HttpClient {
    async fn invoke(&mut self, action: &Register) -> Outcome<Register> {
        self.register(action).await.unwrap_or_else(|failure| Outcome::failed(action, failure))
    }
}

#[async_trait]
impl Client<Set> for HttpClient {
    async fn invoke(&mut self, action: &Set) -> Outcome<Set> {
        self.set(action).await.unwrap_or_else(|failure| Outcome::failed(action, failure))
    }
}

#[async_trait]
impl Client<Counter> for HttpClient {
    async fn invoke(&mut self, action: &Counter) -> Outcome<Counter> {
        self.counter(action).await.unwrap_or_else(|failure| Outcome::failed(action, failure))
    }
}
