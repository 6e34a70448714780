//! The requesting side of a connection between nodes.
//!
//! A link knows whether a failed request may have left this node. That decides between "certainly not executed" and
//! "unknown", so a request is handed to the connection only while the connection is known to work: while there is no
//! connection, or the peer has not introduced itself yet, requests fail at once with [`CallError::NotSent`].
//!
//! A peer that stays silent while it owes an answer counts as lost after [`SILENCE_MAX`], and the link connects
//! again. Waiting for TCP would cost seconds after a partition heals, because its retransmissions back off.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout, timeout_at};

use super::frame::{self, HELLO, Hello};
use crate::name::NodeName;

/// How long a peer that owes an answer may be silent before its connection is closed.
pub const SILENCE_MAX: Duration = Duration::from_millis(500);

const CONNECT_MAX: Duration = Duration::from_millis(300);
const RETRY_AFTER: Duration = Duration::from_millis(50);
const WATCH_EVERY: Duration = Duration::from_millis(100);
const QUEUE_MAX: usize = 4_096;
const OUTBOX_BYTES_MAX: usize = 8 << 20;

/// Why a request has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Not one byte of it has left.
    #[error("no connection")]
    NotSent,
    /// It was handed to a connection which then broke.
    #[error("the connection broke before the answer")]
    Lost,
    /// No answer before the deadline; it may have left.
    #[error("no answer in time")]
    TimedOut,
}

struct Call {
    payload: Bytes,
    reply: oneshot::Sender<Result<Bytes, CallError>>,
}

/// A handle on the connection to one peer. Cheap to clone; the connection ends with [`LinkTask::run`].
#[derive(Debug, Clone)]
pub struct Link {
    calls: mpsc::Sender<Call>,
    retry: Arc<Notify>,
    state: watch::Receiver<LinkState>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LinkState {
    Down,
    Up,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("bytes", &self.payload.len()).finish_non_exhaustive()
    }
}

/// The task that maintains the connection of a [`Link`].
#[derive(Debug)]
pub struct LinkTask {
    peer: NodeName,
    address: SocketAddr,
    hello: Hello,
    calls: mpsc::Receiver<Call>,
    retry: Arc<Notify>,
    state: watch::Sender<LinkState>,
}

impl Link {
    /// Returns a link to a peer, and the task that maintains it.
    pub fn new(peer: NodeName, address: SocketAddr, hello: Hello) -> (Self, LinkTask) {
        let (calls, queue) = mpsc::channel(QUEUE_MAX);
        let retry = Arc::new(Notify::new());
        let (state_sender, state) = watch::channel(LinkState::Down);
        (
            Self { calls, retry: Arc::clone(&retry), state },
            LinkTask { peer, address, hello, calls: queue, retry, state: state_sender },
        )
    }

    /// Sends a request and waits for its answer until the deadline.
    ///
    /// # Errors
    /// There is no answer; the variant tells whether the request may have left.
    pub async fn call(&self, payload: Bytes, deadline: Instant) -> Result<Bytes, CallError> {
        let (reply, answer) = oneshot::channel();
        self.calls.try_send(Call { payload, reply }).map_err(|_| CallError::NotSent)?;
        match timeout_at(deadline, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(CallError::Lost),
            Err(_) => Err(CallError::TimedOut),
        }
    }

    /// Whether there is a connection.
    pub fn is_connected(&self) -> bool {
        *self.state.borrow() == LinkState::Up
    }

    /// Waits until there is a connection, without a deadline.
    pub async fn connected(&self) {
        let mut state = self.state.clone();
        if state.wait_for(|state| *state == LinkState::Up).await.is_err() {
            // The task has ended, so there will be no connection.
            std::future::pending::<()>().await;
        }
    }

    /// Reports that the peer has just been heard from: a link without a connection tries again now.
    pub fn peer_is_back(&self) {
        self.retry.notify_one();
    }
}

/// How a connection ended.
enum Ended {
    Broken,
    LinkDropped,
}

