//! Requests that nodes forward to the leader in the mode `raft`.

use serde::{Deserialize, Serialize};

use crate::command::{Answer, Command, Query, Reply};
use crate::outcome::Failure;

/// A client's request, for the leader.
#[derive(Debug, Serialize, Deserialize)]
pub enum Forwarded {
    /// Writes.
    Write(Vec<Command>),
    /// Reads.
    Read(Vec<Query>),
}

/// The answer, in the variant of the request.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answered {
    /// To [`Forwarded::Write`].
    Written(Result<Vec<Reply>, Failure>),
    /// To [`Forwarded::Read`].
    Read(Result<Vec<Answer>, Failure>),
}
