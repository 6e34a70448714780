//! One connection that speaks HTTP/1.1, one request at a time.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::outcome::{CauseKind, RequestError};
use crate::place::{self, Place};

/// An answer longer than this, in bytes, is taken for garbage: the longest is all that a node holds.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// An open connection to one server.
///
/// After an error of [`HttpConnection::request`] it must be dropped.
pub(crate) struct HttpConnection {
    to: SocketAddr,
    sender: http1::SendRequest<Full<Bytes>>,
    wire: Wire,
    accepted_bytes: Arc<AtomicU64>,
}

/// A whole answer.
pub(crate) struct Answer {
    /// Its HTTP status.
    pub(crate) status: StatusCode,
    /// Its body.
    pub(crate) body: Bytes,
}

impl HttpConnection {
    /// Connects to `to`.
    ///
    /// # Errors
    /// A definite [`RequestError`]: no request has been sent.
    pub(crate) async fn open(
        from: &dyn Place,
        to: SocketAddr,
        deadline: Instant,
    ) -> Result<Self, RequestError> {
        let accepted_bytes = Arc::new(AtomicU64::new(0));
        let stream = place::open(from, to, deadline).await?;
        let counting = CountingStream { stream, accepted_bytes: Arc::clone(&accepted_bytes) };
        // A "handshake" of HTTP/1 sends no bytes.
        let (sender, connection) = http1::handshake(TokioIo::new(counting))
            .await
            .map_err(|cause| RequestError::definite(CauseKind::Unreachable, chain(&cause)))?;
        Ok(Self { to, sender, wire: Wire::Open(Box::pin(connection)), accepted_bytes })
    }

    /// Whether it can take another request. Notices a node that closed the connection in the meantime.
    pub(crate) async fn is_idle(&mut self) -> bool {
        poll_fn(|cx| {
            self.wire.progress(cx);
            Poll::Ready(matches!(self.wire, Wire::Open(_)) && !self.sender.is_closed())
        })
        .await
    }

    /// Posts a JSON `body` to `path`; see [`HttpConnection::request`].
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn post(
        &mut self,
        path: &str,
        body: Vec<u8>,
        deadline: Instant,
    ) -> Result<Answer, RequestError> {
        let json = [(CONTENT_TYPE.to_string(), "application/json".to_owned())];
        self.request(&Method::POST, path, &json, body, deadline).await
    }

    /// Sends a request and returns the whole answer, whatever its status.
    ///
    /// # Errors
    /// A [`RequestError`]: definite if not one byte of the request was accepted by the connection, open otherwise.
    pub(crate) async fn request(
        &mut self,
        method: &Method,
        path: &str,
        headers: &[(String, String)],
        body: Vec<u8>,
        deadline: Instant,
    ) -> Result<Answer, RequestError> {
        let request = Request::builder().method(method).uri(path).header(HOST, self.to.to_string());
        let request = headers
            .iter()
            .fold(request, |request, (name, value)| request.header(name, value))
            .body(Full::from(body))
            .map_err(|cause| RequestError::definite(CauseKind::Rejected, chain(&cause)))?;
        let before = self.accepted_bytes.load(Ordering::Relaxed);
        let sender = &mut self.sender;
        let exchange = async {
            sender.ready().await.map_err(|cause| broken(&cause))?;
            let (head, body) =
                sender.send_request(request).await.map_err(|cause| broken(&cause))?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|cause| (CauseKind::ConnectionLost, chain(&*cause)))?.to_bytes();
            Ok(Answer { status: head.status, body })
        };
        let (kind, text) = match timeout_at(deadline, self.wire.drive(exchange)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(broken)) => broken,
            Err(_) => (CauseKind::Timeout, "no answer in time".to_owned()),
        };
        if self.accepted_bytes.load(Ordering::Relaxed) == before {
            Err(RequestError::definite(kind, format!("{text}, before the request was sent")))
        } else {
            Err(RequestError::open(kind, text))
        }
    }
}

fn broken(cause: &hyper::Error) -> (CauseKind, String) {
    let kind = if cause.is_parse() { CauseKind::Unreadable } else { CauseKind::ConnectionLost };
    (kind, chain(cause))
}

/// Returns an error and its causes in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The half of an HTTP connection that moves bytes. It is driven by the caller that waits for an answer, not by a task of its
/// own, so that dropping the client drops everything.
enum Wire {
    Open(Pin<Box<http1::Connection<TokioIo<CountingStream>, Full<Bytes>>>>),
    Closed,
}

impl Wire {
    /// Moves what can be moved now.
    fn progress(&mut self, cx: &mut Context<'_>) {
        // The request that was in flight needs to know how the connection ended; between requests it does not
        // matter.
        if let Self::Open(connection) = self
            && connection.as_mut().poll(cx).is_ready()
        {
            *self = Self::Closed;
        }
    }

    /// Runs `exchange` to its end while bytes move.
    async fn drive<F: Future>(&mut self, exchange: F) -> F::Output {
        let mut exchange = pin!(exchange);
        poll_fn(|cx| {
            self.progress(cx);
            exchange.as_mut().poll(cx)
        })
        .await
    }
}

/// A TCP stream that counts the bytes the kernel accepted for sending: the only sure knowledge of whether any part of a
/// request can have left.
struct CountingStream {
    stream: TcpStream,
    accepted_bytes: Arc<AtomicU64>,
}

impl AsyncRead for CountingStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl CountingStream {
    fn count(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.accepted_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        written
    }
}

impl AsyncWrite for CountingStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.count(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
