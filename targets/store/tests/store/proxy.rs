//! A TCP proxy in front of one node's peer port, for one other node: a link that a test can cut.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Whether bytes pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    Open,
    /// Connections are closed, and new ones too: both sides know at once.
    Cut,
    /// Bytes of the side that connected pass, those of the other wait.
    Unanswered,
    /// Bytes wait, connections stay: neither side knows, as when packets are dropped.
    Silent,
}

pub struct Proxy {
    pub address: SocketAddr,
    pass: Arc<watch::Sender<Pass>>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    pub async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let pass = Arc::new(watch::channel(Pass::Open).0);
        let switch = Arc::clone(&pass);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((inner, _)) = listener.accept().await {
                let mut pass = switch.subscribe();
                connections.spawn(async move {
                    let open = pass.clone();
                    // When either ends, both connections are dropped with it.
                    tokio::select! {
                        () = carry(inner, to, open) => {}
                        _ = pass.wait_for(|pass| *pass == Pass::Cut) => {}
                    }
                });
            }
        });
        Self { address, pass, task }
    }

    pub fn set(&self, pass: Pass) {
        self.pass.send_replace(pass);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(mut inner: TcpStream, to: SocketAddr, mut pass: watch::Receiver<Pass>) {
    if pass.wait_for(|pass| *pass == Pass::Open).await.is_err() {
        return;
    }
    let Ok(mut outer) = TcpStream::connect(to).await else { return };
    let (inner_in, inner_out) = inner.split();
    let (outer_in, outer_out) = outer.split();
    tokio::select! {
        () = pump(inner_in, outer_out, pass.clone(), &[Pass::Open, Pass::Unanswered]) => {}
        () = pump(outer_in, inner_out, pass, &[Pass::Open]) => {}
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut pass: watch::Receiver<Pass>,
    passes: &[Pass],
) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let opened = pass.wait_for(|pass| passes.contains(pass)).await.is_ok();
        if !opened || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
