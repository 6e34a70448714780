//! `duress hunt`.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use duress_arena::capabilities::probe;
use duress_nemesis::Family;
use rand::RngExt;

use super::run::programs;
use super::shrink::{Shrinking, shrink_run};
use super::words::{duration, option};
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{print, tell};
use crate::hunt::draw::{Fixed, draw};
use crate::hunt::session::{Ending, Setup, hunt as run_hunt};
use crate::systems::systems;
use crate::trial::state::{Past, ProgramKey, State};
use crate::trial::{Finding, Trial, halting};

#[derive(Debug, Args)]
pub struct HuntArgs {
    /// The system under test (`duress targets` lists them)
    target: String,
    /// Its mode of operation [default: drawn for each run, as is everything that is not given]
    #[arg(long)]
    mode: Option<String>,
    /// An option of the target, as key=value; may be repeated
    #[arg(short = 'o', long = "option", value_name = "KEY=VALUE", value_parser = option)]
    options: Vec<(String, String)>,
    /// The program of a system in the place of the one that would be found, as name=path
    #[arg(long = "program", value_name = "NAME=PATH", value_parser = option)]
    programs: Vec<(String, String)>,
    /// Switch on one seeded bug (`duress bugs` lists them)
    #[arg(long, value_name = "NAME")]
    bug: Option<String>,
    /// What clients do (`duress workloads` lists it)
    #[arg(long)]
    workload: Option<String>,
    /// The faults, as in `duress run`
    #[arg(long, value_name = "MIX")]
    faults: Option<String>,
    /// How many nodes each cluster has
    #[arg(long)]
    nodes: Option<usize>,
    /// How long clients run in each run
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    time_limit: Option<Duration>,
    /// End after this, shrinking included
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30m")]
    budget: Duration,
    /// End after so many runs
    #[arg(long, value_name = "NUMBER")]
    runs_max: Option<u64>,
    /// How many runs there are at a time [default: one for every two processors]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
    /// What every run is drawn from [default: that of the hunt that was interrupted, else random, and printed]
    #[arg(long)]
    seed: Option<u64>,
    /// Where results and run folders are kept [default: runs/hunt/<target>]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Begin anew, though an interrupted hunt has run some of it already
    #[arg(long)]
    fresh: bool,
    /// Leave the run that found an anomaly as it is
    #[arg(long)]
    no_shrink: bool,
    /// Print so many of the runs, and end
    #[arg(long, value_name = "NUMBER")]
    list: Option<u64>,
}

/// How many runs there are at a time where nothing else is said: a cluster and its clients keep two processors busy.
pub(super) fn jobs(given: Option<u16>) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    given.map_or((cores / 2).max(1), usize::from)
}

/// The families of faults that this machine allows.
pub(super) fn allowed() -> Result<Vec<Family>, Failure> {
    let found = probe().map_err(Failure::internal)?;
    let allowed = |family: &Family| match family {
        Family::Clock => found.ptrace.is_available() && cfg!(target_arch = "x86_64"),
        Family::Disk => found.fuse.is_available(),
        _ => true,
    };
    Ok(Family::ALL.into_iter().filter(allowed).collect())
}

/// `duress hunt`.
pub fn hunt(args: &HuntArgs) -> Result<Exit, Failure> {
    let system = systems().find(&args.target).map_err(Failure::usage)?;
    // It forks, so that there must be no thread yet.
    let allowed = allowed()?;
    let fixed = Fixed {
        target: system.description().name.clone(),
        mode: args.mode.clone(),
        options: args.options.iter().cloned().collect(),
        bug: args.bug.clone(),
        programs: programs(&args.programs)?,
        workload: args.workload.clone(),
        faults: args.faults.clone(),
        nodes: args.nodes,
        time_limit_s: args.time_limit.map(|limit| limit.as_secs().max(1)),
    };
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from("runs/hunt").join(&fixed.target));
    let seed_file = out.join("seed");
    let before = fs::read_to_string(&seed_file).ok().and_then(|text| text.trim().parse().ok());
    let random = || rand::rng().random_range(0..=u64::from(u32::MAX));
    let seed: u64 = args.seed.or(before.filter(|_| !args.fresh)).unwrap_or_else(random);
    if let Some(count) = args.list {
        let runs = (1..=count).map(|number| draw(system, &fixed, &allowed, seed, number));
        print(runs.map(|run| format!("duress {}\n", crate::trial::Shell(&run.words))).collect::<String>())?;
        return Ok(Exit::Valid);
    }
    system.available(&fixed.programs).map_err(super::run::missing)?;
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
    let setup = Setup {
        program,
        program_key,
        out: out.clone(),
        jobs: jobs(args.jobs),
        runs_max: args.runs_max,
        end: Some(Instant::now() + args.budget),
    };
    tell(format_args!(
        "hunting {}, seed {seed}, at most {} s, {} at a time{}; everything is kept in {}",
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
            jobs: setup.jobs,
        };
        shrink_run(&found.folder, &shrinking)?;
    }
    Ok(hunted.exit())
}

/// Says how a run ended, in a line.
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