impl LinkTask {
    /// Maintains the connection until every handle is dropped.
    pub async fn run(mut self) {
        loop {
            let connected = {
                let connecting = connect(self.address, &self.hello);
                tokio::pin!(connecting);
                loop {
                    tokio::select! {
                        connected = &mut connecting => break connected,
                        call = self.calls.recv() => match call {
                            Some(call) => refuse(call),
                            None => return,
                        },
                    }
                }
            };
            if let Some((stream, inbox)) = connected {
                tracing::debug!(peer = %self.peer, "peer connected");
                self.state.send_replace(LinkState::Up);
                let ended = self.converse(stream, inbox).await;
                self.state.send_replace(LinkState::Down);
                match ended {
                    Ended::LinkDropped => return,
                    Ended::Broken => tracing::debug!(peer = %self.peer, "peer disconnected"),
                }
            }
            let pause = sleep(RETRY_AFTER);
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    () = self.retry.notified() => break,
                    call = self.calls.recv() => match call {
                        Some(call) => refuse(call),
                        None => return,
                    },
                }
            }
        }
    }

    async fn converse(&mut self, mut stream: TcpStream, mut inbox: BytesMut) -> Ended {
        let (mut reader, mut writer) = stream.split();
        let mut outbox = BytesMut::new();
        // On return the pending replies are dropped, which tells their callers that the answers are lost.
        let mut pending: BTreeMap<u64, oneshot::Sender<Result<Bytes, CallError>>> = BTreeMap::new();
        let mut number = HELLO;
        let mut owed_since: Option<Instant> = None;
        let mut watch = interval(WATCH_EVERY);
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                call = self.calls.recv(), if outbox.len() < OUTBOX_BYTES_MAX => {
                    let Some(call) = call else { return Ended::LinkDropped };
                    let mut next = Some(call);
                    while let Some(call) = next {
                        number += 1;
                        frame::put(&mut outbox, number, &call.payload);
                        pending.insert(number, call.reply);
                        next = if outbox.len() < OUTBOX_BYTES_MAX { self.calls.try_recv().ok() } else { None };
                    }
                    owed_since.get_or_insert_with(Instant::now);
                }
                written = writer.write_buf(&mut outbox), if !outbox.is_empty() => match written {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => return Ended::Broken,
                },
                read = reader.read_buf(&mut inbox) => {
                    if !matches!(read, Ok(1..)) {
                        return Ended::Broken;
                    }
                    owed_since = None;
                    loop {
                        match frame::take(&mut inbox) {
                            // A caller that gave up has dropped its receiver.
                            Ok(Some((number, payload))) => {
                                pending.remove(&number).map(|reply| reply.send(Ok(payload)));
                            }
                            Ok(None) => break,
                            Err(error) => {
                                tracing::warn!(peer = %self.peer, %error, "peer speaks another protocol");
                                return Ended::Broken;
                            }
                        }
                    }
                }
                _ = watch.tick() => {
                    pending.retain(|_, reply| !reply.is_closed());
                    if owed_since.is_some_and(|since| since.elapsed() > SILENCE_MAX) {
                        return Ended::Broken;
                    }
                }
            }
        }
    }
}

fn refuse(call: Call) {
    // A caller that gave up has dropped its receiver.
    call.reply.send(Err(CallError::NotSent)).ok();
}

/// Connects and exchanges introductions. `None` if that cannot be done now.
async fn connect(address: SocketAddr, hello: &Hello) -> Option<(TcpStream, BytesMut)> {
    let mut stream = timeout(CONNECT_MAX, TcpStream::connect(address)).await.ok()?.ok()?;
    stream.set_nodelay(true).ok()?;
    let mut out = BytesMut::new();
    let payload = postcard::to_stdvec(hello).expect("an introduction can be encoded");
    frame::put(&mut out, HELLO, &payload);
    let mut inbox = BytesMut::with_capacity(16 << 10);
    let introduced = async {
        stream.write_all(&out).await.ok()?;
        loop {
            match frame::take(&mut inbox) {
                Ok(Some((HELLO, payload))) => {
                    let answer: Hello = postcard::from_bytes(&payload).ok()?;
                    return (answer.cluster == hello.cluster).then_some(());
                }
                Ok(None) => {
                    if stream.read_buf(&mut inbox).await.ok()? == 0 {
                        return None;
                    }
                }
                Ok(Some(_)) | Err(_) => return None,
            }
        }
    };
    timeout(SILENCE_MAX, introduced).await.ok()??;
    Some((stream, inbox))
}
