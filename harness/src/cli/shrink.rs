//! `duress shrink`, and `duress replay --times`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::hunt::jobs;
use super::words::duration;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{print, tell};
use crate::judge::verdict::RunVerdict;
use crate::plan::Plan;
use crate::record::verdict::VerdictRecord;
use crate::shrink::replays::{Counted, Replays};
use crate::shrink::search::{Shrunk, shrink as search};
use crate::shrink::story::story;
use crate::systems;
use crate::trial::{Proportion, halting};

/// How often the run is replayed before and after.
const BASELINE: u32 = 5;
/// The most replays until the run fails once; without a failure there is nothing to shrink.
const BASELINE_MAX: u32 = 10;
/// The rate that was measured for a plan, beside it.
const RATE: &str = "rate.json";

#[derive(Debug, Args)]
pub struct ShrinkArgs {
    /// The folder of a run that found an anomaly
    run: PathBuf,
    /// End after this, with the smallest plan found so far
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10m")]
    budget: Duration,
    /// The number of concurrent runs [default: one for every two processors]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
    /// The folder for the smaller plan and its run [default: <RUN>/shrunk]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// The options for shrinking a run.
pub(super) struct Shrinking {
    /// The folder for the smaller plan and its run.
    pub out: PathBuf,
    /// How long it may take.
    pub budget: Duration,
    /// How many runs there are at a time.
    pub jobs: usize,
}

/// `duress shrink`.
pub fn shrink(args: &ShrinkArgs) -> Result<Exit, Failure> {
    let out = args.out.clone().unwrap_or_else(|| args.run.join("shrunk"));
    shrink_run(&args.run, &Shrinking { out, budget: args.budget, jobs: jobs(args.jobs) })
}

/// Replays of plans of `system`'s, kept in `out`.
fn replays<'a>(
    plan: &Plan,
    shrinking: &Shrinking,
    halt: tokio::sync::watch::Receiver<crate::trial::Halt>,
    say: impl FnMut(&str) + 'a,
) -> Result<Replays<'a>, Failure> {
    let system = systems::of(plan).map_err(Failure::usage)?;
    system.available(&plan.settings.programs).map_err(super::run::missing)?;
    Ok(Replays {
        program: std::env::current_exe().map_err(Failure::internal)?,
        system,
        out: shrinking.out.clone(),
        jobs: shrinking.jobs,
        end: Some(Instant::now() + shrinking.budget),
        halt,
        say: Box::new(say),
        newest: None,
        runs: 0,
        broken: 0,
    })
}

fn made(out: &Path) -> Result<(), Failure> {
    let context = format!("cannot make {}", out.display());
    fs::create_dir_all(out).map_err(|error| Failure::internal(anyhow::Error::new(error).context(context)))
}

/// Shrinks the run in `folder`, prints the result, and how surely it fails.
pub(super) fn shrink_run(folder: &Path, shrinking: &Shrinking) -> Result<Exit, Failure> {
    let plan = Plan::load(folder).map_err(Failure::usage)?;
    let record = VerdictRecord::load(folder).map_err(Failure::usage)?;
    let Some(RunVerdict::Invalid { .. }) = record.map(|record| record.verdict) else {
        let error = anyhow::anyhow!("{} found no anomaly: there is nothing to shrink", folder.display());
        return Err(Failure::usage(error).hint("give the folder of a run that ended with exit code 1"));
    };
    made(&shrinking.out)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::internal)?;
    let work = halting(None, async |halt| {
        let mut replays = replays(&plan, shrinking, halt, |line| tell(format_args!("{line}")))?;
        let wanted = |rate: Proportion| match rate.found {
            0 => rate.of >= BASELINE_MAX,
            _ => rate.of >= BASELINE,
        };
        tell(format_args!(
            "shrinking {} faults: first, how often the unchanged plan fails",
            plan.schedule.len()
        ));
        let before = replays.count(&plan, wanted).await.map_err(Failure::internal)?;
        let Counted { rate: before, complete } = before;
        if !complete {
            print(format!(
                "NOT SHRUNK: ended before its time; until then it failed in {}\n",
                before.words()
            ))?;
            return Ok(Exit::NotRun);
        }
        if before.found == 0 {
            let broken = match replays.broken {
                0 => String::new(),
                broken => format!("; {broken} runs proved nothing"),
            };
            let rate = before.words();
            print(format!("NOT REPRODUCED: replays of {} failed in {rate}{broken}\n", folder.display()))?;
            return Ok(Exit::Unknown);
        }
        (replays.say)(&format!("as it is: failed in {}", before.words()));
        let shrunk = search(plan.clone(), before, &mut replays).await.map_err(Failure::internal)?;
        let after = match shrunk.steps.is_empty() {
            true => before,
            false => {
                let count = replays.count(&shrunk.plan, |rate| rate.of >= BASELINE).await;
                count.map_err(Failure::internal)?.rate
            }
        };
        conclude(&plan, before, &shrunk, after, &replays)
    });
    runtime.block_on(work).map_err(Failure::internal)?
}

