//! A client of Maelstrom's workload `kafka`.
//!
//! | operation | requests |
//! |---|---|
//! | `send` | `send` of each message, one after the other |
//! | `poll` | `poll` of the assigned keys, each from the client's position |
//! | `assign` | `list_committed_offsets` of the keys that the client has no position in: it begins after these offsets |
//! | `seek` | none: positions are the client's |
//! | `commit` | `commit_offsets` of the last messages that the client received |
//! | `end-offsets` | `poll` of all keys until nothing more comes, from the last known message on: there is no such request |
//! | `crash` | none: the connection is closed |
//!
//! Keys are the partitions' names. A committed offset is there the last that was consumed, and here the one after it. The
//! protocol promises nothing about a committed offset but that a client may begin there, so `committed` is refused: a node may
//! answer with an old one, or with none. There are no groups: `subscribe` is refused.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use duress_history::Scalar;
use duress_history::log::{Log, LogMicro, Offset, Offsets, Polled, Start};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::clients::{ok, read};
use super::session::Session;
use crate::client::Client;
use crate::outcome::{CauseKind, Outcome, Reach, RequestError};
use crate::setup::Setup;

/// How long a client waits before it polls once more for a message that does not come.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How long after the end of a run, counted from the first request for the ends, a message may still come that was acknowledged
/// or read: as long as nodes of sets and counters have to agree.
const CATCH_UP: Duration = Duration::from_secs(15);

/// The keys of a run, shared by its clients.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// The offset after the last message that any client knows of, in each key.
    ends: BTreeMap<Scalar, u64>,
    /// When a client first asked for the ends.
    asked: Option<Instant>,
}

impl Keys {
    /// Adds the partitions of a workload's topics.
    pub(super) fn prepare(&self, setup: &Setup) {
        for topic in &setup.topics {
            for partition in 0..topic.partitions {
                self.reach(&Scalar::from(format!("{}-{partition}", topic.name).as_str()), 0);
            }
        }
    }

    /// Returns them, with the known ends.
    fn known(&self) -> BTreeMap<Scalar, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).ends.clone()
    }

    /// Returns until when known messages may still come.
    fn patience(&self) -> Instant {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *known.asked.get_or_insert_with(Instant::now) + CATCH_UP
    }

    /// Notes that there is a message before `end`.
    fn reach(&self, key: &Scalar, end: u64) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.ends.entry(key.clone()).or_default();
        *before = end.max(*before);
    }
}

/// A client of the logs.
pub(super) struct LogClient {
    session: Session,
    keys: Keys,
    /// The keys that it reads.
    assigned: Vec<Scalar>,
    /// The next offset in each key that it has read or gone to.
    positions: BTreeMap<Scalar, u64>,
    /// The last offset in each key that it received.
    received: BTreeMap<Scalar, u64>,
}

impl LogClient {
    pub(super) fn new(session: Session, keys: Keys) -> Self {
        Self { session, keys, assigned: Vec::new(), positions: BTreeMap::new(), received: BTreeMap::new() }
    }

    async fn request(&mut self, action: &Log) -> Result<Log, RequestError> {
        let deadline = self.session.deadline();
        let rejected = |text: &'static str| Err(RequestError::definite(CauseKind::Rejected, text));
        match action {
            Log::Send(micros) => self.send(micros, deadline).await.map(Log::Send),
            Log::Poll(micros) => {
                let mut answers = Vec::new();
                for _ in micros {
                    let polled = match self.advance(deadline).await {
                        // The messages of earlier polls of the same operation must be returned.
                        Err(_) if !answers.is_empty() => Polled::new(),
                        polled => polled?,
                    };
                    answers.push(LogMicro::Poll(Some(polled)));
                }
                Ok(Log::Poll(answers))
            }
            Log::Assign { keys, from } => {
                match from {
                    Start::Beginning => self.positions.retain(|key, _| !keys.contains(key)),
                    Start::Position => self.begin(keys, deadline).await?,
                }
                self.assigned.clone_from(keys);
                Ok(action.clone())
            }
            Log::Seek(offsets) => {
                self.positions.extend(offsets.iter().map(|(key, Offset(offset))| (key.clone(), *offset)));
                Ok(action.clone())
            }
            Log::Commit(_) => self.commit(deadline).await,
            Log::EndOffsets(_) => self.ends(deadline).await.map(|ends| Log::EndOffsets(Some(ends))),
            Log::Crash => {
                self.session.disconnect();
                self.assigned.clear();
                self.positions.clear();
                self.received.clear();
                Err(RequestError::open(CauseKind::Unknown, "the client crashed, as requested"))
            }
            Log::Committed(_) => {
                rejected("Maelstrom's kafka promises nothing about committed offsets: not asked")
            }
            Log::Subscribe(_) => rejected("Maelstrom's kafka has no groups: not subscribed"),
            Log::Txn(_) => rejected("Maelstrom's kafka has no transactions: not sent"),
        }
    }

    async fn send(&mut self, micros: &[LogMicro], deadline: Instant) -> Result<Vec<LogMicro>, RequestError> {
        let mut answers: Vec<LogMicro> = Vec::new();
        for micro in micros {
            // Others of the same operation may have been sent already.
            let reach = |failure: RequestError| match answers.is_empty() {
                true => failure,
                false => RequestError { reach: Reach::Unknown, ..failure },
            };
            let LogMicro::Send { key, value, .. } = micro else {
                return Err(reach(RequestError::definite(
                    CauseKind::Rejected,
                    "a poll among sends: not sent",
                )));
            };
            let fields = [("key", json!(key.to_string())), ("msg", json!(value))];
            let reply = self.session.ask_by("send", fields, deadline).await.and_then(ok).map_err(reach)?;
            let offset: u64 = read(&reply, "offset")?;
            self.keys.reach(key, offset.saturating_add(1));
            let offset = Some(Offset(offset));
            answers.push(LogMicro::Send { key: key.clone(), value: value.clone(), offset });
        }
        Ok(answers)
    }

