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
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;

use crate::disk::{Disk, DiskError, META, Syncing};
use crate::formation::form;
use crate::log_store::{LoadedLog, LogStore, VoteKeeping};
use crate::member::{Beginning, draw, place_of};
use crate::message::{Formation, MemberRequest, Request, Response, Sender};
use crate::name::{NodeName, Peer};
use crate::network::{Links, Observer, PeerNetworks};
use crate::peer::Link;
use crate::peer::frame::Hello;
use crate::peer::payload::{decode_for_consensus, encode_for_consensus};
use crate::proposal::Proposal;
use crate::standing::{Known, Standing};
use crate::state::{Replicated, State, StateView};
use crate::state_machine::{SnapshotContents, StateMachine, StoredSnapshot};
use crate::types::{Batch, Fatal, Metrics, ServerMetrics, ServerState, TypeConfig};

/// The record of the number that a node has drawn.
const NUMBER: &str = "number";
const SNAPSHOT_CHUNK_BYTES: u64 = 1 << 20;
const SNAPSHOT_CHUNK_TIMEOUT_MS: u64 = 2_000;

/// How a node takes part in the consensus.
pub struct Setup {
    /// The folder of its data; made if missing.
    pub folder: PathBuf,
    /// The introduction of this node.
    pub hello: Hello,
    /// The names of all nodes, in order: the founders, and those that may join. See [`crate::member`] for their numbers.
    pub members: Vec<NodeName>,
    /// The other nodes.
    pub peers: Vec<Peer>,
    /// How the node begins, if the folder is empty.
    pub beginning: Beginning,
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
    nodes: Vec<NodeName>,
    raft: Raft<TypeConfig>,
    links: Links,
    disk: Disk,
    observer: Option<Arc<dyn Observer>>,
    standing: Arc<Standing>,
    /// Held for a change of the members; a change spans several awaits, and the next begins from its result.
    changing: Mutex<()>,
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
            let Setup {
                folder,
                hello,
                members,
                peers,
                beginning,
                first,
                syncing,
                keeping,
                snapshots,
                observer,
                ..
            } = setup;
            let owner = format!("{} of {}", hello.node, hello.cluster);
            let (disk, (log, snapshot, kept)) = Disk::open(&folder, &owner, format, syncing, |contents| {
                Ok((LoadedLog::load(contents)?, StoredSnapshot::load(contents)?, contents.meta(NUMBER)?))
            })?;
            let place_of_name =
                |name: &NodeName| members.binary_search(name).expect("members are all nodes") as u64;
            let place = place_of_name(&hello.node);
            let number = match (kept, beginning) {
                (Some(number), _) => number,
                (None, Beginning::Joins) if log.is_pristine() => {
                    let number = draw(place);
                    keep_number(&disk, number).await?;
                    number
                }
                (None, _) => place,
            };
            let founds = number == place;
            let mut links = BTreeMap::new();
            for peer in peers {
                let place = place_of_name(&peer.name);
                let (link, task) = Link::new(peer.name, peer.address, hello.clone());
                tasks.spawn(task.run());
                links.insert(place, link);
            }
            let links: Links = Arc::new(links);

            let log_store = LogStore::new(disk.clone(), log, number, keeping);
            let standing = Arc::new(Standing::new(number, Arc::clone(&state)));
            let state_machine =
                StateMachine::new(disk.clone(), snapshot, state, snapshots).map_err(StartError::Snapshot)?;
            let networks = PeerNetworks {
                links: Arc::clone(&links),
                observer: observer.clone(),
                standing: Arc::clone(&standing),
            };
            let raft = Raft::new(number, Arc::new(config), networks, log_store, state_machine)
                .await
                .map_err(StartError::Consensus)?;
            // Until the others have said that it is still a member.
            raft.runtime_config().elect(false);
            standing.starts(raft.server_metrics());
            let changing = Mutex::new(());
            let inner = Inner { nodes: members, raft, links, disk, observer, standing, changing };
            let consensus = Self { inner: Arc::new(inner) };
            if founds {
                tasks.spawn(consensus.clone().form_cluster(first));
            }
            tasks.spawn(consensus.clone().stand_while_voter());
            tasks.spawn(consensus.clone().complete_changes());
            Ok(consensus)
        })
    }

    async fn form_cluster(self, first: u64) {
        let inner = &self.inner;
        if let Err(fatal) = form(&inner.raft, self.number(), first, &inner.nodes, &inner.links).await {
            // `failed` reports the same error to the caller that runs the node.
            tracing::debug!(error = %fatal, "no longer forming a cluster");
        }
    }

    /// This node's number.
    pub fn number(&self) -> u64 {
        self.inner.standing.number()
    }

    /// Returns the names of all nodes, by place.
    pub fn nodes(&self) -> &[NodeName] {
        &self.inner.nodes
    }

    /// Returns the name of the node that is, or was, the member `number`.
    pub fn name_of(&self, number: u64) -> Option<&NodeName> {
        self.inner.nodes.get(place_of(number) as usize)
    }

    /// Returns the link to the node that is the member `number`.
    pub fn link(&self, number: u64) -> Option<&Link> {
        self.inner.links.get(&place_of(number))
    }

    pub(crate) fn raft(&self) -> &Raft<TypeConfig> {
        &self.inner.raft
    }

    pub(crate) fn standing(&self) -> &Standing {
        &self.inner.standing
    }

    pub(crate) fn changing(&self) -> &Mutex<()> {
        &self.inner.changing
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
            let (raft, standing) = (&self.inner.raft, &self.inner.standing);
            let response = match decode_for_consensus(payload)? {
                Request::ToMember(number, _) if number != self.number() => Response::Number(self.number()),
                Request::ToMember(_, MemberRequest::Append(rpc)) => {
                    Response::Append(raft.append_entries(rpc).await)
                }
                Request::ToMember(_, MemberRequest::Vote(rpc, candidate)) => {
                    self.answer_candidate(rpc, candidate).await
                }
                Request::ToMember(_, MemberRequest::Snapshot(rpc)) => {
                    Response::Snapshot(raft.install_snapshot(rpc).await)
                }
                Request::Formation => Response::Formation(match raft.is_initialized().await {
                    Ok(false) => Formation::Pristine,
                    Ok(true) | Err(_) => Formation::Formed,
                }),
                Request::Number => Response::Number(self.number()),
                Request::Standing(sender) => {
                    Response::Standing(standing.of(sender.number, sender.known_until))
                }
                Request::Removed(at) => {
                    standing.is_removed(at);
                    Response::Noted
                }
            };
            Some(encode_for_consensus(&response))
        })
    }

    async fn answer_candidate(&self, request: VoteRequest<u64>, candidate: Sender) -> Response {
        let standing = &self.inner.standing;
        match standing.of(candidate.number, candidate.known_until) {
            removed @ Known::Removed(_) => Response::Standing(removed),
            Known::Fine if !standing.belongs() => Response::NoVote,
            Known::Fine => Response::Vote(self.vote(request).await),
        }
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
        if let Ok(place) = self.inner.nodes.binary_search(peer)
            && let Some(link) = self.link(place as u64)
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

/// Keeps the number that a node has drawn, before it is used.
async fn keep_number(disk: &Disk, number: u64) -> Result<(), DiskError> {
    let record = postcard::to_stdvec(&number).expect("a number can be encoded");
    disk.commit(move |transaction| {
        transaction.open_table(META)?.insert(NUMBER, &record[..])?;
        Ok(())
    })
    .await
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
