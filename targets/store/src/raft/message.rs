//! Requests that nodes forward to the leader in the mode `raft`.

use duress_consensus::{Member, NodeName};
use serde::{Deserialize, Serialize};

use crate::command::{Answer, Command, Query, Reply};
use crate::outcome::Failure;

/// A request, and the member that forwards it.
pub type FromMember = (u64, Forwarded);

/// A client's request, for the leader.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Forwarded {
    /// Writes.
    Write(Vec<Command>),
    /// Reads.
    Read(Vec<Query>),
    /// An administrator's request about the members.
    Members(MemberRequest),
}

/// An administrator's request about the members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberRequest {
    /// `RAFT.NODE ADD node`.
    Add(NodeName),
    /// `RAFT.NODE REMOVE node`.
    Remove(NodeName),
    /// `RAFT.NODE LIST`.
    List,
}

/// The answer, in the variant of the request.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answered {
    /// To [`Forwarded::Write`].
    Written(Result<Vec<Reply>, Failure>),
    /// To [`Forwarded::Read`].
    Read(Result<Vec<Answer>, Failure>),
    /// To [`Forwarded::Members`]: the members afterwards.
    Members(Result<Vec<Member>, Failure>),
}

impl Answered {
    /// Returns the answer to `request` that it failed.
    pub fn failed(request: &Forwarded, failure: Failure) -> Self {
        match request {
            Forwarded::Write(_) => Self::Written(Err(failure)),
            Forwarded::Read(_) => Self::Read(Err(failure)),
            Forwarded::Members(_) => Self::Members(Err(failure)),
        }
    }

    /// Returns why there is no result, if there is none.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Written(result) => result.as_ref().err(),
            Self::Read(result) => result.as_ref().err(),
            Self::Members(result) => result.as_ref().err(),
        }
    }
}
