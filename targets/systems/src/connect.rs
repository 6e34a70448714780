//! The one thing a client asks of the place it runs in: a TCP connection.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use duress_arena::Host;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::outcome::{CauseKind, RequestError};

/// A place that connections are opened from: a host of the arena, or this program's own network.
#[async_trait]
pub trait Connect: Send + Sync {
    /// Opens a connection to `to` within `deadline`.
    ///
    /// # Errors
    /// The system's own error, its kind preserved: [`io::ErrorKind::ConnectionRefused`] where nobody listens,
    /// [`io::ErrorKind::TimedOut`] past the deadline. After any error not one byte has been sent to anybody.
    async fn connect(&self, to: SocketAddr, deadline: Duration) -> io::Result<TcpStream>;
}

#[async_trait]
impl Connect for Host {
    async fn connect(&self, to: SocketAddr, deadline: Duration) -> io::Result<TcpStream> {
        Self::connect(self, to, deadline).await
    }
}

/// The network this program itself is in: for systems that run on loopback, without an arena.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnNetwork;

#[async_trait]
impl Connect for OwnNetwork {
    async fn connect(&self, to: SocketAddr, deadline: Duration) -> io::Result<TcpStream> {
        let stream = tokio::time::timeout(deadline, TcpStream::connect(to))
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no connection in time"))??;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// Opens a connection for a request that must be over by `deadline`.
///
/// Every error is definite: a request that has no connection yet has not sent a byte. That holds for a time-out too,
/// since the socket is closed before anything is written to it.
pub(crate) async fn open(
    from: &dyn Connect,
    to: SocketAddr,
    deadline: Instant,
) -> Result<TcpStream, RequestError> {
    let left = deadline.saturating_duration_since(Instant::now());
    from.connect(to, left).await.map_err(|cause| {
        let kind = match cause.kind() {
            io::ErrorKind::ConnectionRefused => CauseKind::Refused,
            io::ErrorKind::TimedOut => CauseKind::ConnectTimeout,
            _ => CauseKind::Unreachable,
        };
        RequestError::definite(kind, format!("connecting to {to}: {cause}"))
    })
}
