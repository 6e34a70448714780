//! A client of transactions on the store, and on Redis: `MULTI`, the commands, and `EXEC`, sent together.
//!
//! | operation | command | answer within that of `EXEC` |
//! |---|---|---|
//! | append `v` to the list `k` | `RPUSH k v` | a number |
//! | read the list `k` | `LRANGE k 0 -1` | an array, empty if there is no list |
//! | write `v` to the register `k` | `SET k v` | `OK` |
//! | read the register `k` | `GET k` | the value, or nil |
//!
//! A transaction that only reads registers is one `MGET`, which is as atomic. In the store's mode `sharded` every key begins with
//! the hash tag `{txn}`, so that all are in one slot; elsewhere there is no tag.
//!
//! | replies | outcome |
//! |---|---|
//! | `OK`, `QUEUED` for each command, and an array of answers | done, all at once |
//! | `OK`, and an error of `EXEC`, such as `EXECABORT` if a command was refused before it was queued | what that error says; `EXECABORT`: nothing was executed |
//! | an error to each, as from a server that refuses `MULTI` | nothing was executed, if each error says so |
//! | an array of answers with an error among them | unknown: the other commands were executed, as nothing is rolled back |
//! | anything else | unknown |
//!
//! Source: redis.io, "Transactions".

use std::net::SocketAddr;

use async_trait::async_trait;
use bytes::Bytes;
use duress_history::Scalar;
use duress_history::txn::{Act, Answer, Elements, Held, Micro, Txn};
use redis_protocol::resp2::types::BytesFrame;
use tokio::time::Instant;

use super::session::{Session, error_reply, unexpected};
use crate::client::{Client, Seat};
use crate::outcome::{CauseKind, Outcome, Reach, RequestError};
use crate::text;

/// An object that commands read and write.
pub(super) trait Commanded: Answer {
    /// The command that writes, before its key and its value.
    const WRITE_COMMAND: &'static str;
    /// The command that reads, before its key.
    const READ_COMMAND: &'static str;
    /// The words after the key of a read.
    const READ_REST: &'static [&'static str];
    /// The command that reads several at once, before their keys, if there is one.
    const READ_ALL_COMMAND: Option<&'static str>;

    /// Whether `reply` acknowledges a write.
    fn acknowledged(reply: &BytesFrame) -> bool;

    /// Returns the object that `reply` to a read has.
    ///
    /// # Errors
    /// An open [`RequestError`] for a reply that is no answer to a read.
    fn read(reply: &BytesFrame) -> Result<Self, RequestError>;
}

impl Commanded for Elements {
    const WRITE_COMMAND: &'static str = "RPUSH";
    const READ_COMMAND: &'static str = "LRANGE";
    const READ_REST: &'static [&'static str] = &["0", "-1"];
    const READ_ALL_COMMAND: Option<&'static str> = None;

    fn acknowledged(reply: &BytesFrame) -> bool {
        matches!(reply, BytesFrame::Integer(1..))
    }

    fn read(reply: &BytesFrame) -> Result<Self, RequestError> {
        let BytesFrame::Array(elements) = reply else { return Err(unexpected(reply)) };
        let element = |element: &BytesFrame| match element {
            BytesFrame::BulkString(value) => text::decode(value),
            other => Err(unexpected(other)),
        };
        Ok(Self(elements.iter().map(element).collect::<Result<_, _>>()?))
    }
}

impl Commanded for Held {
    const WRITE_COMMAND: &'static str = "SET";
    const READ_COMMAND: &'static str = "GET";
    const READ_REST: &'static [&'static str] = &[];
    const READ_ALL_COMMAND: Option<&'static str> = Some("MGET");

    fn acknowledged(reply: &BytesFrame) -> bool {
        matches!(reply, BytesFrame::SimpleString(word) if word == "OK")
    }

    fn read(reply: &BytesFrame) -> Result<Self, RequestError> {
        match reply {
            BytesFrame::BulkString(value) => Ok(Self(Some(text::decode(value)?))),
            BytesFrame::Null => Ok(Self(None)),
            other => Err(unexpected(other)),
        }
    }
}

