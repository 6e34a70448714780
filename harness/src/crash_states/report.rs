//! The result of an exploration.

use std::fmt;

use duress_arena::disk::crash::{CrashState, Recording};
use serde::Serialize;

use super::trial::Finding;
use crate::cli::exit::Exit;

/// A state on which the node failed.
#[derive(Clone, Debug, Serialize)]
pub struct Failing {
    /// Its number among the states, from 1; its files are in `state-<number>`.
    pub state: u64,
    /// The number of operations on the disk before the crash.
    pub operations: usize,
    /// The number of writes acknowledged before the crash.
    pub acknowledged: u64,
    /// The part of the unsynced data that survived.
    pub survivors: String,
    /// The node's failure.
    pub finding: Finding,
}

impl Failing {
    /// Combines a state, its number and the node's failure.
    #[must_use]
    pub fn new(number: u64, state: &CrashState, finding: Finding) -> Self {
        Self {
            state: number,
            operations: state.operations,
            acknowledged: state.requests.iter().map(|client| client.acknowledged).sum(),
            survivors: state.survivors.to_string(),
            finding,
        }
    }
}

/// The result of an exploration.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Operations on the disk that were recorded.
    pub operations: usize,
    /// The number of syncs among them.
    pub syncs: usize,
    /// States that were tried.
    pub tried: u64,
    /// States that were not tried, because time was over or enough states had failed.
    pub untried: u64,
    /// The number of moments of a crash that may leave more states than were listed.
    pub bounded: u64,
    /// The states on which the node failed.
    pub failing: Vec<Failing>,
}

impl Report {
    /// Begins the report of a recording.
    #[must_use]
    pub fn of(recording: &Recording) -> Self {
        let (operations, syncs) = (recording.operations(), recording.syncs());
        Self { operations, syncs, tried: 0, untried: 0, bounded: 0, failing: Vec::new() }
    }

    /// Returns the exit code.
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
        let Self { operations, syncs, tried, untried, bounded, failing } = self;
        let verdict = match self.exit() {
            Exit::Valid => {
                "VALID: on every state that was listed, the node came up and had the writes it had acknowledged"
            }
            Exit::Anomaly => "INVALID: the node failed on a state that a crash may leave",
            Exit::Unknown => "UNKNOWN: no anomaly was found, but not every state was tried",
            _ => "BROKEN: nothing was recorded, so nothing is proved",
        };
        writeln!(f, "{verdict}")?;
        writeln!(
            f,
            "{operations} operations on the disk, {syncs} of them syncs; {tried} states tried, {untried} not tried"
        )?;
        if *bounded > 0 {
            writeln!(f, "{bounded} moments of a crash may leave more states than were listed (--each)")?;
        }
        for failing in failing {
            writeln!(
                f,
                "\nstate {}: {}\n  the crash came after {} operations on the disk and {} acknowledged writes;\n  {}\n  its \
                 files are in state-{}",
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
