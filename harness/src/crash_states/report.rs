//! What came of all states that were tried.

use std::fmt;

use duress_arena::disk::crash::{CrashState, Recording};
use serde::Serialize;

use super::trial::Finding;
use crate::cli::exit::Exit;

/// A state on which the node failed.
#[derive(Clone, Debug, Serialize)]
pub struct Failing {
    /// Its number among the states, from 1; its files are kept in `state-<number>`.
    pub state: u64,
    /// After how many operations on the disk the crash came.
    pub operations: usize,
    /// How many writes had been acknowledged by then.
    pub acknowledged: u64,
    /// What survived of what was not synced.
    pub survivors: String,
    /// What is wrong.
    pub finding: Finding,
}

impl Failing {
    /// What was found on `state`, which is the one of this number.
    #[must_use]
    pub fn new(number: u64, state: &CrashState, finding: Finding) -> Self {
        Self {
            state: number,
            operations: state.operations,
            acknowledged: state.acknowledged,
            survivors: state.survivors.to_string(),
            finding,
        }
    }
}

/// What came of all states that were tried.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Operations on the disk that were recorded.
    pub operations: usize,
    /// How many of them were syncs.
    pub syncs: usize,
    /// States that were tried.
    pub tried: u64,
    /// States that were listed and not tried, for want of time or because enough had failed.
    pub untried: u64,
    /// Those on which the node failed.
    pub failing: Vec<Failing>,
}

impl Report {
    /// Of a recording of which no state was tried yet.
    #[must_use]
    pub fn of(recording: &Recording) -> Self {
        let (operations, syncs) = (recording.operations(), recording.syncs());
        Self { operations, syncs, tried: 0, untried: 0, failing: Vec::new() }
    }

    /// How the program ends.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            _ if !self.failing.is_empty() => Exit::Anomaly,
            _ if self.operations == 0 || self.tried == 0 => Exit::Broken,
            _ if self.untried > 0 => Exit::Unknown,
            _ => Exit::Valid,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operations, syncs, tried, untried, failing } = self;
        let verdict = match self.exit() {
            Exit::Valid => "VALID: the node came up on every state with what it had acknowledged",
            Exit::Anomaly => "INVALID: the node failed on states that a crash may leave",
            Exit::Unknown => "UNKNOWN: no anomaly was found, but not every state was tried",
            _ => "BROKEN: nothing was recorded, so nothing is proved",
        };
        writeln!(f, "{verdict}")?;
        writeln!(
            f,
            "{operations} operations on the disk, {syncs} of them syncs; {tried} states tried, {untried} not"
        )?;
        for failing in failing {
            writeln!(
                f,
                "\nstate {}: {}\n  the crash came after {} operations on the disk and {} acknowledged writes;\n  {}\n  its \
                 files are kept in state-{}",
                failing.state,
                failing.finding,
                failing.operations,
                failing.acknowledged,
                failing.survivors,
                failing.state
            )?;
        }
        Ok(())
    }
}