/// A client that speaks to one node.
pub(super) struct TxnClient {
    session: Session,
    tag: &'static str,
}

impl TxnClient {
    /// Returns a client that will connect from its seat to `to` when it has to.
    /// `tag` comes before each key: a hash tag keeps the keys of a transaction in one shard.
    pub(super) fn new(seat: Seat, to: SocketAddr, tag: &'static str) -> Self {
        Self { session: Session::new(seat, to), tag }
    }

    async fn request<R: Commanded>(&mut self, action: &Txn<R>) -> Result<Outcome<Txn<R>>, RequestError> {
        let reads_only = action.micros.iter().all(|micro| matches!(micro.act, Act::Read(_)));
        let read_all = R::READ_ALL_COMMAND.filter(|_| reads_only);
        let commands = match read_all {
            Some(command) => vec![reads(command, action, self.tag)?],
            None => transaction(action, self.tag)?,
        };
        let deadline = self.session.deadline();
        let read = |replies: &[BytesFrame]| {
            let answers = match read_all {
                Some(_) => all_read(replies)?,
                // No key was watched.
                None => executed(replies)?.ok_or_else(|| unexpected(&BytesFrame::Null))?,
            };
            answered(action, answers).map(Outcome::Ok)
        };
        self.session.ask_all(&words(&commands), deadline, read).await
    }
}

/// Returns commands as they are sent.
pub(super) fn words(commands: &[Vec<String>]) -> Vec<Vec<&[u8]>> {
    commands.iter().map(|command| command.iter().map(String::as_bytes).collect()).collect()
}

/// Returns a key as a string, after the tag.
pub(super) fn tagged(tag: &str, key: &Scalar) -> Result<String, RequestError> {
    text::encode(key).map(|key| format!("{tag}{key}"))
}

/// Returns the command that reads the keys of `action`.
fn reads<R>(command: &str, action: &Txn<R>, tag: &str) -> Result<Vec<String>, RequestError> {
    let keys = action.micros.iter().map(|micro| tagged(tag, &micro.key));
    std::iter::once(Ok(command.to_owned())).chain(keys).collect()
}

/// Returns the commands of `action`, from `MULTI` to `EXEC`.
fn transaction<R: Commanded>(action: &Txn<R>, tag: &str) -> Result<Vec<Vec<String>>, RequestError> {
    let command = |Micro { key, act }: &Micro<R>| {
        let key = tagged(tag, key)?;
        Ok(match act {
            Act::Write(value) => vec![R::WRITE_COMMAND.to_owned(), key, text::encode(value)?],
            Act::Read(_) => {
                let rest = R::READ_REST.iter().map(|word| (*word).to_owned());
                [R::READ_COMMAND.to_owned(), key].into_iter().chain(rest).collect()
            }
        })
    };
    Ok(atomic(action.micros.iter().map(command).collect::<Result<Vec<_>, RequestError>>()?))
}

/// Returns `commands` as one transaction.
pub(super) fn atomic(commands: Vec<Vec<String>>) -> Vec<Vec<String>> {
    let alone = |word: &str| vec![word.to_owned()];
    std::iter::once(alone("MULTI")).chain(commands).chain([alone("EXEC")]).collect()
}

/// Returns the answers to a command that reads several keys.
pub(super) fn all_read(replies: &[BytesFrame]) -> Result<&[BytesFrame], RequestError> {
    match replies {
        [BytesFrame::Array(answers)] => Ok(answers),
        [BytesFrame::Error(error)] => Err(error_reply(error)),
        [other] => Err(unexpected(other)),
        _ => Err(RequestError::open(CauseKind::Unreadable, "not one reply to one command")),
    }
}

/// Watches `keys` and reads what they hold by `read`, nothing for one that is not there. Those watched before are not any more.
///
/// # Errors
/// A [`RequestError`]: no reply, an error reply, or what `read` makes of them.
pub(super) async fn watched<T>(
    session: &mut Session,
    keys: &[String],
    deadline: Instant,
    read: impl FnOnce(&[Option<Bytes>]) -> Result<T, RequestError>,
) -> Result<T, RequestError> {
    let of_keys = |word: &str| std::iter::once(word.to_owned()).chain(keys.iter().cloned()).collect();
    let commands = [vec!["UNWATCH".to_owned()], of_keys("WATCH"), of_keys("MGET")];
    let read = |replies: &[BytesFrame]| match replies.iter().find_map(refusal) {
        Some(refusal) => Err(refusal),
        None => read(&stored(all_read(&replies[2..])?)?),
    };
    session.ask_all(&words(&commands), deadline, read).await
}

