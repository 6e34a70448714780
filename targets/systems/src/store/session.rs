//! A client's side of the store: one connection, one command at a time, and what error replies mean.
//!
//! The store's error replies begin with a word that says what may have happened: `CLUSTERDOWN` and `ERR`, certainly not
//! executed; `UNKNOWN`, perhaps. A word that the contract does not have is read as perhaps.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use redis_protocol::resp2::types::{BytesFrame, Resp2Frame};
use tokio::time::Instant;

use crate::client::Seat;
use crate::outcome::{CauseKind, RequestError};
use crate::resp::RespConnection;

/// So often a command is sent on to the node that another one names.
const REDIRECTS_MAX: usize = 3;

/// The part that all clients of the store share.
pub(super) struct Session {
    seat: Seat,
    to: SocketAddr,
    /// Those to other nodes are of redirections.
    connections: BTreeMap<SocketAddr, RespConnection>,
}

impl Session {
    /// Returns one that will connect from its seat to `to` when it has to.
    pub(super) fn new(seat: Seat, to: SocketAddr) -> Self {
        Self { seat, to, connections: BTreeMap::new() }
    }

    /// When an operation that begins now is given up.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.seat.timeout
    }

    /// Sends a command and reads its reply by `read`. A node of a Redis Cluster that has not the key names the one that has:
    /// it has executed nothing, and the command is sent there.
    ///
    /// # Errors
    /// A [`RequestError`]: no reply, an error reply, or what `read` makes of it.
    pub(super) async fn ask<T>(
        &mut self,
        words: &[&[u8]],
        deadline: Instant,
        read: impl FnOnce(&BytesFrame) -> Result<T, RequestError>,
    ) -> Result<T, RequestError> {
        let command = [words.to_vec()];
        let mut read = Some(read);
        let mut to = self.to;
        for redirects in 0.. {
            let connection = self.connect(to, deadline).await?;
            let mut next = None;
            let answer = self.ask_on(to, connection, &command, deadline, |replies| match &replies[0] {
                BytesFrame::Error(error) => {
                    next = moved(error, to);
                    Err(error_reply(error))
                }
                reply => read.take().expect("one reply is read")(reply),
            });
            match (answer.await, next) {
                (Err(_), Some(next)) if redirects < REDIRECTS_MAX => to = next,
                (answer, _) => return answer,
            }
        }
        unreachable!("redirections end")
    }

    /// Sends commands together and reads their replies, one for each and perhaps errors, by `read`.
    ///
    /// # Errors
    /// A [`RequestError`]: no reply, or what `read` makes of them.
    pub(super) async fn ask_all<T>(
        &mut self,
        commands: &[Vec<&[u8]>],
        deadline: Instant,
        read: impl FnOnce(&[BytesFrame]) -> Result<T, RequestError>,
    ) -> Result<T, RequestError> {
        let connection = self.connect(self.to, deadline).await?;
        self.ask_on(self.to, connection, commands, deadline, read).await
    }

    /// As [`Session::ask_all`], on the connection of the request before, which knows what that began.
    ///
    /// # Errors
    /// As [`Session::ask_all`], and a definite [`RequestError`] if that connection is gone.
    pub(super) async fn follow_up<T>(
        &mut self,
        commands: &[Vec<&[u8]>],
        deadline: Instant,
        read: impl FnOnce(&[BytesFrame]) -> Result<T, RequestError>,
    ) -> Result<T, RequestError> {
        let gone = || RequestError::definite(CauseKind::ConnectionLost, "the node closed the connection");
        let connection = self.kept(self.to).ok_or_else(gone)?;
        self.ask_on(self.to, connection, commands, deadline, read).await
    }

    /// Takes the connection out, so that a request that ends early, however it ends, leaves none behind.
    fn kept(&mut self, to: SocketAddr) -> Option<RespConnection> {
        self.connections.remove(&to).filter(RespConnection::is_idle)
    }

    async fn connect(&mut self, to: SocketAddr, deadline: Instant) -> Result<RespConnection, RequestError> {
        match self.kept(to) {
            Some(connection) => Ok(connection),
            None => RespConnection::open(&*self.seat.place, to, deadline).await,
        }
    }

    async fn ask_on<T>(
        &mut self,
        to: SocketAddr,
        mut connection: RespConnection,
        commands: &[Vec<&[u8]>],
        deadline: Instant,
        read: impl FnOnce(&[BytesFrame]) -> Result<T, RequestError>,
    ) -> Result<T, RequestError> {
        let answer = read(&connection.call_all(commands, deadline).await?);
        if !matches!(&answer, Err(failure) if failure.cause.kind == CauseKind::Unreadable) {
            self.connections.insert(to, connection);
        }
        answer
    }
}

/// Returns the store's contract of errors, and Redis's where the store is silent.
pub(super) fn error_reply(error: &str) -> RequestError {
    let text = error.to_owned();
    match error.split(' ').next() {
        // The last two are those of a Redis replica, which refuses the command before it does anything.
        Some("CLUSTERDOWN" | "READONLY" | "MASTERDOWN") => RequestError::definite(CauseKind::NoLeader, text),
        // So does a Redis that loads its data, lacks replicas, or cannot save, one that discards a transaction, and a store
        // or a Redis Cluster that has the keys in several shards, in another one, or on their way.
        Some(
            "ERR" | "LOADING" | "NOREPLICAS" | "MISCONF" | "WRONGTYPE" | "NOAUTH" | "NOPERM" | "EXECABORT"
            | "CROSSSLOT" | "MOVED" | "ASK" | "TRYAGAIN",
        ) => RequestError::definite(CauseKind::Rejected, text),
        _ => RequestError::open(CauseKind::Unknown, text),
    }
}

/// Returns the node to which the error `MOVED SLOT HOST:PORT` of the node `from` refers; without a host, the port is on that of
/// `from`.
fn moved(error: &str, from: SocketAddr) -> Option<SocketAddr> {
    let (_, address) = error.strip_prefix("MOVED ")?.split_once(' ')?;
    let (host, port) = address.rsplit_once(':')?;
    let host = if host.is_empty() { from.ip() } else { host.trim_matches(['[', ']']).parse().ok()? };
    Some(SocketAddr::new(host, port.parse().ok()?))
}

/// Returns the error of a reply that does not answer the command.
pub(super) fn unexpected(reply: &BytesFrame) -> RequestError {
    let text = format!("a reply of kind {:?}, which answers no such command", reply.kind());
    RequestError::open(CauseKind::Unreadable, text)
}
