//! A deployment: one cluster of a system, bound to its settings and its nodes.

use std::collections::BTreeSet;
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

/// One cluster of a system, whose options were read once, when it was bound to them.
#[async_trait]
pub trait Deployment: Send + Sync {
    /// Its nodes.
    fn topology(&self) -> &Topology;

    /// What is promised of the answers to a workload. A seeded bug does not change the promise: it breaks it.
    fn promise(&self) -> Promise;

    /// How many nodes it promises to survive losing, and still make progress.
    fn tolerates(&self) -> usize;

    /// What it demands of clocks, if its promise rests on them.
    fn clock_bound(&self) -> Option<ClockBound> {
        None
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

    /// The copies that `node` holds, as they are there and not as the promise has them: it asks no other node for them.
    /// `None` where the system does not tell.
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

    /// Makes what a workload needs before its clients begin, such as topics.
    ///
    /// Called once, when every node is ready. Most systems need nothing.
    ///
    /// # Errors
    /// [`NotReady`], within `deadline`: it may be called again.
    async fn prepare(&self, _: &Setup, _from: &dyn Place, _deadline: Duration) -> Result<(), NotReady> {
        Ok(())
    }

    /// Its clients, by the vocabulary of their operations.
    fn clients(&self) -> &Clients;
}

/// What a node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeStatus {
    /// What it takes itself to be.
    pub role: Role,
    /// The node that it takes to be the leader.
    pub leader: Option<NodeId>,
    /// The term, epoch or view in which it believes that.
    pub term: Option<u64>,
    /// The partitions that it says it leads, where data are partitioned.
    pub leads: Vec<LedPartition>,
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

/// What a node takes itself to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It orders the writes: a leader, or a primary.
    Leader,
    /// It follows: a follower, or a replica.
    Follower,
    /// It stands for election.
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
    /// What was asked of it.
    pub operation: &'static str,
    /// What came back.
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
