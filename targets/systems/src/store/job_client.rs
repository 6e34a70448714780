//! A client of a job on the store, and on Redis: a worker, and what loads its documents and gathers its parts.
//!
//! | operation | commands |
//! |---|---|
//! | load the document `d` | `SET d text` |
//! | count `d`, as part `n` | `GET d`, then `SET d:n counts`, a JSON object of words |
//! | gather the part `n` of `d`, … | `MGET d:n …` |
//!
//! No key has a hash tag, so that documents and parts lie on all shards. A task of which nothing was sent to be written has
//! certainly not been executed. A worker that ends in the midst of its task leaves it open whether it was.

use std::net::SocketAddr;

use async_trait::async_trait;
use duress_history::Scalar;
use duress_history::job::{Counts, Dies, Job, Part};
use redis_protocol::resp2::types::BytesFrame;
use tokio::time::Instant;

use super::session::{Session, unexpected};
use super::txn_client::{all_read, words};
use crate::client::{Client, Seat};
use crate::outcome::{Cause, CauseKind, Outcome, Reach, RequestError};
use crate::text;

/// A client that speaks to one node.
pub(super) struct JobClient(Session);

impl JobClient {
    /// Returns a client that will connect from its seat to `to` when it has to.
    pub(super) fn new(seat: Seat, to: SocketAddr) -> Self {
        Self(Session::new(seat, to))
    }

    async fn request(&mut self, action: &Job) -> Result<Outcome<Job>, RequestError> {
        let deadline = self.0.deadline();
        match action {
            Job::Load { document, text } => {
                self.set(&text::encode(document)?, text.as_bytes(), deadline).await?;
                Ok(Outcome::Ok(action.clone()))
            }
            Job::Count { part, dies } => self.count(part, *dies, deadline).await,
            Job::Gather(parts) => {
                let keys = parts.iter().map(key_of).collect::<Result<Vec<_>, _>>()?;
                let command = [std::iter::once("MGET".to_owned()).chain(keys).collect()];
                let read = |replies: &[BytesFrame]| found(parts, all_read(replies)?);
                let parts = self.0.ask_all(&words(&command), deadline, read).await?;
                Ok(Outcome::Ok(Job::Gather(parts)))
            }
        }
    }

    async fn count(
        &mut self,
        part: &Part,
        dies: Option<Dies>,
        deadline: Instant,
    ) -> Result<Outcome<Job>, RequestError> {
        let document = text::encode(&part.document)?;
        let read = |reply: &BytesFrame| match reply {
            BytesFrame::BulkString(text) => match std::str::from_utf8(text) {
                Ok(text) => Ok(Some(Counts::of(text))),
                Err(_) => Err(RequestError::open(CauseKind::Unreadable, "a document that is not UTF-8")),
            },
            BytesFrame::Null => Ok(None),
            other => Err(unexpected(other)),
        };
        let before_anything = |failure| RequestError { reach: Reach::Nothing, ..failure };
        let counts = self.0.ask(&[b"GET", document.as_bytes()], deadline, read).await;
        let counts = counts.map_err(before_anything)?;
        let died = |when| Ok(Outcome::Info(Cause::new(CauseKind::Unknown, when)));
        if dies == Some(Dies::Unwritten) {
            return died("the worker ended before it wrote its part");
        }
        if let Some(counts) = &counts {
            self.set(&key_of(part)?, &encoded(counts)?, deadline).await?;
        }
        if dies == Some(Dies::Unreported) {
            return died("the worker ended before it reported its part");
        }
        Ok(Outcome::Ok(Job::Count { part: Part { counts, ..part.clone() }, dies: None }))
    }

    async fn set(&mut self, key: &str, value: &[u8], deadline: Instant) -> Result<(), RequestError> {
        let read = |reply: &BytesFrame| match reply {
            BytesFrame::SimpleString(word) if word == "OK" => Ok(()),
            other => Err(unexpected(other)),
        };
        self.0.ask(&[b"SET", key.as_bytes(), value], deadline, read).await
    }
}

/// Returns the key of a part.
fn key_of(part: &Part) -> Result<String, RequestError> {
    let Part { document, number, .. } = part;
    Ok(format!("{}:{number}", text::encode(document)?))
}

fn encoded(counts: &Counts) -> Result<Vec<u8>, RequestError> {
    serde_json::to_vec(counts)
        .map_err(|cause| RequestError::definite(CauseKind::Rejected, format!("encoding a part: {cause}")))
}

/// Returns `parts` with what the answers to `MGET` have.
fn found(parts: &[Part], answers: &[BytesFrame]) -> Result<Vec<Part>, RequestError> {
    if answers.len() != parts.len() {
        let text = format!("{} answers to {} keys", answers.len(), parts.len());
        return Err(RequestError::open(CauseKind::Unreadable, text));
    }
    let counts = |document: &Scalar, answer: &BytesFrame| match answer {
        BytesFrame::BulkString(counts) => serde_json::from_slice(counts).map(Some).map_err(|cause| {
            let text = format!("a part of {document} that is not an object of words: {cause}");
            RequestError::open(CauseKind::Unreadable, text)
        }),
        BytesFrame::Null => Ok(None),
        other => Err(unexpected(other)),
    };
    let part = |(part, answer): (&Part, &BytesFrame)| {
        Ok(Part { counts: counts(&part.document, answer)?, ..part.clone() })
    };
    parts.iter().zip(answers).map(part).collect()
}

#[async_trait]
impl Client<Job> for JobClient {
    async fn invoke(&mut self, action: &Job) -> Outcome<Job> {
        self.request(action).await.unwrap_or_else(|failure| Outcome::failed(action, failure))
    }
}
