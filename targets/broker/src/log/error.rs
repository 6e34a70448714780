//! The errors of a log.

use std::path::PathBuf;

use super::batch::BatchFault;
use super::files::FileError;
use super::producers::SequenceFault;
use super::walk::WalkError;

/// An operation of a log failed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A file operation failed. After a failed sync or cut the log is [stopped](LogError::Stopped).
    #[error(transparent)]
    File(#[from] FileError),
    /// The content on disk is not the content that was written.
    #[error("corrupt batch at byte {position} of {path}")]
    Corrupt {
        /// The segment.
        path: PathBuf,
        /// Its position in the segment, bytes.
        position: u64,
        /// The fault.
        #[source]
        fault: BatchFault,
    },
    /// The log neither has this offset nor gives it to the next record.
    #[error("offset {offset} is outside of {start}..={end}")]
    OutOfRange {
        /// The requested offset.
        offset: i64,
        /// The first offset of the log.
        start: i64,
        /// The offset that comes next.
        end: i64,
    },
    /// After an earlier error the content on disk is unknown; the log must be opened again.
    #[error("the log in {dir} stopped after an error of its disk; it must be opened again")]
    Stopped {
        /// Its folder.
        dir: PathBuf,
    },
}

impl From<WalkError> for LogError {
    fn from(error: WalkError) -> Self {
        match error {
            WalkError::File(error) => Self::File(error),
            WalkError::Batch { path, position, fault } => Self::Corrupt { path, position, fault },
        }
    }
}

/// A batch cannot be appended; no part of it is in the log.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// It is not a batch, or not one for this log.
    #[error("not a batch for this log")]
    Batch(#[from] BatchFault),
    /// It is larger than the limit of this log.
    #[error("a batch of {size} bytes is above the limit of {limit}")]
    TooLarge {
        /// Its size, bytes.
        size: usize,
        /// The limit, bytes.
        limit: usize,
    },
    /// Its sequence number does not continue its producer's.
    #[error(transparent)]
    Sequence(#[from] SequenceFault),
    /// Its leader epoch is older than the log's.
    #[error("leader epoch {epoch} is older than the log's epoch {latest}")]
    StaleEpoch {
        /// The epoch given.
        epoch: i32,
        /// The log's epoch.
        latest: i32,
    },
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl From<FileError> for AppendError {
    fn from(error: FileError) -> Self {
        Self::Log(error.into())
    }
}
