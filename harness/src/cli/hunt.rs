//! `duress hunt`.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use duress_nemesis::FaultSpec;
use duress_targets::System;
use rand::RngExt;

use super::run::{families, has_workload, missing, workload};
use super::shrink::{Shrinking, shrink_run};
use super::target::{Subject, TargetArgs};
use super::words::duration;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{print, tell};
use crate::hunt::draw::{Fixed, bug, draw, modes};
use crate::hunt::session::{Ending, Setup, hunt as run_hunt};
use crate::plan::NODES_MAX;
use crate::systems;
use crate::trial::state::{Past, ProgramKey, State};
use crate::trial::{Finding, Trial, halting};

/// The nodes of the cluster that the command line is tried with, where it gives no number.
const NODES: usize = 3;

#[derive(Debug, Args)]
pub struct HuntArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// The clients' workload (`duress workloads` lists them)
    #[arg(long)]
    workload: Option<String>,
    /// The faults, as in `duress run`
    #[arg(long, value_name = "MIX")]
    faults: Option<String>,
    /// The number of nodes of each cluster
    #[arg(long)]
    nodes: Option<usize>,
    /// How long clients run in each run
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    time_limit: Option<Duration>,
    /// End after this, shrinking included
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30m")]
    budget: Duration,
    /// End after this many runs
    #[arg(long, value_name = "NUMBER")]
    runs_max: Option<u64>,
    /// The number of concurrent runs [default: one for each processor]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
    /// The seed of every run [default: that of the interrupted hunt, else random, and printed]
    #[arg(long)]
    seed: Option<u64>,
    /// The folder for results and run folders [default: runs/hunt/<target>]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Start over, even if an interrupted hunt has done some runs already
    #[arg(long)]
    fresh: bool,
    /// Do not shrink the run that found an anomaly
    #[arg(long)]
    no_shrink: bool,
    /// Print this many of the runs, and end
    #[arg(long, value_name = "NUMBER")]
    list: Option<u64>,
}

/// Returns the number of concurrent runs, by default one for so many processors each.
///
/// A hunt runs one cluster for each processor, since clusters mostly wait. Shrinking compares rates, and gives each cluster two
/// processors so that runs do not disturb each other.
pub(super) fn jobs(given: Option<u16>, processors_each: usize) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    given.map_or((processors / processors_each).max(1), usize::from)
}

