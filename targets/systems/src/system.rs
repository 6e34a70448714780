//! A system under test: the one interface behind which every target stands.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use duress_arena::ProcessSpec;
use duress_history::log::Log;
use duress_history::register::Register;
use duress_history::table::Table;
use duress_history::{ClockBound, NodeId};
use serde::{Deserialize, Serialize};

use crate::catalogue::{BugSpec, Mode, OptionSpec, Promise};
use crate::connect::Connect;
use crate::outcome::{Cause, CauseKind, Outcome};
use crate::settings::{Request, Settings, SettingsError};
use crate::topology::{Topology, UnknownNode};
use crate::workload::WorkloadSetup;

/// A system under test. No target is special: our store and etcd stand behind the same trait.
#[async_trait]
pub trait System: Send + Sync {
    /// The name on the command line.
    fn name(&self) -> &'static str;

    /// What it is, in one line.
    fn summary(&self) -> &'static str;

    /// Its modes of operation; the first is the default.
    fn modes(&self) -> &'static [Mode];

    /// Its options.
    fn options(&self) -> &'static [OptionSpec];

    /// The defects it can be told to have.
    fn bugs(&self) -> &'static [BugSpec];

    /// The names of the workloads that it has clients for.
    fn workloads(&self) -> &'static [&'static str];

    /// Whether it can be started on this machine.
    ///
    /// # Errors
    /// [`MissingSystem`], saying what is missing and how to get it.
    fn available(&self) -> Result<(), MissingSystem>;

    /// Checks what the user asked for and fills in every default.
    ///
    /// # Errors
    /// [`SettingsError`] for an unknown mode, option, value or bug, listing the accepted ones.
    fn resolve(&self, request: &Request) -> Result<Settings, SettingsError> {
        crate::settings::resolve(self.name(), self.modes(), self.options(), self.bugs(), request)
    }

    /// What it promises under these settings. A bug in the settings does not change the promise: it breaks it.
    fn promise(&self, settings: &Settings) -> Promise;

    /// How many of `nodes` nodes it promises to survive losing, and still make progress.
    fn tolerates(&self, settings: &Settings, nodes: usize) -> usize;

    /// What it demands of clocks, if its promise rests on them under these settings.
    fn clock_bound(&self, _: &Settings) -> Option<ClockBound> {
        None
    }

    /// How `node` is started, the first time and every time after.
    ///
    /// # Errors
    /// [`LaunchError`] when `node` is unknown or the program is missing.
    fn process(
        &self,
        settings: &Settings,
        topology: &Topology,
        node: &NodeId,
    ) -> Result<ProcessSpec, LaunchError>;

    /// Makes one attempt to see `node` answer and take part in the cluster, over a connection opened from `from`.
    ///
    /// # Errors
    /// [`NotReady`], within `deadline`: the caller decides whether to try again.
    async fn ready(
        &self,
        settings: &Settings,
        topology: &Topology,
        node: &NodeId,
        from: &dyn Connect,
        deadline: Duration,
    ) -> Result<(), NotReady>;

    /// Asks `node` for its role and for whom it takes to be leader.
    ///
    /// # Errors
    /// [`NotReady`], within `deadline`.
    async fn status(
        &self,
        settings: &Settings,
        topology: &Topology,
        node: &NodeId,
        from: &dyn Connect,
        deadline: Duration,
    ) -> Result<NodeStatus, NotReady>;

    /// Makes what the workload needs before its clients begin, such as topics.
    ///
    /// Called once, when every node is ready. Most systems need nothing.
    ///
    /// # Errors
    /// [`NotReady`], within the deadline: it may be called again.
    async fn prepare(
        &self,
        _settings: &Settings,
        _topology: &Topology,
        _workload: &WorkloadSetup,
        _from: &dyn Connect,
        _deadline: Duration,
    ) -> Result<(), NotReady> {
        Ok(())
    }

    /// A client of the `register` workload that speaks to a node from the place given, and connects on its first call.
    ///
    /// The time-out bounds each operation in total, connecting included.
    ///
    /// # Errors
    /// [`ClientError`] when the node is no node of this cluster, or the system has no such clients.
    fn register_client(
        &self,
        _settings: &Settings,
        _topology: &Topology,
        _node: &NodeId,
        _from: Arc<dyn Connect>,
        _timeout: Duration,
    ) -> Result<Box<dyn Client<Register>>, ClientError> {
        Err(ClientError::None { system: self.name(), vocabulary: "register" })
    }

    /// A client of the workloads on logs (`log`, `queue`), otherwise as [`Self::register_client`].
    ///
    /// # Errors
    /// [`ClientError`] when the node is no node of this cluster, or the system has no such clients.
    fn log_client(
        &self,
        _settings: &Settings,
        _topology: &Topology,
        _node: &NodeId,
        _from: Arc<dyn Connect>,
        _timeout: Duration,
    ) -> Result<Box<dyn Client<Log>>, ClientError> {
        Err(ClientError::None { system: self.name(), vocabulary: "log" })
    }

    /// A client of the `table` workload, whose topic is [`TABLE_TOPIC`](crate::TABLE_TOPIC), otherwise as
    /// [`Self::register_client`].
    ///
    /// # Errors
    /// [`ClientError`] when the node is no node of this cluster, or the system has no such clients.
    fn table_client(
        &self,
        _settings: &Settings,
        _topology: &Topology,
        _node: &NodeId,
        _from: Arc<dyn Connect>,
        _timeout: Duration,
    ) -> Result<Box<dyn Client<Table>>, ClientError> {
        Err(ClientError::None { system: self.name(), vocabulary: "table" })
    }
}

/// Why there is no client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The node is not in the topology.
    #[error(transparent)]
    UnknownNode(#[from] UnknownNode),
    /// The system has no clients whose operations are these.
    #[error("{system} has no clients with operations of the vocabulary {vocabulary}")]
    None {
        /// The system.
        system: &'static str,
        /// What the client was to understand.
        vocabulary: &'static str,
    },
}

/// A client of a workload whose operations are `A`s: one logical connection, one operation at a time.
///
/// It connects when it has to, keeps the connection after a clean answer, drops it after anything else, and never
/// repeats a request by itself. Dropping the returned future drops the connection too.
#[async_trait]
pub trait Client<A: Sync>: Send {
    /// Does `action` and says what became of it, by the rules of [`crate::outcome`].
    async fn invoke(&mut self, action: &A) -> Outcome<A>;
}

/// What a node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeStatus {
    /// What it takes itself to be.
    pub role: Role,
    /// Whom it takes to be the leader.
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

impl From<UnknownNode> for NotReady {
    fn from(unknown: UnknownNode) -> Self {
        let cause = Cause::new(CauseKind::Rejected, unknown.to_string());
        Self { node: unknown.node, operation: "finding its address", cause }
    }
}

/// A system whose program is not on this machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{system} cannot be started: {reason}; {remedy}")]
pub struct MissingSystem {
    /// The system.
    pub system: &'static str,
    /// What is missing.
    pub reason: String,
    /// How to get it.
    pub remedy: &'static str,
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
