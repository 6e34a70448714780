//! This broker's part in the consensus, and its requests to the leader.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use duress_consensus::disk::Syncing;
use duress_consensus::log_store::VoteKeeping;
use duress_consensus::peer::CallError;
use duress_consensus::peer::frame::Hello;
use duress_consensus::peer::payload::{decode, encode};
use duress_consensus::state_machine::SnapshotContents;
use duress_consensus::types::ServerState;
use duress_consensus::{
    Applied, Beginning, Consensus, NodeName, ProposalError, Setup, StartError, StateView,
};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout, timeout_at};

use super::message::{HeartbeatAnswer, PeerRequest, PeerResponse, ProposalFailure};
use super::session::Sessions;
use super::state::{BrokerEpoch, BrokerId, ClusterState, Command, Election, Liveness, Reply, TopicId};
use crate::bug::Bug;
use crate::config::Config;

const SNAPSHOT_EVERY: u64 = 5_000;
const RETRY_AFTER: Duration = Duration::from_millis(50);
const SESSIONS_CHECKED_EVERY: Duration = Duration::from_millis(100);
/// The longest wait for one attempt.
const PROPOSAL_MAX: Duration = Duration::from_millis(1_500);

/// Why a change has no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// It was certainly not made and will not be.
    #[error("no controller leads, or it cannot be reached")]
    NotProposed,
    /// It may have been made, or may be later.
    #[error("it is not known whether the controllers agreed")]
    Unknown,
}

/// This broker's part in the consensus. Cheap to clone.
#[derive(Clone)]
pub struct Controller {
    inner: Arc<Inner>,
}

struct Inner {
    id: BrokerId,
    consensus: Consensus,
    view: StateView<ClusterState>,
    sessions: Sessions,
    session: Duration,
    election: Election,
    /// When this broker, leading the controllers, was certainly last followed by a majority.
    quorum_at: watch::Sender<Option<Instant>>,
    /// Confirmations of this broker's own session, the oldest first. All but the first may name a later log index than
    /// this broker has applied yet.
    confirmations: Mutex<VecDeque<Confirmation>>,
}

/// A heartbeat of this broker that the leader noted.
#[derive(Debug, Clone, Copy)]
struct Confirmation {
    /// When a session began at the latest.
    at: Instant,
    /// The index up to which this broker must have applied the controllers' log to know all earlier elections.
    log_end: u64,
}

/// Returns the number by which the consensus knows a broker.
const fn raft_number(broker: BrokerId) -> u64 {
    (broker.0 - 1) as u64
}

