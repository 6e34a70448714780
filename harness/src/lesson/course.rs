//! The course of a lesson: one run after the other, within the time there is.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::cell::{Cell, Common};
use super::row::{Row, RowResult};
use crate::trial::{self, Finding, Halt, TrialSpec};

/// What a run needs besides its clients' time, as a rule: a cluster that comes up, recovers, and is drained, and a check.
pub const AROUND_A_RUN: Duration = Duration::from_secs(8);
/// After this, besides its clients' time, a run is ended.
const PATIENCE: Duration = Duration::from_secs(120);
/// The shortest time in which clients see something of a fault.
pub const TIME_LIMIT_MIN: Duration = Duration::from_secs(4);

/// What a lesson is given with.
#[derive(Debug)]
pub struct Course {
    /// This program.
    pub program: PathBuf,
    /// What all runs have in common.
    pub common: Common,
    /// Where the runs' folders are made, one for each cell.
    pub folder: PathBuf,
    /// When no other run is begun.
    pub until: Instant,
}

/// How long clients can run in each of `cells` runs, when all of it may take `budget`.
#[must_use]
pub fn share(budget: Duration, cells: usize) -> Duration {
    let share = budget / u32::try_from(cells.max(1)).unwrap_or(u32::MAX);
    share.saturating_sub(AROUND_A_RUN).max(TIME_LIMIT_MIN)
}

impl Course {
    /// Runs `cells`, one after the other, and says what became of each. `told` hears of each when it is over.
    ///
    /// # Errors
    /// When a run could not be started.
    pub async fn run(
        &self,
        cells: Vec<Cell>,
        halt: &mut watch::Receiver<Halt>,
        mut told: impl FnMut(&Row),
    ) -> io::Result<Vec<Row>> {
        let mut rows = Vec::new();
        for (number, cell) in (1..).zip(cells) {
            let result = if *halt.borrow() != Halt::No {
                RowResult::Nothing("not run: the user ended the lesson".to_owned())
            } else if Instant::now() >= self.until {
                RowResult::Nothing("not run: the budget was used up".to_owned())
            } else {
                self.one(&cell, &self.folder.join(format!("{number:02}")), halt).await?
            };
            let row = Row { cell, result };
            told(&row);
            rows.push(row);
        }
        Ok(rows)
    }

    async fn one(
        &self,
        cell: &Cell,
        folder: &Path,
        halt: &mut watch::Receiver<Halt>,
    ) -> io::Result<RowResult> {
        let spec = TrialSpec {
            words: cell.words(&self.common),
            seed: self.common.seed,
            folder: folder.to_owned(),
            deadline: self.common.time_limit + PATIENCE,
        };
        Ok(match trial::run(&self.program, &spec, halt).await? {
            Some(trial) => RowResult::read(&trial.folder, &reason(trial.finding)),
            None => RowResult::Nothing("not run to its end: the user ended the lesson".to_owned()),
        })
    }
}

/// Why a run may have left nothing to count.
fn reason(finding: Finding) -> String {
    match finding {
        Finding::Broken { reasons } | Finding::Unknown { reasons } => reasons.join("; "),
        Finding::Error { message } => message,
        Finding::Valid | Finding::Invalid { .. } => "its verdict.json is gone".to_owned(),
    }
}
