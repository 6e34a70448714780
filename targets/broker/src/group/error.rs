//! Why a request of a group's member is refused.

use kafka_protocol::ResponseError;

/// A refusal. Each has its code in the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// Another broker coordinates the group.
    #[error("this broker does not coordinate the group")]
    NotCoordinator,
    /// This one does, but has not read all about it yet.
    #[error("the group is being loaded")]
    Loading,
    /// What was to be remembered could not be replicated; it may come to be remembered nevertheless.
    #[error("the group's records could not be replicated")]
    NotReplicated,
    /// A group must have a name.
    #[error("the group has no name")]
    InvalidGroup,
    /// The session time-out is outside of what is allowed here.
    #[error("the session time-out is not allowed here")]
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
    /// The group has no such member, or not any more.
    #[error("no such member")]
    UnknownMember,
    /// The member speaks of another generation than the present.
    #[error("not the present generation")]
    IllegalGeneration,
    /// The group is being reassigned; the member must join again.
    #[error("the group is being reassigned")]
    RebalanceInProgress,
}

impl GroupError {
    /// What the protocol calls it.
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
            Self::IllegalGeneration => ResponseError::IllegalGeneration,
            Self::RebalanceInProgress => ResponseError::RebalanceInProgress,
        }
    }
}
