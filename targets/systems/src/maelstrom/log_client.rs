//! A client of Maelstrom's workload `kafka`.
//!
//! | operation | requests |
//! |---|---|
//! | `send` | `send` of each message, one after the other |
//! | `poll` | `poll` of the assigned keys, each from the client's position |
//! | `assign`, `seek` | none: positions are the client's |
//! | `commit` | `commit_offsets` of the positions |
//! | `committed` | `list_committed_offsets` of all keys |
//! | `end-offsets` | `poll` of all keys until nothing more comes, from the last known message on: there is no such request |
//! | `crash` | none: the connection is closed |
//!
//! Keys are the partitions' names. A committed offset is there the last that was consumed, and here the one after it. There are
//! no groups: `subscribe` is refused.

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

/// The keys of a run, shared by its clients: the offset after the last message that any of them knows of, in each.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys(Arc<Mutex<BTreeMap<Scalar, u64>>>);

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
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes that there is a message before `end`.
    fn reach(&self, key: &Scalar, end: u64) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.entry(key.clone()).or_default();
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
}

impl LogClient {
    pub(super) fn new(session: Session, keys: Keys) -> Self {
        Self { session, keys, assigned: Vec::new(), positions: BTreeMap::new() }
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
                if *from == Start::Beginning {
                    self.positions.retain(|key, _| !keys.contains(key));
                }
                self.assigned.clone_from(keys);
                Ok(action.clone())
            }
            Log::Seek(offsets) => {
                self.positions.extend(offsets.iter().map(|(key, Offset(offset))| (key.clone(), *offset)));
                Ok(action.clone())
            }
            Log::Commit(_) => self.commit(deadline).await,
            Log::Committed(_) => {
                let keys: Vec<String> = self.keys.known().keys().map(ToString::to_string).collect();
                let fields = [("keys", json!(keys))];
                let reply = ok(self.session.ask_by("list_committed_offsets", fields, deadline).await?)?;
                let last: BTreeMap<String, u64> = read(&reply, "offsets")?;
                let after =
                    last.into_iter().map(|(key, last)| (key.as_str().into(), Offset(last.saturating_add(1))));
                Ok(Log::Committed(Some(after.collect())))
            }
            Log::EndOffsets(_) => self.ends(deadline).await.map(|ends| Log::EndOffsets(Some(ends))),
            Log::Crash => {
                self.session.disconnect();
                self.assigned.clear();
                self.positions.clear();
                Err(RequestError::open(CauseKind::Unknown, "the client crashed, as requested"))
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

    /// Polls the assigned keys, and moves on behind what came.
    async fn advance(&mut self, deadline: Instant) -> Result<Polled, RequestError> {
        let at = |key: &Scalar| (key.clone(), self.positions.get(key).copied().unwrap_or_default());
        let from = self.assigned.iter().map(at).collect();
        let polled = self.poll(&from, deadline).await?;
        self.positions.extend(next(&polled));
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
        let consumed = self.assigned.iter().filter_map(|key| Some((key.clone(), *self.positions.get(key)?)));
        let consumed: BTreeMap<Scalar, u64> = consumed.filter(|(_, next)| *next > 0).collect();
        if consumed.is_empty() {
            return Err(RequestError::definite(CauseKind::Rejected, "nothing was consumed: not committed"));
        }
        let last = consumed.iter().map(|(key, next)| (key.clone(), next - 1)).collect();
        ok(self.session.ask_by("commit_offsets", [("offsets", by_key(&last))], deadline).await?)?;
        Ok(Log::Commit(Some(consumed.into_iter().map(|(key, next)| (key, Offset(next))).collect())))
    }

    /// Returns the end of each key: where a poll gives nothing more. A message that is known, and does not come, is waited for.
    async fn ends(&mut self, deadline: Instant) -> Result<Offsets, RequestError> {
        let patience = Instant::now() + deadline.saturating_duration_since(Instant::now()) / 2;
        let known = self.keys.known();
        let mut at = known.iter().map(|(key, end)| (key.clone(), end.saturating_sub(1))).collect();
        let last = next(&self.poll(&at, deadline).await?);
        at.extend(last);
        for (key, at) in &mut at {
            // It ends before its last known message, wherever that is.
            if *at < known[key] {
                *at = 0;
            }
        }
        loop {
            let came = next(&self.poll(&at, deadline).await?);
            if came.is_empty() {
                if at.iter().all(|(key, at)| *at >= known[key]) || Instant::now() >= patience {
                    return Ok(at.into_iter().map(|(key, end)| (key, Offset(end))).collect());
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
