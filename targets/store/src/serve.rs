//! Runs one node until it is asked to stop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::config::{Config, ConfigError, Mode};
use crate::node::{Node, NodeFailure};
use crate::primary::PrimaryNode;
use crate::raft::RaftNode;
use crate::raft::node::Group;
use crate::resp::connection::{Service, serve_client};
use crate::ring::RingNode;
use crate::sharded::ShardedNode;
use crate::wall_clock::{SystemClock, WallClock};
use duress_consensus::StartError;
use duress_consensus::peer::Listener;
use duress_consensus::peer::frame::Hello;
use duress_consensus::peer::listener::is_of_one_connection;
use duress_consensus::signals::asked_to_end;

/// Why a node does not start, or has stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration contradicts itself.
    #[error("the configuration cannot be used")]
    Config(#[from] ConfigError),
    /// A port is taken, or the address is not this machine's.
    #[error("cannot listen on {address} for {who}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The clients or peers that would connect there.
        who: &'static str,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// Connections can no longer be accepted.
    #[error("cannot accept {who} on {address}")]
    Accept {
        /// The address.
        address: SocketAddr,
        /// The clients or peers that connect there.
        who: &'static str,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// The node cannot start from its data folder.
    #[error("the node {node} cannot start")]
    Start {
        /// Its name.
        node: String,
        /// Why not.
        #[source]
        cause: StartError,
    },
    /// The consensus or the storage failed while the node ran.
    #[error("the node {node} has failed")]
    Failed {
        /// Its name.
        node: String,
        /// Why.
        #[source]
        cause: NodeFailure,
    },
    /// Signals cannot be received.
    #[error("cannot wait for signals")]
    Signal(#[source] io::Error),
}

/// Runs one node until SIGTERM, SIGINT or a client's `SHUTDOWN`.
///
/// One worker thread is enough. Reports through `tracing`; at the level `info` only changes of role, formation,
/// snapshots and moves of slots. openraft's own events are verbose, down to several per request, and of no use to a
/// user: filter the target `openraft` out.
///
/// # Errors
/// The node cannot start, or failed while it ran.
pub fn serve(config: Config) -> BoxFuture<'static, Result<(), ServeError>> {
    // Boxed, so that the node is compiled in this crate, not in the one that awaits it.
    Box::pin(async move { serve_until(config, asked_to_end().map_err(ServeError::Signal)?).await })
}

/// Runs one node until `stop` completes or a client sends `SHUTDOWN`; then stops it cleanly and closes its data
/// folder.
///
/// # Errors
/// The node cannot start, or failed while it ran.
pub async fn serve_until(config: Config, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
    serve_with_clock(config, Arc::new(SystemClock), stop).await
}

/// As [`serve_until`], with a clock to read the time of day from.
///
/// # Errors
/// The node cannot start, or failed while it ran.
pub async fn serve_with_clock(
    config: Config,
    clock: Arc<dyn WallClock>,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    config.validate()?;
    let members = config.members()?;
    let clients = listen(config.listen, "clients").await?;
    let peers = listen(config.peer_listen, "peers").await?;
    let names: Vec<&str> = members.iter().map(|name| name.as_str()).collect();
    let hello =
        Hello { cluster: format!("{} {}", config.mode.kind(), names.join(",")), node: config.node.clone() };
    let mut tasks = JoinSet::new();
    let node = match &config.mode {
        Mode::Raft(options) => {
            let node =
                RaftNode::start(&config, options, clock, members, &hello, Group::whole(&config), &mut tasks)
                    .await
                    .map_err(|cause| ServeError::Start { node: config.node.to_string(), cause })?;
            spawn_peer_listener(peers, vec![(hello, node.clone())], config.peer_listen, &mut tasks);
            Node::Raft(node)
        }
        Mode::Primary(options) => {
            let node = PrimaryNode::start(&config, options, members, &hello, &mut tasks)
                .map_err(|cause| ServeError::Start { node: config.node.to_string(), cause: cause.into() })?;
            spawn_peer_listener(peers, vec![(hello, node.clone())], config.peer_listen, &mut tasks);
            Node::Primary(node)
        }
        Mode::Sharded(options) => {
            let node = ShardedNode::start(&config, options, clock, members, &hello, &mut tasks)
                .await
                .map_err(|cause| ServeError::Start { node: config.node.to_string(), cause })?;
            spawn_peer_listener(peers, node.parts(&hello), config.peer_listen, &mut tasks);
            Node::Sharded(node)
        }
        Mode::Ring(options) => {
            let node = RingNode::start(&config, options, clock, members, &hello, &mut tasks)
                .await
                .map_err(|cause| ServeError::Start { node: config.node.to_string(), cause: cause.into() })?;
            spawn_peer_listener(peers, vec![(hello, node.clone())], config.peer_listen, &mut tasks);
            Node::Ring(node)
        }
    };
    tracing::info!(node = %config.node, mode = config.mode.name(), clients = %config.listen, bug = ?config.bug, "serving");

    let shutdown = Arc::new(Notify::new());
    let service = Service {
        node: node.clone(),
        name: config.node.clone(),
        bug: config.bug,
        shutdown: Arc::clone(&shutdown),
    };
    let result = tokio::select! {
        () = stop => Ok(()),
        () = shutdown.notified() => Ok(()),
        cause = node.failed() => Err(ServeError::Failed { node: config.node.to_string(), cause }),
        cause = accept_clients(&clients, service) => {
            Err(ServeError::Accept { address: config.listen, who: "clients", cause })
        }
    };
    node.stop().await;
    tasks.shutdown().await;
    tracing::info!(node = %config.node, "stopped");
    result
}

async fn listen(address: SocketAddr, who: &'static str) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|cause| ServeError::Listen { address, who, cause })
}

fn spawn_peer_listener(
    socket: TcpListener,
    parts: Vec<(Hello, impl duress_consensus::peer::Handler)>,
    address: SocketAddr,
    tasks: &mut JoinSet<()>,
) {
    tasks.spawn(async move {
        if let Err(error) = (Listener { socket, parts }).run().await {
            tracing::error!(%address, %error, "cannot accept peers any more");
        }
    });
}

/// Accepts clients until that fails; dropping the future ends their connections.
async fn accept_clients(socket: &TcpListener, service: Service) -> io::Error {
    let mut connections = JoinSet::new();
    let mut id = 0;
    loop {
        tokio::select! {
            accepted = socket.accept() => match accepted {
                Ok((stream, address)) => {
                    id += 1;
                    let client = serve_client(stream, id, service.clone());
                    connections.spawn(async move {
                        if let Err(error) = client.await {
                            tracing::debug!(%address, error = &error as &dyn std::error::Error, "client lost");
                        }
                    });
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => return error,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}
