//! Why the request of a group's member is refused.

use kafka_protocol::ResponseError;

/// A refusal. Each has its code in the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// Another broker coordinates the group.
    #[error("this broker does not coordinate the group")]
    NotCoordinator,
    /// This broker does, but has not read all of its records yet.
    #[error("the group is being loaded")]
    Loading,
    /// The records could not be replicated; they may take effect nevertheless.
    #[error("the group's records could not be replicated")]
    NotReplicated,
    /// A group must have a name.
    #[error("the group has no name")]
    InvalidGroup,
    /// The session time-out is outside the allowed range.
    #[error("the session time-out is outside the allowed range")]
    InvalidSessionTimeout,
    /// The member has no protocol in common with the group.
    #[error("no protocol in common with the group")]
    InconsistentProtocol,
    /// A new member: it may join under the name it is given here.
    #[error("join again as {member_id}")]
    MemberIdRequired {
        /// The name.
        member_id: String,
    },
    /// The group has no such member, or no longer.
    #[error("no such member")]
    UnknownMember,
    /// The member names a generation that is not the present one.
    #[error("not the present generation")]
    IllegalGeneration,
    /// A later epoch of the producer has taken over.
    #[error("a later epoch of the producer has taken over")]
    Fenced,
    /// An open transaction may replace the offsets.
    #[error("an open transaction may replace the offsets")]
    Unstable,
    /// The group is being reassigned; the member must join again.
    #[error("the group is being reassigned")]
    RebalanceInProgress,
}

impl GroupError {
    /// Returns the protocol's error code.
    pub fn code(&self) -> ResponseError {
        match self {
            Self::NotCoordinator => ResponseError::NotCoordinator,
            Self::Loading => ResponseError::CoordinatorLoadInProgress,
            Self::NotReplicated => ResponseError::CoordinatorNotAvailable,
            Self::InvalidGroup => ResponseError::InvalidGroupId,
            Self::InvalidSessionTimeout => ResponseError::InvalidSessionTimeout,
            Self::InconsistentProtocol => ResponseError::InconsistentGroupProtocol,
            Self::MemberIdRequired { .. } => ResponseError::MemberIdRequired,
            Self::UnknownMember => ResponseError::UnknownMemberId,
            Self::Fenced => ResponseError::InvalidProducerEpoch,
            Self::Unstable => ResponseError::UnstableOffsetCommit,
            Self::IllegalGeneration => ResponseError::IllegalGeneration,
            Self::RebalanceInProgress => ResponseError::RebalanceInProgress,
        }
    }
}
