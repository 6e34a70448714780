//! A cluster that already runs: duress starts none of its nodes, and only its own faults can strike it.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::Duration;

use duress_history::NodeId;

use crate::place::ClientProgram;
use crate::topology::Node;

/// A node that already runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalNode {
    /// Its name.
    pub name: NodeId,
    /// The address and port that clients connect to.
    pub address: SocketAddrV4,
}

impl ExternalNode {
    /// Returns it as a part of a topology, whose ports the system knows.
    #[must_use]
    pub fn node(&self) -> Node {
        Node { name: self.name.clone(), address: *self.address.ip() }
    }
}

/// A fault that the user's own commands inject and heal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalFault {
    /// Its name on the command line.
    pub name: String,
    /// Whether a node that it strikes cannot serve meanwhile.
    pub disables: bool,
    /// How long each of its commands may take.
    pub deadline: Duration,
    /// Its commands for each node.
    pub nodes: BTreeMap<NodeId, ExternalCommands>,
}

/// The commands of a fault for one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalCommands {
    /// Begins it.
    pub inject: ClientProgram,
    /// Ends it.
    pub heal: ClientProgram,
    /// Ends with 0 if it is in force, and with 1 if it is not.
    pub evidence: ClientProgram,
}
