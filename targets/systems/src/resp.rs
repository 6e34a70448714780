//! One connection that speaks RESP2, one request at a time.
//!
//! RESP2 is what a server speaks until it is asked for more; nothing here needs RESP3's types.

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
    /// A definite [`RequestError`]: nothing has been sent.
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
        let words: Vec<BorrowedFrame<'_>> =
            words.iter().map(|word| BorrowedFrame::BulkString(word)).collect();
        self.request.clear();
        extend_encode_borrowed(&mut self.request, &BorrowedFrame::Array(&words), false).map_err(|cause| {
            RequestError::definite(CauseKind::Rejected, format!("encoding the command: {cause}"))
        })?;

        let mut accepted_bytes = 0;
        let exchange = async {
            while accepted_bytes < self.request.len() {
                accepted_bytes += self.stream.write(&self.request[accepted_bytes..]).await.map_err(broken)?;
            }
            read_reply(&mut self.stream, &mut self.reply).await
        };
        let (kind, text) = match timeout_at(deadline, exchange).await {
            Ok(Ok(reply)) => return Ok(reply),
            Ok(Err(broken)) => broken,
            Err(_) => (CauseKind::Timeout, "no answer in time".to_owned()),
        };
        match accepted_bytes {
            0 => Err(RequestError::definite(kind, format!("{text}, before the request was sent"))),
            _ => Err(RequestError::open(kind, text)),
        }
    }
}

/// What broke an exchange, before it is known how much of the request was sent.
type Broken = (CauseKind, String);

fn broken(cause: io::Error) -> Broken {
    (CauseKind::ConnectionLost, cause.to_string())
}

async fn read_reply(stream: &mut TcpStream, buffer: &mut BytesMut) -> Result<BytesFrame, Broken> {
    loop {
        if let Some((reply, _, _)) =
            decode_bytes_mut(buffer).map_err(|cause| (CauseKind::Unreadable, cause.to_string()))?
        {
            // One request was sent, so whatever follows its reply answers nothing, and the reply is not to be believed.
            return match buffer.len() {
                0 => Ok(reply),
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
