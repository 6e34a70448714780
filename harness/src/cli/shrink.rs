//! `duress shrink`, and `duress replay --times`.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use duress_nemesis::FaultSpec;
use serde_json::json;

use super::hunt::jobs;
use super::schedule::{equip, expanded};
use super::words::duration;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{print, tell};
use crate::judge::verdict::RunVerdict;
use crate::plan::Plan;
use crate::record::curve::Point;
use crate::record::verdict::VerdictRecord;
use crate::shrink::curve::{cut, redrawn};
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
    /// The folder for the smaller plan and its run [default: <RUN>/shrunk, or <RUN>/curve]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Shrink nothing, but measure when the anomaly became likely: keep the faults up to a moment, draw the later ones
    /// anew, and count how often such runs fail, for several moments
    #[arg(long)]
    curve: bool,
    /// With --curve: the number of moments
    #[arg(long, value_name = "NUMBER", default_value_t = 8, requires = "curve", value_parser = clap::value_parser!(u16).range(2..=100))]
    points: u16,
    /// With --curve: the number of runs for each moment
    #[arg(long, value_name = "NUMBER", default_value_t = 10, requires = "curve", value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,
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
    let name = if args.curve { "curve" } else { "shrunk" };
    let out = args.out.clone().unwrap_or_else(|| args.run.join(name));
    let shrinking = Shrinking { out, budget: args.budget, jobs: jobs(args.jobs, 2) };
    match args.curve {
        true => curve(&args.run, args.points, args.runs, &shrinking),
        false => shrink_run(&args.run, &shrinking),
    }
}

/// Returns the plan of the run in `folder`, which must have found an anomaly.
fn failing_plan(folder: &Path) -> Result<Plan, Failure> {
    let plan = Plan::load(folder).map_err(Failure::usage)?;
    let record = VerdictRecord::load(folder).map_err(Failure::usage)?;
    let Some(RunVerdict::Invalid { .. }) = record.map(|record| record.verdict) else {
        let error = anyhow::anyhow!("{} found no anomaly: there is nothing to shrink", folder.display());
        return Err(Failure::usage(error).hint("give the folder of a run that ended with exit code 1"));
    };
    Ok(plan)
}

/// Measures from when on the run in `folder` was likely to fail, at up to `points` moments with `runs` runs each. Saves
/// the curve beside the run, for its report, and prints it. A moment without any run that counts makes it unknown.
fn curve(folder: &Path, points: u16, runs: u16, shrinking: &Shrinking) -> Result<Exit, Failure> {
    let plan = failing_plan(folder)?;
    if plan.schedule.is_empty() {
        return Err(Failure::usage(anyhow::anyhow!("{} has no faults: there is no curve", folder.display())));
    }
    let mix = FaultSpec::parse_mix(&plan.faults).map_err(|_| {
        let error = anyhow::anyhow!("the faults of {} are not drawn from a mix", folder.display());
        Failure::usage(error)
            .hint("a curve needs faults to draw anew: give a run of --faults, not of --schedule")
    })?;
    let system = systems::of(&plan).map_err(Failure::usage)?;
    let workload = super::run::workload(system, &plan.workload.name)?;
    let deployment = system.deploy(&plan.settings, &plan.topology()).map_err(Failure::usage)?;
    let mut curve = cut(&plan, usize::from(points));
    // One run of every point after the other, so that all have as many when the budget ends. A seed for each.
    let mut seed = plan.seed;
    let mut plans = Vec::new();
    for point in (0..runs).flat_map(|_| 0..curve.points.len()) {
        seed = seed.wrapping_add(1);
        let mut plan = redrawn(&plan, curve.points[point].at_ms, |from| {
            expanded(&plan, &*deployment, workload, &mix, Duration::from_millis(from), seed)
        })?;
        equip(&mut plan);
        plans.push((point, Cow::Owned(plan)));
    }
    made(&shrinking.out)?;
    let all = plans.len();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::internal)?;
    let work = halting(None, async |halt| {
        let mut replays = replays(&plan, shrinking, halt, |_| {})?;
        let mut done = 0;
        let each = replays.each(plans.into_iter(), |point: usize, found| {
            done += 1;
            if let Some(found) = found {
                curve.points[point].rate.add(found);
            }
            let Point { at_ms, rate, .. } = &curve.points[point];
            let seconds = *at_ms as f64 / 1000.0;
            tell(format_args!("run {done} of {all}: cut at {seconds:.1} s, failed in {}", rate.words()));
            false
        });
        each.await.map_err(Failure::internal)?;
        if let Some(newest) = replays.newest.take() {
            fs::remove_dir_all(newest.home).map_err(Failure::internal)?;
        }
        Ok((done, replays.broken, replays.unknown))
    });
    let (done, broken, unknown) = runtime.block_on(work).map_err(Failure::internal)??;
    let complete = done == all;
    let mut text = String::new();
    if curve.points.iter().any(|point| point.rate.of > 0) {
        curve.save(folder).map_err(Failure::internal)?;
        text = format!(
            "How often runs fail that keep the faults up to a moment, and draw the later ones anew:\n\n{curve}\n\
             drawn in the report by: duress report {}\n",
            folder.display()
        );
    }
    if broken > 0 {
        text.push_str(&format!("{broken} runs proved nothing\n"));
    }
    if unknown > 0 {
        text.push_str(&format!("{unknown} runs found nothing, but did not decide everything\n"));
    }
    if !complete {
        text.push_str("NOT MEASURED to the end: the budget ran out, or the measurement was interrupted\n");
    }
    print(text)?;
    Ok(if !complete {
        Exit::NotRun
    } else if curve.points.iter().any(|point| point.rate.of == 0) {
        Exit::Unknown
    } else {
        Exit::Valid
    })
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
        // One run at a time has a cluster that already runs.
        jobs: if plan.arena.is_some() { shrinking.jobs } else { 1 },
        end: Some(Instant::now() + shrinking.budget),
        halt,
        say: Box::new(say),
        newest: None,
        runs: 0,
        broken: 0,
        unknown: 0,
    })
}

fn made(out: &Path) -> Result<(), Failure> {
    let context = format!("cannot make {}", out.display());
    fs::create_dir_all(out).map_err(|error| Failure::internal(anyhow::Error::new(error).context(context)))
}

/// Shrinks the run in `folder`, prints the result, and how surely it fails.
pub(super) fn shrink_run(folder: &Path, shrinking: &Shrinking) -> Result<Exit, Failure> {
    let plan = failing_plan(folder)?;
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
    let shrinking = Shrinking { out, budget: hours, jobs: jobs(None, 2) };
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
        let quiet = counted.of - counted.found - replays.unknown;
        if counted.found == 0 && quiet > 0 {
            let part = earlier.map_or(0.1, Proportion::rate);
            let chance = (1.0 - part).powf(f64::from(quiet)) * 100.0;
            let before = earlier.map_or_else(|| "1 in 10".to_owned(), Proportion::words);
            text.push_str(&format!(
                "did it still fail in {before}, {quiet} quiet runs in a row would have a chance of {chance:.2} %\n"
            ));
        }
        if replays.unknown > 0 {
            text.push_str(&format!(
                "{} runs found nothing, but did not decide everything\n",
                replays.unknown
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
            Proportion { found: 0, .. } if quiet == 0 => Exit::Unknown,
            Proportion { found: 0, .. } => Exit::Valid,
            _ => Exit::Anomaly,
        })
    });
    runtime.block_on(work).map_err(Failure::internal)?
}
