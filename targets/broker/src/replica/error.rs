//! Errors of requests to a partition.

use kafka_protocol::ResponseError;

use crate::log::{AppendError, BatchFault, LogError, SequenceFault};

/// Why a request to a partition failed.
#[derive(Debug, thiserror::Error)]
pub enum PartitionError {
    /// This broker does not lead it, or no longer: an appended batch may or may not survive.
    #[error("this broker does not lead the partition")]
    NotLeader,
    /// The request was made for an earlier leader.
    #[error("the request is for an earlier leader epoch")]
    FencedEpoch,
    /// The request was made for a later leader, which this broker does not know yet.
    #[error("the request is for a later leader epoch")]
    UnknownEpoch,
    /// Too few replicas are in sync; nothing was appended.
    #[error("too few replicas are in sync")]
    NotEnoughReplicas,
    /// The batch was appended, and then too few replicas were in sync.
    #[error("the batch was appended, but too few replicas are in sync")]
    NotEnoughReplicasAfterAppend,
    /// The replicas did not have the batch in time; they may have it later.
    #[error("the replicas did not have the batch in time")]
    TimedOut,
    /// The batch cannot be appended; no part of it was.
    #[error(transparent)]
    Append(AppendError),
    /// The log failed.
    #[error(transparent)]
    Log(LogError),
    /// The partition is being shut down.
    #[error("the partition is being shut down")]
    Stopped,
}

impl From<LogError> for PartitionError {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

impl From<AppendError> for PartitionError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Log(error) => Self::Log(error),
            other => Self::Append(other),
        }
    }
}

impl PartitionError {
    /// Kafka's code of it.
    pub fn code(&self) -> ResponseError {
        match self {
            Self::NotLeader | Self::Stopped => ResponseError::NotLeaderOrFollower,
            Self::FencedEpoch => ResponseError::FencedLeaderEpoch,
            Self::UnknownEpoch => ResponseError::UnknownLeaderEpoch,
            Self::NotEnoughReplicas => ResponseError::NotEnoughReplicas,
            Self::NotEnoughReplicasAfterAppend => ResponseError::NotEnoughReplicasAfterAppend,
            Self::TimedOut => ResponseError::RequestTimedOut,
            Self::Log(LogError::OutOfRange { .. }) => ResponseError::OffsetOutOfRange,
            Self::Log(LogError::Corrupt { .. }) => ResponseError::CorruptMessage,
            Self::Log(_) => ResponseError::KafkaStorageError,
            Self::Append(error) => match error {
                AppendError::Batch(BatchFault::Magic(_)) => ResponseError::UnsupportedForMessageFormat,
                AppendError::Batch(
                    BatchFault::Checksum { .. } | BatchFault::Short { .. } | BatchFault::Length(_),
                ) => ResponseError::CorruptMessage,
                AppendError::Batch(_) => ResponseError::InvalidRecord,
                AppendError::TooLarge { .. } => ResponseError::MessageTooLarge,
                AppendError::Sequence(SequenceFault::OutOfOrder { .. }) => {
                    ResponseError::OutOfOrderSequenceNumber
                }
                AppendError::Sequence(SequenceFault::Fenced { .. }) => ResponseError::InvalidProducerEpoch,
                AppendError::StaleEpoch { .. } => ResponseError::NotLeaderOrFollower,
                AppendError::Log(_) => ResponseError::KafkaStorageError,
            },
        }
    }

    /// Whether the partition's files can no longer be trusted, so that the broker must stop.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Log(LogError::File(_) | LogError::Stopped { .. }))
    }
}
