//! The messages between nodes in the mode `primary`.

use serde::{Deserialize, Serialize};

use super::ledger::{Following, Position};
use crate::command::{Answer, Command, Query, Reply};
use crate::outcome::Failure;

/// A request to the primary.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// A client's writes.
    Write(Vec<Command>),
    /// A client's reads.
    Read(Vec<Query>),
    /// The writes after this position; answered when there are some, or after a while.
    Follow(Position),
}

/// The answer, in the variant of the request.
#[derive(Debug, Serialize, Deserialize)]
pub enum Response {
    /// To [`Request::Write`].
    Written(Result<Vec<Reply>, Failure>),
    /// To [`Request::Read`].
    Read(Result<Vec<Answer>, Failure>),
    /// To [`Request::Follow`].
    Follow(Following),
    /// To any request, from a node that is not the primary.
    NotPrimary,
}
