//! A deployment: one cluster of a system, bound to its settings and its nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use duress_arena::ProcessSpec;
use duress_history::bank::Bank;
use duress_history::txn::{Answer, Elements, Held};
use duress_history::{ClockBound, NodeId, Payload, Promise};
use duress_settings::SettingsError;
use serde::{Deserialize, Serialize};

use crate::client::Clients;
use crate::external::ExternalFault;
use crate::membership::Membership;
use crate::outcome::{Cause, CauseKind, RequestError};
use crate::place::Place;
use crate::replica::ReplicaCopy;
use crate::setup::Setup;
use crate::system::MissingSystem;
use crate::topology::{NodeFiles, Topology, UnknownNode};

/// The vocabularies of transactions, which are also the names of their workloads.
pub(crate) const TRANSACTIONS: [&str; 4] = [Elements::NAME, Held::NAME, Bank::NAME, LONG_FORK];
/// A workload of the transactions of `rw-register`, with the promise that those have.
pub(crate) const LONG_FORK: &str = "long-fork";

/// One cluster of a system, with its settings applied.
#[async_trait]
pub trait Deployment: Send + Sync {
    /// Returns its nodes.
    fn topology(&self) -> &Topology;

    /// Returns the promise about the answers to the workload of this name. A seeded bug breaks the promise but does
    /// not change it.
    fn promise(&self, workload: &str) -> Promise;

    /// Returns the nodes that clients speak to, in the order of the topology: at least one.
    fn serving(&self) -> Vec<NodeId> {
        self.topology().nodes.iter().map(|node| node.name.clone()).collect()
    }

    /// Returns the order in which nodes are started for the first time: those of a group at once, when all of the
    /// group before are ready. Every node is in one group.
    fn start_order(&self) -> Vec<Vec<NodeId>> {
        vec![self.topology().nodes.iter().map(|node| node.name.clone()).collect()]
    }

    /// Returns how long a group may take from its start until all of it is ready.
    fn ready_bound(&self) -> Duration {
        Duration::from_secs(60)
    }

    /// Returns how many nodes it can lose and still make progress, according to its promise.
    fn tolerates(&self) -> usize;

    /// Returns its demand on clocks, if its promise rests on them.
    fn clock_bound(&self) -> Option<ClockBound> {
        None
    }

    /// Returns its own time-outs. Drawn faults last well below them, around them, or well above.
    fn time_outs(&self) -> TimeOuts {
        TimeOuts::default()
    }

    /// Whether nodes report who leads, in [`Deployment::status`].
    fn reports_leader(&self) -> bool {
        true
    }

    /// Returns the roles of its nodes in addition to the leader's, for a workload that needs `setup`. Faults
    /// can strike the node that has a role, and [`Deployment::status`] reports which node that is. Random faults strike the first
    /// roles most: single roles, such as the controller, come before the leaders of partitions.
    fn roles(&self, _setup: &Setup) -> Vec<String> {
        Vec::new()
    }

    /// Returns how long nodes and links may take to answer again after a fault on them was healed.
    fn recovery_bound(&self) -> Duration {
        Duration::from_secs(15)
    }

    /// Returns the faults of a cluster that already runs, each with commands for every node; `None` for a cluster that the run
    /// starts, in an arena.
    fn external(&self) -> Option<&[ExternalFault]> {
        None
    }

    /// Returns how its members are changed while it serves, if they can be.
    fn membership(&self) -> Option<&dyn Membership> {
        None
    }

    /// Returns how `node` is started, the first time and every later time.
    ///
    /// # Errors
    /// [`LaunchError`] when `node` is unknown or the program is missing.
    fn process(&self, node: &NodeId, files: &NodeFiles) -> Result<ProcessSpec, LaunchError>;

    /// Makes one attempt to see `node` answer and take part in the cluster, over a connection opened from `from`.
    ///
    /// # Errors
    /// [`NotReady`], within `deadline`: the caller decides whether to try again.
    async fn ready(&self, node: &NodeId, from: &dyn Place, deadline: Duration) -> Result<(), NotReady>;

    /// Asks `node` for its role and for the node that it considers the leader.
    ///
    /// # Errors
    /// [`NotReady`], within `deadline`.
    async fn status(
        &self,
        node: &NodeId,
        from: &dyn Place,
        deadline: Duration,
    ) -> Result<NodeStatus, NotReady>;

    /// Returns the copies that `node` itself holds, without a request to other nodes: they may differ from
    /// the promise. `None` if the system does not expose them.
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

    /// Whether copies come to agree by and by, without an order of changes in which each has a position: differences
    /// between copies at one position count once they had the recovery bound to vanish, and the last reads wait for that.
    fn converges(&self) -> bool {
        false
    }

    /// Prepares the resources that a workload needs before its clients begin, such as topics.
    ///
    /// Called once, when every node is ready; repeats until `deadline` what may succeed later. Most systems need nothing.
    ///
    /// # Errors
    /// [`NotReady`], within `deadline`.
    async fn prepare(&self, _: &Setup, _from: &dyn Place, _deadline: Duration) -> Result<(), NotReady> {
        Ok(())
    }

    /// Returns its clients, by the vocabulary of their operations.
    fn clients(&self) -> &Clients;
}

/// The durations of silence after which a system acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeOuts {
    /// The usual time from the silence of a leader until another node leads.
    pub election: Duration,
    /// The silence of a member after which the others continue without it, if that is a different time.
    pub session: Option<Duration>,
    /// The time for which a node relies on the last confirmation by the others, if it does.
    pub lease: Option<Duration>,
    /// After how long a silence of a client the system gives others what the client held, if clients hold anything.
    pub client: Option<Duration>,
}

impl Default for TimeOuts {
    /// Returns the defaults: an election takes about a second in most systems.
    fn default() -> Self {
        Self { election: Duration::from_millis(1200), session: None, lease: None, client: None }
    }
}

impl TimeOuts {
    /// Returns those between nodes, the election time-out first.
    #[must_use]
    pub fn all(&self) -> Vec<Duration> {
        [Some(self.election), self.session, self.lease].into_iter().flatten().collect()
    }
}

/// The status that a node reports of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its role, as it reports it.
    pub role: Role,
    /// The node that it considers the leader.
    pub leader: Option<NodeId>,
    /// The term, epoch or view in which it considers that node the leader.
    pub term: Option<u64>,
    /// The partitions that it claims to lead, if data are partitioned.
    pub leads: Vec<LedPartition>,
    /// The nodes that it considers to have other roles, by role: those of [`Deployment::roles`].
    pub roles: BTreeMap<String, NodeId>,
}

/// A partition, as reported by the node that claims to lead it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedPartition {
    /// Its name, as the keys of a history have it: `TOPIC-PARTITION`.
    pub partition: String,
    /// The epoch in which the node leads it, if reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// The intended number of replicas.
    pub replicas: usize,
    /// The in-sync set, which includes the leader.
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
    /// The node does not report it.
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
    /// Returns `node` as not ready, because `operation` failed for the reason in `failure`.
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
    /// A file of the node could not be made.
    #[error("cannot make {}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        reason: String,
    },
    /// The command could not be completed.
    #[error(transparent)]
    Settings(#[from] SettingsError),
}
