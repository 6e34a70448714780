//! The addresses of the nodes of one cluster.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use duress_history::NodeId;

/// The nodes of one cluster, in the order in which they were planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// The nodes; if a mode begins with a special one, it is the first.
    pub nodes: Vec<Node>,
}

/// One node's name and address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: NodeId,
    /// Its address; ports are the system's own choice, the same on every node.
    pub address: IpAddr,
}

/// The files of one node, which it finds again whenever it is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFiles {
    /// The folder that keeps its data from one start to the next.
    pub data: PathBuf,
    /// The file its standard output is appended to.
    pub stdout: PathBuf,
    /// The file its standard error is appended to.
    pub stderr: PathBuf,
}

impl Topology {
    /// Returns the node called `node`.
    ///
    /// # Errors
    /// [`UnknownNode`] when it is not a node of this cluster.
    pub fn node(&self, node: &NodeId) -> Result<&Node, UnknownNode> {
        self.nodes
            .iter()
            .find(|candidate| candidate.name == *node)
            .ok_or_else(|| UnknownNode { node: node.clone() })
    }

    /// Returns the address at which `node` listens on `port`.
    ///
    /// # Errors
    /// [`UnknownNode`] when it is not a node of this cluster.
    pub fn address(&self, node: &NodeId, port: u16) -> Result<SocketAddr, UnknownNode> {
        Ok(self.node(node)?.at(port))
    }
}

impl Node {
    /// Returns the address at which it listens on `port`.
    #[must_use]
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::from((self.address, port))
    }
}

/// A name that is not a node's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{node} is not a node of this cluster")]
pub struct UnknownNode {
    /// The name.
    pub node: NodeId,
}
