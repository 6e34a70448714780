//! The course of a lesson: one run after the other, within the time there is.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::experiment::{Common, Experiment, Measured, NoVerdict};
use crate::trial::{self, Halt, TrialSpec};

/// The usual time of a run besides its clients': starting, recovering and draining the cluster, and the
/// check.
pub const AROUND_A_RUN: Duration = Duration::from_secs(8);
/// After this, besides its clients' time, a run is ended.
const PATIENCE: Duration = Duration::from_secs(120);
/// The shortest time in which clients see something of a fault.
pub const TIME_LIMIT_MIN: Duration = Duration::from_secs(4);

/// The setup of a lesson.
#[derive(Debug)]
pub struct Course {
    /// This program.
    pub program: PathBuf,
    /// The shared options of all runs.
    pub common: Common,
    /// The folder for the runs' folders, one for each run.
    pub folder: PathBuf,
    /// When no other run is begun.
    pub until: Instant,
}

/// How long clients can run in each of `runs` runs, when all of it may take `budget`.
#[must_use]
pub fn share(budget: Duration, runs: usize) -> Duration {
    let share = budget / u32::try_from(runs.max(1)).unwrap_or(u32::MAX);
    let limit = share.saturating_sub(AROUND_A_RUN).max(TIME_LIMIT_MIN);
    // In words and in commands, it is so many milliseconds.
    Duration::from_secs(limit.as_secs()) + Duration::from_millis(limit.subsec_millis().into())
}

impl Course {
    /// Makes `runs`, one after the other, and returns the result of each. Calls `report` with each when it is
    /// over.
    ///
    /// # Errors
    /// When a run could not be started.
    pub async fn run(
        &self,
        runs: Vec<Experiment>,
        halt: &mut watch::Receiver<Halt>,
        mut report: impl FnMut(&Measured),
    ) -> io::Result<Vec<Measured>> {
        let mut all = Vec::new();
        for (number, experiment) in (1..).zip(runs) {
            let why_not = if *halt.borrow() != Halt::No {
                Some("not run: the user ended the lesson")
            } else if Instant::now() >= self.until {
                Some("not run: the budget was used up")
            } else {
                None
            };
            let measured = match why_not {
                Some(why) => {
                    let command = experiment.command(&self.common);
                    Measured { experiment, command, result: Err(NoVerdict::NotRun(why.to_owned())) }
                }
                None => self.one(experiment, &self.folder.join(format!("{number:02}")), halt).await?,
            };
            report(&measured);
            all.push(measured);
        }
        Ok(all)
    }

    async fn one(
        &self,
        experiment: Experiment,
        folder: &Path,
        halt: &mut watch::Receiver<Halt>,
    ) -> io::Result<Measured> {
        let spec = TrialSpec {
            words: experiment.words(&self.common),
            seed: self.common.seed,
            folder: folder.to_owned(),
            deadline: self.common.time_limit + PATIENCE,
        };
        let command = experiment.command(&self.common);
        Ok(match trial::run(&self.program, &spec, halt).await? {
            Some(trial) => Measured::of(experiment, command, &trial),
            None => {
                let why = "not run to its end: the user ended the lesson".to_owned();
                Measured { experiment, command, result: Err(NoVerdict::NotRun(why)) }
            }
        })
    }
}
