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

/// A switch, as its connections see it.
#[derive(Debug, Clone, Copy)]
struct Switch {
    pass: Pass,
    /// How often it was cut: a connection that is older than a cut ends, even if the switch is open again.
    cuts: u64,
}

pub struct Proxy {
    pub address: SocketAddr,
    switch: Arc<watch::Sender<Switch>>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    pub async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let switch = Arc::new(watch::channel(Switch { pass: Pass::Open, cuts: 0 }).0);
        let switches = Arc::clone(&switch);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((inner, _)) = listener.accept().await {
                let switch = switches.subscribe();
                let Switch { pass, cuts } = *switch.borrow();
                if pass != Pass::Cut {
                    connections.spawn(carry(inner, to, Gate { switch, cuts }));
                }
            }
        });
        Self { address, switch, task }
    }

    pub fn set(&self, pass: Pass) {
        self.switch.send_modify(|switch| {
            let cuts = switch.cuts + u64::from(pass == Pass::Cut);
            *switch = Switch { pass, cuts };
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The switch, for one connection.
#[derive(Clone)]
struct Gate {
    switch: watch::Receiver<Switch>,
    cuts: u64,
}

impl Gate {
    /// Waits until the switch lets this pass; false if the connection was cut.
    async fn passes(&mut self, passes: &[Pass]) -> bool {
        let cuts = self.cuts;
        let decided = |switch: &Switch| switch.cuts != cuts || passes.contains(&switch.pass);
        self.switch.wait_for(decided).await.is_ok_and(|switch| switch.cuts == cuts)
    }
}

/// Carries bytes both ways until either side ends or the connection is cut; both are dropped then.
async fn carry(mut inner: TcpStream, to: SocketAddr, mut gate: Gate) {
    if !gate.passes(&[Pass::Open]).await {
        return;
    }
    let Ok(mut outer) = TcpStream::connect(to).await else { return };
    let (inner_in, inner_out) = inner.split();
    let (outer_in, outer_out) = outer.split();
    tokio::select! {
        () = pump(inner_in, outer_out, gate.clone(), &[Pass::Open, Pass::Unanswered]) => {}
        () = pump(outer_in, inner_out, gate.clone(), &[Pass::Open]) => {}
        _ = gate.passes(&[]) => {}
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut gate: Gate,
    passes: &[Pass],
) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if !gate.passes(passes).await || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
