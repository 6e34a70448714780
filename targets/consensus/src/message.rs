//! Requests between nodes, and their answers.

use openraft::error::{InstallSnapshotError, RaftError};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};

use crate::types::Consensus;

/// A request to another node: of the consensus, or of the subject itself.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound(serialize = "Q: Serialize", deserialize = "Q: Deserialize<'de>"))]
pub enum Request<C: Consensus, Q> {
    /// Consensus: append these entries.
    Append(AppendEntriesRequest<C>),
    /// Consensus: vote for me.
    Vote(VoteRequest<u64>),
    /// Consensus: a chunk of a snapshot.
    Snapshot(InstallSnapshotRequest<C>),
    /// Is this node already part of a cluster?
    Formation,
    /// A request of the subject's own.
    Own(Q),
}

/// The answer, in the variant of the request.
#[derive(Debug, Serialize, Deserialize)]
pub enum Response<R> {
    /// To [`Request::Append`].
    Append(Result<AppendEntriesResponse<u64>, RaftError<u64>>),
    /// To [`Request::Vote`].
    Vote(Result<VoteResponse<u64>, RaftError<u64>>),
    /// To [`Request::Snapshot`].
    Snapshot(Result<InstallSnapshotResponse<u64>, RaftError<u64, InstallSnapshotError>>),
    /// To [`Request::Formation`].
    Formation(Formation),
    /// To [`Request::Own`].
    Own(R),
}

/// The subject's own requests or answers in messages of the consensus, which have none.
#[derive(Debug, Serialize, Deserialize)]
pub enum Nothing {}

/// Whether a node is part of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Formation {
    /// Its log is empty and it has never voted.
    Pristine,
    /// It has a log.
    Formed,
}
