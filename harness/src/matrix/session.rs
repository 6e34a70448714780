//! A matrix at work: cells side by side, each with its trials, within the time there is.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::{OnceCell, Semaphore, watch};

use super::bank::{Depth, Series};
use super::cell::{Aim, BugGate, Expectation};
use super::command::RunCommand;
use super::file::folder;
use super::judgement::{Judgement, goes_on, judge};
use super::key::{RunOptions, Takes};
use super::outcome::Outcome;
use super::preflight::Prepared;
use super::results::{CellResult, RunResult, SeriesName};
use super::table::Table;
use crate::trial::state::{ProgramKey, State, StateError, TrialKey};
use crate::trial::{self, Finding, Halt, Shell, Trial, TrialSpec, halting};

/// The setup of a matrix.
#[derive(Debug)]
pub struct Setup {
    /// This program.
    pub program: PathBuf,
    /// The program's identity.
    pub program_key: ProgramKey,
    /// The options of `duress run`.
    pub options: RunOptions,
    /// The output folder; it exists.
    pub out: PathBuf,
    /// How many runs there are at a time.
    pub jobs: usize,
    /// How much of each bug is tried.
    pub depth: Depth,
    /// The run folders to keep.
    pub keep: Keep,
    /// How long all of it may take.
    pub budget: Option<Duration>,
}

/// The run folders to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Those of cells that failed, where they are not as expected.
    Failed,
    /// All.
    All,
}

