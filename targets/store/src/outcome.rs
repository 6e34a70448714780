//! The contract of errors: which requests certainly had no effect, and which may have had one.
//!
//! A client that records a history must know which of its commands may have taken effect. The first word of
//! every error reply tells; a client needs no other part of it:
//!
//! | reply | a write | a read |
//! |---|---|---|
//! | `-CLUSTERDOWN …` | was certainly not executed and never will be | gave no value |
//! | `-UNKNOWN …` | may have been executed, or may be executed later | gave no value |
//! | `-ERR …` | was malformed or cannot apply to the value; not executed | gave no value |
//! | `-WRONGTYPE …` | cannot apply to a value of this type; not executed | gave no value |
//! | `-EXECABORT …` | is a transaction with a command that was refused; not executed | |
//! | `-CROSSSLOT …` | has keys in several shards; not executed | gave no value |
//!
//! The first two, in reply to `EXEC`, speak of the whole transaction. The others may also occur within its reply, where each
//! speaks of one command; the other commands were executed. A null reply to `EXEC` means that a watched key had changed, and
//! nothing was executed.
//!
//! A connection that breaks before the reply means the same as `-UNKNOWN`. Redis's own `-TRYAGAIN` is not used for it,
//! because in Redis Cluster that word means "not executed, send it again".
//!
//! A write is certainly not executed only if no node can hold it: it was never handed to the consensus log or the disk here,
//! and not one byte of it was handed to a connection to another node. Once an entry is in a leader's log
//! it may be committed by a later leader even if this one deletes it, so *"the leader changed after the write was
//! proposed"* is `UNKNOWN`.

use serde::{Deserialize, Serialize};

/// Why a request has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Failure {
    /// Certainly not executed, now or later. `CLUSTERDOWN` on the wire.
    #[error("CLUSTERDOWN {0}")]
    NotExecuted(NotExecuted),
    /// Its keys are in several shards; not executed. `CROSSSLOT` on the wire.
    #[error("CROSSSLOT the keys are in several shards: give them a common hash tag, as in {{tag}}key")]
    CrossSlot,
    /// May have been executed, or may be later. `UNKNOWN` on the wire.
    #[error("UNKNOWN {0}")]
    Unknown(Unknown),
    /// The mode does not have it; not executed. `ERR` on the wire.
    #[error("ERR {0}")]
    Refused(Refused),
}

/// Why a mode refuses a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Refused {
    /// It takes one order of all requests, which the mode `ring` does not have.
    #[error(
        "the mode ring has GET, MGET, EXISTS, SET without a condition, and DEL: compare-and-set, INCR, lists, WATCH and MULTI \
         need consensus (mode raft)"
    )]
    NeedsConsensus,
    /// The key has values that were written without knowledge of each other.
    #[error(
        "the key has several values, written without knowledge of each other: RING.GET key returns them all"
    )]
    Siblings,
    /// A deletion says nothing of what its client has seen.
    #[error(
        "with conflict=siblings a key is deleted by RING.DEL key context, with the context of a RING.GET"
    )]
    DeletesUnseen,
    /// Clients write without saying what they have seen.
    #[error(
        "the key has too many values side by side: replace them by RING.SET key context value, with the context of a RING.GET"
    )]
    TooManyValues,
    /// The mode has no siblings.
    #[error("RING.GET, RING.SET and RING.DEL need the mode ring")]
    NeedsRing,
    /// The members cannot be changed so.
    #[error("{0}")]
    Members(String),
}

/// Why a request certainly had no effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum NotExecuted {
    /// No leader is known here.
    #[error("no leader is known")]
    NoLeader,
    /// The requested node is not the leader, and it proposed nothing.
    #[error("this node is not the leader")]
    NotLeader,
    /// No connection to the leader is usable.
    #[error("the leader cannot be reached")]
    LeaderUnreachable,
    /// This leader cannot reach a quorum, and proposed nothing.
    #[error("the leader has lost its quorum")]
    NoQuorum,
    /// Too few owners of the key can be reached, and no node was sent the value.
    #[error("too few owners of the key answered")]
    TooFewOwners,
    /// The node was removed from the cluster, or is not a voter yet.
    #[error("this node is not a member of the cluster")]
    NotMember,
    /// The node is shutting down.
    #[error("the node is shutting down")]
    ShuttingDown,
    /// The shard does not serve a slot: it is another shard's, or on its way there.
    #[error("a slot of the request is being moved to another shard")]
    SlotElsewhere,
}

/// Why it is unknown whether a request had an effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Unknown {
    /// The request was sent to the leader and no answer came back.
    #[error("the connection to the leader was lost after the request was sent")]
    ConnectionLost,
    /// No answer within the deadline.
    #[error("no answer in time")]
    TimedOut,
    /// The value was sent to owners of the key, and too few confirmed it.
    #[error("too few owners of the key confirmed the value")]
    TooFewOwners,
    /// The entry was in the log when this node stopped being the leader.
    #[error("the leader changed after the request was proposed")]
    LeaderChanged,
    /// The node's consensus or storage stopped while it had the request.
    #[error("the node stopped while it was executing the request")]
    Stopped,
    /// The request has parts for several shards or keys: one part may have been executed, and another was not.
    #[error("a part of the request may have been executed, and the rest was not")]
    InPart,
}

impl From<Refused> for Failure {
    fn from(reason: Refused) -> Self {
        Self::Refused(reason)
    }
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
