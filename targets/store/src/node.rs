//! A node of any mode, as clients' connections use it.

use bytes::Bytes;
use duress_consensus::types::Fatal;

use crate::command::{Answer, Command, Query, Reply};
use crate::key_values::{KeyValues, Value};
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

/// The contents of a node's own copy, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// How far in the order of all writes it is: copies at one position hold the same.
    pub position: String,
    /// All keys and their values, in order of key.
    pub values: Vec<(Bytes, Value)>,
}

impl Contents {
    pub(crate) fn new(position: String, values: &KeyValues) -> Self {
        Self {
            position,
            values: values.iter().map(|(key, entry)| (key.clone(), entry.value.clone())).collect(),
        }
    }
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
    /// A node of the mode `raft`.
    Raft(RaftNode),
    /// A node of the mode `primary`.
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

    /// Returns the status of this node.
    pub fn status(&self) -> Status {
        match self {
            Self::Raft(node) => node.status(),
            Self::Primary(node) => node.status(),
        }
    }

    /// Returns the contents of this node, without asking another one.
    pub fn contents(&self) -> Contents {
        match self {
            Self::Raft(node) => node.contents(),
            Self::Primary(node) => node.contents(),
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
