//! Why the request of a transactional producer is refused.

use kafka_protocol::ResponseError;

/// A refusal. Each has its code in the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    /// Another broker coordinates the transactional id.
    #[error("this broker does not coordinate the transactional id")]
    NotCoordinator,
    /// This broker does, but has not read all of its records yet.
    #[error("the transactional id is being loaded")]
    Loading,
    /// The record could not be replicated; it may take effect nevertheless.
    #[error("the record of the transaction could not be replicated")]
    NotReplicated,
    /// A transactional id is not empty.
    #[error("the transactional id is empty")]
    InvalidRequest,
    /// The time-out is outside of the allowed range.
    #[error("the time-out of the transaction is outside of the allowed range")]
    InvalidTimeout,
    /// The producer id is not that of the transactional id.
    #[error("the producer id is not that of the transactional id")]
    InvalidMapping,
    /// A later instance of the producer has taken over, or the transaction took too long.
    #[error("a later epoch of the producer has taken over")]
    Fenced,
    /// An earlier request about the transactional id is not done yet.
    #[error("an earlier request about the transactional id is not done yet")]
    Concurrent,
    /// There is no transaction to end so.
    #[error("there is no transaction to end so")]
    InvalidState,
}

impl TransactionError {
    /// Returns the protocol's error code.
    pub fn code(self) -> ResponseError {
        match self {
            Self::NotCoordinator => ResponseError::NotCoordinator,
            Self::Loading => ResponseError::CoordinatorLoadInProgress,
            Self::NotReplicated => ResponseError::CoordinatorNotAvailable,
            Self::InvalidRequest => ResponseError::InvalidRequest,
            Self::InvalidTimeout => ResponseError::InvalidTransactionTimeout,
            Self::InvalidMapping => ResponseError::InvalidProducerIdMapping,
            Self::Fenced => ResponseError::ProducerFenced,
            Self::Concurrent => ResponseError::ConcurrentTransactions,
            Self::InvalidState => ResponseError::InvalidTxnState,
        }
    }
}
