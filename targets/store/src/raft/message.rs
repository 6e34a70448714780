//! What nodes ask each other in the mode `raft`.

use openraft::error::{InstallSnapshotError, RaftError};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};

use super::types::TypeConfig;
use crate::command::{Answer, Command, Query, Reply};
use crate::outcome::Failure;

/// A request to another node.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Consensus: append these entries.
    Append(AppendEntriesRequest<TypeConfig>),
    /// Consensus: vote for me.
    Vote(VoteRequest<u64>),
    /// Consensus: a piece of a snapshot.
    Snapshot(InstallSnapshotRequest<TypeConfig>),
    /// A client's writes, for the leader.
    Write(Vec<Command>),
    /// A client's reads, for the leader.
    Read(Vec<Query>),
    /// Whether you are part of a cluster already.
    Formation,
}

/// The answer, in the variant of the request.
#[derive(Debug, Serialize, Deserialize)]
pub enum Response {
    /// To [`Request::Append`].
    Append(Result<AppendEntriesResponse<u64>, RaftError<u64>>),
    /// To [`Request::Vote`].
    Vote(Result<VoteResponse<u64>, RaftError<u64>>),
    /// To [`Request::Snapshot`].
    Snapshot(Result<InstallSnapshotResponse<u64>, RaftError<u64, InstallSnapshotError>>),
    /// To [`Request::Write`].
    Written(Result<Vec<Reply>, Failure>),
    /// To [`Request::Read`].
    Read(Result<Vec<Answer>, Failure>),
    /// To [`Request::Formation`].
    Formation(Formation),
}

/// Whether a node is part of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Formation {
    /// Its log is empty and it has never voted.
    Pristine,
    /// It has a log.
    Formed,
}
