//! A deployment: one cluster of a system, bound to its settings and its nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use duress_arena::ProcessSpec;
use duress_history::{ClockBound, NodeId, Promise};
use serde::{Deserialize, Serialize};

use crate::client::Clients;
use crate::outcome::{Cause, CauseKind, RequestError};
use crate::place::Place;
use crate::replica::ReplicaCopy;
use crate::setup::Setup;
use crate::system::MissingSystem;
use crate::topology::{NodeFiles, Topology, UnknownNode};

/// One cluster of a system, with its settings applied.
#[async_trait]
pub trait Deployment: Send + Sync {
    /// Returns its nodes.
    fn topology(&self) -> &Topology;

    /// Returns the promise about the answers to a workload. A seeded bug does not change the promise: it
    /// breaks it.
    fn promise(&self) -> Promise;

    /// How many nodes it promises to survive losing, and still make progress.
    fn tolerates(&self) -> usize;

    /// Returns its demand on clocks, if its promise rests on them.
    fn clock_bound(&self) -> Option<ClockBound> {
        None
    }

    /// Its own time-outs: faults that are drawn last well below them, just around them, and well above.
    fn time_outs(&self) -> TimeOuts {
        TimeOuts::default()
    }

    /// The roles that its nodes have beside that of the leader, for a workload that needs `setup`: faults can strike the
    /// node that has one. [`Deployment::status`] says which node that is.
    fn roles(&self, _setup: &Setup) -> Vec<String> {
        Vec::new()
    }

    /// How long nodes and links may take to answer again after a fault on them was healed.
    fn recovery_bound(&self) -> Duration {
        Duration::from_secs(15)
    }

    /// How `node` is started, the first time and every time after.
    ///
    /// # Errors
    /// [`LaunchError`] when `node` is unknown or the program is missing.
    fn process(&self, node: &NodeId, files: &NodeFiles) -> Result<ProcessSpec, LaunchError>;

    /// Makes one attempt to see `node` answer and take part in the cluster, over a connection opened from `from`.
    ///
    /// # Errors
    /// [`NotReady`], within `deadline`: the caller decides whether to try again.
    async fn ready(&self, node: &NodeId, from: &dyn Place, deadline: Duration) -> Result<(), NotReady>;

    /// Asks `node` for its role and which node it takes to be the leader.
    ///
    /// # Errors
    /// [`NotReady`], within `deadline`.
    async fn status(
        &self,
        node: &NodeId,
        from: &dyn Place,
        deadline: Duration,
    ) -> Result<NodeStatus, NotReady>;

    /// Returns the copies that `node` holds, as they are there and not as the promise has them: it asks no
    /// other node for them. `None` if the system does not tell.
    ///
    /// # Errors
    /// [`NotReady`], within `deadline`: it may be called again.
    async fn copies(
        &self,
        _: &NodeId,
        _from: &dyn Place,
        _deadline: Duration,
    ) -> Result<Option<Vec<ReplicaCopy>>, NotReady> {
        Ok(None)
    }

    /// Prepares the resources that a workload needs before its clients begin, such as topics.
    ///
    /// Called once, when every node is ready. Most systems need nothing.
    ///
    /// # Errors
    /// [`NotReady`], within `deadline`: it may be called again.
    async fn prepare(&self, _: &Setup, _from: &dyn Place, _deadline: Duration) -> Result<(), NotReady> {
        Ok(())
    }

    /// Returns its clients, by the vocabulary of their operations.
    fn clients(&self) -> &Clients;
}

/// How long a system waits before it acts on a silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeOuts {
    /// From when its leader falls silent until, usually, another node leads.
    pub election: Duration,
    /// How long a member may be silent before others do without it, where that is another time.
    pub session: Option<Duration>,
    /// How long a node relies on what others last confirmed, where it does.
    pub lease: Option<Duration>,
}

impl Default for TimeOuts {
    /// An election in a second or so, as most systems have it.
    fn default() -> Self {
        Self { election: Duration::from_millis(1200), session: None, lease: None }
    }
}

impl TimeOuts {
    /// All of them, that of elections first.
    #[must_use]
    pub fn all(&self) -> Vec<Duration> {
        [Some(self.election), self.session, self.lease].into_iter().flatten().collect()
    }
}

/// What a node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its role, as it reports it.
    pub role: Role,
    /// The node that it takes to be the leader.
    pub leader: Option<NodeId>,
    /// The term, epoch or view in which it believes that.
    pub term: Option<u64>,
    /// The partitions that it says it leads, where data are partitioned.
    pub leads: Vec<LedPartition>,
    /// The nodes that it takes to have other roles, by the role: those of [`Deployment::roles`].
    pub roles: BTreeMap<String, NodeId>,
}

/// A partition, as the node that says it leads it has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedPartition {
    /// Its name, as the keys of a history have it: `TOPIC-PARTITION`.
    pub partition: String,
    /// In which epoch it is led so, if the node says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// How many replicas there should be.
    pub replicas: usize,
    /// Those that are in sync, the leader among them.
    pub in_sync: BTreeSet<NodeId>,
}

/// The role of a node, as it reports it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It orders the writes: a leader, or a primary.
    Leader,
    /// It follows: a follower, or a replica.
    Follower,
    /// It is a candidate in an election.
    Candidate,
    /// It does not say.
    #[default]
    Unknown,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Candidate => "candidate",
            Self::Unknown => "unknown",
        })
    }
}

/// A node that does not answer, or does not take part in the cluster yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{node} is not ready: {operation} failed")]
pub struct NotReady {
    /// The node.
    pub node: NodeId,
    /// The operation.
    pub operation: &'static str,
    /// The cause of the failure.
    #[source]
    pub cause: Cause,
}

impl NotReady {
    /// `node`, when `operation` failed for the reason in `failure`.
    pub(crate) fn because(node: &NodeId, operation: &'static str, failure: RequestError) -> Self {
        Self { node: node.clone(), operation, cause: failure.cause }
    }
}

impl From<UnknownNode> for NotReady {
    fn from(unknown: UnknownNode) -> Self {
        let cause = Cause::new(CauseKind::Rejected, unknown.to_string());
        Self { node: unknown.node, operation: "finding its address", cause }
    }
}

/// Why a node's process could not be described.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LaunchError {
    /// The node is not in the topology.
    #[error(transparent)]
    UnknownNode(#[from] UnknownNode),
    /// The program is missing.
    #[error(transparent)]
    Missing(#[from] MissingSystem),
}