/// Returns the strings in the answer to `MGET`.
pub(super) fn stored(answers: &[BytesFrame]) -> Result<Vec<Option<Bytes>>, RequestError> {
    let stored = |answer: &BytesFrame| match answer {
        BytesFrame::BulkString(text) => Ok(Some(text.clone())),
        BytesFrame::Null => Ok(None),
        other => Err(unexpected(other)),
    };
    answers.iter().map(stored).collect()
}

/// Returns the answers to the commands between `MULTI` and `EXEC`, given the replies to all of these; `None` if a watched key had
/// changed, and nothing was executed.
pub(super) fn executed(replies: &[BytesFrame]) -> Result<Option<&[BytesFrame]>, RequestError> {
    let [begun, queued @ .., exec] = replies else {
        return Err(RequestError::open(CauseKind::Unreadable, "no replies to MULTI and EXEC"));
    };
    let is = |reply: &BytesFrame, said: &str| matches!(reply, BytesFrame::SimpleString(word) if word == said);
    let began = is(begun, "OK") && queued.iter().all(|reply| is(reply, "QUEUED") || refusal(reply).is_some());
    let refusals: Vec<RequestError> = std::iter::once(begun).chain(queued).filter_map(refusal).collect();
    match exec {
        BytesFrame::Array(answers) if began && refusals.is_empty() && answers.len() == queued.len() => {
            match answers.iter().find_map(refusal) {
                Some(failed) => Err(RequestError { reach: Reach::Unknown, ..failed }),
                None => Ok(Some(answers)),
            }
        }
        BytesFrame::Null if began && refusals.is_empty() => Ok(None),
        BytesFrame::Error(error) => {
            let ended = error_reply(error);
            let each_refused = refusals.len() == queued.len() + 1
                && refusals.iter().all(|refusal| refusal.reach == Reach::Nothing);
            let reach = match began {
                true => ended.reach,
                // Commands of a transaction that did not begin are executed alone.
                false if each_refused => Reach::Nothing,
                false => Reach::Unknown,
            };
            // A command that was refused before it was queued says why.
            let cause = refusals.into_iter().next().unwrap_or(ended).cause;
            Err(RequestError { reach, cause })
        }
        other => Err(unexpected(other)),
    }
}

/// Returns the error that `reply` is.
fn refusal(reply: &BytesFrame) -> Option<RequestError> {
    match reply {
        BytesFrame::Error(error) => Some(error_reply(error)),
        _ => None,
    }
}

/// Returns `action` with these answers.
fn answered<R: Commanded>(action: &Txn<R>, answers: &[BytesFrame]) -> Result<Txn<R>, RequestError> {
    if answers.len() != action.micros.len() {
        let (found, asked) = (answers.len(), action.micros.len());
        return Err(RequestError::open(
            CauseKind::Unreadable,
            format!("{found} answers to {asked} commands"),
        ));
    }
    let answer = |(micro, reply): (&Micro<R>, &BytesFrame)| {
        let act = match &micro.act {
            Act::Read(_) => Act::Read(Some(R::read(reply)?)),
            Act::Write(_) if R::acknowledged(reply) => micro.act.clone(),
            Act::Write(_) => return Err(unexpected(reply)),
        };
        Ok(Micro { key: micro.key.clone(), act })
    };
    Ok(Txn { micros: action.micros.iter().zip(answers).map(answer).collect::<Result<_, _>>()? })
}

#[async_trait]
impl<R: Commanded> Client<Txn<R>> for TxnClient {
    async fn invoke(&mut self, action: &Txn<R>) -> Outcome<Txn<R>> {
        self.request(action).await.unwrap_or_else(|failure| Outcome::failed(action, failure))
    }
}
