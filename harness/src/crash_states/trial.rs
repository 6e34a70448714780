//! One state, tried: the node is started on it and must come up, and every key is read.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitStatus;

use duress_arena::NodeProcess;
use duress_arena::disk::crash::CrashState;
use duress_history::Scalar;
use duress_history::register::{Register, RegisterOp};
use duress_targets::Outcome;
use serde::{Serialize, Serializer};
use tokio::time::{Instant, sleep};

use super::recording::{key_of, last_writes, value_of};
use super::{ATTEMPT, ExploreError, KILL_MAX, READY_MAX, RETRY, Stage};

/// The failure of a node that was started on a crash state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It ended.
    Ended(ExitStatus),
    /// It did not become ready, or did not answer; the last error.
    NotUp(String),
    /// A key lacks its last acknowledged write.
    Lost {
        /// The key.
        key: Scalar,
        /// The write, by its number, which is its value.
        acknowledged: u64,
        /// The value that was read.
        read: Option<Scalar>,
    },
    /// A key holds a value that was not written to it.
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
            Self::NotUp(said) => {
                write!(f, "the node does not come up within {} s: {said}", READY_MAX.as_secs())
            }
            Self::Lost { key, acknowledged, read } => {
                let read = read.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
                write!(f, "{key} holds {read}, although write {acknowledged} to it was acknowledged")
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
    let end = Instant::now() + READY_MAX;
    loop {
        let place = stage.host("c1").as_ref();
        match stage.deployment.ready(&stage.node, place, ATTEMPT).await {
            Ok(()) => break,
            Err(error) if Instant::now() >= end => return Ok(Some(Finding::NotUp(error.to_string()))),
            Err(_) => {}
        }
        if let Some(status) = process.try_wait()? {
            return Ok(Some(Finding::Ended(status)));
        }
        sleep(RETRY).await;
    }
    let mut client = stage.client()?;
    for (key, acknowledged) in last_writes(state.acknowledged) {
        let read = loop {
            let asked = Register { key: key.clone(), op: RegisterOp::Read(None) };
            match client.invoke(&asked).await {
                Outcome::Ok(Register { op: RegisterOp::Read(value), .. }) => break value,
                Outcome::Ok(_) => return Ok(Some(Finding::NotUp("a read was answered as a write".into()))),
                Outcome::Fail(cause) | Outcome::Info(cause) if Instant::now() >= end => {
                    return Ok(Some(Finding::NotUp(cause.to_string())));
                }
                Outcome::Fail(_) | Outcome::Info(_) => sleep(RETRY).await,
            }
        };
        if let Some(finding) = judge(key, acknowledged, state.begun, read) {
            return Ok(Some(finding));
        }
    }
    Ok(None)
}

/// Returns the error of `read`, if there is one: `acknowledged` is the last write to `key` that was acknowledged, and
/// `begun` the last write to any key that was begun.
fn judge(key: Scalar, acknowledged: Option<u64>, begun: u64, read: Option<Scalar>) -> Option<Finding> {
    let from = acknowledged.unwrap_or(1);
    let is_allowed = match &read {
        None => acknowledged.is_none(),
        Some(read) => (from..=begun).any(|number| key_of(number) == key && value_of(number) == *read),
    };
    if is_allowed {
        return None;
    }
    let was_written =
        |read: &Scalar| (1..from).any(|number| key_of(number) == key && value_of(number) == *read);
    Some(match (acknowledged, read) {
        (_, Some(read)) if !was_written(&read) => Finding::NeverWritten { key, read },
        (Some(acknowledged), read) => Finding::Lost { key, acknowledged, read },
        (None, Some(read)) => Finding::NeverWritten { key, read },
        (None, None) => unreachable!("nothing was acknowledged, and nothing was read"),
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_holds_its_last_acknowledged_write_or_one_under_way() {
        let key = || key_of(2);
        let judged =
            |acknowledged, begun, read: Option<i64>| judge(key(), acknowledged, begun, read.map(Scalar::Int));
        assert_eq!(judged(Some(2), 9, Some(2)), None);
        assert_eq!(judged(Some(2), 9, Some(9)), None);
        assert_eq!(judged(None, 2, None), None);
        assert_eq!(judged(None, 2, Some(2)), None);
        assert_eq!(judged(Some(2), 2, None), Some(Finding::Lost { key: key(), acknowledged: 2, read: None }));
        let read = Some(Scalar::Int(2));
        assert_eq!(judged(Some(9), 9, Some(2)), Some(Finding::Lost { key: key(), acknowledged: 9, read }));
        for (acknowledged, begun, read) in [(Some(2), 8, 9), (None, 1, 2), (Some(2), 9, 3)] {
            let finding = judged(acknowledged, begun, Some(read));
            assert_eq!(finding, Some(Finding::NeverWritten { key: key(), read: Scalar::Int(read) }));
        }
    }
}