/// `duress hunt`.
pub fn hunt(args: &HuntArgs) -> Result<Exit, Failure> {
    let Subject { system, workload } = args.target.system(args.workload.as_deref())?;
    // It forks, so that there must be no thread yet.
    let (allowed, _) = families()?;
    let fixed = Fixed {
        target: args.target.target.clone(),
        // Each run has its own number of nodes.
        request: args.target.request(0)?,
        workload_word: args
            .workload
            .clone()
            .filter(|_| systems::maelstrom_command(&args.target.target).is_some()),
        workload,
        faults: args.faults.clone(),
        nodes: args.nodes,
        time_limit_s: args.time_limit.map(|limit| limit.as_secs().max(1)),
    };
    validate(system, &fixed)?;
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from("runs/hunt").join(&system.description().name));
    let seed_file = out.join("seed");
    let before = fs::read_to_string(&seed_file).ok().and_then(|text| text.trim().parse().ok());
    let random = || rand::rng().random_range(0..=u64::from(u32::MAX));
    let seed: u64 = args.seed.or(before.filter(|_| !args.fresh)).unwrap_or_else(random);
    if let Some(count) = args.list {
        let runs = (1..=count).map(|number| draw(system, &fixed, &allowed, seed, number));
        print(runs.map(|run| format!("duress {}\n", crate::trial::Shell(&run.words))).collect::<String>())?;
        return Ok(Exit::Valid);
    }
    system.available(&fixed.request.programs).map_err(missing)?;
    let written = |path: &PathBuf| {
        let context = format!("cannot write {}", path.display());
        move |error: std::io::Error| Failure::internal(anyhow::Error::new(error).context(context))
    };
    fs::create_dir_all(&out).map_err(written(&out))?;
    let _lock = super::matrix::lock(&out, "hunt")?;
    fs::write(&seed_file, format!("{seed}\n")).map_err(written(&seed_file))?;
    let program = std::env::current_exe().map_err(Failure::internal)?;
    let program_key = ProgramKey::of(&program).map_err(Failure::internal)?;
    let past = if args.fresh { Past::Forget } else { Past::Resume };
    let mut state = State::open(&out, program_key, past).map_err(Failure::internal)?;
    // A cluster that already runs takes one run at a time.
    let runs_already = system.description().external.is_some();
    let at_once = |processors_each| if runs_already { 1 } else { jobs(args.jobs, processors_each) };
    let setup = Setup {
        program,
        program_key,
        out: out.clone(),
        jobs: at_once(1),
        runs_max: args.runs_max,
        end: Some(Instant::now() + args.budget),
    };
    tell(format_args!(
        "hunting {}, seed {seed}, at most {} s, {} at a time{}; results in {}",
        fixed.target,
        args.budget.as_secs(),
        setup.jobs,
        if state.is_empty() { String::new() } else { format!(", {} runs are done already", state.len()) },
        out.display()
    ));
    let began = Instant::now();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::internal)?;
    let runs = halting(Some(args.budget), async |halt| {
        run_hunt(&setup, &mut state, halt, |number| draw(system, &fixed, &allowed, seed, number), ended).await
    });
    let hunted = runtime.block_on(runs).map_err(Failure::internal)?.map_err(Failure::internal)?;
    let summary = hunted.words();
    let path = out.join("summary.txt");
    fs::write(&path, &summary).map_err(written(&path))?;
    print(&summary)?;
    if let Some((_, found)) = hunted.found()
        && !args.no_shrink
        && hunted.ending == Ending::Found
    {
        let shrinking = Shrinking {
            out: out.join("shrunk"),
            budget: args.budget.saturating_sub(began.elapsed()),
            jobs: at_once(2),
        };
        shrink_run(&found.folder, &shrinking)?;
    }
    Ok(hunted.exit())
}

/// Checks the command line before anything is started: the fixed options must fit at least one mode.
fn validate(system: &dyn System, fixed: &Fixed) -> Result<(), Failure> {
    let least = bug(system, fixed).map_or(0, |bug| bug.nodes_min);
    let nodes = fixed.nodes.unwrap_or(NODES.max(least));
    if !(1..=NODES_MAX).contains(&nodes) {
        return Err(Failure::usage(anyhow::anyhow!("--nodes is {nodes}: a cluster has 1 to 99 nodes")));
    }
    let modes = modes(system, fixed, nodes).map_err(Failure::usage)?;
    if let Some(name) = &fixed.workload {
        let workload = workload(system, name)?;
        let mut tried: Vec<Result<(), Failure>> =
            modes.iter().map(|settings| has_workload(system, settings, nodes, workload, None)).collect();
        // One mode that has it is enough.
        if tried.iter().all(Result::is_err) {
            tried.swap_remove(0)?;
        }
    }
    match fixed.faults.as_deref() {
        None | Some("all") => {}
        Some(mix) => _ = FaultSpec::parse_mix(mix).map_err(Failure::usage)?,
    }
    Ok(())
}

/// Reports how a run ended, in a line.
fn ended(number: u64, trial: &Trial) {
    let what = match &trial.finding {
        Finding::Valid => "quiet".to_owned(),
        Finding::Invalid { anomalies } => {
            let kinds: Vec<&str> = anomalies.iter().map(|found| found.kind.name()).collect();
            format!("FOUND {}", kinds.join(", "))
        }
        Finding::Unknown { reasons } => format!("unknown: {}", reasons.join("; ")),
        Finding::Broken { reasons } => format!("broken: {}", reasons.join("; ")),
        Finding::Error { message } => format!("failed: {message}"),
    };
    tell(format_args!("{number}: {what} ({:.0} s): {}", trial.seconds, trial.command));
}
