//! The runs of a hunt, several at a time, until the first anomaly.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;

use super::draw::Drawn;
use crate::trial::state::{ProgramKey, State, StateError, TrialKey};
use crate::trial::{self, Finding, Halt, Trial, TrialSpec};

/// How much longer than its clients a run may take: to start, heal, read everything and check.
const SLACK: Duration = Duration::from_secs(180);
/// So many runs in a row that prove nothing end a hunt: they would go on proving nothing.
const VAIN_MAX: usize = 8;

/// What a hunt is run with.
#[derive(Debug)]
pub struct Setup {
    /// This program.
    pub program: PathBuf,
    /// What identifies it.
    pub program_key: ProgramKey,
    /// Where everything is kept; it exists.
    pub out: PathBuf,
    /// How many runs there are at a time.
    pub jobs: usize,
    /// How many runs there are at most.
    pub runs_max: Option<u64>,
    /// When no further run is begun that would not have ended by then.
    pub end: Option<Instant>,
}

/// Why a hunt is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A run found an anomaly.
    Found,
    /// There is no time for another run.
    OutOfBudget,
    /// There were as many runs as were asked for.
    Enough,
    /// The user asked for the end.
    Interrupted,
    /// Too many runs in a row proved nothing.
    InVain,
}

/// What a hunt came to.
#[derive(Debug)]
pub struct Hunted {
    /// Its runs in order of their numbers, those of an earlier part among them.
    pub runs: Vec<(u64, Trial)>,
    /// Why it is over.
    pub ending: Ending,
}

/// A hunt that could not go on.
#[derive(Debug, thiserror::Error)]
pub enum HuntError {
    /// A run could not be started, or its folder not be made or taken away.
    #[error("cannot run number {number} of the hunt")]
    Trial {
        /// Its number.
        number: u64,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What was run could not be kept.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Runs what `draw` gives for the numbers from 1 on, until one finds an anomaly; each that ends is `shown`.
///
/// # Errors
/// [`HuntError`].
pub async fn hunt(
    setup: &Setup,
    state: &mut State,
    mut halt: watch::Receiver<Halt>,
    draw: impl Fn(u64) -> Drawn,
    mut shown: impl FnMut(u64, &Trial),
) -> Result<Hunted, HuntError> {
    let (stop, stopped) = watch::channel(Halt::No);
    let mut running = FuturesUnordered::new();
    let (mut runs, mut next, mut ending) = (Vec::new(), 1, None);
    let mut vain = 0;
    loop {
        while ending.is_none() && running.len() < setup.jobs {
            let (number, drawn) = (next, draw(next));
            if setup.runs_max.is_some_and(|most| number > most) {
                ending = Some(Ending::Enough);
                break;
            }
            let limit = Duration::from_secs(drawn.time_limit_s);
            let spec = TrialSpec {
                words: drawn.words,
                seed: drawn.seed,
                folder: setup.out.join("runs").join(number.to_string()),
                deadline: limit + SLACK,
            };
            let key = TrialKey::of(&spec, None, setup.program_key);
            if let Some(known) = state.get(&key) {
                next += 1;
                if matches!(known.finding, Finding::Invalid { .. }) {
                    ending = Some(Ending::Found);
                }
                runs.push((number, known.clone()));
                continue;
            }
            if setup.end.is_some_and(|end| Instant::now() + limit > end) {
                ending = Some(Ending::OutOfBudget);
                break;
            }
            next += 1;
            let mut stopped = stopped.clone();
            running.push(async move {
                let trial = trial::run(&setup.program, &spec, &mut stopped).await;
                (number, key, trial)
            });
        }
        let ended = tokio::select! {
            ended = running.next() => ended,
            halted = halt.wait_for(|halt| *halt != Halt::No), if ending.is_none() => {
                let interrupted = halted.is_ok_and(|halt| *halt == Halt::Interrupted);
                ending = Some(if interrupted { Ending::Interrupted } else { Ending::OutOfBudget });
                stop.send_replace(Halt::Interrupted);
                continue;
            }
        };
        let Some((number, key, trial)) = ended else { break };
        // One that was cut off found nothing out.
        let Some(trial) = trial.map_err(|source| HuntError::Trial { number, source })? else { continue };
        state.keep(key, trial.clone())?;
        shown(number, &trial);
        vain = if proves_nothing(&trial) { vain + 1 } else { 0 };
        if matches!(trial.finding, Finding::Invalid { .. }) {
            ending = ending.or(Some(Ending::Found));
            stop.send_replace(Halt::Interrupted);
        } else if vain >= VAIN_MAX {
            ending = ending.or(Some(Ending::InVain));
            stop.send_replace(Halt::Interrupted);
        }
        if matches!(trial.finding, Finding::Valid | Finding::Unknown { .. }) {
            // What is left of a run that shows nothing is its line in the state: thousands of folders would fill the disk.
            fs::remove_dir_all(&trial.home).map_err(|source| HuntError::Trial { number, source })?;
        }
        runs.push((number, trial));
    }
    runs.sort_by_key(|(number, _)| *number);
    Ok(Hunted { runs, ending: ending.unwrap_or(Ending::Enough) })
}

fn proves_nothing(trial: &Trial) -> bool {
    matches!(trial.finding, Finding::Broken { .. } | Finding::Error { .. })
}
