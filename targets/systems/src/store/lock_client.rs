//! A client of locks on the store, and on Redis: a lock is a key that is there while a client holds it.
//!
//! | operation | commands |
//! |---|---|
//! | acquire `l` | `UNWATCH`, `WATCH l {l}:fence`, `MGET l {l}:fence`; then, if `l` is not there, `MULTI`, `SET l n NX`, `SET {l}:fence n`, `EXEC`, where `n` is one more than the number in `{l}:fence` |
//! | release `l`, acquired with `n` | `UNWATCH`, `WATCH l`, `MGET l`; then, if `l` is `n`, `MULTI`, `DEL l`, `EXEC` |
//!
//! The token is `n`. It is drawn by the same transaction that takes the lock: a number drawn before that, by `INCR`, may belong to
//! a client that takes the lock after one with a greater number. Both keys have one hash tag.
//!
//! The store forgets no key by itself. A lock with a lease is `n t`, where `t` is the end of the lease in milliseconds since 1970:
//! by the clock of the machine that the clients are on, whoever finds it past that takes the lock, by `SET l` without `NX`.
//!
//! An acquisition that is not executed, because a watched key had changed, has failed: another client was faster. A release looks
//! again, since a move between shards may change the key's version too.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use duress_history::fenced_mutex::FencedMutex;
use duress_history::mutex::MutexOp;
use redis_protocol::resp2::types::BytesFrame;
use tokio::time::Instant;

use super::session::{Session, unexpected};
use super::txn_client::{atomic, executed, watched, words};
use crate::client::{Client, Seat};
use crate::lock;
use crate::outcome::{CauseKind, Outcome, Reach, RequestError};
use crate::text;

/// A client that speaks to one node.
pub(super) struct LockClient(Session);

/// A lock that is held, as its key has it.
#[derive(Clone, Copy)]
struct Held {
    token: i64,
    /// The end of the lease, in milliseconds since 1970.
    until_ms: Option<u64>,
}

impl LockClient {
    /// Returns a client that will connect from its seat to `to` when it has to.
    pub(super) fn new(seat: Seat, to: SocketAddr) -> Self {
        Self(Session::new(seat, to))
    }

    async fn request(&mut self, action: &FencedMutex) -> Result<Outcome<FencedMutex>, RequestError> {
        let key = text::of_key(action.mutex.lock.as_ref())?;
        let deadline = self.0.deadline();
        match action.mutex.op {
            MutexOp::Acquire => self.acquire(action, &key, deadline).await,
            MutexOp::Release => self.release(action, &key, deadline).await,
        }
    }

    async fn acquire(
        &mut self,
        action: &FencedMutex,
        key: &str,
        deadline: Instant,
    ) -> Result<Outcome<FencedMutex>, RequestError> {
        let keys = [key.to_owned(), format!("{{{key}}}:fence")];
        let found = self.watched(&keys, deadline, |found| match found {
            [held, fence] => {
                let fence = fence.as_ref().map(|fence| text::number(fence)).transpose()?;
                Ok((held.as_ref().map(|held| Held::read(held)).transpose()?, fence.unwrap_or_default()))
            }
            _ => Err(not_of(keys.len())),
        });
        let (held, fence) = found.await?;
        if held.is_some_and(|held| held.until_ms.is_none_or(|until| until > now_ms())) {
            return Ok(lock::taken());
        }
        let full = || RequestError::definite(CauseKind::Rejected, "there is no greater token: not sent");
        let token = fence.checked_add(1).ok_or_else(full)?;
        let until_ms = action.lease_ms.map(|lease| now_ms().saturating_add(lease));
        let mut take = vec!["SET".to_owned(), keys[0].clone(), Held { token, until_ms }.text()];
        // A lease that is over is still there: the transaction is executed only if nothing has replaced it.
        take.extend(held.is_none().then(|| "NX".to_owned()));
        let draw = vec!["SET".to_owned(), keys[1].clone(), token.to_string()];
        let done = self.follow_up(vec![take, draw], deadline).await?;
        Ok(if done { lock::acquired(action, token) } else { lock::taken() })
    }

    async fn release(
        &mut self,
        action: &FencedMutex,
        key: &str,
        deadline: Instant,
    ) -> Result<Outcome<FencedMutex>, RequestError> {
        let token = lock::token(action)?;
        let keys = [key.to_owned()];
        while Instant::now() < deadline {
            let found = self.watched(&keys, deadline, |found| match found {
                [held] => held.as_ref().map(|held| Held::read(held)).transpose(),
                _ => Err(not_of(keys.len())),
            });
            if found.await?.is_none_or(|held| held.token != token) {
                return Ok(lock::lost());
            }
            let delete = vec!["DEL".to_owned(), key.to_owned()];
            if self.follow_up(vec![delete], deadline).await? {
                return Ok(Outcome::Ok(action.clone()));
            }
        }
        Err(RequestError::definite(CauseKind::Timeout, "the lock's key changed all the time: not released"))
    }

    /// Watches `keys`, and reads what they hold by `read`. Nothing is changed, whatever the outcome.
    async fn watched<T>(
        &mut self,
        keys: &[String],
        deadline: Instant,
        read: impl FnOnce(&[Option<bytes::Bytes>]) -> Result<T, RequestError>,
    ) -> Result<T, RequestError> {
        let before_anything = |failure| RequestError { reach: Reach::Nothing, ..failure };
        watched(&mut self.0, keys, deadline, read).await.map_err(before_anything)
    }

    /// Executes `commands` as one if no watched key has changed; returns whether it did.
    async fn follow_up(
        &mut self,
        commands: Vec<Vec<String>>,
        deadline: Instant,
    ) -> Result<bool, RequestError> {
        let commands = atomic(commands);
        let read = |replies: &[BytesFrame]| {
            let Some(answers) = executed(replies)? else { return Ok(false) };
            let done = |reply: &&BytesFrame| match reply {
                BytesFrame::SimpleString(word) => word == "OK",
                BytesFrame::Integer(deleted) => *deleted == 1,
                _ => false,
            };
            match answers.iter().find(|reply| !done(reply)) {
                Some(other) => Err(unexpected(other)),
                None => Ok(true),
            }
        };
        self.0.follow_up(&words(&commands), deadline, read).await
    }
}

impl Held {
    fn text(self) -> String {
        match self.until_ms {
            Some(until) => format!("{} {until}", self.token),
            None => self.token.to_string(),
        }
    }

    fn read(value: &[u8]) -> Result<Self, RequestError> {
        let read = || {
            let text = std::str::from_utf8(value).ok()?;
            let (token, until) =
                text.split_once(' ').map_or((text, None), |(token, until)| (token, Some(until)));
            Some(Self { token: token.parse().ok()?, until_ms: until.map(str::parse).transpose().ok()? })
        };
        read().ok_or_else(|| RequestError::open(CauseKind::Unreadable, "a lock that no client here wrote"))
    }
}

fn not_of(keys: usize) -> RequestError {
    RequestError::open(CauseKind::Unreadable, format!("not a value for each of {keys} keys"))
}

/// Returns the time by which leases are measured.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[async_trait]
impl Client<FencedMutex> for LockClient {
    async fn invoke(&mut self, action: &FencedMutex) -> Outcome<FencedMutex> {
        self.request(action).await.unwrap_or_else(|failure| Outcome::failed(action, failure))
    }
}