/// Why a matrix could not go on.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// A trial could not be started, or its folder could not be made or removed.
    #[error("cannot run the cell {cell}")]
    Trial {
        /// The cell.
        cell: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The results could not be saved.
    #[error(transparent)]
    State(#[from] StateError),
    /// Signals cannot be listened to.
    #[error("cannot listen to signals")]
    Signals(#[source] io::Error),
}

/// Runs `cells` and returns their results, in their order. Trials that `state` knows are not run again; once
/// all were run, it is cleared.
///
/// # Errors
/// [`SessionError`].
pub async fn run(
    setup: &Setup,
    state: &mut State,
    table: Table,
    cells: &[Prepared],
) -> Result<Vec<CellResult>, SessionError> {
    let end = setup.budget.map(|budget| Instant::now() + budget);
    let results = halting(setup.budget, async |halt| {
        let session = Session {
            setup,
            state: RefCell::new(state),
            table: RefCell::new(table),
            permits: Semaphore::new(setup.jobs),
            begun: RefCell::new(BTreeMap::new()),
            needed: RefCell::new(BTreeSet::new()),
            halt,
            end,
        };
        session.work(cells).await
    });
    results.await.map_err(SessionError::Signals)?
}

/// A matrix at work.
struct Session<'a> {
    setup: &'a Setup,
    state: RefCell<&'a mut State>,
    table: RefCell<Table>,
    /// One permit for each run at a time.
    permits: Semaphore,
    /// The trials begun or done: several cells may have one in common. `None` inside is one that was not run.
    begun: RefCell<BTreeMap<TrialKey, Rc<OnceCell<Option<Trial>>>>>,
    /// The folders that a failed cell needs.
    needed: RefCell<BTreeSet<PathBuf>>,
    halt: watch::Receiver<Halt>,
    end: Option<Instant>,
}

/// The result of a cell's trials.
struct Performed {
    judgement: Judgement,
    trials: Vec<(SeriesName, Trial)>,
    /// The homes of trials that a person has to look at.
    remarkable: Vec<PathBuf>,
}

impl Session<'_> {
    async fn work(&self, cells: &[Prepared]) -> Result<Vec<CellResult>, SessionError> {
        let numbered = cells.iter().enumerate();
        let work =
            numbered.map(|(at, cell)| async move { Ok::<_, SessionError>((at, self.cell(cell).await?)) });
        // As many cells as there are runs at a time: cells end in about their order.
        let mut results: Vec<(usize, CellResult)> =
            stream::iter(work).buffer_unordered(self.setup.jobs).try_collect().await?;
        results.sort_by_key(|(at, _)| *at);
        let results: Vec<CellResult> = results.into_iter().map(|(_, result)| result).collect();
        if results.iter().all(|result| result.outcome != Outcome::NotRun) {
            let done = self.begun.borrow().keys().cloned().collect();
            self.state.borrow_mut().forget(&done)?;
        }
        self.table.borrow_mut().finish();
        Ok(results)
    }

    async fn cell(&self, prepared: &Prepared) -> Result<CellResult, SessionError> {
        let cell = &prepared.cell;
        let performed = match (&prepared.impossible, &cell.may_skip) {
            (Some(why), Some(reason)) => Performed {
                judgement: Judgement::new(Outcome::Skipped, format!("{reason}: {why}")),
                trials: Vec::new(),
                remarkable: Vec::new(),
            },
            _ => match &cell.aim {
                Aim::Verdict(expectation) => self.verdict(prepared, expectation).await?,
                Aim::Bug(gate) => self.bug(prepared, gate).await?,
            },
        };
        let runs = self.tidy(prepared, &performed)?;
        let result = CellResult {
            name: cell.name.clone(),
            target: cell.command.target.clone(),
            line: cell.line,
            expected: cell.aim.words(),
            outcome: performed.judgement.outcome,
            message: performed.judgement.message,
            // Without runs, the sum would be -0.
            seconds: runs.iter().map(|run| run.trial.seconds).fold(0.0, |sum, seconds| sum + seconds),
            command: format!("duress {}", Shell(&self.words(&cell.command, cell.seed))),
            runs,
            bug: performed.judgement.bug,
            published: match &cell.aim {
                Aim::Bug(gate) => gate.published.clone(),
                Aim::Verdict(_) => None,
            },
            change: None,
        };
        self.table.borrow_mut().cell(&result);
        Ok(result)
    }

    /// Makes one run, or a few until the anomaly shows.
    async fn verdict(
        &self,
        prepared: &Prepared,
        expectation: &Expectation,
    ) -> Result<Performed, SessionError> {
        let mut trials = Vec::new();
        let mut halted = false;
        while goes_on(expectation, &trials) {
            let seed = prepared.cell.seed.wrapping_add(trials.len() as u64);
            match self.trial(prepared, &prepared.cell.command, SeriesName::Trial, seed).await? {
                Some(trial) => trials.push(trial),
                None => {
                    halted = true;
                    break;
                }
            }
        }
        let judgement = if halted { self.halted(trials.len()) } else { judge(expectation, &trials) };
        let remarkable = trials.iter().map(|trial| trial.home.clone()).collect();
        let trials = trials.into_iter().map(|trial| (SeriesName::Trial, trial)).collect();
        Ok(Performed { judgement, trials, remarkable })
    }

    /// Makes the three series of a bug.
    async fn bug(&self, prepared: &Prepared, gate: &BugGate) -> Result<Performed, SessionError> {
        let (with, without) = (&prepared.cell.command, &gate.without);
        let unfaulted = with.clone().with("faults", "none");
        let mut series = Series { time_limit_s: prepared.time_limit.as_secs_f64(), ..Series::default() };
        let mut halted = false;
        match self.setup.depth {
            Depth::Whole => {
                let ablations = if prepared.faults == 0 { 0 } else { gate.ablations };
                let [trials, controls, ablated] = [
                    (with, SeriesName::Trial, gate.trials),
                    (without, SeriesName::Control, gate.controls),
                    (&unfaulted, SeriesName::Ablation, ablations),
                ]
                .map(|(command, name, count)| {
                    let seeds = (0..u64::from(count)).map(|number| prepared.cell.seed.wrapping_add(number));
                    try_join_all(seeds.map(|seed| self.trial(prepared, command, name, seed)))
                });
                let (trials, controls, ablated) = futures_util::try_join!(trials, controls, ablated)?;
                halted =
                    [&trials, &controls, &ablated].iter().any(|series| series.iter().any(Option::is_none));
                series.trials = trials.into_iter().flatten().collect();
                series.controls = controls.into_iter().flatten().collect();
                series.ablations = (ablations > 0).then(|| ablated.into_iter().flatten().collect());
            }
            Depth::Fast => {
                // As where an anomaly is expected of a run: the next seed, until one shows it.
                let until =
                    Expectation::Anomaly { named: gate.named.clone(), found_within: gate.fast_trials };
                while !halted && goes_on(&until, &series.trials) {
                    let seed = prepared.cell.seed.wrapping_add(series.trials.len() as u64);
                    match self.trial(prepared, with, SeriesName::Trial, seed).await? {
                        Some(trial) => series.trials.push(trial),
                        None => halted = true,
                    }
                }
                if !halted && gate.controls > 0 {
                    match self.trial(prepared, without, SeriesName::Control, prepared.cell.seed).await? {
                        Some(trial) => series.controls.push(trial),
                        None => halted = true,
                    }
                }
            }
        }
        let count = series.trials.len() + series.controls.len() + series.ablations.iter().flatten().count();
        let judgement = if halted {
            self.halted(count)
        } else {
            series.judge(&prepared.cell.command.target, gate, self.setup.depth)
        };
        let remarkable = series.remarkable(gate).map(|trial| trial.home.clone()).collect();
        let named = |name: SeriesName, trials: Vec<Trial>| trials.into_iter().map(move |trial| (name, trial));
        let trials = named(SeriesName::Trial, series.trials)
            .chain(named(SeriesName::Control, series.controls))
            .chain(named(SeriesName::Ablation, series.ablations.unwrap_or_default()))
            .collect();
        Ok(Performed { judgement, trials, remarkable })
    }

    fn halted(&self, runs: usize) -> Judgement {
        let why = match *self.halt.borrow() {
            Halt::Interrupted => "interrupted",
            Halt::OutOfBudget | Halt::No => "the budget ran out",
        };
        Judgement::new(Outcome::NotRun, format!("{why}; {runs} runs of it are done"))
    }

    fn words(&self, command: &RunCommand, seed: u64) -> Vec<String> {
        command.words(|name| self.setup.options.takes(name) != Some(Takes::Nothing), seed)
    }

    /// Runs a trial, unless it is known; `None` if no time is left for it.
    async fn trial(
        &self,
        prepared: &Prepared,
        command: &RunCommand,
        series: SeriesName,
        seed: u64,
    ) -> Result<Option<Trial>, SessionError> {
        let home = self.home(&prepared.cell.name).join(format!("{}-seed-{seed}", series.name()));
        let spec =
            TrialSpec { words: self.words(command, seed), seed, folder: home, deadline: prepared.deadline() };
        // A folder belongs to one cell, which keeps or removes it. Bugs with one scenario share controls: an
        // anomaly in such a run counts for all of them.
        let owner = (series != SeriesName::Control).then_some(prepared.cell.name.as_str());
        let key = TrialKey::of(&spec, owner, self.setup.program_key);
        if let Some(known) = self.state.borrow().get(&key) {
            self.begun.borrow_mut().entry(key).or_default();
            return Ok(Some(known.clone()));
        }
        let once = Rc::clone(self.begun.borrow_mut().entry(key.clone()).or_default());
        let run = || async {
            let Ok(_permit) = self.permits.acquire().await else {
                unreachable!("the permits are never closed");
            };
            let fits = self.end.is_none_or(|end| Instant::now() + prepared.time_limit <= end);
            if !fits || *self.halt.borrow() != Halt::No {
                return Ok::<_, SessionError>(None);
            }
            let shown = self.table.borrow_mut().begin(&prepared.cell.name, series, seed);
            let mut halt = self.halt.clone();
            let trial = trial::run(&self.setup.program, &spec, &mut halt).await;
            self.table.borrow_mut().end(shown);
            let trial =
                trial.map_err(|source| SessionError::Trial { cell: prepared.cell.name.clone(), source })?;
            if let Some(trial) = &trial {
                self.state.borrow_mut().keep(key.clone(), trial.clone())?;
                if let Aim::Bug(_) = prepared.cell.aim {
                    self.table.borrow_mut().trial(&prepared.cell.name, series, trial);
                }
            }
            Ok(trial)
        };
        once.get_or_try_init(run).await.cloned()
    }

    fn home(&self, cell: &str) -> PathBuf {
        self.setup.out.join("cells").join(folder(cell))
    }

    /// Removes the folders that are not needed, and returns those kept.
    fn tidy(&self, prepared: &Prepared, performed: &Performed) -> Result<Vec<RunResult>, SessionError> {
        let failed = |source| SessionError::Trial { cell: prepared.cell.name.clone(), source };
        let mut runs = Vec::new();
        for (series, trial) in &performed.trials {
            let wanted = match (self.setup.keep, performed.judgement.outcome) {
                (Keep::All, _) => true,
                // It will be gone on with, and then be known whether it is needed.
                (_, Outcome::NotRun) => trial.finding != Finding::Valid,
                (Keep::Failed, outcome) => outcome.failed() && performed.remarkable.contains(&trial.home),
            };
            let mut needed = self.needed.borrow_mut();
            if wanted {
                needed.insert(trial.home.clone());
            } else if !needed.contains(&trial.home) {
                remove(&trial.home).map_err(failed)?;
            }
            // If cells share a trial, another one may have removed the folder.
            let kept = wanted && trial.folder.is_dir();
            runs.push(RunResult { series: *series, trial: trial.clone(), kept });
        }
        let mut home = self.home(&prepared.cell.name);
        // Folders above that have become empty, up to that of all.
        while home.starts_with(&self.setup.out) && home != self.setup.out && fs::remove_dir(&home).is_ok() {
            home.pop();
        }
        Ok(runs)
    }
}

/// Takes away a folder, if it is there.
fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
