//! One node's part in the consensus.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use openraft::error::{CheckIsLeaderError, RaftError};
use openraft::raft::{VoteRequest, VoteResponse};
use openraft::{Raft, SnapshotPolicy};
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::disk::{Disk, DiskError, Syncing};
use crate::formation::form;
use crate::log_store::{LoadedLog, LogStore, VoteKeeping};
use crate::message::{Formation, Request, Response};
use crate::name::{NodeName, Peer};
use crate::network::{Links, Observer, PeerNetworks};
use crate::peer::Link;
use crate::peer::frame::Hello;
use crate::peer::payload::{decode_for_consensus, encode_for_consensus};
use crate::proposal::Proposal;
use crate::state::{Replicated, State, StateView};
use crate::state_machine::{SnapshotContents, StateMachine, StoredSnapshot};
use crate::types::{Batch, Fatal, Metrics, ServerMetrics, ServerState, TypeConfig};

const SNAPSHOT_CHUNK_BYTES: u64 = 1 << 20;
const SNAPSHOT_CHUNK_TIMEOUT_MS: u64 = 2_000;

/// How a node takes part in the consensus.
pub struct Setup {
    /// The folder of its data; made if missing.
    pub folder: PathBuf,
    /// The introduction of this node.
    pub hello: Hello,
    /// The names of all nodes, in order. A node's number is its place among them.
    pub members: Vec<NodeName>,
    /// The other nodes.
    pub peers: Vec<Peer>,
    /// The number of the node that forms the cluster, and stands for election first; if it is not there, the next one
    /// does. Groups of the same nodes that each begin with another one have their leaders spread over the nodes.
    pub first: u64,
    /// Time between the heartbeats of a leader.
    pub heartbeat: Duration,
    /// The shortest silence after which a node starts an election.
    pub election_min: Duration,
    /// The longest such silence.
    pub election_max: Duration,
    /// Entries after which a snapshot is taken and the log before it purged.
    pub snapshot_every: u64,
    /// When a commit is complete.
    pub syncing: Syncing,
    /// Whether the vote survives a restart.
    pub keeping: VoteKeeping,
    /// The contents of snapshots.
    pub snapshots: SnapshotContents,
    /// An observer of leadership, if there is one.
    pub observer: Option<Arc<dyn Observer>>,
}

