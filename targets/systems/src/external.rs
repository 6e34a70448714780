//! A cluster that already runs: duress starts none of its nodes, and only its own faults can strike it.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use duress_history::NodeId;

use crate::place::ClientProgram;
use crate::topology::Node;

/// A node that already runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalNode {
    /// Its name.
    pub name: NodeId,
    /// Clients connect to this IP address or host name, and port.
    pub address: String,
}

impl ExternalNode {
    /// Returns it as a part of a topology, whose ports the system knows: at no address (0.0.0.0), if it has the name of a host.
    #[must_use]
    pub fn node(&self) -> Node {
        let address =
            self.address.parse().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |at: SocketAddr| at.ip());
        Node { name: self.name.clone(), address }
    }

    /// Returns the same at its address: the name of a host is looked up, and its first address taken.
    ///
    /// # Errors
    /// The machine's resolver knows no address.
    pub fn resolved(&self) -> io::Result<Node> {
        let mut addresses = self.address.to_socket_addrs()?;
        let first = addresses.next().ok_or_else(|| io::Error::other("the name has no address"))?;
        Ok(Node { name: self.name.clone(), address: first.ip() })
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
