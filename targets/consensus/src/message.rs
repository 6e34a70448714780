//! Requests of the consensus between nodes, and their answers.

use openraft::error::{InstallSnapshotError, RaftError};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};

use crate::standing::Known;
use crate::types::{LogId, TypeConfig};

/// A request to another node.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// To the member of this number alone, of whatever name: a message of the consensus.
    ToMember(u64, MemberRequest),
    /// Is this node already part of a cluster?
    Formation,
    /// Which member is this node?
    Number,
    /// What does this node know of the sender?
    Standing(Sender),
    /// The members as of this position, which are committed, do not include this node.
    Removed(LogId),
}

/// A message of the consensus to one member.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum MemberRequest {
    /// Append these entries.
    Append(AppendEntriesRequest<TypeConfig>),
    /// Vote for me.
    Vote(VoteRequest<u64>, Sender),
    /// A chunk of a snapshot.
    Snapshot(InstallSnapshotRequest<TypeConfig>),
}

/// The member that sends a request, and the position of the latest members that it knows.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Sender {
    pub(crate) number: u64,
    pub(crate) known_until: Option<LogId>,
}

/// The answer, in the variant of the request.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Response {
    /// To [`MemberRequest::Append`].
    Append(Result<AppendEntriesResponse<u64>, RaftError<u64>>),
    /// To [`MemberRequest::Vote`].
    Vote(Result<VoteResponse<u64>, RaftError<u64>>),
    /// To [`MemberRequest::Snapshot`].
    Snapshot(Result<InstallSnapshotResponse<u64>, RaftError<u64, InstallSnapshotError>>),
    /// To [`Request::Formation`].
    Formation(Formation),
    /// To [`Request::Number`], and to a request for another member than this node.
    Number(u64),
    /// To [`Request::Standing`], and to the vote request of a member that was removed.
    Standing(Known),
    /// To [`Request::Removed`].
    Noted,
    /// To a request for a vote: this node does not belong to the cluster, and has none.
    NoVote,
}

/// Whether a node is part of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Formation {
    /// Its log is empty and it has never voted.
    Pristine,
    /// It has a log.
    Formed,
}
