//! How often a plan fails, by running it again and again.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use duress_targets::System;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;

use super::search::{Rates, decided};
use crate::plan::Plan;
use crate::trial::{self, Finding, Halt, Proportion, Trial, TrialSpec};

/// How much longer than its clients a run may take: to start, heal, read everything and check.
const SLACK: Duration = Duration::from_secs(180);
/// A plan of which more runs prove nothing would go on proving nothing.
const IN_VAIN_MAX: u32 = 3;

/// How often a plan failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// In so many of so many runs.
    pub rate: Proportion,
    /// Whether there were as many runs as were wanted.
    pub complete: bool,
}

/// Runs plans and counts.
pub struct Replays<'a> {
    /// This program.
    pub program: PathBuf,
    /// The system that the plans are about.
    pub system: &'a dyn System,
    /// Where plans and runs are kept; it exists.
    pub out: PathBuf,
    /// How many runs there are at a time.
    pub jobs: usize,
    /// When no further run is begun that would not have ended by then.
    pub end: Option<Instant>,
    /// When to leave at once.
    pub halt: watch::Receiver<Halt>,
    /// Called with every line worth saying.
    pub say: Box<dyn FnMut(&str) + 'a>,
    /// The newest run that found an anomaly; its folder is kept.
    pub newest: Option<Trial>,
    /// How many runs there were.
    pub runs: u32,
    /// Runs that proved nothing; they do not count.
    pub broken: u32,
}

impl Replays<'_> {
    /// Runs `plan` until `enough` says so, or too many runs prove nothing, and counts those that found an anomaly; fewer
    /// where the time was up first, or the user asked for the end.
    ///
    /// # Errors
    /// When a run cannot be started, or its folder not be made or taken away.
    pub async fn count(&mut self, plan: &Plan, enough: impl Fn(Proportion) -> bool) -> io::Result<Counted> {
        let file = self.out.join("plan.json");
        fs::write(&file, plan.to_json())?;
        let (mut rate, mut running) = (Proportion::default(), FuturesUnordered::new());
        let (stop, stopped) = watch::channel(Halt::No);
        let mut halted = false;
        let mut in_vain = 0;
        loop {
            let done = enough(rate) || in_vain > IN_VAIN_MAX;
            let time = self.end.is_none_or(|end| Instant::now() + plan.time_limit() <= end);
            if done || halted || !time {
                stop.send_replace(Halt::Interrupted);
            }
            while !done && !halted && time && running.len() < self.jobs {
                self.runs += 1;
                let spec = TrialSpec {
                    words: vec!["replay".to_owned(), file.display().to_string()],
                    seed: plan.seed,
                    folder: self.out.join("runs").join(self.runs.to_string()),
                    deadline: plan.time_limit() + SLACK,
                };
                let (program, mut stopped) = (self.program.clone(), stopped.clone());
                running.push(async move { trial::run(&program, &spec, &mut stopped).await });
            }
            let ended = tokio::select! {
                ended = running.next() => ended,
                _ = self.halt.wait_for(|halt| *halt != Halt::No), if !halted => {
                    halted = true;
                    continue;
                }
            };
            let Some(trial) = ended else {
                return Ok(Counted { rate, complete: enough(rate) || in_vain > IN_VAIN_MAX });
            };
            let Some(trial) = trial? else { continue };
            let mut unneeded = Some(trial.home.clone());
            match trial.finding {
                Finding::Invalid { .. } => {
                    rate.found += 1;
                    rate.of += 1;
                    let before = self.newest.replace(trial);
                    unneeded = before.map(|before| before.home);
                }
                Finding::Valid | Finding::Unknown { .. } => rate.of += 1,
                Finding::Broken { .. } | Finding::Error { .. } => {
                    self.broken += 1;
                    in_vain += 1;
                }
            }
            if let Some(folder) = unneeded {
                fs::remove_dir_all(folder)?;
            }
        }
    }
}

impl Rates for Replays<'_> {
    type Error = io::Error;

    async fn rate(&mut self, plan: &Plan, wanted: Proportion) -> io::Result<Option<Proportion>> {
        let newest = self.newest.take();
        let counted = self.count(plan, |rate| decided(rate, wanted).is_some()).await?;
        let kept = decided(counted.rate, wanted) == Some(true);
        // The run to show is one of the smallest plan.
        let (keep, other) = match kept {
            true => (self.newest.take(), newest),
            false => (newest, self.newest.take()),
        };
        if let Some(other) = other {
            fs::remove_dir_all(other.home)?;
        }
        self.newest = keep;
        Ok(counted.complete.then_some(counted.rate))
    }

    fn anomaly_ms(&self) -> Option<u64> {
        let times = self.newest.iter().flat_map(Trial::anomalies).filter_map(|found| found.at_s);
        times.min_by(f64::total_cmp).map(|seconds| (seconds * 1000.0) as u64)
    }

    fn takes(&self, plan: &Plan) -> bool {
        self.system.deploy(&plan.settings, &plan.topology()).is_ok()
    }

    fn tried(&mut self, what: &str, rate: Proportion, kept: bool) {
        let word = if kept { "without" } else { "needed:" };
        (self.say)(&format!("{word} {what}: failed in {} of {} runs", rate.found, rate.of));
    }
}
