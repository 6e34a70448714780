//! One client, pipelining included.
//!
//! Requests are answered in the order in which the client sent them. Neighbouring writes become one proposal and
//! neighbouring reads one read, so a pipeline costs one round for each change between the two; a transaction costs one.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use redis_protocol::error::RedisProtocolError;
use redis_protocol::resp2::decode::decode_bytes_mut;
use redis_protocol::resp2::types::BytesFrame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::info::{commands, info};
use super::reply::RespReply;
use super::request::{Control, End, Request, RequestError, Session, Version};
use super::transaction::{BYTES_MAX, Outcome, Queue};
use crate::bug::Bug;
use crate::command::{Answer, Command, Condition, Query, Reply};
use crate::config::NodeName;
use crate::node::{Contents, Node};
use crate::outcome::{Failure, Refused, Unknown};
use crate::sharded::slots::slot_of;

const INBOX_BYTES_MAX: usize = 64 << 20;
const PIPELINE_MAX: usize = 1_024;
/// The space that a watched key takes, besides its own bytes.
const WATCH_BYTES: usize = 64;

/// Why a connection ended before the client closed it.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The socket failed.
    #[error("the client's connection failed")]
    Socket(#[from] io::Error),
    /// The client does not speak the protocol.
    #[error("the client does not speak RESP")]
    Protocol(#[from] RedisProtocolError),
    /// A request above the limit.
    #[error("the client's request is longer than {INBOX_BYTES_MAX} bytes")]
    TooLong,
}

/// The node that serves a connection.
#[derive(Clone)]
pub struct Service {
    /// The node.
    pub node: Node,
    /// Its name.
    pub name: NodeName,
    /// Its bug, if it has one.
    pub bug: Option<Bug>,
    /// Notified when a client asks the node to shut down.
    pub shutdown: Arc<Notify>,
}

/// Whether to continue after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    GoOn,
    Close,
}

struct Connection {
    service: Service,
    id: u64,
    version: Version,
    /// The transaction that `MULTI` began.
    queue: Option<Queue>,
    /// The keys that the next `EXEC` depends on, and their versions when `WATCH` named them.
    watched: Vec<(Bytes, u64)>,
    outbox: BytesMut,
}

/// A request, or its refusal, and how many bytes it has.
type Received = (Result<Request, RequestError>, usize);

/// Serves one client until it leaves, quits, or the connection fails.
///
/// # Errors
/// The socket failed, or the client does not speak RESP.
pub async fn serve_client(mut stream: TcpStream, id: u64, service: Service) -> Result<(), ConnectionError> {
    stream.set_nodelay(true)?;
    let mut inbox = BytesMut::with_capacity(4 << 10);
    let mut connection = Connection {
        service,
        id,
        version: Version::Two,
        queue: None,
        watched: Vec::new(),
        outbox: BytesMut::new(),
    };
    loop {
        let mut requests = Vec::new();
        let mut broken = None;
        while requests.len() < PIPELINE_MAX {
            match take_request(&mut inbox) {
                Ok(Some(words)) if words.is_empty() => {}
                Ok(Some(words)) => {
                    let bytes = words.iter().map(Bytes::len).sum();
                    requests.push((Request::parse(words), bytes));
                }
                Ok(None) => break,
                Err(error) => {
                    broken = Some(error);
                    break;
                }
            }
        }
        let full = requests.len() == PIPELINE_MAX;
        let next = connection.answer(requests).await?;
        if let Some(error) = &broken {
            RespReply::Error(format!("ERR Protocol error: {}", error.details()))
                .encode(connection.version, &mut connection.outbox)?;
        }
        if !connection.outbox.is_empty() {
            stream.write_all(&connection.outbox).await?;
            connection.outbox.clear();
        }
        match (broken, next) {
            (Some(error), _) => return Err(error.into()),
            (None, Next::Close) => return Ok(()),
            (None, Next::GoOn) if full => continue,
            (None, Next::GoOn) => {}
        }
        if inbox.len() > INBOX_BYTES_MAX {
            return Err(ConnectionError::TooLong);
        }
        if stream.read_buf(&mut inbox).await? == 0 {
            return Ok(());
        }
    }
}

