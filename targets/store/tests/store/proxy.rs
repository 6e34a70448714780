//! A TCP proxy in front of one node's peer port, for one other node: a link that a test can cut.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Whether bytes pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    Open,
    Cut,
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
            while let Ok((mut inner, _)) = listener.accept().await {
                let mut pass = switch.subscribe();
                connections.spawn(async move {
                    if *pass.borrow() == Pass::Cut {
                        return;
                    }
                    let Ok(mut outer) = TcpStream::connect(to).await else { return };
                    // Whichever ends first, the other is dropped with it.
                    tokio::select! {
                        _ = copy_bidirectional(&mut inner, &mut outer) => {}
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