/// A node whose consensus or storage cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder cannot be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The last snapshot cannot be decoded.
    #[error("cannot decode the last snapshot")]
    Snapshot(#[source] postcard::Error),
    /// The consensus refuses its configuration.
    #[error("the consensus refuses its configuration")]
    Config(#[source] openraft::ConfigError),
    /// The consensus cannot start from the stored log.
    #[error("the consensus cannot start")]
    Consensus(#[source] Fatal),
}

/// Why the leadership of this node was not confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotConfirmed {
    /// Another node leads, or none does.
    NotLeader,
    /// No quorum answered.
    NoQuorum,
    /// The consensus has stopped.
    Stopped,
}

/// One node's part in the consensus. Cheap to clone.
///
/// Its futures are boxed, so that openraft is compiled here, once: the body of an `async fn` is compiled in each crate
/// that awaits it.
#[derive(Clone)]
pub struct Consensus {
    inner: Arc<Inner>,
}

struct Inner {
    number: u64,
    members: Vec<NodeName>,
    raft: Raft<TypeConfig>,
    links: Links,
    disk: Disk,
    observer: Option<Arc<dyn Observer>>,
}

impl Consensus {
    /// Opens the data folder and takes part in the consensus on a state. Its tasks run in `tasks`.
    ///
    /// # Errors
    /// The data folder cannot be used, or the consensus cannot start from its contents.
    pub async fn start<S: State>(
        setup: Setup,
        tasks: &mut JoinSet<()>,
    ) -> Result<(Self, StateView<S>), StartError> {
        Self::start_from(setup, S::default(), tasks).await
    }

    /// As [`start`](Self::start), on a state that is `initial` before the first entry of the log: the same on every node, and at
    /// every start of it.
    ///
    /// # Errors
    /// The data folder cannot be used, or the consensus cannot start from its contents.
    pub async fn start_from<S: State>(
        setup: Setup,
        initial: S,
        tasks: &mut JoinSet<()>,
    ) -> Result<(Self, StateView<S>), StartError> {
        let view = StateView::new(initial);
        let consensus = Self::replicate(setup, Arc::new(view.clone()), S::FORMAT, tasks).await?;
        Ok((consensus, view))
    }

    /// As [`start`](Self::start), for any state of this format.
    fn replicate(
        setup: Setup,
        state: Arc<dyn Replicated>,
        format: u32,
        tasks: &mut JoinSet<()>,
    ) -> BoxFuture<'_, Result<Self, StartError>> {
        Box::pin(async move {
            let config = config(&setup).validate().map_err(StartError::Config)?;
            let Setup { folder, hello, members, peers, first, syncing, keeping, snapshots, observer, .. } =
                setup;
            let owner = format!("{} of {}", hello.node, hello.cluster);
            let (disk, (log, snapshot)) = Disk::open(&folder, &owner, format, syncing, |contents| {
                Ok((LoadedLog::load(contents)?, StoredSnapshot::load(contents)?))
            })?;
            let number_of =
                |name: &NodeName| members.binary_search(name).expect("members are all nodes") as u64;
            let number = number_of(&hello.node);
            let mut links = BTreeMap::new();
            for peer in peers {
                let place = number_of(&peer.name);
                let (link, task) = Link::new(peer.name, peer.address, hello.clone());
                tasks.spawn(task.run());
                links.insert(place, link);
            }
            let links: Links = Arc::new(links);

            let log_store = LogStore::new(disk.clone(), log, number, keeping);
            let state_machine =
                StateMachine::new(disk.clone(), snapshot, state, snapshots).map_err(StartError::Snapshot)?;
            let networks =
                PeerNetworks { node: number, links: Arc::clone(&links), observer: observer.clone() };
            let raft = Raft::new(number, Arc::new(config), networks, log_store, state_machine)
                .await
                .map_err(StartError::Consensus)?;
            let consensus = Self { inner: Arc::new(Inner { number, members, raft, links, disk, observer }) };
            tasks.spawn(consensus.clone().form_cluster(first));
            Ok(consensus)
        })
    }

    async fn form_cluster(self, first: u64) {
        let inner = &self.inner;
        if let Err(fatal) = form(&inner.raft, inner.number, first, &inner.members, &inner.links).await {
            // `failed` reports the same error to the caller that runs the node.
            tracing::debug!(error = %fatal, "no longer forming a cluster");
        }
    }

    /// This node's number.
    pub fn number(&self) -> u64 {
        self.inner.number
    }

    /// Returns the names of all nodes, by number.
    pub fn members(&self) -> &[NodeName] {
        &self.inner.members
    }

    /// Returns the link to another node.
    pub fn link(&self, number: u64) -> Option<&Link> {
        self.inner.links.get(&number)
    }

    /// Returns the leader, as far as this node knows.
    pub fn leader(&self) -> Option<u64> {
        self.server_metrics().borrow().current_leader
    }

    /// Whether this node leads, as far as it knows.
    pub fn leads(&self) -> bool {
        self.server_metrics().borrow().state == ServerState::Leader
    }

    /// Returns the present state of the consensus, and notice of its changes.
    pub fn metrics(&self) -> watch::Receiver<Metrics> {
        self.inner.raft.metrics()
    }

    /// Returns the part of the metrics that changes with elections only.
    pub fn server_metrics(&self) -> watch::Receiver<ServerMetrics> {
        self.inner.raft.server_metrics()
    }

    /// Proposes commands as one entry.
    ///
    /// # Errors
    /// The consensus has stopped. [`Fatal::Stopped`] means that it had stopped before, and nothing was
    /// proposed.
    pub async fn propose<T: Serialize>(&self, commands: &[T]) -> Result<Proposal, Fatal> {
        Proposal::send(&self.inner.raft, Batch::new(commands)).await
    }

    /// Has a quorum confirm that this node leads, and waits until everything is applied that was committed before.
    ///
    /// # Errors
    /// It was not confirmed.
    pub fn confirm_leadership(&self) -> BoxFuture<'_, Result<(), NotConfirmed>> {
        Box::pin(async move {
            match self.inner.raft.ensure_linearizable().await {
                Ok(_) => Ok(()),
                Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(_))) => {
                    Err(NotConfirmed::NotLeader)
                }
                Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(_))) => {
                    Err(NotConfirmed::NoQuorum)
                }
                Err(RaftError::Fatal(_)) => Err(NotConfirmed::Stopped),
            }
        })
    }

    /// Answers a message of the consensus of another node; `None` if it cannot be decoded.
    pub fn answer<'a>(&'a self, payload: &'a [u8]) -> BoxFuture<'a, Option<Bytes>> {
        Box::pin(async move {
            let raft = &self.inner.raft;
            let response = match decode_for_consensus(payload)? {
                Request::Append(rpc) => Response::Append(raft.append_entries(rpc).await),
                Request::Vote(rpc) => Response::Vote(self.vote(rpc).await),
                Request::Snapshot(rpc) => Response::Snapshot(raft.install_snapshot(rpc).await),
                Request::Formation => Response::Formation(match raft.is_initialized().await {
                    Ok(false) => Formation::Pristine,
                    Ok(true) | Err(_) => Formation::Formed,
                }),
            };
            Some(encode_for_consensus(&response))
        })
    }

    async fn vote(&self, request: VoteRequest<u64>) -> Result<VoteResponse<u64>, RaftError<u64>> {
        let response = self.inner.raft.vote(request).await?;
        if let Some(observer) = &self.inner.observer
            && response.vote_granted
        {
            observer.ceding(*response.vote.leader_id());
        }
        Ok(response)
    }

    /// A peer has connected: if this node has no connection to it, it tries again now.
    pub fn introduced(&self, peer: &NodeName) {
        if let Ok(number) = self.inner.members.binary_search(peer)
            && let Some(link) = self.link(number as u64)
        {
            link.peer_is_back();
        }
    }

    /// Returns when the consensus has stopped on an error of its own, which is returned.
    pub fn failed(&self) -> BoxFuture<'_, Fatal> {
        Box::pin(async move {
            let mut metrics = self.metrics();
            loop {
                if let Err(fatal) = &metrics.borrow_and_update().running_state {
                    return fatal.clone();
                }
                if metrics.changed().await.is_err() {
                    return Fatal::Stopped;
                }
            }
        })
    }

    /// Stops the consensus and closes the data folder.
    pub fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // The only error is that the core's task panicked, which is already in the log.
            self.inner.raft.shutdown().await.ok();
            self.inner.disk.close().await;
        })
    }
}

fn config(setup: &Setup) -> openraft::Config {
    let millis = |duration: Duration| duration.as_millis() as u64;
    openraft::Config {
        cluster_name: setup.hello.cluster.clone(),
        heartbeat_interval: millis(setup.heartbeat),
        election_timeout_min: millis(setup.election_min),
        election_timeout_max: millis(setup.election_max),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(setup.snapshot_every),
        // A follower further behind than the leader's own log reaches gets the snapshot anyway; this only has to be
        // above `snapshot_every`.
        replication_lag_threshold: setup.snapshot_every * 2,
        max_in_snapshot_log_to_keep: setup.snapshot_every / 5,
        purge_batch_size: (setup.snapshot_every / 10).max(1),
        install_snapshot_timeout: SNAPSHOT_CHUNK_TIMEOUT_MS,
        snapshot_max_chunk_size: SNAPSHOT_CHUNK_BYTES,
        ..openraft::Config::default()
    }
}
