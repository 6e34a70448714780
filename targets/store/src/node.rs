//! A node of any mode, as clients' connections use it.

use duress_consensus::types::Fatal;

use crate::command::{Answer, Command, Query, Reply};
use crate::outcome::Failure;
use crate::primary::PrimaryNode;
use crate::raft::RaftNode;
use duress_consensus::disk::DiskError;

/// The status of a node, for `INFO`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The mode.
    pub mode: &'static str,
    /// `leader`, `follower`, `candidate`, `primary` or `replica`; `stopped` while it shuts down.
    pub role: &'static str,
    /// The leader or primary it knows of.
    pub leader: Option<String>,
    /// The number of keys it holds.
    pub keys: usize,
    /// Positions and terms, by name.
    pub fields: Vec<(&'static str, String)>,
}

/// Why a node has failed on its own.
#[derive(Debug, thiserror::Error)]
pub enum NodeFailure {
    /// The consensus, or the storage under it.
    #[error("the consensus has stopped")]
    Consensus(#[source] Fatal),
    /// The storage.
    #[error("the storage has failed")]
    Disk(#[source] DiskError),
}

/// A running node. Cheap to clone.
#[derive(Clone)]
pub enum Node {
    /// Of the mode `raft`.
    Raft(RaftNode),
    /// Of the mode `primary`.
    Primary(PrimaryNode),
}

impl Node {
    /// Executes writes, in order.
    ///
    /// # Errors
    /// See [`crate::outcome`].
    pub async fn write(&self, commands: Vec<Command>) -> Result<Vec<Reply>, Failure> {
        match self {
            Self::Raft(node) => node.write(commands).await,
            Self::Primary(node) => node.write(commands).await,
        }
    }

    /// Answers queries.
    ///
    /// # Errors
    /// See [`crate::outcome`].
    pub async fn read(&self, queries: Vec<Query>) -> Result<Vec<Answer>, Failure> {
        match self {
            Self::Raft(node) => node.read(queries).await,
            Self::Primary(node) => node.read(queries).await,
        }
    }

    /// The status of this node.
    pub fn status(&self) -> Status {
        match self {
            Self::Raft(node) => node.status(),
            Self::Primary(node) => node.status(),
        }
    }

    /// Returns when the node has failed on its own.
    pub async fn failed(&self) -> NodeFailure {
        match self {
            Self::Raft(node) => NodeFailure::Consensus(node.failed().await),
            Self::Primary(node) => NodeFailure::Disk(node.failed().await),
        }
    }

    /// Stops the node and closes its data folder.
    pub async fn stop(&self) {
        match self {
            Self::Raft(node) => node.stop().await,
            Self::Primary(node) => node.stop().await,
        }
    }
}
