//! Runs one broker until it is asked to stop.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use duress_consensus::peer::frame::Hello;
use duress_consensus::peer::listener::is_of_one_connection;
use duress_consensus::peer::payload::{decode, encode, is_for_consensus};
use duress_consensus::peer::{Handler, Link, Listener};
use duress_consensus::signals::asked_to_end;
use duress_consensus::types::Fatal;
use duress_consensus::{NodeName, StartError};
use futures_util::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::broker::{Broker, Coordinators};
use crate::cluster::Controller;
use crate::cluster::membership::{random_number, take_part};
use crate::cluster::message::{PeerRequest, PeerResponse};
use crate::config::{Config, ConfigError};
use crate::coordination::markers::{Marked, Markers};
use crate::coordination::{groups, transactions};
use crate::replica::partition::PartitionFailure;
use crate::replica::{Replicas, fetcher, serving};
use crate::wire::connection::serve_client;

/// Why a broker does not start, or has stopped.
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
        /// The clients or brokers that would connect there.
        who: &'static str,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// Connections can no longer be accepted.
    #[error("cannot accept clients on {address}")]
    Accept {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// The broker cannot start from its data folder.
    #[error("the broker {node} cannot start")]
    Start {
        /// Its name.
        node: String,
        /// Why not.
        #[source]
        cause: StartError,
    },
    /// The consensus failed while the broker ran.
    #[error("the consensus of the broker {node} has stopped")]
    Consensus {
        /// Its name.
        node: String,
        /// Why.
        #[source]
        cause: Fatal,
    },
    /// A log failed while the broker ran.
    #[error("a log of the broker {node} has failed")]
    Log {
        /// Its name.
        node: String,
        /// Why.
        #[source]
        cause: PartitionFailure,
    },
    /// Signals cannot be received.
    #[error("cannot wait for signals")]
    Signal(#[source] io::Error),
}

/// Runs one broker until SIGTERM or SIGINT.
///
/// One worker thread is enough; every copy of a partition has a thread of its own besides. Reports through `tracing`.
///
/// # Errors
/// The broker cannot start, or failed while it ran.
pub fn serve(config: Config) -> BoxFuture<'static, Result<(), ServeError>> {
    // Boxed, so that the broker is compiled in this crate, not in the one that awaits it.
    Box::pin(async move { serve_until(config, asked_to_end().map_err(ServeError::Signal)?).await })
}

/// Runs one broker until `stop` completes; then stops it cleanly.
///
/// # Errors
/// The broker cannot start, or failed while it ran.
pub async fn serve_until(config: Config, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
    config.validate()?;
    let members = config.members()?;
    let node = config.node.to_string();
    let clients = listen(config.listen, "clients").await?;
    let peers = listen(config.peer_listen, "the other brokers").await?;
    let names: Vec<&str> = members.iter().map(NodeName::as_str).collect();
    let cluster = names.join(",");
    let hello = Hello { cluster: format!("broker {cluster}"), node: config.node.clone() };
    let mut tasks = JoinSet::new();
    let controller = Controller::start(&config, members.clone(), &hello, &mut tasks)
        .await
        .map_err(|cause| ServeError::Start { node: node.clone(), cause })?;
    let (replicas, inbox) = Replicas::new(config.clone(), controller.clone());
    let (incarnation, incarnation_now) = watch::channel(None);
    for peer in &config.peers {
        // A connection apart from the controllers', so that records do not delay heartbeats.
        let (link, task) = Link::new(peer.name.clone(), peer.address, hello.clone());
        tasks.spawn(task.run());
        let leader = Config::broker_id(&members, &peer.name);
        tasks.spawn(fetcher::follow(leader, link, replicas.clone(), incarnation_now.clone()));
    }
    let names = format!("{node}-{:016x}", random_number());
    let (groups, coordination) = groups::coordination(&config, replicas.clone(), names);
    tasks.spawn(coordination.run());
    let markers = Markers::new(controller.clone(), replicas.clone(), groups.clone());
    let (transactions, coordination) = transactions::coordination(&config, replicas.clone(), markers.clone());
    tasks.spawn(coordination.run());
    let peer_service = PeerService { controller: controller.clone(), replicas: replicas.clone(), markers };
    let peer_listener = Listener { socket: peers, parts: vec![(hello, peer_service)] };
    let peer_address = config.peer_listen;
    tasks.spawn(async move {
        if let Err(error) = peer_listener.run().await {
            tracing::error!(address = %peer_address, %error, "cannot accept other brokers any more");
        }
    });
    tasks.spawn(take_part(controller.clone(), config.clone(), incarnation));
    tracing::info!(%node, broker = %controller.id(), clients = %config.listen, bug = ?config.bug, "serving");

    let coordinators = Coordinators { groups, transactions };
    let broker = Broker::new(config.clone(), cluster, controller.clone(), replicas.clone(), coordinators);
    let result = tokio::select! {
        () = stop => Ok(()),
        cause = controller.consensus().failed() => Err(ServeError::Consensus { node: node.clone(), cause }),
        cause = replicas.clone().run(inbox, incarnation_now) => Err(ServeError::Log { node: node.clone(), cause }),
        cause = accept_clients(&clients, broker) => Err(ServeError::Accept { address: config.listen, cause }),
    };
    tasks.shutdown().await;
    replicas.stop().await;
    controller.consensus().stop().await;
    tracing::info!(%node, "stopped");
    result
}

async fn listen(address: SocketAddr, who: &'static str) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|cause| ServeError::Listen { address, who, cause })
}

/// Accepts clients until that fails; dropping the future ends their connections.
async fn accept_clients(socket: &TcpListener, broker: Broker) -> io::Error {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = socket.accept() => match accepted {
                Ok((stream, address)) => {
                    let client = serve_client(stream, broker.clone());
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

/// Answers the other brokers.
#[derive(Clone)]
struct PeerService {
    controller: Controller,
    replicas: Replicas,
    markers: Markers,
}

impl Handler for PeerService {
    async fn handle(&self, payload: Bytes) -> Option<Bytes> {
        if is_for_consensus(&payload) {
            return self.controller.consensus().answer(&payload).await;
        }
        let response = match decode(&payload)? {
            PeerRequest::Propose(command) => {
                PeerResponse::Proposed(self.controller.forwarded(&command).await)
            }
            PeerRequest::Heartbeat(broker, epoch) => {
                PeerResponse::Heartbeat(self.controller.heartbeat(broker, epoch))
            }
            PeerRequest::Mark { topic, partition, marker } => {
                let marked = self.markers.write_here(topic, partition, marker).await;
                PeerResponse::Marked(marked == Marked::Yes)
            }
            PeerRequest::Fetch(fetch) => PeerResponse::Fetched(serving::serve(&self.replicas, fetch).await),
        };
        Some(encode(&response))
    }

    fn introduced(&self, peer: &NodeName) {
        self.controller.consensus().introduced(peer);
    }
}
