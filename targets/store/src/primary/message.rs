//! What nodes say to each other in the mode `primary`.

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
    /// What comes after this position? Answered when there is something, or after a while.
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
    /// To anything, from a node that is no primary.
    NotPrimary,
}
