//! Where the nodes of one cluster are.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use duress_history::NodeId;

/// The nodes of one cluster, in the order in which they were planned, and the program that runs our own subjects.
#[derive(Clone, Debug)]
pub struct Topology {
    /// The nodes; where a mode needs one that is special at first, it is the first.
    pub nodes: Vec<Node>,
    /// This program, which carries our own subjects as subcommands.
    pub executable: PathBuf,
}

/// One node's place.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name.
    pub name: NodeId,
    /// Its address; ports are the system's own choice, the same on every node.
    pub address: Ipv4Addr,
    /// The folder that keeps its data from one start to the next.
    pub data: PathBuf,
    /// The file its standard output is appended to.
    pub stdout: PathBuf,
    /// The file its standard error is appended to.
    pub stderr: PathBuf,
}

impl Topology {
    /// The place of `node`.
    ///
    /// # Errors
    /// [`UnknownNode`] when it is no node of this cluster.
    pub fn node(&self, node: &NodeId) -> Result<&Node, UnknownNode> {
        self.nodes
            .iter()
            .find(|candidate| candidate.name == *node)
            .ok_or_else(|| UnknownNode { node: node.clone() })
    }
}

/// A name that is no node's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{node} is not a node of this cluster")]
pub struct UnknownNode {
    /// The name.
    pub node: NodeId,
}