    /// Goes behind the committed offsets of those `keys` that it has no position in; to the beginning where there is none, and
    /// if the node answers with an error.
    async fn begin(&mut self, keys: &[Scalar], deadline: Instant) -> Result<(), RequestError> {
        let new = keys.iter().filter(|key| !self.positions.contains_key(*key));
        let new: Vec<String> = new.map(ToString::to_string).collect();
        if new.is_empty() {
            return Ok(());
        }
        let reply = self.session.ask_by("list_committed_offsets", [("keys", json!(new))], deadline).await?;
        if reply.code().is_none() {
            let last: BTreeMap<String, u64> = read(&reply, "offsets")?;
            let committed = last.into_iter().filter(|(key, _)| new.contains(key));
            self.positions.extend(committed.map(|(key, last)| (key.as_str().into(), last.saturating_add(1))));
        }
        Ok(())
    }

    /// Polls the assigned keys, and moves on behind what came.
    async fn advance(&mut self, deadline: Instant) -> Result<Polled, RequestError> {
        let at = |key: &Scalar| (key.clone(), self.positions.get(key).copied().unwrap_or_default());
        let from = self.assigned.iter().map(at).collect();
        let polled = self.poll(&from, deadline).await?;
        let next = next(&polled);
        self.received.extend(next.iter().map(|(key, next)| (key.clone(), next - 1)));
        self.positions.extend(next);
        Ok(polled)
    }

    /// Polls each key from its offset on.
    async fn poll(
        &mut self,
        from: &BTreeMap<Scalar, u64>,
        deadline: Instant,
    ) -> Result<Polled, RequestError> {
        let reply = self.session.ask_by("poll", [("offsets", by_key(from))], deadline).await.and_then(ok)?;
        let messages: BTreeMap<String, Vec<(u64, Value)>> = read(&reply, "msgs")?;
        let unreadable = |text: String| RequestError::open(CauseKind::Unreadable, text);
        let mut polled = Polled::new();
        for (key, messages) in messages {
            let key = Scalar::from(key.as_str());
            if !from.contains_key(&key) {
                return Err(unreadable(format!("messages of {key}, which was not asked for")));
            }
            let value = |value: Value| match value {
                Value::Number(number) if number.is_i64() => {
                    Ok(Scalar::Int(number.as_i64().unwrap_or_default()))
                }
                Value::String(text) => Ok(Scalar::from(text.as_str())),
                other => Err(unreadable(format!(
                    "the message {other} in {key}, which is of no kind that was sent"
                ))),
            };
            let messages =
                messages.into_iter().map(|(offset, message)| Ok((Offset(offset), value(message)?)));
            polled.insert(key.clone(), messages.collect::<Result<_, RequestError>>()?);
        }
        for (key, end) in next(&polled) {
            self.keys.reach(&key, end);
        }
        Ok(polled)
    }

    async fn commit(&mut self, deadline: Instant) -> Result<Log, RequestError> {
        let last = self.assigned.iter().filter_map(|key| Some((key.clone(), *self.received.get(key)?)));
        let last: BTreeMap<Scalar, u64> = last.collect();
        if last.is_empty() {
            return Err(RequestError::definite(CauseKind::Rejected, "nothing was consumed: not committed"));
        }
        ok(self.session.ask_by("commit_offsets", [("offsets", by_key(&last))], deadline).await?)?;
        let next = last.into_iter().map(|(key, last)| (key, Offset(last.saturating_add(1))));
        Ok(Log::Commit(Some(next.collect())))
    }

    /// Returns the end of each key: where a poll gives nothing more. Messages that are known, and do not come, are waited for,
    /// beyond `deadline` by requests that fail until [`CATCH_UP`] is over.
    async fn ends(&mut self, deadline: Instant) -> Result<Offsets, RequestError> {
        let patience = self.keys.patience();
        let known = self.keys.known();
        let mut at: BTreeMap<_, _> =
            known.iter().map(|(key, end)| (key.clone(), end.saturating_sub(1))).collect();
        let mut waits = true;
        loop {
            let came = next(&self.poll(&at, deadline).await?);
            if came.is_empty() {
                let missing = at.iter_mut().filter(|(key, at)| **at < known[*key]);
                let missing: Vec<&mut u64> = missing.map(|(_, at)| at).collect();
                if missing.is_empty() || !waits {
                    return Ok(at.into_iter().map(|(key, end)| (key, Offset(end))).collect());
                }
                if Instant::now() >= patience {
                    // These keys end before their last known messages, wherever that is.
                    missing.into_iter().for_each(|at| *at = 0);
                    waits = false;
                    continue;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            at.extend(came);
        }
    }
}

/// Returns the offset after the last of each key's messages, where there are any.
fn next(polled: &Polled) -> BTreeMap<Scalar, u64> {
    let last = polled.iter().filter_map(|(key, messages)| Some((key, messages.last()?.0.0)));
    last.map(|(key, last)| (key.clone(), last.saturating_add(1))).collect()
}

/// Returns an object with a field for each key.
fn by_key(offsets: &BTreeMap<Scalar, u64>) -> Value {
    Value::Object(offsets.iter().map(|(key, offset)| (key.to_string(), json!(offset))).collect::<Map<_, _>>())
}

#[async_trait]
impl Client<Log> for LogClient {
    async fn invoke(&mut self, action: &Log) -> Outcome<Log> {
        match self.request(action).await {
            Ok(answer) => Outcome::Ok(answer),
            Err(failure) => Outcome::failed(action, failure),
        }
    }
}
