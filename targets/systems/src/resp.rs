//! One connection that speaks RESP2, one request at a time: a command, or several sent together.
//!
//! RESP2 is the protocol of a server until the client requests more; no client here needs RESP3's types.

use std::io;
use std::net::SocketAddr;

use bytes::BytesMut;
use redis_protocol::resp2::decode::decode_bytes_mut;
use redis_protocol::resp2::encode::extend_encode_borrowed;
use redis_protocol::resp2::types::{BorrowedFrame, BytesFrame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::outcome::{CauseKind, RequestError};
use crate::place::{self, Place};

/// A reply longer than this, in bytes, is taken for garbage: the longest is all that a node holds.
const REPLY_BYTES_MAX: usize = 256 << 20;

/// An open connection to one server.
///
/// After an error of [`RespConnection::call`] it must be dropped: the answer to that request could still arrive.
pub(crate) struct RespConnection {
    stream: TcpStream,
    request: BytesMut,
    reply: BytesMut,
}

impl RespConnection {
    /// Connects to `to`.
    ///
    /// # Errors
    /// A definite [`RequestError`]: no request has been sent.
    pub(crate) async fn open(
        from: &dyn Place,
        to: SocketAddr,
        deadline: Instant,
    ) -> Result<Self, RequestError> {
        let stream = place::open(from, to, deadline).await?;
        Ok(Self { stream, request: BytesMut::new(), reply: BytesMut::new() })
    }

    /// Whether it can take another request: still open, and silent as it must be between requests.
    ///
    /// A node that was killed has closed its connections. Seeing that before anything is sent turns "may have happened"
    /// into "connection refused", which is the truth.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends one command and returns its reply, which may be an error reply.
    ///
    /// # Errors
    /// A [`RequestError`]: definite if not one byte of the command was accepted by the connection, open otherwise.
    pub(crate) async fn call(
        &mut self,
        words: &[&[u8]],
        deadline: Instant,
    ) -> Result<BytesFrame, RequestError> {
        let mut replies = self.call_all(&[words.to_vec()], deadline).await?;
        Ok(replies.pop().expect("each command has a reply"))
    }

    /// Sends commands together and returns the reply to each, in order.
    ///
    /// # Errors
    /// As [`RespConnection::call`].
    pub(crate) async fn call_all(
        &mut self,
        commands: &[Vec<&[u8]>],
        deadline: Instant,
    ) -> Result<Vec<BytesFrame>, RequestError> {
        self.request.clear();
        for words in commands {
            let words: Vec<BorrowedFrame<'_>> =
                words.iter().map(|word| BorrowedFrame::BulkString(word)).collect();
            extend_encode_borrowed(&mut self.request, &BorrowedFrame::Array(&words), false).map_err(
                |cause| RequestError::definite(CauseKind::Rejected, format!("encoding the command: {cause}")),
            )?;
        }

        let mut accepted_bytes = 0;
        let exchange = async {
            while accepted_bytes < self.request.len() {
                accepted_bytes += self.stream.write(&self.request[accepted_bytes..]).await.map_err(broken)?;
            }
            read_replies(&mut self.stream, &mut self.reply, commands.len()).await
        };
        let (kind, text) = match timeout_at(deadline, exchange).await {
            Ok(Ok(replies)) => return Ok(replies),
            Ok(Err(broken)) => broken,
            Err(_) => (CauseKind::Timeout, "no answer in time".to_owned()),
        };
        match accepted_bytes {
            0 => Err(RequestError::definite(kind, format!("{text}, before the request was sent"))),
            _ => Err(RequestError::open(kind, text)),
        }
    }
}

/// The cause of a failed exchange, before it is known how much of the request was sent.
type Broken = (CauseKind, String);

fn broken(cause: io::Error) -> Broken {
    (CauseKind::ConnectionLost, cause.to_string())
}

async fn read_replies(
    stream: &mut TcpStream,
    buffer: &mut BytesMut,
    count: usize,
) -> Result<Vec<BytesFrame>, Broken> {
    let mut replies = Vec::with_capacity(count);
    loop {
        while replies.len() < count
            && let Some((reply, _, _)) =
                decode_bytes_mut(buffer).map_err(|cause| (CauseKind::Unreadable, cause.to_string()))?
        {
            replies.push(reply);
        }
        if replies.len() == count {
            // Bytes after the last reply answer nothing, and so the replies cannot be trusted.
            return match buffer.len() {
                0 => Ok(replies),
                extra => Err((CauseKind::Unreadable, format!("{extra} bytes after the reply"))),
            };
        }
        if buffer.len() > REPLY_BYTES_MAX {
            return Err((CauseKind::Unreadable, format!("a reply of more than {REPLY_BYTES_MAX} bytes")));
        }
        if stream.read_buf(buffer).await.map_err(broken)? == 0 {
            return Err((CauseKind::ConnectionLost, "the node closed the connection".to_owned()));
        }
    }
}
