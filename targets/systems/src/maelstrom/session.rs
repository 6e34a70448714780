//! A client's side of a node: one connection to its process, one request at a time.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::message::{Body, Message};
use super::record::ClientRecord;
use crate::client::Seat;
use crate::outcome::{CauseKind, RequestError};
use crate::place::open;

/// The part that all clients of Maelstrom's nodes share.
pub(super) struct Session {
    seat: Seat,
    to: SocketAddr,
    /// The client's name among the cluster's.
    name: String,
    /// The record of its messages, if they are recorded.
    record: Option<ClientRecord>,
    /// The number of its last request.
    number: u64,
    connection: Option<BufReader<TcpStream>>,
}

impl Session {
    /// Returns that of the client `name`, which will connect from its seat to `to` when it has to.
    pub(super) fn new(seat: Seat, to: SocketAddr, name: String, record: Option<ClientRecord>) -> Self {
        Self { seat, to, name, record, number: 0, connection: None }
    }

    /// Returns when an operation that begins now must have ended.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.seat.timeout
    }

    /// Closes the connection; the next request opens another.
    pub(super) fn disconnect(&mut self) {
        self.connection = None;
    }

    /// The same as [`Session::ask_by`], for an operation of one request.
    pub(super) async fn ask(
        &mut self,
        kind: &'static str,
        fields: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> Result<Body, RequestError> {
        self.ask_by(kind, fields, self.deadline()).await
    }

    /// Sends a request, and returns its reply by `deadline`: an error, or of the type that belongs to the request.
    ///
    /// # Errors
    /// A [`RequestError`]: no reply, or one to nothing that was asked.
    pub(super) async fn ask_by(
        &mut self,
        kind: &'static str,
        fields: impl IntoIterator<Item = (&'static str, Value)>,
        deadline: Instant,
    ) -> Result<Body, RequestError> {
        // Taken out, so that a request that ends early, however it ends, leaves no connection behind.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => BufReader::new(open(&*self.seat.place, self.to, deadline).await?),
        };
        self.number += 1;
        let body = Body { msg_id: Some(self.number), ..Body::new(kind, fields) };
        let request = Message { src: self.name.clone(), dest: self.seat.node.to_string(), body };
        let lost = |error: std::io::Error| {
            RequestError::open(CauseKind::ConnectionLost, format!("the connection: {error}"))
        };
        let late = |_| RequestError::open(CauseKind::Timeout, "no reply in time");
        let line = request.line();
        if let Some(record) = &self.record {
            record.sent(&request, line.len());
        }
        timeout_at(deadline, connection.write_all(&line)).await.map_err(late)?.map_err(lost)?;
        loop {
            let mut line = Vec::new();
            let length = timeout_at(deadline, connection.read_until(b'\n', &mut line)).await.map_err(late)?;
            if length.map_err(lost)? == 0 {
                return Err(RequestError::open(
                    CauseKind::ConnectionLost,
                    "the node's process ended the connection",
                ));
            }
            let unreadable = |text: String| RequestError::open(CauseKind::Unreadable, text);
            let reply = Message::parse(&line)
                .map_err(|error| unreadable(format!("a reply that cannot be read: {error}")))?
                .body;
            if let Some((record, number)) = self.record.as_ref().zip(reply.in_reply_to) {
                record.arrived(number, self.seat.node.as_str(), &self.name);
            }
            match reply.in_reply_to {
                // The reply to a request that was given up.
                Some(number) if number < self.number => continue,
                Some(number) if number == self.number => {}
                other => {
                    return Err(unreadable(format!("a reply to request {other:?}, not to {}", self.number)));
                }
            }
            if reply.kind != "error" && reply.kind.strip_suffix("_ok") != Some(kind) {
                return Err(unreadable(format!("a reply of type {} to {kind}", reply.kind)));
            }
            self.connection = Some(connection);
            return Ok(reply);
        }
    }
}
