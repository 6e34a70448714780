//! How often a plan fails, by running it again and again.

use std::borrow::Cow;
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
/// The number of inconclusive runs after which a plan is given up.
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
    /// The folder for plans and runs; it exists.
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
    /// Inconclusive runs; they do not count.
    pub broken: u32,
    /// Runs that found nothing, and left something undecided; they count as runs that did not fail.
    pub unknown: u32,
}

impl Replays<'_> {
    /// Runs `plan` until `enough` is satisfied, or too many runs prove nothing, and counts those that found
    /// an anomaly; fewer if the budget ran out first, or the user interrupted.
    ///
    /// # Errors
    /// When a run cannot be started, or its folder cannot be made or removed.
    pub async fn count(&mut self, plan: &Plan, enough: impl Fn(Proportion) -> bool) -> io::Result<Counted> {
        let (mut rate, mut in_vain) = (Proportion::default(), 0);
        let done = |rate: Proportion, in_vain: u32| enough(rate) || in_vain > IN_VAIN_MAX;
        let plans = std::iter::repeat(((), Cow::Borrowed(plan)));
        self.each(plans, |(), found| {
            match found {
                Some(found) => rate.add(found),
                None => in_vain += 1,
            }
            done(rate, in_vain)
        })
        .await?;
        Ok(Counted { rate, complete: done(rate, in_vain) })
    }

    /// Runs each plan once, until `ended` returns true, the budget runs out or the user interrupts. `ended` receives
    /// the plan's mark, and whether the run found an anomaly, unless it proved nothing.
    ///
    /// # Errors
    /// When a run cannot be started, or its folder cannot be made or removed.
    pub async fn each<'p, M>(
        &mut self,
        plans: impl Iterator<Item = (M, Cow<'p, Plan>)>,
        mut ended: impl FnMut(M, Option<bool>) -> bool,
    ) -> io::Result<()> {
        let (mut plans, mut running) = (plans.peekable(), FuturesUnordered::new());
        let (stop, stopped) = watch::channel(Halt::No);
        let (mut halted, mut done) = (false, false);
        loop {
            while !done && !halted && running.len() < self.jobs {
                let Some((_, plan)) = plans.peek() else { break };
                if self.end.is_some_and(|end| Instant::now() + plan.time_limit() > end) {
                    done = true;
                    break;
                }
                let (mark, plan) = plans.next().expect("it was looked at");
                self.runs += 1;
                let file = self.out.join(format!("plan-{}.json", self.runs));
                fs::write(&file, plan.to_json())?;
                let spec = TrialSpec {
                    words: vec!["replay".to_owned(), file.display().to_string()],
                    seed: plan.seed,
                    folder: self.out.join("runs").join(self.runs.to_string()),
                    deadline: plan.time_limit() + SLACK,
                };
                let (program, mut stopped) = (self.program.clone(), stopped.clone());
                running.push(async move {
                    let trial = trial::run(&program, &spec, &mut stopped).await;
                    // The run has a copy of its own.
                    fs::remove_file(file)?;
                    Ok::<_, io::Error>((mark, trial?))
                });
            }
            if done || halted {
                stop.send_replace(Halt::Interrupted);
            }
            let next = tokio::select! {
                next = running.next() => next,
                _ = self.halt.wait_for(|halt| *halt != Halt::No), if !halted => {
                    halted = true;
                    continue;
                }
            };
            let Some(next) = next else { return Ok(()) };
            let (mark, trial) = next?;
            let Some(trial) = trial else { continue };
            if done || halted {
                // It was ended early, and proves nothing.
                fs::remove_dir_all(trial.home)?;
                continue;
            }
            let mut unneeded = Some(trial.home.clone());
            let found = match trial.finding {
                Finding::Invalid { .. } => {
                    let before = self.newest.replace(trial);
                    unneeded = before.map(|before| before.home);
                    Some(true)
                }
                Finding::Valid => Some(false),
                Finding::Unknown { .. } => {
                    self.unknown += 1;
                    Some(false)
                }
                Finding::Broken { .. } | Finding::Error { .. } => {
                    self.broken += 1;
                    None
                }
            };
            if let Some(folder) = unneeded {
                fs::remove_dir_all(folder)?;
            }
            done = ended(mark, found);
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
