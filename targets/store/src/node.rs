//! A node of any mode, as clients' connections use it.

use bytes::Bytes;
use duress_consensus::types::Fatal;
use tokio::sync::watch;

use crate::command::{Answer, Command, Query, Reply};
use crate::key_values::{KeyValues, Value};
use crate::outcome::{Failure, Refused};
use crate::primary::PrimaryNode;
use crate::raft::RaftNode;
use crate::raft::message::MemberRequest;
use crate::resp::reply::RespReply;
use crate::resp::request::ClusterRequest;
use crate::ring::RingNode;
use crate::ring::message::SiblingsRequest;
use crate::sharded::{ShardedNode, cluster};
use duress_consensus::disk::DiskError;

/// The status of a node, for `INFO`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The mode.
    pub mode: &'static str,
    /// `leader`, `follower`, `candidate`, `primary`, `replica` or `member`; `stopped` while it shuts down.
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

impl Status {
    /// Whether the keys are partitioned over shards.
    pub fn is_cluster(&self) -> bool {
        self.mode == "sharded"
    }

    /// The mode that Redis would be in.
    pub fn redis_mode(&self) -> &'static str {
        if self.is_cluster() { "cluster" } else { "standalone" }
    }
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

/// Returns the failure of a node's storage, once there is one. A sender that is gone has not failed: the node stops.
pub(crate) async fn failed(mut failure: watch::Receiver<Option<DiskError>>) -> DiskError {
    match failure.wait_for(Option::is_some).await.as_deref() {
        Ok(Some(error)) => error.clone(),
        Ok(None) | Err(_) => DiskError::Closed,
    }
}

/// A running node. Cheap to clone.
#[derive(Clone)]
pub enum Node {
    /// A node of the mode `raft`.
    Raft(RaftNode),
    /// A node of the mode `primary`.
    Primary(PrimaryNode),
    /// A node of the mode `sharded`.
    Sharded(ShardedNode),
    /// A node of the mode `ring`.
    Ring(RingNode),
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
            Self::Sharded(node) => Ok(node.write(commands).await),
            Self::Ring(node) => node.write(commands).await,
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
            Self::Sharded(node) => Ok(node.read(queries).await),
            Self::Ring(node) => node.read(queries).await,
        }
    }

    /// Whether queries of one [`Node::read`] are answered as of one moment.
    pub fn reads_as_one(&self) -> bool {
        !matches!(self, Self::Sharded(_))
    }

    /// Answers a request that concerns the shards.
    pub async fn cluster(&self, request: ClusterRequest) -> RespReply {
        match self {
            Self::Sharded(node) => cluster::answer(node, request).await,
            _ => RespReply::Error("ERR This instance has cluster support disabled".into()),
        }
    }

    /// Answers an administrator's request about the members.
    pub async fn members(&self, request: MemberRequest) -> RespReply {
        match self {
            Self::Raft(node) => node.members(request).await.map_or_else(RespReply::from, RespReply::members),
            _ => RespReply::Error(
                "ERR RAFT.NODE needs the mode raft: the nodes of this mode never change".into(),
            ),
        }
    }

    /// Answers a client's request that is about siblings.
    pub async fn siblings(&self, request: SiblingsRequest) -> RespReply {
        let reply = match self {
            Self::Ring(node) => node.siblings(request).await,
            _ => Err(Refused::NeedsRing.into()),
        };
        reply.map_or_else(RespReply::from, RespReply::from)
    }

    /// Whether commands and queries can be executed as one, with no other in between.
    pub fn has_transactions(&self) -> bool {
        !matches!(self, Self::Ring(_))
    }

    /// Returns the status of this node.
    pub fn status(&self) -> Status {
        match self {
            Self::Raft(node) => node.status(),
            Self::Primary(node) => node.status(),
            Self::Sharded(node) => node.status(),
            Self::Ring(node) => node.status(),
        }
    }

    /// Returns the contents of this node's copy of a shard, without asking another node; `None` if there is no such shard. Shard 0
    /// is everything where there are no shards.
    pub fn contents(&self, shard: usize) -> Option<Contents> {
        match self {
            Self::Raft(node) => (shard == 0).then(|| node.contents()),
            Self::Primary(node) => (shard == 0).then(|| node.contents()),
            Self::Sharded(node) => node.contents(shard),
            Self::Ring(node) => (shard == 0).then(|| node.contents()),
        }
    }

    /// Returns the same by the owners that have copies of it; `None` if every node has a copy of everything.
    pub fn copies(&self) -> Option<Vec<(String, Contents)>> {
        if let Self::Ring(node) = self { Some(node.copies()) } else { None }
    }

    /// Returns when the node has failed on its own.
    pub async fn failed(&self) -> NodeFailure {
        match self {
            Self::Raft(node) => NodeFailure::Consensus(node.failed().await),
            Self::Primary(node) => NodeFailure::Disk(node.failed().await),
            Self::Sharded(node) => NodeFailure::Consensus(node.failed().await),
            Self::Ring(node) => NodeFailure::Disk(node.failed().await),
        }
    }

    /// Stops the node and closes its data folder.
    pub async fn stop(&self) {
        match self {
            Self::Raft(node) => node.stop().await,
            Self::Primary(node) => node.stop().await,
            Self::Sharded(node) => node.stop().await,
            Self::Ring(node) => node.stop().await,
        }
    }
}
