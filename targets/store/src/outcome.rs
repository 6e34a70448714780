//! The contract of errors: what certainly did not happen, and what may have.
//!
//! A client that records history must know which of its commands may have taken effect. Error replies here begin
//! with a word that says so, and nothing else needs to be understood:
//!
//! | reply | a write | a read |
//! |---|---|---|
//! | `-CLUSTERDOWN …` | was certainly not executed and never will be | gave no value |
//! | `-UNKNOWN …` | may have been executed, or may be executed later | gave no value |
//! | `-ERR …` | was malformed or cannot apply to the value; not executed | gave no value |
//!
//! A connection that breaks before the reply says what `-UNKNOWN` says. Redis's own `-TRYAGAIN` is not used for it,
//! because in Redis Cluster that word means "not executed, send it again".
//!
//! A write is certainly not executed only if no node can hold it: it was never handed to the consensus log here,
//! and if it was for another node, not one byte of it was given to a connection. Once an entry is in a leader's log
//! it may be committed by a later leader even if this one deletes it, so *"the leader changed after the write was
//! proposed"* is `UNKNOWN`.

use serde::{Deserialize, Serialize};

/// Why a request has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Failure {
    /// Certainly not executed, now or later. `CLUSTERDOWN` on the wire.
    #[error("CLUSTERDOWN {0}")]
    NotExecuted(NotExecuted),
    /// May have been executed, or may be later. `UNKNOWN` on the wire.
    #[error("UNKNOWN {0}")]
    Unknown(Unknown),
}

/// Reasons to be sure that nothing happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum NotExecuted {
    /// No leader is known here.
    #[error("no leader is known")]
    NoLeader,
    /// The node asked is not the leader, and it proposed nothing.
    #[error("this node is not the leader")]
    NotLeader,
    /// There is no usable connection to the leader.
    #[error("the leader cannot be reached")]
    LeaderUnreachable,
    /// This leader cannot reach a quorum, and proposed nothing.
    #[error("the leader has lost its quorum")]
    NoQuorum,
    /// The node is shutting down.
    #[error("the node is shutting down")]
    ShuttingDown,
}

/// Reasons not to know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Unknown {
    /// The request was sent to the leader and no answer came back.
    #[error("the connection to the leader was lost after the request was sent")]
    ConnectionLost,
    /// No answer within the deadline.
    #[error("no answer in time")]
    TimedOut,
    /// The entry was in the log when this node stopped being the leader.
    #[error("the leader changed after the request was proposed")]
    LeaderChanged,
    /// The node's consensus or storage stopped while the request was in its hands.
    #[error("the node stopped while it was executing the request")]
    Stopped,
}

impl From<NotExecuted> for Failure {
    fn from(reason: NotExecuted) -> Self {
        Self::NotExecuted(reason)
    }
}

impl From<Unknown> for Failure {
    fn from(reason: Unknown) -> Self {
        Self::Unknown(reason)
    }
}