/// Takes the words of one request from the front of the input, if it is complete.
///
/// Requests are arrays of bulk strings in both versions of the protocol; a line of plain words is accepted too, as
/// in Redis, for use with telnet.
fn take_request(inbox: &mut BytesMut) -> Result<Option<Vec<Bytes>>, RedisProtocolError> {
    let Some(first) = inbox.first() else { return Ok(None) };
    if *first != b'*' {
        let Some(end) = inbox.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
        let line = inbox.split_to(end + 1).freeze();
        let words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        return Ok(Some(words.map(|word| line.slice_ref(word)).collect()));
    }
    let Some((frame, _, _)) = decode_bytes_mut(inbox)? else { return Ok(None) };
    let not_bulk = || {
        RedisProtocolError::new(redis_protocol::error::RedisProtocolErrorKind::DecodeError, "expected '$'")
    };
    let BytesFrame::Array(items) = frame else { return Err(not_bulk()) };
    let word = |item| match item {
        BytesFrame::BulkString(bytes) => Ok(bytes),
        _ => Err(not_bulk()),
    };
    items.into_iter().map(word).collect::<Result<_, _>>().map(Some)
}

/// Neighbouring requests of one kind, which are executed together.
#[derive(Debug, Default)]
enum Run {
    #[default]
    None,
    /// The writes; those that are answered with what their keys had before have their conditions beside them.
    Writes(Vec<(Command, Option<Condition>)>),
    Reads(Vec<Query>),
}

/// Returns the settings that `CONFIG GET` finds: the two that redis-benchmark prints, in Redis's terms. It
/// cannot change any.
fn settings(pattern: &[u8]) -> Vec<(&'static str, RespReply)> {
    let known = [("save", ""), ("appendonly", "yes")];
    let found = known.into_iter().filter(|(name, _)| pattern.eq_ignore_ascii_case(name.as_bytes()));
    found.map(|(name, value)| (name, RespReply::Bulk(value.into()))).collect()
}

/// Returns a write that is answered with what its key had before.
fn telling(command: Command) -> (Command, Option<Condition>) {
    let condition = command.condition().cloned();
    (command, condition)
}

impl Connection {
    async fn answer(&mut self, requests: Vec<Received>) -> Result<Next, RedisProtocolError> {
        let mut run = Run::None;
        for (request, bytes) in requests {
            if let Some(queue) = &mut self.queue
                && !matches!(request, Ok(Request::Transaction(_) | Request::End(End::Quit)))
            {
                let reply = match request {
                    Ok(request) => queue.push(request, bytes),
                    Err(error) => queue.refuse(error.to_string()),
                };
                self.reply(reply)?;
                continue;
            }
            match (request, &mut run) {
                (Ok(Request::Write(command)), Run::Writes(writes)) => writes.push((command, None)),
                (Ok(Request::WriteAndTell(command)), Run::Writes(writes)) => writes.push(telling(command)),
                (Ok(Request::Read(query)), Run::Reads(queries)) => queries.push(query),
                (Ok(Request::Write(command)), _) => {
                    self.finish(std::mem::replace(&mut run, Run::Writes(vec![(command, None)]))).await?;
                }
                (Ok(Request::WriteAndTell(command)), _) => {
                    self.finish(std::mem::replace(&mut run, Run::Writes(vec![telling(command)]))).await?;
                }
                (Ok(Request::Read(query)), _) => {
                    self.finish(std::mem::replace(&mut run, Run::Reads(vec![query]))).await?;
                }
                (Ok(Request::Session(session)), _) => {
                    self.finish(std::mem::take(&mut run)).await?;
                    let reply = self.session(session);
                    self.reply(reply)?;
                }
                (Ok(Request::Cluster(request)), _) => {
                    self.finish(std::mem::take(&mut run)).await?;
                    let reply = self.service.node.cluster(request).await;
                    self.reply(reply)?;
                }
                (Ok(Request::Members(request)), _) => {
                    self.finish(std::mem::take(&mut run)).await?;
                    let reply = self.service.node.members(request).await;
                    self.reply(reply)?;
                }
                (Ok(Request::Siblings(request)), _) => {
                    self.finish(std::mem::take(&mut run)).await?;
                    let reply = self.service.node.siblings(request).await;
                    self.reply(reply)?;
                }
                (Ok(Request::Transaction(control)), _) => {
                    self.finish(std::mem::take(&mut run)).await?;
                    let reply = self.control(control).await;
                    self.reply(reply)?;
                }
                (Ok(Request::End(end)), _) => {
                    self.finish(run).await?;
                    match end {
                        End::Quit => self.reply(RespReply::OK)?,
                        // As in Redis, the closing connection is the answer.
                        End::Shutdown => self.service.shutdown.notify_one(),
                    }
                    return Ok(Next::Close);
                }
                (Err(error), _) => {
                    self.finish(std::mem::take(&mut run)).await?;
                    self.reply(RespReply::Error(error.to_string()))?;
                }
            }
        }
        self.finish(run).await?;
        Ok(Next::GoOn)
    }

