//! The messages between nodes in the mode `primary`.

use serde::{Deserialize, Serialize};

use super::election::Candidacy;
use super::ledger::{Following, Position};
use crate::command::{Answer, Command, Query, Reply};
use crate::config::NodeName;
use crate::outcome::Failure;

/// A request to a node; all but the last two are for the primary.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// A client's writes.
    Write(Vec<Command>),
    /// A client's reads.
    Read(Vec<Query>),
    /// A replica's, for what comes next.
    Follow(Pull),
    /// The primary of an epoch says so.
    Lead {
        /// The epoch.
        epoch: u64,
        /// The primary.
        primary: NodeName,
    },
    /// A candidate asks for a vote.
    Stand(Candidacy),
}

/// A replica asks for the writes after its position; answered when there are some, or after a while.
#[derive(Debug, Serialize, Deserialize)]
pub struct Pull {
    /// The replica.
    pub replica: NodeName,
    /// The epoch in which it follows the primary.
    pub epoch: u64,
    /// How far it is, durably.
    pub position: Position,
    /// The offset up to which it knows that writes are settled.
    pub settled: u64,
}

/// The answer to a [`Pull`].
#[derive(Debug, Serialize, Deserialize)]
pub struct Pulled {
    /// The writes that the replica needs next, or a copy.
    pub next: Following,
    /// The primary's own offset.
    pub last: u64,
    /// The offset up to which writes are settled.
    pub settled: u64,
}

/// The answer, in the variant of the request.
#[derive(Debug, Serialize, Deserialize)]
pub enum Response {
    /// To [`Request::Write`].
    Written(Result<Vec<Reply>, Failure>),
    /// To [`Request::Read`].
    Read(Result<Vec<Answer>, Failure>),
    /// To [`Request::Follow`].
    Follow(Pulled),
    /// To [`Request::Lead`]: the epoch of the node, which is that of the request if it follows.
    Led(u64),
    /// To [`Request::Stand`].
    Voted {
        /// The epoch of the node.
        epoch: u64,
        /// Whether it votes for the candidate.
        granted: bool,
    },
    /// To any request for the primary, from a node that is not, in its epoch.
    NotPrimary(u64),
}
