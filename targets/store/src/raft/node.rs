//! One node of the mode `raft`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::error::{Fatal, RaftError};
use openraft::raft::{VoteRequest, VoteResponse};
use openraft::{ServerState, SnapshotPolicy};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::lease::{Lease, LeaseRenewal};
use super::message::{Answered, Forwarded, Request, Response};
use super::proposer::{Proposals, Proposer};
use super::read_index::{ReadIndex, Reads};
use super::types::{Raft, StateMachine, StateView, answer_all};
use crate::bug::{Bug, syncing};
use crate::command::{Answer, Command, Query, Reply};
use crate::config::{Config, NodeName, RaftOptions, ReadBy};
use crate::node::Status;
use crate::outcome::{Failure, NotExecuted, Unknown};
use crate::wall_clock::WallClock;
use duress_consensus::disk::{Disk, DiskError};
use duress_consensus::failure::failed;
use duress_consensus::formation::form;
use duress_consensus::log_store::{LoadedLog, LogStore, VoteKeeping};
use duress_consensus::message::Formation;
use duress_consensus::network::{Links, PeerNetworks};
use duress_consensus::peer::frame::Hello;
use duress_consensus::peer::payload::{decode, encode};
use duress_consensus::peer::{CallError, Handler, Link};
use duress_consensus::state_machine::StoredSnapshot;

/// How long a request waits for a leader to appear before it is refused. Longer than it takes to hear of an existing
/// leader, shorter than an election: a client gets an early refusal rather than a late answer.
const LEADER_WAIT: Duration = Duration::from_millis(300);
const SNAPSHOT_PIECE_BYTES: u64 = 1 << 20;
const SNAPSHOT_PIECE_TIMEOUT_MS: u64 = 2_000;

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
    Consensus(#[source] Fatal<u64>),
}

/// A running node. Cheap to clone.
#[derive(Clone)]
pub struct RaftNode {
    inner: Arc<Inner>,
}

struct Inner {
    number: u64,
    members: Vec<NodeName>,
    raft: Raft,
    links: Links,
    disk: Disk,
    proposals: Proposals,
    read_by: ReadBy,
    lease: Option<Arc<Lease>>,
    reads: Reads,
    view: StateView,
    request_timeout: Duration,
    quorum_silence_max: Duration,
}

