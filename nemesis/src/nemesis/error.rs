//! The failures of the nemesis.

use duress_arena::clock::{ClockPageError, StrobeError, TracerError};
use duress_arena::disk::DiskError;
use duress_arena::{SwitchError, ThrottleError};
use duress_history::NodeId;

use crate::cluster::ClusterError;
use crate::commands::CommandError;
use crate::membership::AdministratorError;

/// A failure to inject or heal a fault. The run proves nothing then.
#[derive(Debug, thiserror::Error)]
pub enum NemesisError {
    /// The switch rejected the change.
    #[error("failed to change the network")]
    Switch(#[from] SwitchError),
    /// An operation on a node's processes failed.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// An operation on a node's disk failed.
    #[error("failed to {what} the disk of node {node}")]
    Disk {
        /// The node.
        node: NodeId,
        /// The attempted operation.
        what: &'static str,
        /// Why.
        #[source]
        source: DiskError,
    },
    /// The node does not have a faultable disk.
    #[error("node {node} has no disk that can be broken: the plan puts its data elsewhere")]
    NoDisk {
        /// The node.
        node: NodeId,
    },
    /// The node uses the machine's clock.
    #[error("node {node} has no clock of its own: the plan does not give it one")]
    NoClock {
        /// The node.
        node: NodeId,
    },
    /// Another fault has moved the node's clock already, and healing resets it for all faults at once.
    #[error("the clock of node {node} is moved by fault {by} already, and one fault at a time can have it")]
    ClockTaken {
        /// The node.
        node: NodeId,
        /// The fault that moved the clock.
        by: u32,
    },
    /// A clock could not be set.
    #[error("failed to set the clock of node {node}")]
    Clock {
        /// The node.
        node: NodeId,
        /// Why.
        #[source]
        source: ClockPageError,
    },
    /// A strobe of a clock could not be started or stopped.
    #[error("failed to strobe the clock of node {node}")]
    Strobe {
        /// The node.
        node: NodeId,
        /// Why.
        #[source]
        source: StrobeError,
    },
    /// A node's clock could not be read.
    #[error("failed to read the clock of node {node} as its processes see it")]
    ReadClock {
        /// The node.
        node: NodeId,
        /// Why.
        #[source]
        source: TracerError,
    },
    /// Another fault stops the node's processes, or must find them running to observe them.
    #[error(
        "the processes of node {node} are taken by fault {by} already, and one fault at a time can stop them"
    )]
    ProcessesTaken {
        /// The node.
        node: NodeId,
        /// The fault that has them.
        by: u32,
    },
    /// A node's share of the processor could not be taken away or given back.
    #[error("failed to throttle node {node}")]
    Throttle {
        /// The node.
        node: NodeId,
        /// Why.
        #[source]
        source: ThrottleError,
    },
    /// The fault was injected, but nothing shows that it took hold.
    #[error("the fault \"{fault}\" left no evidence: {evidence}")]
    NoEvidence {
        /// The fault.
        fault: String,
        /// The observations.
        evidence: String,
    },
    /// The fault needs an arena.
    #[error("the fault needs nodes in an arena, and this cluster runs already")]
    NoArena,
    /// The cluster has no commands of this name.
    #[error("the cluster has no commands for the fault \"{fault}\"")]
    NoCommands {
        /// The fault.
        fault: String,
    },
    /// A command of a fault failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// Faults of a cluster that goes on running could not be healed.
    #[error("THE CLUSTER IS LEFT WITH A FAULT, as far as its evidence command tells; heal it by hand: {}", left.join("; "))]
    LeftInForce {
        /// Each fault, and the command that heals it.
        left: Vec<String>,
    },
    /// The cluster's members cannot be changed.
    #[error("the members of this cluster cannot be changed while it serves")]
    FixedMembers,
    /// It is unknown how a node that was removed starts without data.
    #[error("cannot start node {node} as a new member")]
    Joining {
        /// The node.
        node: NodeId,
        /// Why.
        #[source]
        source: AdministratorError,
    },
    /// The data of a node that was removed could not be deleted.
    #[error("failed to delete the data of node {node}, which was removed")]
    Wipe {
        /// The node.
        node: NodeId,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Nodes that were removed did not become members again, though no fault was in force.
    #[error("{} did not become members again: {evidence}", list(nodes))]
    NotMembers {
        /// The nodes.
        nodes: Vec<NodeId>,
        /// The observations.
        evidence: String,
    },
    /// The fault to heal is not in force.
    #[error("fault {id} is not in force")]
    NotActive {
        /// Its number in the schedule.
        id: u32,
    },
}

fn list(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::as_str).collect::<Vec<_>>().join(", ")
}