    async fn finish(&mut self, run: Run) -> Result<(), RedisProtocolError> {
        match run {
            Run::None => Ok(()),
            Run::Writes(writes) => {
                let (commands, told): (Vec<Command>, Vec<Option<Condition>>) = writes.into_iter().unzip();
                let result = self.service.node.write(commands).await.map(|replies| {
                    let reply = |(reply, told): (Reply, &Option<Condition>)| match told {
                        Some(condition) => RespReply::previous(condition, reply),
                        None => reply.into(),
                    };
                    replies.into_iter().zip(&told).map(reply).collect::<Vec<RespReply>>()
                });
                self.reply_all(told.len(), result)
            }
            Run::Reads(queries) => {
                let count = queries.len();
                let result = self.service.node.read(queries).await;
                self.reply_all(count, result)
            }
        }
    }

    fn reply_all<T: Into<RespReply>>(
        &mut self,
        count: usize,
        result: Result<Vec<T>, Failure>,
    ) -> Result<(), RedisProtocolError> {
        match result {
            Ok(replies) => replies.into_iter().try_for_each(|reply| self.reply(reply.into())),
            Err(failure) => (0..count).try_for_each(|_| self.reply(failure.clone().into())),
        }
    }

    fn reply(&mut self, reply: RespReply) -> Result<(), RedisProtocolError> {
        reply.encode(self.version, &mut self.outbox)
    }

