//! Requests of the consensus between nodes, and their answers.

use openraft::error::{InstallSnapshotError, RaftError};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};

use crate::types::TypeConfig;

/// A request to another node.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Append these entries.
    Append(AppendEntriesRequest<TypeConfig>),
    /// Vote for me.
    Vote(VoteRequest<u64>),
    /// A chunk of a snapshot.
    Snapshot(InstallSnapshotRequest<TypeConfig>),
    /// Is this node already part of a cluster?
    Formation,
}

/// The answer, in the variant of the request.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Response {
    /// To [`Request::Append`].
    Append(Result<AppendEntriesResponse<u64>, RaftError<u64>>),
    /// To [`Request::Vote`].
    Vote(Result<VoteResponse<u64>, RaftError<u64>>),
    /// To [`Request::Snapshot`].
    Snapshot(Result<InstallSnapshotResponse<u64>, RaftError<u64, InstallSnapshotError>>),
    /// To [`Request::Formation`].
    Formation(Formation),
}

/// Whether a node is part of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Formation {
    /// Its log is empty and it has never voted.
    Pristine,
    /// It has a log.
    Formed,
}
