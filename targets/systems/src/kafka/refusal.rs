//! Kafka's errors that guarantee that a request had no effect.
//!
//! See the table of [the parent module](super): errors that are not listed there leave the outcome open.

use kafka_protocol::ResponseError;

use crate::outcome::{CauseKind, RequestError};

/// The kind of request, as far as it decides the meaning of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// To append records.
    Produce,
    /// To commit offsets.
    OffsetCommit,
    /// To commit a transaction.
    EndTransaction,
    /// Something that only reads, or only prepares.
    Other,
}

/// Returns the error `code` as the result of a request; `Ok` for the code of no error.
pub(super) fn check(asked: Asked, code: i16, about: &str) -> Result<(), RequestError> {
    match code {
        0 => Ok(()),
        _ => Err(refusal(asked, code, about)),
    }
}

/// Returns the meaning of the error `code` for a request about `about`.
pub(super) fn refusal(asked: Asked, code: i16, about: &str) -> RequestError {
    let text = match ResponseError::try_from_code(code) {
        Some(error) => format!("{about}: {error:?} ({code})"),
        None => format!("{about}: error {code}"),
    };
    let definite = match (asked, ResponseError::try_from_code(code)) {
        (_, None) => false,
        (Asked::Produce, Some(error)) => appended_nothing(error),
        (Asked::OffsetCommit, Some(error)) => committed_nothing(error),
        (Asked::EndTransaction, Some(error)) => decided_nothing(error),
        (Asked::Other, Some(error)) => error != ResponseError::UnknownServerError,
    };
    match definite {
        true => RequestError::definite(CauseKind::Rejected, text),
        false => RequestError::open(CauseKind::Unknown, text),
    }
}

fn appended_nothing(error: ResponseError) -> bool {
    matches!(
        error,
        ResponseError::UnknownTopicOrPartition
            | ResponseError::CorruptMessage
            | ResponseError::MessageTooLarge
            | ResponseError::InvalidTopicException
            | ResponseError::RecordListTooLarge
            | ResponseError::NotEnoughReplicas
            | ResponseError::InvalidRequiredAcks
            | ResponseError::TopicAuthorizationFailed
            | ResponseError::ClusterAuthorizationFailed
            | ResponseError::TransactionalIdAuthorizationFailed
            | ResponseError::InvalidTimestamp
            | ResponseError::UnsupportedVersion
            | ResponseError::InvalidRequest
            | ResponseError::UnsupportedForMessageFormat
            | ResponseError::UnsupportedCompressionType
            | ResponseError::PolicyViolation
            | ResponseError::OutOfOrderSequenceNumber
            | ResponseError::InvalidProducerEpoch
            | ResponseError::UnknownProducerId
            | ResponseError::ProducerFenced
            | ResponseError::InvalidRecord
            | ResponseError::UnknownTopicId
    )
}

fn decided_nothing(error: ResponseError) -> bool {
    matches!(
        error,
        ResponseError::CoordinatorLoadInProgress
            | ResponseError::ConcurrentTransactions
            | ResponseError::InvalidProducerEpoch
            | ResponseError::ProducerFenced
            | ResponseError::InvalidProducerIdMapping
            | ResponseError::InvalidTxnState
            | ResponseError::TransactionalIdAuthorizationFailed
            | ResponseError::UnsupportedVersion
            | ResponseError::InvalidRequest
    )
}

fn committed_nothing(error: ResponseError) -> bool {
    matches!(
        error,
        ResponseError::CoordinatorLoadInProgress
            | ResponseError::OffsetMetadataTooLarge
            | ResponseError::IllegalGeneration
            | ResponseError::InvalidGroupId
            | ResponseError::UnknownMemberId
            | ResponseError::RebalanceInProgress
            | ResponseError::TopicAuthorizationFailed
            | ResponseError::GroupAuthorizationFailed
            | ResponseError::UnsupportedVersion
            | ResponseError::InvalidRequest
            | ResponseError::FencedInstanceId
            | ResponseError::UnknownTopicOrPartition
    )
}

#[cfg(test)]
mod tests {
    use ResponseError::*;

    use super::*;
    use crate::outcome::Reach;

    #[test]
    fn a_coordinator_that_may_have_written_the_end_of_a_transaction_leaves_it_open() {
        let is_open =
            |error: ResponseError| refusal(Asked::EndTransaction, error.code(), "").reach == Reach::Unknown;
        let after = [NotCoordinator, CoordinatorNotAvailable, RequestTimedOut, UnknownServerError];
        assert!(after.into_iter().all(is_open));
        let before = [ConcurrentTransactions, CoordinatorLoadInProgress, ProducerFenced, InvalidTxnState];
        assert!(!before.into_iter().any(is_open));
    }
}
