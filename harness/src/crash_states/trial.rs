//! One state, tried: the node is started on it and must come up, and every key is read.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use duress_arena::NodeProcess;
use duress_arena::disk::crash::CrashState;
use duress_history::Scalar;
use serde::{Serialize, Serializer};
use tokio::time::{Instant, sleep};

use super::messages::Message;
use super::{ExploreError, KILL_MAX, RETRY, Stage};

/// The failure of a node that was started on a crash state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It ended.
    Ended(ExitStatus),
    /// It did not become ready, or did not answer.
    NotUp {
        /// The time that it had.
        within: Duration,
        /// The last error.
        error: String,
    },
    /// A key lacks its last acknowledged write.
    Lost {
        /// The key.
        key: Scalar,
        /// The write, by its number, which is its value.
        acknowledged: u64,
        /// The value that was read.
        read: Option<Scalar>,
    },
    /// A partition lacks an acknowledged message.
    Missing {
        /// The partition.
        partition: Scalar,
        /// The message.
        message: Message,
    },
    /// A partition has a message in the wrong place: after a later one of the same client, or a second time.
    Misplaced {
        /// The partition.
        partition: Scalar,
        /// The message.
        message: Message,
        /// The number of the client's message before it.
        after: u64,
    },
    /// A partition has offsets without messages between others.
    Gap {
        /// The partition.
        partition: Scalar,
        /// The first offset without a message.
        from: u64,
        /// The next offset with one.
        to: u64,
    },
    /// A key or a partition holds a value that was not written to it.
    NeverWritten {
        /// The key.
        key: Scalar,
        /// The value that was read.
        read: Scalar,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(status) => write!(f, "the node does not come up: it ended with {status}"),
            Self::NotUp { within, error } => {
                write!(f, "the node does not answer within {} s: {error}", within.as_secs())
            }
            Self::Lost { key, acknowledged, read } => {
                let read = read.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
                write!(f, "{key} holds {read}, although write {acknowledged} to it was acknowledged")
            }
            Self::Missing { partition, message } => {
                write!(f, "{partition} lacks {message}, which was acknowledged")
            }
            Self::Misplaced { partition, message, after } => {
                write!(f, "{partition} has {message} after that client's message {after}")
            }
            Self::Gap { partition, from, to } => {
                write!(
                    f,
                    "{partition} has a message at offset {to}, and none at offset {from}, where another was before"
                )
            }
            Self::NeverWritten { key, read } => {
                write!(f, "{key} holds {read}, which was not written to it")
            }
        }
    }
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Starts the node on `state` and returns its failure, if there is one.
///
/// # Errors
/// [`ExploreError`] if the harness failed.
pub(super) async fn try_state(stage: &Stage, state: &CrashState) -> Result<Option<Finding>, ExploreError> {
    empty(&stage.files.data).map_err(ExploreError::Empty)?;
    state.build(&stage.files.data)?;
    let mut process = stage.start()?;
    let finding = look(stage, state, &mut process).await;
    process.kill(KILL_MAX)?;
    finding
}

async fn look(
    stage: &Stage,
    state: &CrashState,
    process: &mut NodeProcess,
) -> Result<Option<Finding>, ExploreError> {
    if let Some(finding) = stage.come_up(process).await? {
        return Ok(Some(finding));
    }
    let end = Instant::now() + stage.patience();
    let mut data = stage.vocabulary.open(stage, 0)?;
    loop {
        match data.compare(&state.requests).await {
            Ok(finding) => return Ok(finding),
            Err(error) if Instant::now() >= end => {
                return Ok(Some(Finding::NotUp { within: stage.patience(), error }));
            }
            Err(_) => sleep(RETRY).await,
        }
    }
}

/// Removes everything in `folder`.
fn empty(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