/// Saves the result, and prints it.
fn conclude(
    plan: &Plan,
    before: Proportion,
    shrunk: &Shrunk,
    after: Proportion,
    replays: &Replays<'_>,
) -> Result<Exit, Failure> {
    let file = replays.out.join("plan.json");
    let kept = |path: &Path, text: String| {
        let context = format!("cannot write {}", path.display());
        fs::write(path, text).map_err(|error| Failure::internal(anyhow::Error::new(error).context(context)))
    };
    kept(&file, shrunk.plan.to_json())?;
    kept(&replays.out.join(RATE), format!("{:#}\n", json!(if after.of > 0 { after } else { before })))?;
    let mut text = format!(
        "SHRUNK from {} faults in {:.1} s to {} faults in {:.1} s, with {} runs{}\n\n",
        plan.schedule.len(),
        plan.time_limit().as_secs_f64(),
        shrunk.plan.schedule.len(),
        shrunk.plan.time_limit().as_secs_f64(),
        replays.runs,
        if shrunk.complete { "" } else { "; the budget ran out before everything was tried" }
    );
    text.push_str(&story(&shrunk.plan, replays.newest.as_ref()));
    text.push_str(&format!("\nfails in {} of runs; before, in {}\n", after.words(), before.words()));
    if let Some(trial) = &replays.newest {
        text.push_str(&format!("report: {}\n", trial.report().display()));
    }
    text.push_str(&format!("again: duress replay {}\n", file.display()));
    kept(&replays.out.join("shrunk.txt"), text.clone())?;
    print(text)?;
    Ok(Exit::Anomaly)
}

/// `duress replay --times`: replays `plan` so often, and reports how often it failed.
pub(super) fn replay_times(path: &Path, times: u32, out: PathBuf) -> Result<Exit, Failure> {
    let plan = Plan::load(path).map_err(Failure::usage)?;
    let beside = if path.is_dir() { path.to_owned() } else { path.parent().unwrap_or(path).to_owned() };
    let earlier = fs::read_to_string(beside.join(RATE)).ok();
    let earlier: Option<Proportion> = earlier.and_then(|text| serde_json::from_str(&text).ok());
    made(&out)?;
    let hours = Duration::from_secs(24 * 3600);
    let shrinking = Shrinking { out, budget: hours, jobs: jobs(None) };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::internal)?;
    let work = halting(None, async |halt| {
        let mut replays = replays(&plan, &shrinking, halt, |_| {})?;
        let counted = replays.count(&plan, |rate| {
            tell(format_args!("{} of {} runs failed", rate.found, rate.of));
            rate.of >= times
        });
        let counted = counted.await.map_err(Failure::internal)?.rate;
        let mut text = format!("failed in {}\n", counted.words());
        if counted.found == 0 && counted.of > 0 {
            let part = earlier.map_or(0.1, Proportion::rate);
            let chance = (1.0 - part).powf(f64::from(counted.of)) * 100.0;
            let before = earlier.map_or_else(|| "1 in 10".to_owned(), Proportion::words);
            text.push_str(&format!(
                "did it still fail in {before}, so many quiet runs in a row would have a chance of {chance:.2} %\n"
            ));
        }
        if replays.broken > 0 {
            text.push_str(&format!("{} runs proved nothing\n", replays.broken));
        }
        if let Some(trial) = &replays.newest {
            text.push_str(&format!("report: {}\n", trial.report().display()));
        }
        print(text)?;
        Ok(match counted {
            Proportion { of: 0, .. } => Exit::Broken,
            Proportion { found: 0, of } if of < times => Exit::NotRun,
            Proportion { found: 0, .. } => Exit::Valid,
            _ => Exit::Anomaly,
        })
    });
    runtime.block_on(work).map_err(Failure::internal)?
}
