//! One node of the mode `raft`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use duress_consensus::log_store::VoteKeeping;
use duress_consensus::network::Observer;
use duress_consensus::peer::frame::Hello;
use duress_consensus::peer::payload::{decode, encode, is_for_consensus};
use duress_consensus::peer::{CallError, Handler, Link};
use duress_consensus::state_machine::SnapshotContents;
use duress_consensus::types::{Fatal, LogId, ServerState};
use duress_consensus::{ChangeError, Consensus, Member, NotConfirmed, Part, Setup, StartError};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::lease::Lease;
use super::message::{Answered, Forwarded, FromMember, MemberRequest};
use super::proposer::{Proposals, Proposer};
use super::read_index::{ReadIndex, Reads};
use super::types::{StateView, answer_all};
use crate::bug::{Bug, syncing};
use crate::command::{Answer, Command, Query, Reply};
use crate::config::{Config, NodeName, RaftOptions, ReadBy};
use crate::early_reads::EarlyReads;
use crate::node::{Contents, Status};
use crate::outcome::{Failure, NotExecuted, Refused, Unknown};
use crate::sharded::shard::Shard;
use crate::wall_clock::WallClock;

/// How long a request waits for a leader to appear before it is refused. Longer than it takes to hear of an existing
/// leader, shorter than an election: a client gets an early refusal rather than a late answer.
const LEADER_WAIT: Duration = Duration::from_millis(300);

/// How long a change of the members waits for the one before.
const BETWEEN_CHANGES: Duration = Duration::from_millis(20);

/// A running node. Cheap to clone.
#[derive(Clone)]
pub struct RaftNode {
    inner: Arc<Inner>,
}

struct Inner {
    consensus: Consensus,
    proposals: Proposals,
    read_by: ReadBy,
    lease: Option<Arc<Lease>>,
    reads: Reads,
    view: StateView,
    bug: Option<Bug>,
    request_timeout: Duration,
    quorum_silence_max: Duration,
}

/// The group that a node takes part in.
pub struct Group {
    /// The shard that it replicates; `None` where there are no shards.
    pub shard: Option<u8>,
    /// The folder of its data.
    pub folder: PathBuf,
    /// Its state before the first entry of the log.
    pub state: Shard,
    /// The number of the node that stands for election first.
    pub first: u64,
}

impl Group {
    /// Returns the only group of a node, which holds every key.
    pub fn whole(config: &Config) -> Self {
        Self { shard: None, folder: config.data.clone(), state: Shard::default(), first: 0 }
    }
}