impl RaftNode {
    /// Opens the data folder and starts the consensus. The node's tasks run in `tasks`; reads by lease are timed by
    /// `clock`.
    ///
    /// # Errors
    /// The data folder cannot be used, or the consensus cannot start from what it holds.
    pub async fn start(
        config: &Config,
        options: &RaftOptions,
        clock: Arc<dyn WallClock>,
        members: Vec<NodeName>,
        hello: &Hello,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self, StartError> {
        let owner = format!("{} of {}", config.node, hello.cluster);
        let (disk, (log, snapshot)) = Disk::open(&config.data, &owner, syncing(config.bug), |contents| {
            Ok((LoadedLog::load(contents)?, StoredSnapshot::load(contents)?))
        })?;
        let number_of = |name: &NodeName| members.binary_search(name).expect("members are all nodes") as u64;
        let number = number_of(&config.node);
        let mut links = BTreeMap::new();
        for peer in &config.peers {
            let (link, task) = Link::new(peer.name.clone(), peer.address, hello.clone());
            tasks.spawn(task.run());
            links.insert(number_of(&peer.name), link);
        }
        let links = Arc::new(links);

        let lease = match options.read_by {
            ReadBy::Lease => Some(Arc::new(Lease::new(options.lease, members.len(), clock))),
            ReadBy::Index | ReadBy::Local => None,
        };

        let keeping = match config.bug {
            Some(Bug::VoteNotPersisted) => VoteKeeping::InMemory,
            _ => VoteKeeping::Durable,
        };
        let log_store = LogStore::new(disk.clone(), log, number, keeping);
        let state_machine = StateMachine::new(disk.clone(), snapshot).map_err(StartError::Snapshot)?;
        let view = state_machine.view();
        let networks =
            PeerNetworks { node: number, links: Arc::clone(&links), observer: LeaseRenewal(lease.clone()) };
        let settings = consensus_config(options);
        let settings = Arc::new(settings.validate().map_err(StartError::Config)?);
        let raft = Raft::new(number, settings, networks, log_store, state_machine)
            .await
            .map_err(StartError::Consensus)?;

        let (proposals, proposer) =
            Proposer::new(raft.clone(), view.clone(), config.bug, config.request_timeout);
        let (reads, rounds) = ReadIndex::new(raft.clone(), view.clone(), config.bug, config.request_timeout);
        tasks.spawn(proposer.run());
        tasks.spawn(rounds.run());
        let quorum_silence_max = options.election_max + options.heartbeat * 3;
        let inner = Inner {
            number,
            members,
            raft,
            links,
            disk,
            proposals,
            read_by: options.read_by,
            lease,
            reads,
            view,
            request_timeout: config.request_timeout,
            quorum_silence_max,
        };
        let node = Self { inner: Arc::new(inner) };
        tasks.spawn(node.clone().form_cluster());
        tasks.spawn(node.clone().log_changes());
        Ok(node)
    }

    /// Executes writes, in order, as one.
    ///
    /// # Errors
    /// See [`crate::outcome`].
    pub async fn write(&self, commands: Vec<Command>) -> Result<Vec<Reply>, Failure> {
        let deadline = Instant::now() + self.inner.request_timeout;
        let request = Forwarded::Write(commands);
        let response = self.at_leader(request, deadline).await?;
        match response {
            Answered::Written(result) => result,
            _ => Err(Unknown::ConnectionLost.into()),
        }
    }

    /// Answers queries, all as of one moment: between the call and its return, or any earlier one if reads are local.
    ///
    /// # Errors
    /// See [`crate::outcome`].
    pub async fn read(&self, queries: Vec<Query>) -> Result<Vec<Answer>, Failure> {
        if self.inner.read_by == ReadBy::Local {
            return Ok(self.inner.view.read(|applied| answer_all(applied, &queries)));
        }
        let deadline = Instant::now() + self.inner.request_timeout;
        let request = Forwarded::Read(queries);
        match self.at_leader(request, deadline).await? {
            Answered::Read(result) => result,
            _ => Err(Unknown::ConnectionLost.into()),
        }
    }

    /// The status of this node and the cluster, as it knows it without asking another node.
    pub fn status(&self) -> Status {
        let metrics = self.inner.raft.metrics().borrow().clone();
        let name = |number: u64| self.inner.members.get(number as usize).map(ToString::to_string);
        let index = |id: Option<super::types::LogId>| id.map_or(0, |id| id.index);
        let mut fields = vec![
            ("term", metrics.current_term.to_string()),
            ("last_log_index", metrics.last_log_index.unwrap_or(0).to_string()),
            ("applied", index(metrics.last_applied).to_string()),
            ("snapshot_index", index(metrics.snapshot).to_string()),
            ("purged_index", index(metrics.purged).to_string()),
            ("reads", self.inner.read_by.name().to_owned()),
            ("read_rounds", self.inner.reads.rounds().to_string()),
        ];
        if let Some(lease) = &self.inner.lease {
            fields.push(("lease_reads", lease.answered().to_string()));
        }
        if let Some(millis) = metrics.millis_since_quorum_ack {
            fields.push(("quorum_ack_ms", millis.to_string()));
        }
        Status {
            mode: "raft",
            role: role(metrics.state),
            leader: metrics.current_leader.and_then(name),
            keys: self.inner.view.read(|applied| applied.state.len()),
            fields,
        }
    }

    /// Returns when the consensus has stopped on an error of its own, which is returned.
    pub async fn failed(&self) -> Fatal<u64> {
        failed(&self.inner.raft).await
    }

    /// Stops the consensus and closes the data folder.
    pub async fn stop(&self) {
        // The only error is that the core's task panicked, which is already in the log.
        self.inner.raft.shutdown().await.ok();
        self.inner.disk.close().await;
    }

    /// Has the leader answer a request, be it this node or another. Repeats only an attempt that certainly had no effect.
    async fn at_leader(&self, request: Forwarded, deadline: Instant) -> Result<Answered, Failure> {
        let request = Request::Own(request);
        let give_up = deadline.min(Instant::now() + LEADER_WAIT);
        loop {
            let leader = self.inner.raft.server_metrics().borrow().current_leader;
            let attempt = match leader {
                None => Err(NotExecuted::NoLeader.into()),
                Some(number) if number == self.inner.number => self.here(&request, deadline).await,
                Some(number) => self.forward(number, &request, deadline).await,
            };
            let reason = match attempt {
                Err(Failure::NotExecuted(reason)) if reason != NotExecuted::ShuttingDown => reason,
                // The answer "not executed" comes from a node that no longer leads.
                Ok(Answered::Written(Err(Failure::NotExecuted(reason)))) => reason,
                Ok(Answered::Read(Err(Failure::NotExecuted(reason)))) => reason,
                other => return other,
            };
            if timeout_at(give_up, self.leadership_differs(leader)).await.is_err() {
                return Err(reason.into());
            }
        }
    }

    /// Waits until another attempt may succeed where the one at `tried` failed: another leader is known, or the
    /// connection to it is back.
    async fn leadership_differs(&self, tried: Option<u64>) {
        let mut metrics = self.inner.raft.server_metrics();
        let another = metrics.wait_for(|metrics| metrics.current_leader != tried);
        let link = tried.and_then(|number| self.inner.links.get(&number));
        tokio::select! {
            // An error means that the consensus has stopped, which the next attempt will find.
            _ = another => {}
            () = reconnected(link) => {}
        }
    }

    async fn here(&self, request: &Request, deadline: Instant) -> Result<Answered, Failure> {
        let answered = async {
            match request {
                Request::Own(Forwarded::Write(commands)) => {
                    Answered::Written(self.propose(commands.clone()).await)
                }
                Request::Own(Forwarded::Read(queries)) => Answered::Read(self.read_as_leader(queries).await),
                _ => unreachable!("only clients' requests are for the leader"),
            }
        };
        timeout_at(deadline, answered).await.map_err(|_| Unknown::TimedOut.into())
    }

    async fn read_as_leader(&self, queries: &[Query]) -> Result<Vec<Answer>, Failure> {
        if let Some(lease) = &self.inner.lease
            && let Some(answers) = lease.read(&self.inner.view, queries)
        {
            return Ok(answers);
        }
        self.inner.reads.read(queries.to_vec()).await
    }

    async fn propose(&self, commands: Vec<Command>) -> Result<Vec<Reply>, Failure> {
        let silence = self.inner.raft.metrics().borrow().millis_since_quorum_ack;
        if silence.is_some_and(|ms| Duration::from_millis(ms) > self.inner.quorum_silence_max) {
            return Err(NotExecuted::NoQuorum.into());
        }
        self.inner.proposals.propose(commands).await
    }

    async fn forward(&self, leader: u64, request: &Request, deadline: Instant) -> Result<Answered, Failure> {
        let Some(link) = self.inner.links.get(&leader) else {
            return Err(NotExecuted::LeaderUnreachable.into());
        };
        let payload = link.call(encode(request), deadline).await.map_err(|error| match error {
            CallError::NotSent => Failure::from(NotExecuted::LeaderUnreachable),
            CallError::Lost => Unknown::ConnectionLost.into(),
            CallError::TimedOut => Unknown::TimedOut.into(),
        })?;
        match decode(&payload) {
            Some(Response::Own(answered)) => Ok(answered),
            _ => Err(Unknown::ConnectionLost.into()),
        }
    }

    async fn form_cluster(self) {
        let inner = &self.inner;
        if let Err(fatal) = form(&inner.raft, inner.number, &inner.members, &inner.links).await {
            // `failed` reports the same error to the caller that runs the node.
            tracing::debug!(error = %fatal, "no longer forming a cluster");
        }
    }

    async fn log_changes(self) {
        let mut metrics = self.inner.raft.server_metrics();
        let name = |number: Option<u64>| {
            number.and_then(|n| self.inner.members.get(n as usize)).map_or("none".into(), ToString::to_string)
        };
        let mut before = None;
        loop {
            let now = {
                let metrics = metrics.borrow_and_update();
                (metrics.state, metrics.current_leader, metrics.vote.leader_id().term)
            };
            if before != Some(now) {
                let (state, leader, term) = now;
                tracing::info!(role = role(state), leader = name(leader), term, "role");
                before = Some(now);
            }
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }
}

impl Handler for RaftNode {
    async fn handle(&self, payload: Bytes) -> Option<Bytes> {
        let raft = &self.inner.raft;
        let response = match decode(&payload)? {
            Request::Append(rpc) => Response::Append(raft.append_entries(rpc).await),
            Request::Vote(rpc) => Response::Vote(self.vote(rpc).await),
            Request::Snapshot(rpc) => Response::Snapshot(raft.install_snapshot(rpc).await),
            Request::Formation => Response::Formation(match raft.is_initialized().await {
                Ok(false) => Formation::Pristine,
                Ok(true) | Err(_) => Formation::Formed,
            }),
            request @ Request::Own(_) => Response::Own(self.forwarded(request).await),
        };
        Some(encode(&response))
    }

    fn introduced(&self, peer: &NodeName) {
        let number = self.inner.members.binary_search(peer).ok();
        if let Some(link) = number.and_then(|number| self.inner.links.get(&(number as u64))) {
            link.peer_is_back();
        }
    }
}

impl RaftNode {
    /// Serves a request that another node forwarded. A request is forwarded at most once, so that two nodes which each
    /// take the other for the leader do not pass it back and forth.
    async fn forwarded(&self, request: Request) -> Answered {
        let result = if self.leads() {
            self.here(&request, Instant::now() + self.inner.request_timeout).await
        } else {
            Err(NotExecuted::NotLeader.into())
        };
        result.unwrap_or_else(|failure| match request {
            Request::Own(Forwarded::Write(_)) => Answered::Written(Err(failure)),
            _ => Answered::Read(Err(failure)),
        })
    }

    async fn vote(&self, request: VoteRequest<u64>) -> Result<VoteResponse<u64>, RaftError<u64>> {
        let response = self.inner.raft.vote(request).await?;
        if let Some(lease) = &self.inner.lease
            && response.vote_granted
        {
            lease.cede(*response.vote.leader_id());
        }
        Ok(response)
    }

    fn leads(&self) -> bool {
        self.inner.raft.server_metrics().borrow().state == ServerState::Leader
    }
}

/// Waits for the link to come up, without a deadline; for ever if there is no link.
async fn reconnected(link: Option<&Link>) {
    match link {
        Some(link) if !link.is_connected() => link.connected().await,
        _ => std::future::pending().await,
    }
}

fn role(state: ServerState) -> &'static str {
    match state {
        ServerState::Leader => "leader",
        ServerState::Candidate => "candidate",
        // openraft calls a node that has not heard of the cluster yet a learner.
        ServerState::Follower | ServerState::Learner => "follower",
        ServerState::Shutdown => "stopped",
    }
}

fn consensus_config(options: &RaftOptions) -> openraft::Config {
    let millis = |duration: Duration| duration.as_millis() as u64;
    openraft::Config {
        cluster_name: "store".into(),
        heartbeat_interval: millis(options.heartbeat),
        election_timeout_min: millis(options.election_min),
        election_timeout_max: millis(options.election_max),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(options.snapshot_every),
        // A follower further behind than the leader's own log reaches gets the snapshot anyway; this only has to be
        // above `snapshot_every`.
        replication_lag_threshold: options.snapshot_every * 2,
        max_in_snapshot_log_to_keep: options.snapshot_every / 5,
        purge_batch_size: (options.snapshot_every / 10).max(1),
        install_snapshot_timeout: SNAPSHOT_PIECE_TIMEOUT_MS,
        snapshot_max_chunk_size: SNAPSHOT_PIECE_BYTES,
        ..openraft::Config::default()
    }
}
