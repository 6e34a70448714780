//! The answering side of connections between nodes.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::frame::{self, HELLO, Hello};
use super::link::SILENCE_MAX;
use crate::name::NodeName;

const IN_FLIGHT_MAX: usize = 1_024;
const OUTBOX_BYTES_MAX: usize = 8 << 20;

/// Answers peers' requests.
pub trait Handler: Clone + Send + Sync + 'static {
    /// Answers one request; `None` if it cannot be decoded, which ends the connection.
    fn handle(&self, payload: Bytes) -> impl Future<Output = Option<Bytes>> + Send;

    /// A peer has introduced itself.
    fn introduced(&self, peer: &NodeName);
}

/// Accepts peers.
#[derive(Debug)]
pub struct Listener<H> {
    /// The socket to which peers connect.
    pub socket: TcpListener,
    /// The clusters that this node is part of: its introduction to each, and the handler of requests. Peers of another
    /// cluster are refused.
    pub parts: Vec<(Hello, H)>,
}

impl<H: Handler> Listener<H> {
    /// Serves peers until the future is dropped, which ends their connections.
    ///
    /// # Errors
    /// The socket can no longer accept connections.
    pub async fn run(self) -> io::Result<()> {
        let parts: Arc<[(Hello, H)]> = self.parts.into();
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.socket.accept() => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(serve(stream, Arc::clone(&parts)));
                    }
                    Err(error) if is_of_one_connection(&error) => {}
                    Err(error) => return Err(error),
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

/// Whether an error of `accept` concerns only the connection that was being accepted.
pub fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// A request that is being answered: its number and, in the end, its answer.
type Answering = Pin<Box<dyn Future<Output = Option<(u64, Bytes)>> + Send>>;

async fn serve<H: Handler>(mut stream: TcpStream, parts: Arc<[(Hello, H)]>) {
    let mut inbox = BytesMut::with_capacity(16 << 10);
    let introduced = timeout(SILENCE_MAX, introduce(&mut stream, &mut inbox, &parts)).await;
    let Ok(Some((peer, handler))) = introduced else { return };
    handler.introduced(&peer);

    let (mut reader, mut writer) = stream.split();
    let mut outbox = BytesMut::new();
    let mut in_flight: FuturesUnordered<Answering> = FuturesUnordered::new();
    loop {
        loop {
            match frame::take(&mut inbox) {
                Ok(Some((number, payload))) => {
                    let handler = handler.clone();
                    in_flight.push(Box::pin(async move { Some((number, handler.handle(payload).await?)) }));
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
        tokio::select! {
            // Answers first: a finished request should not wait for new ones.
            biased;
            Some(answered) = in_flight.next(), if outbox.len() < OUTBOX_BYTES_MAX => match answered {
                Some((number, payload)) => frame::put(&mut outbox, number, &payload),
                None => return,
            },
            written = writer.write_buf(&mut outbox), if !outbox.is_empty() => {
                if !matches!(written, Ok(1..)) {
                    return;
                }
            }
            read = reader.read_buf(&mut inbox), if in_flight.len() < IN_FLIGHT_MAX => {
                if !matches!(read, Ok(1..)) {
                    return;
                }
            }
        }
    }
}

/// Exchanges introductions, and returns the peer and the handler of its cluster; `None` if the other side is not a peer of any
/// cluster here.
async fn introduce<'a, H>(
    stream: &mut TcpStream,
    inbox: &mut BytesMut,
    parts: &'a [(Hello, H)],
) -> Option<(NodeName, &'a H)> {
    stream.set_nodelay(true).ok()?;
    let payload = loop {
        match frame::take(inbox) {
            Ok(Some((HELLO, payload))) => break payload,
            Ok(None) => {
                if stream.read_buf(inbox).await.ok()? == 0 {
                    return None;
                }
            }
            Ok(Some(_)) | Err(_) => return None,
        }
    };
    let theirs: Hello = postcard::from_bytes(&payload).ok()?;
    let Some((hello, handler)) = parts.iter().find(|(hello, _)| hello.cluster == theirs.cluster) else {
        let ours = parts.first().map(|(hello, _)| &hello.cluster);
        tracing::warn!(peer = %theirs.node, theirs = theirs.cluster, ours, "a node of another cluster was refused");
        return None;
    };
    let mut out = BytesMut::new();
    frame::put(&mut out, HELLO, &postcard::to_stdvec(hello).expect("an introduction can be encoded"));
    stream.write_all(&out).await.ok()?;
    Some((theirs.node, handler))
}