    /// Begins, ends or prepares a transaction.
    async fn control(&mut self, control: Control) -> RespReply {
        let error = |text: &str| RespReply::Error(format!("ERR {text}"));
        match (control, self.queue.take()) {
            (Control::Multi, None) if !self.service.node.has_transactions() => {
                Failure::from(Refused::NeedsConsensus).into()
            }
            (Control::Multi, None) => {
                self.queue = Some(Queue::default());
                RespReply::OK
            }
            (Control::Exec, Some(queue)) => {
                let watched = std::mem::take(&mut self.watched);
                match queue.execute(&self.service.node, self.service.bug, watched).await {
                    Ok(None) => RespReply::NullArray,
                    Ok(Some(outcomes)) => {
                        let reply = |outcome| match outcome {
                            Outcome::Reply(reply) => reply,
                            Outcome::Session(session) => self.session(session),
                        };
                        RespReply::Array(outcomes.into_iter().map(reply).collect())
                    }
                    Err(error) => error,
                }
            }
            (Control::Discard, Some(_)) | (Control::Unwatch, None) => {
                self.watched.clear();
                RespReply::OK
            }
            (Control::Exec, None) => error("EXEC without MULTI"),
            (Control::Discard, None) => error("DISCARD without MULTI"),
            (Control::Watch(keys), None) => {
                let watched = self.watched.iter().map(|(key, _)| key).chain(&keys);
                if watched.map(|key| key.len() + WATCH_BYTES).sum::<usize>() > BYTES_MAX {
                    return error(
                        "the watched keys are too many: a transaction watches at most 8 MiB of them",
                    );
                }
                match self.service.node.read(vec![Query::Versions(keys.clone())]).await.as_deref() {
                    Ok([Answer::Versions(versions)]) => {
                        self.watched.extend(keys.into_iter().zip(versions.iter().copied()));
                        RespReply::OK
                    }
                    Ok([Answer::Failed(failure)]) => failure.clone().into(),
                    Ok(_) => Failure::from(Unknown::ConnectionLost).into(),
                    Err(failure) => failure.clone().into(),
                }
            }
            // The transaction goes on, as in Redis.
            (nested, Some(mut queue)) => {
                let reply = match nested {
                    Control::Unwatch => queue.push(Request::Session(Session::Accepted), 0),
                    Control::Watch(_) => error("WATCH inside MULTI is not allowed"),
                    _ => error("MULTI calls can not be nested"),
                };
                self.queue = Some(queue);
                reply
            }
        }
    }

    fn session(&mut self, session: Session) -> RespReply {
        match session {
            Session::Ping(None) => RespReply::Status("PONG"),
            Session::Ping(Some(message)) | Session::Echo(message) => RespReply::Bulk(message),
            Session::Hello(version) => {
                self.version = version.unwrap_or(self.version);
                self.hello()
            }
            Session::Info => RespReply::Bulk(info(&self.service.name, &self.service.node.status()).into()),
            Session::Contents(shard) => {
                let Some(Contents { position, values }) = self.service.node.contents(shard) else {
                    return RespReply::Error(format!("ERR there is no shard {shard} here"));
                };
                let pairs = values.into_iter().flat_map(|(key, value)| [RespReply::Bulk(key), value.into()]);
                RespReply::Array(std::iter::once(RespReply::Bulk(position.into())).chain(pairs).collect())
            }
            Session::Copies => {
                let Some(copies) = self.service.node.copies() else {
                    return RespReply::Error(
                        "ERR every node has a copy of everything: see DEBUG CONTENTS".into(),
                    );
                };
                let copy = |(owners, Contents { position, values }): (String, Contents)| {
                    let head = [owners, position].map(|text| RespReply::Bulk(text.into()));
                    let pairs =
                        values.into_iter().flat_map(|(key, value)| [RespReply::Bulk(key), value.into()]);
                    RespReply::Array(head.into_iter().chain(pairs).collect())
                };
                RespReply::Array(copies.into_iter().map(copy).collect())
            }
            Session::KeySlot(key) => RespReply::Integer(slot_of(&key).into()),
            Session::ConfigGet(pattern) => RespReply::Map(settings(&pattern)),
            Session::Commands => commands(),
            Session::CommandDetails => RespReply::Array(Vec::new()),
            Session::Accepted => RespReply::OK,
            Session::ClientId => RespReply::Integer(self.id as i64),
            Session::ClientName => RespReply::Null,
        }
    }

    fn hello(&self) -> RespReply {
        let text = |text: &'static str| RespReply::Bulk(text.into());
        let status = self.service.node.status();
        RespReply::Map(vec![
            ("server", text("redis")),
            ("version", text("7.2.0")),
            ("proto", RespReply::Integer(if self.version == Version::Two { 2 } else { 3 })),
            ("id", RespReply::Integer(self.id as i64)),
            ("mode", text(status.redis_mode())),
            ("role", text(status.role)),
            ("modules", RespReply::Array(Vec::new())),
        ])
    }
}