impl RaftNode {
    /// Opens the data folder and starts the consensus. The node's tasks run in `tasks`; `clock` times reads
    /// by lease.
    ///
    /// # Errors
    /// The data folder cannot be used, or the consensus cannot start from its contents.
    pub async fn start(
        config: &Config,
        options: &RaftOptions,
        clock: Arc<dyn WallClock>,
        members: Vec<NodeName>,
        hello: &Hello,
        group: Group,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self, StartError> {
        let lease = match options.read_by {
            ReadBy::Lease => {
                let lacking = usize::from(config.bug == Some(Bug::LeaseShortOfQuorum));
                Some(Arc::new(Lease::new(options.lease, lacking, clock)))
            }
            ReadBy::Index | ReadBy::Local => None,
        };

        let keeping = match config.bug {
            Some(Bug::VoteNotPersisted) => VoteKeeping::InMemory,
            Some(Bug::LeadershipResumed) => VoteKeeping::Resumed,
            _ => VoteKeeping::Durable,
        };
        let snapshots = match config.bug {
            Some(Bug::SnapshotLacksLastBatch) => SnapshotContents::LacksLastBatch,
            Some(Bug::StaleConfiguration) => SnapshotContents::FormerMembers,
            _ => SnapshotContents::Everything,
        };
        let observer = lease.clone().map(|lease| -> Arc<dyn Observer> { lease });
        let setup = Setup {
            folder: group.folder,
            hello: hello.clone(),
            members,
            peers: config.peers.clone(),
            beginning: config.beginning,
            first: group.first,
            heartbeat: options.heartbeat,
            election_min: options.election_min,
            election_max: options.election_max,
            snapshot_every: options.snapshot_every,
            syncing: syncing(config.bug),
            keeping,
            snapshots,
            observer,
        };
        let (consensus, view) = Consensus::start_from(setup, group.state, tasks).await?;

        let (proposals, proposer) =
            Proposer::new(consensus.clone(), view.clone(), config.bug, config.request_timeout);
        let (reads, rounds) =
            ReadIndex::new(consensus.clone(), view.clone(), config.bug, config.request_timeout);
        tasks.spawn(proposer.run());
        tasks.spawn(rounds.run());
        let quorum_silence_max = options.election_max + options.heartbeat * 3;
        let inner = Inner {
            consensus,
            proposals,
            read_by: options.read_by,
            lease,
            reads,
            view,
            bug: config.bug,
            request_timeout: config.request_timeout,
            quorum_silence_max,
        };
        let node = Self { inner: Arc::new(inner) };
        tasks.spawn(node.clone().log_changes(group.shard));
        Ok(node)
    }

    /// Executes writes, in order, as one.
    ///
    /// # Errors
    /// See [`crate::outcome`].
    pub async fn write(&self, commands: Vec<Command>) -> Result<Vec<Reply>, Failure> {
        self.write_by(commands, Instant::now() + self.inner.request_timeout).await
    }

    /// As [`write`](Self::write), until a deadline.
    ///
    /// # Errors
    /// See [`crate::outcome`].
    pub async fn write_by(&self, commands: Vec<Command>, deadline: Instant) -> Result<Vec<Reply>, Failure> {
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
        self.read_by(queries, Instant::now() + self.inner.request_timeout).await
    }

    /// As [`read`](Self::read), until a deadline.
    ///
    /// # Errors
    /// See [`crate::outcome`].
    pub async fn read_by(&self, queries: Vec<Query>, deadline: Instant) -> Result<Vec<Answer>, Failure> {
        if self.inner.read_by == ReadBy::Local && !self.inner.consensus.is_outside() {
            return Ok(self.inner.view.read(|applied| answer_all(applied, &queries)));
        }
        let request = Forwarded::Read(queries);
        match self.at_leader(request, deadline).await? {
            Answered::Read(result) => result,
            _ => Err(Unknown::ConnectionLost.into()),
        }
    }

    /// Changes or lists the members, and returns them as the leader has them then.
    ///
    /// # Errors
    /// See [`crate::outcome`].
    pub async fn members(&self, request: MemberRequest) -> Result<Vec<Member>, Failure> {
        let deadline = Instant::now() + self.inner.request_timeout;
        match self.at_leader(Forwarded::Members(request), deadline).await? {
            Answered::Members(result) => result,
            _ => Err(Unknown::ConnectionLost.into()),
        }
    }

    /// Returns the status of this node and the cluster, as it knows it without asking another node.
    pub fn status(&self) -> Status {
        let metrics = self.inner.consensus.metrics().borrow().clone();
        let name = |number: u64| self.inner.consensus.name_of(number).map(ToString::to_string);
        let members = self.inner.consensus.members();
        let names = |part: Part| {
            let names =
                members.iter().filter(|member| member.part == part).map(|member| member.name.as_str());
            names.collect::<Vec<_>>().join(",")
        };
        let index = |id: Option<LogId>| id.map_or(0, |id| id.index);
        let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
        let mut fields = vec![
            ("term", metrics.current_term.to_string()),
            ("last_log_index", metrics.last_log_index.unwrap_or(0).to_string()),
            ("applied", index(metrics.last_applied).to_string()),
            ("snapshot_index", index(metrics.snapshot).to_string()),
            ("purged_index", index(metrics.purged).to_string()),
            ("voters", names(Part::Voter)),
            ("learners", names(Part::Learner)),
            ("voter", yes(self.inner.consensus.is_voter())),
            ("may_stand", yes(self.inner.consensus.may_stand())),
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
            keys: self.inner.view.read(|applied| applied.state.values.len()),
            fields,
        }
    }

    /// Returns the contents of this node.
    pub fn contents(&self) -> Contents {
        self.inner.view.read(|applied| {
            let index = applied.last_applied.map_or(0, |id| id.index);
            Contents::new(index.to_string(), &applied.state.values)
        })
    }

    /// Reads this node's copy of the state, however old.
    pub fn look<T>(&self, look: impl FnOnce(&Shard) -> T) -> T {
        self.inner.view.read(|applied| look(&applied.state))
    }

    /// Returns the number of the leader, as far as this node knows.
    pub fn leader(&self) -> Option<u64> {
        self.inner.consensus.leader()
    }

    /// Whether this node leads, as far as it knows.
    pub fn leads(&self) -> bool {
        self.inner.consensus.leads()
    }

    /// Returns when the consensus has stopped on an error of its own, which is returned.
    pub async fn failed(&self) -> Fatal {
        self.inner.consensus.failed().await
    }

    /// Stops the consensus and closes the data folder.
    pub async fn stop(&self) {
        self.inner.consensus.stop().await;
    }

    /// Has the leader answer a request, be it this node or another. Repeats only an attempt that certainly had no effect.
    async fn at_leader(&self, request: Forwarded, deadline: Instant) -> Result<Answered, Failure> {
        let mut give_up = deadline.min(Instant::now() + LEADER_WAIT);
        // With the bug `exec-retried`, why the last attempt has no answer.
        let mut lost = None;
        loop {
            if self.inner.consensus.is_outside() {
                return Err(lost.unwrap_or(NotExecuted::NotMember.into()));
            }
            let leader = self.inner.consensus.leader();
            let attempt = match leader {
                None => Err(NotExecuted::NoLeader.into()),
                Some(number) if number == self.inner.consensus.number() => {
                    self.here(&request, deadline).await
                }
                Some(number) => self.forward(number, &request, deadline).await,
            };
            let failure = match &attempt {
                Ok(answered) => answered.failure(),
                Err(failure) => Some(failure),
            };
            let reason = match failure {
                Some(Failure::NotExecuted(NotExecuted::NotMember)) => return attempt,
                Some(Failure::NotExecuted(NotExecuted::ShuttingDown)) if attempt.is_err() => return attempt,
                // The answer "not executed" comes from a node that no longer leads.
                Some(Failure::NotExecuted(reason)) => reason.clone(),
                Some(failure @ Failure::Unknown(_))
                    if self.sends_again(&request) && Instant::now() < deadline =>
                {
                    (lost, give_up) = (Some(failure.clone()), deadline);
                    continue;
                }
                _ => return attempt,
            };
            if timeout_at(give_up, self.leadership_differs(leader)).await.is_err() {
                return Err(lost.unwrap_or(reason.into()));
            }
        }
    }

    /// The bug `exec-retried`: whether a request is sent again though it may have been executed.
    fn sends_again(&self, request: &Forwarded) -> bool {
        let transaction = |command: &Command| matches!(command, Command::Transaction(_));
        self.inner.bug == Some(Bug::ExecRetried)
            && matches!(request, Forwarded::Write(commands) if commands.iter().any(transaction))
    }

    /// Waits until another attempt may succeed where the one at `tried` failed: another leader is known, or the
    /// connection to it is back.
    async fn leadership_differs(&self, tried: Option<u64>) {
        let mut metrics = self.inner.consensus.server_metrics();
        let another = metrics.wait_for(|metrics| metrics.current_leader != tried);
        let link = tried.and_then(|number| self.inner.consensus.link(number));
        tokio::select! {
            // An error means that the consensus has stopped, which the next attempt will find.
            _ = another => {}
            () = reconnected(link) => {}
        }
    }

    async fn here(&self, request: &Forwarded, deadline: Instant) -> Result<Answered, Failure> {
        let answered = async {
            match request {
                Forwarded::Write(commands) => Answered::Written(self.propose(commands.clone()).await),
                Forwarded::Read(queries) => Answered::Read(self.read_as_leader(queries).await),
                Forwarded::Members(request) => Answered::Members(self.members_as_leader(request).await),
            }
        };
        timeout_at(deadline, answered).await.map_err(|_| Unknown::TimedOut.into())
    }

    async fn members_as_leader(&self, request: &MemberRequest) -> Result<Vec<Member>, Failure> {
        let consensus = &self.inner.consensus;
        let place = |name: &NodeName| {
            let nodes = consensus.nodes();
            let found = nodes.binary_search(name).map(|place| place as u64);
            found.map_err(|_| {
                let known = nodes.iter().map(NodeName::as_str).collect::<Vec<_>>().join(", ");
                Refused::Members(format!("there is no node {name}: the nodes are {known}"))
            })
        };
        loop {
            let changed = match request {
                MemberRequest::Add(name) => consensus.add_member(place(name)?).await,
                MemberRequest::Remove(name) => consensus.remove_member(place(name)?).await,
                MemberRequest::List => match consensus.confirm_leadership().await {
                    Ok(()) => Ok(()),
                    Err(NotConfirmed::NotLeader) => return Err(NotExecuted::NotLeader.into()),
                    Err(NotConfirmed::NoQuorum) => return Err(NotExecuted::NoQuorum.into()),
                    Err(NotConfirmed::Stopped) => return Err(NotExecuted::ShuttingDown.into()),
                },
            };
            match changed {
                Ok(()) => return Ok(consensus.members()),
                // The caller has a deadline.
                Err(ChangeError::UnderWay) => sleep(BETWEEN_CHANGES).await,
                Err(ChangeError::NotLeader | ChangeError::Unknown) => {
                    return Err(Unknown::LeaderChanged.into());
                }
                Err(
                    error @ (ChangeError::Unreachable(_)
                    | ChangeError::OtherData(_)
                    | ChangeError::LastVoter(_)),
                ) => return Err(Refused::Members(error.to_string()).into()),
            }
        }
    }

    async fn read_as_leader(&self, queries: &[Query]) -> Result<Vec<Answer>, Failure> {
        if let Some(lease) = &self.inner.lease
            && let Some(answers) = lease.read(self.inner.consensus.number(), &self.inner.view, queries)
        {
            return Ok(answers);
        }
        self.inner.reads.read(queries.to_vec()).await
    }

    async fn propose(&self, commands: Vec<Command>) -> Result<Vec<Reply>, Failure> {
        let silence = self.inner.consensus.metrics().borrow().millis_since_quorum_ack;
        if silence.is_some_and(|ms| Duration::from_millis(ms) > self.inner.quorum_silence_max) {
            return Err(NotExecuted::NoQuorum.into());
        }
        let early = self
            .inner
            .view
            .read(|applied| EarlyReads::take(self.inner.bug, &applied.state.values, &commands));
        let mut replies = self.inner.proposals.propose(commands).await?;
        if let Some(early) = early {
            early.replace(&mut replies);
        }
        Ok(replies)
    }

    async fn forward(
        &self,
        leader: u64,
        request: &Forwarded,
        deadline: Instant,
    ) -> Result<Answered, Failure> {
        let Some(link) = self.inner.consensus.link(leader) else {
            return Err(NotExecuted::LeaderUnreachable.into());
        };
        let payload = encode(&(self.inner.consensus.number(), request));
        let payload = link.call(payload, deadline).await.map_err(|error| match error {
            CallError::NotSent => Failure::from(NotExecuted::LeaderUnreachable),
            CallError::Lost => Unknown::ConnectionLost.into(),
            CallError::TimedOut => Unknown::TimedOut.into(),
        })?;
        decode(&payload).ok_or_else(|| Unknown::ConnectionLost.into())
    }

    async fn log_changes(self, shard: Option<u8>) {
        let mut metrics = self.inner.consensus.server_metrics();
        let name = |number: Option<u64>| {
            number.and_then(|n| self.inner.consensus.name_of(n)).map_or("none".into(), ToString::to_string)
        };
        let mut before = None;
        loop {
            let now = {
                let metrics = metrics.borrow_and_update();
                (metrics.state, metrics.current_leader, metrics.vote.leader_id().term)
            };
            if before != Some(now) {
                let (state, leader, term) = now;
                tracing::info!(role = role(state), leader = name(leader), term, shard, "role");
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
        if is_for_consensus(&payload) {
            return self.inner.consensus.answer(&payload).await;
        }
        Some(encode(&self.forwarded(decode(&payload)?).await))
    }

    fn introduced(&self, peer: &NodeName) {
        self.inner.consensus.introduced(peer);
    }
}

impl RaftNode {
    /// Serves a request that another node forwarded. A request is forwarded at most once, so that two nodes which each
    /// take the other for the leader do not pass it back and forth.
    async fn forwarded(&self, (member, request): FromMember) -> Answered {
        let consensus = &self.inner.consensus;
        let result = if !consensus.leads() {
            Err(NotExecuted::NotLeader.into())
        } else if !consensus.has_voter(member) {
            // It may not know yet that it was removed.
            Err(NotExecuted::NotMember.into())
        } else {
            self.here(&request, Instant::now() + self.inner.request_timeout).await
        };
        result.unwrap_or_else(|failure| Answered::failed(&request, failure))
    }
}

/// Waits for the link to come up, without a deadline; for ever without a link.
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