impl Controller {
    /// Opens the data folder and starts the consensus. Its tasks run in `tasks`.
    ///
    /// # Errors
    /// The data folder cannot be used, or the consensus cannot start from its contents.
    pub async fn start(
        config: &Config,
        members: Vec<NodeName>,
        hello: &Hello,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self, StartError> {
        let id = Config::broker_id(&members, &config.node);
        let setup = Setup {
            folder: config.data.join("controller"),
            hello: hello.clone(),
            members,
            peers: config.peers.clone(),
            beginning: Beginning::Founds,
            first: 0,
            heartbeat: config.options.heartbeat,
            election_min: config.options.election_min,
            election_max: config.options.election_max,
            snapshot_every: SNAPSHOT_EVERY,
            syncing: Syncing::Durable,
            keeping: VoteKeeping::Durable,
            snapshots: SnapshotContents::Everything,
            observer: None,
        };
        let (consensus, view) = Consensus::start(setup, tasks).await?;
        let election = if config.has(Bug::UncleanElection) { Election::Preferred } else { Election::InSync };
        let sessions = Sessions::new(config.options.session);
        let inner = Inner {
            id,
            consensus,
            view,
            sessions,
            session: config.options.session,
            election,
            quorum_at: watch::Sender::new(None),
            confirmations: Mutex::default(),
        };
        let controller = Self { inner: Arc::new(inner) };
        tasks.spawn(controller.clone().watch_sessions());
        Ok(controller)
    }

    /// This broker's number.
    pub fn id(&self) -> BrokerId {
        self.inner.id
    }

    /// Returns the rule of election.
    pub fn election(&self) -> Election {
        self.inner.election
    }

    /// Reads the agreed state, as far as this broker knows it.
    pub fn read<T>(&self, look: impl FnOnce(&ClusterState) -> T) -> T {
        self.inner.view.read(|applied| look(&applied.state))
    }

    /// Notifies of every change of the agreed state.
    pub fn changes(&self) -> watch::Receiver<Applied<ClusterState>> {
        self.inner.view.changes()
    }

    /// Returns the leader of the controllers, as far as this broker knows.
    pub fn leader(&self) -> Option<BrokerId> {
        let leader = self.inner.consensus.leader()?;
        Some(BrokerId(i32::try_from(leader).ok()? + 1))
    }

    /// Has the controllers agree on a change, through their leader. An attempt that certainly had no effect
    /// is repeated until the deadline.
    ///
    /// # Errors
    /// There is no reply; the variant tells whether the change may be made nevertheless.
    pub async fn propose(&self, command: Command, deadline: Instant) -> Result<Reply, ProposeError> {
        loop {
            match self.attempt(&command, deadline).await {
                Ok(reply) => return Ok(reply),
                Err(ProposalFailure::Unknown) => return Err(ProposeError::Unknown),
                Err(ProposalFailure::NotController) => {}
            }
            if Instant::now() + RETRY_AFTER >= deadline {
                return Err(ProposeError::NotProposed);
            }
            self.leader_may_differ().await;
        }
    }

    /// Waits a moment, or until another leader is known.
    async fn leader_may_differ(&self) {
        let mut metrics = self.inner.consensus.server_metrics();
        let tried = metrics.borrow_and_update().current_leader;
        let another = metrics.wait_for(|metrics| metrics.current_leader != tried);
        // In both cases the next attempt learns the leader.
        let _ = timeout(RETRY_AFTER, another).await;
    }

    async fn attempt(&self, command: &Command, deadline: Instant) -> Result<Reply, ProposalFailure> {
        let leader = self.leader().ok_or(ProposalFailure::NotController)?;
        if leader == self.inner.id {
            return self.propose_here(command, deadline).await;
        }
        match self.ask(leader, PeerRequest::Propose(command.clone()), deadline).await {
            Ok(PeerResponse::Proposed(result)) => result,
            Ok(_) => Err(ProposalFailure::Unknown),
            Err(CallError::NotSent) => Err(ProposalFailure::NotController),
            Err(CallError::Lost | CallError::TimedOut) => Err(ProposalFailure::Unknown),
        }
    }

    async fn propose_here(&self, command: &Command, deadline: Instant) -> Result<Reply, ProposalFailure> {
        // One command to an entry: the index of its entry identifies a topic.
        let replied = async {
            let entry = self.inner.consensus.propose(std::slice::from_ref(command)).await;
            entry.map_err(|_| ProposalFailure::Unknown)?.replies().await.map_err(|error| match error {
                ProposalError::NotLeader => ProposalFailure::NotController,
                ProposalError::LeaderChanged | ProposalError::Stopped => ProposalFailure::Unknown,
            })
        };
        let replies = timeout_at(deadline.into(), replied).await.map_err(|_| ProposalFailure::Unknown)??;
        let replies: Vec<Reply> = replies.decode().map_err(|_| ProposalFailure::Unknown)?;
        replies.into_iter().next().ok_or(ProposalFailure::Unknown)
    }

    /// Sends a request to another broker, beside those of the consensus.
    ///
    /// # Errors
    /// There is no answer; the variant tells whether the request may have left.
    pub async fn ask(
        &self,
        broker: BrokerId,
        question: PeerRequest,
        deadline: Instant,
    ) -> Result<PeerResponse, CallError> {
        let link = self.inner.consensus.link(raft_number(broker)).ok_or(CallError::NotSent)?;
        let payload = link.call(encode(&question), deadline.into()).await?;
        decode(&payload).ok_or(CallError::Lost)
    }

    /// Sends a heartbeat of this broker to the leader of the controllers.
    pub async fn send_heartbeat(&self, epoch: BrokerEpoch, deadline: Instant) -> HeartbeatAnswer {
        let Some(leader) = self.leader() else { return HeartbeatAnswer::NotController };
        if leader == self.inner.id {
            return self.heartbeat(self.inner.id, epoch);
        }
        match self.ask(leader, PeerRequest::Heartbeat(self.inner.id, epoch), deadline).await {
            Ok(PeerResponse::Heartbeat(answer)) => answer,
            Ok(_) | Err(_) => HeartbeatAnswer::NotController,
        }
    }

    /// Notes a heartbeat, if this broker leads the controllers.
    pub fn heartbeat(&self, broker: BrokerId, epoch: BrokerEpoch) -> HeartbeatAnswer {
        if !self.inner.consensus.leads() {
            return HeartbeatAnswer::NotController;
        }
        let registered = self.read(|state| state.brokers.get(&broker).map(|broker| broker.epoch));
        match registered {
            Some(known) if known == epoch => self.note_heartbeat(broker, epoch),
            Some(known) if known > epoch => HeartbeatAnswer::StaleBroker,
            // This leader has not applied the registration yet.
            Some(_) | None => HeartbeatAnswer::NotController,
        }
    }

    fn note_heartbeat(&self, broker: BrokerId, epoch: BrokerEpoch) -> HeartbeatAnswer {
        let now = Instant::now();
        // First: a broker that is found silent from now on has been silent for a whole session after this moment.
        let begins = self.inner.sessions.heard(broker, epoch, now);
        let (is_active, applied) = self.inner.view.read(|applied| {
            (applied.state.is_active(broker), applied.last_applied.map_or(0, |last| last.index))
        });
        let log_end = {
            let metrics = self.inner.consensus.metrics();
            let metrics = metrics.borrow();
            // A leader has everything in its log on which its predecessors may have agreed.
            (metrics.state == ServerState::Leader).then(|| metrics.last_log_index.unwrap_or(0).max(applied))
        };
        match (log_end, *self.inner.quorum_at.borrow()) {
            (Some(_), Some(_)) if !begins || !is_active => HeartbeatAnswer::Fenced,
            (Some(log_end), Some(at)) => HeartbeatAnswer::Noted {
                quorum_age_ms: now.saturating_duration_since(at).as_millis() as u64 + 1,
                log_end,
            },
            (None, _) | (_, None) => HeartbeatAnswer::NotController,
        }
    }

    /// Records that a heartbeat sent at `sent` was noted by a leader that a majority had followed
    /// `quorum_age` before, and whose log ended with `log_end`.
    pub fn session_confirmed(&self, sent: Instant, quorum_age: Duration, log_end: u64) {
        let Some(at) = sent.checked_sub(quorum_age) else { return };
        let known = self.applied_index();
        let mut confirmations = self.inner.confirmations.lock().unwrap_or_else(PoisonError::into_inner);
        while confirmations.get(1).is_some_and(|second| second.log_end <= known) {
            confirmations.pop_front();
        }
        // A confirmation older than a session is of no use any more.
        confirmations.retain(|confirmation| confirmation.at.elapsed() < self.inner.session);
        confirmations.push_back(Confirmation { at, log_end });
    }

    fn applied_index(&self) -> u64 {
        self.inner.view.read(|applied| applied.last_applied.map_or(0, |last| last.index))
    }

    /// Whether it is certain that this broker knows of every broker that was elected in its place.
    ///
    /// Its heartbeat was noted less than a session ago, by a leader of the controllers that a majority followed, and this
    /// broker has applied everything in that leader's log. Later entries of that leader fence no broker that was heard
    /// from, before a session is over. Another leader of the controllers is elected after that, and gives every broker a
    /// whole session before it fences any. Monotonic clocks decide; a tenth of a session is the margin for their drift.
    pub fn is_in_session(&self) -> bool {
        let known = self.applied_index();
        let confirmations = self.inner.confirmations.lock().unwrap_or_else(PoisonError::into_inner);
        let valid = confirmations.iter().rev().find(|confirmation| confirmation.log_end <= known);
        valid.is_some_and(|valid| valid.at.elapsed() < self.inner.session - self.inner.session / 10)
    }

    /// Whether this broker leads a partition in that epoch, as far as it knows.
    pub fn leads_partition(&self, topic: TopicId, partition: i32, epoch: i32) -> bool {
        self.read(|state| {
            let topic = state.topics.values().find(|known| known.id == topic);
            let partition = topic.and_then(|topic| topic.partitions.get(usize::try_from(partition).ok()?));
            partition.is_some_and(|partition| {
                partition.leader == Some(self.inner.id) && partition.leader_epoch == epoch
            })
        })
    }

    /// Notes when a majority followed this leader of the controllers. openraft reports how long ago that was as of its last
    /// reading of the clock, which is at most a heartbeat old unless the whole process stood still.
    fn note_quorum(&self, now: Instant) {
        let age = self.inner.consensus.metrics().borrow().millis_since_quorum_ack;
        let alone = self.inner.consensus.nodes().len() == 1;
        let at = match age {
            _ if alone => Some(now),
            Some(age) => now.checked_sub(Duration::from_millis(age) + SESSIONS_CHECKED_EVERY * 2),
            None => None,
        };
        self.inner.quorum_at.send_replace(at);
    }

    /// Decides on a change that another broker forwards, if this broker leads the controllers. A change is forwarded at
    /// most once, so that two brokers which each take the other for the leader do not pass it back and forth.
    pub async fn forwarded(&self, command: &Command) -> Result<Reply, ProposalFailure> {
        if !self.inner.consensus.leads() {
            return Err(ProposalFailure::NotController);
        }
        self.propose_here(command, Instant::now() + PROPOSAL_MAX).await
    }

    /// Returns its part in the consensus.
    pub fn consensus(&self) -> &Consensus {
        &self.inner.consensus
    }

    /// While this broker leads the controllers, fences brokers that have fallen silent and readmits those
    /// that are back.
    async fn watch_sessions(self) {
        let mut tick = interval(SESSIONS_CHECKED_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut led = false;
        let mut before = Instant::now();
        loop {
            tick.tick().await;
            let now = Instant::now();
            let stood_still = now.duration_since(before) > SESSIONS_CHECKED_EVERY * 5;
            before = now;
            let leads = self.inner.consensus.leads();
            if leads && (!led || stood_still) {
                tracing::info!(stood_still, "leading the controllers");
                self.inner.sessions.begin_anew();
            }
            led = leads;
            if !leads {
                self.inner.quorum_at.send_replace(None);
                continue;
            }
            if !stood_still {
                self.note_quorum(now);
            }
            for (broker, epoch, liveness) in self.sessions_to_change(now) {
                let command = Command::SetLiveness { broker, epoch, liveness, election: self.inner.election };
                let outcome = self.propose_here(&command, Instant::now() + PROPOSAL_MAX).await;
                tracing::info!(%broker, epoch, ?liveness, ?outcome, "a broker's session");
                before = Instant::now();
            }
        }
    }

    fn sessions_to_change(&self, now: Instant) -> Vec<(BrokerId, BrokerEpoch, Liveness)> {
        let sessions = &self.inner.sessions;
        let brokers = self.read(|state| state.brokers.clone());
        let changes = brokers.into_iter().filter_map(|(id, broker)| match broker.liveness {
            Liveness::Active => {
                sessions.is_over(id, broker.epoch, now).then_some((id, broker.epoch, Liveness::Fenced))
            }
            Liveness::Fenced => {
                sessions.fenced(id);
                sessions.is_heard(id, broker.epoch, now).then_some((id, broker.epoch, Liveness::Active))
            }
        });
        changes.collect()
    }
}
