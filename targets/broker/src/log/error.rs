//! What can go wrong with a log.

use std::path::PathBuf;

use super::batch::BatchFault;
use super::disk::DiskError;
use super::producers::SequenceFault;
use super::walk::WalkError;

/// A log cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A file operation failed. After a failed sync or cut the log is [stopped](LogError::Stopped).
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// What is on disk is not what was written.
    #[error("corrupt batch at byte {position} of {path}")]
    Corrupt {
        /// The segment.
        path: PathBuf,
        /// Where in it, bytes.
        position: u64,
        /// What is wrong.
        #[source]
        fault: BatchFault,
    },
    /// Nothing is, or will be next, at this offset.
    #[error("offset {offset} is outside of {start}..={end}")]
    OutOfRange {
        /// What was asked for.
        offset: i64,
        /// The first offset there is.
        start: i64,
        /// The offset that comes next.
        end: i64,
    },
    /// After an earlier error nobody knows what is on disk; the log must be opened again.
    #[error("the log in {dir} stopped after an error of its disk; it must be opened again")]
    Stopped {
        /// Its folder.
        dir: PathBuf,
    },
}

impl From<WalkError> for LogError {
    fn from(error: WalkError) -> Self {
        match error {
            WalkError::Disk(error) => Self::Disk(error),
            WalkError::Batch { path, position, fault } => Self::Corrupt { path, position, fault },
        }
    }
}

/// A batch cannot be appended; nothing of it is in the log.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// It is no batch, or not one for this log.
    #[error("not a batch for this log")]
    Batch(#[from] BatchFault),
    /// It is larger than this log takes.
    #[error("a batch of {size} bytes where at most {limit} are taken")]
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
    #[error("leader epoch {epoch} where the log is at {latest}")]
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

impl From<DiskError> for AppendError {
    fn from(error: DiskError) -> Self {
        Self::Log(error.into())
    }
}
