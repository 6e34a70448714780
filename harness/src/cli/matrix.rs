//! `duress matrix`.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{ArgAction, Args, Command};
use duress_arena::capabilities::probe;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::getppid;

use super::run::RunArgs;
use super::words::duration;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{print, tell};
use crate::matrix::annotations::annotations;
use crate::matrix::bank::Depth;
use crate::matrix::cell::{Aim, Cell};
use crate::matrix::file::MatrixFile;
use crate::matrix::junit::junit;
use crate::matrix::key::{RunOptions, Takes};
use crate::matrix::markdown::markdown;
use crate::matrix::outcome::Outcome;
use crate::matrix::preflight::{Prepared, prepare};
use crate::matrix::results::{BankResults, CellResult, Change, FORMAT, MatrixResults, compare};
use crate::matrix::selection::{Glob, Shard};
use crate::matrix::session::{self, Keep, Setup};
use crate::matrix::table::{Table, leads};
use crate::trial::Shell;
use crate::trial::state::{Past, ProgramKey, State};

#[derive(Debug, Args)]
pub struct MatrixArgs {
    /// The file of cells
    file: PathBuf,
    /// Only cells whose names match (* and ? are wildcards); may be repeated
    #[arg(long, value_name = "GLOB")]
    only: Vec<String>,
    /// Only cells of the fast slice; a bug is tried until it is found once
    #[arg(long)]
    fast: bool,
    /// Run only one shard, such as 1/3
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// Count seeds from this one instead of the file's; cell names keep the file's
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// End after this; cells that were not run by then are reported as not run [default: the file's budget]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    budget: Option<Duration>,
    /// The number of concurrent runs
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
    /// The folder for results and run folders [default: runs/matrix/<name of the file>]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Run everything again, even if an interrupted matrix has run part of it
    #[arg(long)]
    fresh: bool,
    /// Keep the run folders of passed cells, too
    #[arg(long)]
    keep: bool,
    /// Print the cells with their commands, and end
    #[arg(long, visible_alias = "dry-run")]
    list: bool,
    /// Write the results as JUnit XML, besides those in the output folder
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write the results as Markdown, besides those in the output folder
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Print an annotation for each failed cell, which GitHub Actions shows at its line of the file
    #[arg(long)]
    annotate: bool,
    /// Write the results as JSON, besides those in the output folder
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Keep the figures of bugs with those of earlier dates, in the folder that the file names
    #[arg(long, conflicts_with = "fast")]
    record: bool,
    /// The name of this machine in results [default: processor and number of cores]
    #[arg(long, value_name = "NAME")]
    machine: Option<String>,
}

/// `duress matrix`.
pub fn matrix(args: &MatrixArgs) -> Result<Exit, Failure> {
    let options = run_options();
    let file = MatrixFile::read(&args.file, &options).map_err(Failure::usage)?;
    if args.record && file.results.is_none() {
        let error = anyhow::anyhow!("{} names no folder to record into", args.file.display());
        return Err(Failure::usage(error).hint("add results = \"results\" to its [matrix]"));
    }
    let machine = machine(args)?;
    let program = std::env::current_exe().map_err(Failure::internal)?;
    // It forks, so that there must be no thread yet.
    let capabilities = probe().map_err(Failure::internal)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::internal)?;
    // Unselected cells are checked too: otherwise their mistakes would be found on another day.
    let prepared = runtime
        .block_on(prepare(&program, &args.file, seeded(file.cells, args.seed), &options, &capabilities))
        .map_err(|error| match error {
            crate::matrix::preflight::PreflightError::Wrong(error) => Failure::usage(error),
            error => Failure::internal(error),
        })?;
    let cells = selected(args, prepared)?;
    if args.list {
        print(list(&cells, &options))?;
        return Ok(Exit::Valid);
    }

    let stem = args.file.file_stem().map_or_else(|| "matrix".into(), |stem| stem.to_string_lossy());
    let out = args.out.clone().unwrap_or_else(|| Path::new("runs/matrix").join(stem.as_ref()));
    let written = |path: &Path| {
        let context = format!("cannot write {}", path.display());
        move |error: std::io::Error| Failure::internal(anyhow::Error::new(error).context(context))
    };
    fs::create_dir_all(&out).map_err(written(&out))?;
    let _lock = lock(&out, "matrix")?;
    let past = if args.fresh { Past::Forget } else { Past::Resume };
    let program_key = ProgramKey::of(&program).map_err(Failure::internal)?;
    let mut state = State::open(&out, program_key, past).map_err(Failure::internal)?;
    let setup = Setup {
        program_key,
        program,
        options,
        out: out.clone(),
        jobs: args.jobs.into(),
        depth: if args.fast { Depth::Fast } else { Depth::Whole },
        keep: if args.keep { Keep::All } else { Keep::Failed },
        budget: args.budget.or(file.budget),
    };
    tell(format_args!(
        "{}: {} cells, {} at a time{}{}; everything is kept in {}",
        args.file.display(),
        cells.len(),
        setup.jobs,
        setup.budget.map(|budget| format!(", at most {} s", budget.as_secs())).unwrap_or_default(),
        if state.is_empty() { String::new() } else { format!(", {} runs are done already", state.len()) },
        out.display()
    ));
    let (began, clock) = (chrono::Utc::now(), Instant::now());
    let table = Table::new(cells.len());
    let mut cells =
        runtime.block_on(session::run(&setup, &mut state, table, &cells)).map_err(Failure::internal)?;
    if let Some(folder) = &file.results {
        compared(folder, &machine, &mut cells)?;
    }
    let mut results = MatrixResults {
        format: FORMAT,
        matrix: args.file.clone(),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        machine,
        began: began.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
        seconds: clock.elapsed().as_secs_f64(),
        shard: args.shard.map(|shard| shard.to_string()),
        exit: 0,
        cells,
    };
    let exit = results.worst();
    results.exit = exit.code();

    let json = format!("{:#}\n", serde_json::json!(results));
    let xml = junit(&results).map_err(Failure::internal)?;
    let summary = markdown(&results);
    for (name, text, besides) in [
        ("results.json", &json, &args.json),
        ("junit.xml", &xml, &args.junit),
        ("summary.md", &summary, &args.markdown),
    ] {
        for path in [Some(out.join(name)), besides.clone()].into_iter().flatten() {
            fs::write(&path, text).map_err(written(&path))?;
        }
    }
    if let (true, Some(folder)) = (args.record, &file.results) {
        let path = results.bank().keep(folder).map_err(Failure::internal)?;
        tell(format_args!("the figures are kept in {}", path.display()));
    }
    if args.annotate {
        print(annotations(&results))?;
    }
    print(closing(&results, &out))?;
    Ok(exit)
}

/// Ends this program, as if asked to, when its parent does, which is the process `parent`.
pub fn end_with(parent: u32) -> Result<(), Failure> {
    prctl::set_pdeathsig(Signal::SIGTERM).map_err(Failure::internal)?;
    // It may have ended before the signal was set.
    if u32::try_from(getppid().as_raw()) == Ok(parent) {
        Ok(())
    } else {
        Err(Failure::internal(anyhow::anyhow!("the process {parent}, which started this one, has ended")))
    }
}

/// Returns the options of `duress run` that a cell may give: all but those for its output, and for running
/// nothing.
fn run_options() -> RunOptions {
    let command = RunArgs::augment_args(Command::new("run"));
    let taken = ["option", "runs", "dry-run", "schedule", "help", "node", "test-count"];
    let options = command.get_arguments().filter_map(|argument| {
        let name = argument.get_long().filter(|name| !taken.contains(name))?;
        let takes = match argument.get_action() {
            ArgAction::SetTrue | ArgAction::SetFalse | ArgAction::Count => Takes::Nothing,
            _ => Takes::Value,
        };
        Some((name.to_owned(), takes))
    });
    RunOptions::new(options)
}

/// Returns the name of this machine, which becomes part of a file's name.
fn machine(args: &MatrixArgs) -> Result<String, Failure> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let name = args.machine.clone().unwrap_or_else(|| format!("{}-{cores}-cores", std::env::consts::ARCH));
    if !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
        Ok(name)
    } else {
        let error =
            anyhow::anyhow!("invalid --machine \"{name}\": use letters, digits, \"-\", \"_\" and \".\"");
        Err(Failure::usage(error))
    }
}

/// Returns the cells with seeds counted from `first`, where it is given, instead of from 1.
fn seeded(mut cells: Vec<Cell>, first: Option<u64>) -> Vec<Cell> {
    if let Some(first) = first {
        for cell in &mut cells {
            cell.seed = first.wrapping_add(cell.seed.wrapping_sub(1));
        }
    }
    cells
}

/// Returns the cells that the command line asks for; at least one.
fn selected(args: &MatrixArgs, cells: Vec<Prepared>) -> Result<Vec<Prepared>, Failure> {
    let globs: Vec<Glob> = args.only.iter().map(|text| Glob::new(text)).collect();
    let all = cells.len();
    let mut cells = cells;
    cells.retain(|prepared| {
        let named = globs.is_empty() || globs.iter().any(|glob| glob.matches(&prepared.cell.name));
        named && (!args.fast || prepared.cell.fast)
    });
    if cells.is_empty() {
        let error = anyhow::anyhow!("none of the {all} cells of {} matches", args.file.display());
        return Err(Failure::usage(error).hint("`--list` prints their names"));
    }
    if let Some(shard) = args.shard {
        let costs: Vec<u64> = cells.iter().map(|prepared| cost(prepared, args.fast)).collect();
        let mine = shard.pick(&costs);
        if mine.is_empty() {
            let error = anyhow::anyhow!("shard {shard} has no cell: there are only {}", cells.len());
            return Err(Failure::usage(error));
        }
        let mut at = 0;
        cells.retain(|_| {
            at += 1;
            mine.contains(&(at - 1))
        });
    }
    Ok(cells)
}

/// About how many seconds a cell takes.
fn cost(prepared: &Prepared, fast: bool) -> u64 {
    let runs = match &prepared.cell.aim {
        Aim::Bug(gate) if !fast => gate.trials + gate.controls + gate.ablations,
        Aim::Bug(_) => 2,
        Aim::Verdict(_) => 1,
    };
    (prepared.time_limit.as_secs() + 5) * u64::from(runs)
}

/// Lists each cell with its run.
fn list(cells: &[Prepared], options: &RunOptions) -> String {
    let mut text = String::new();
    for prepared in cells {
        let cell = &prepared.cell;
        let words = cell.command.words(|name| options.takes(name) != Some(Takes::Nothing), cell.seed);
        let fast = if cell.fast { "  (fast)" } else { "" };
        text.push_str(&format!(
            "{}{fast}\n    expect  {}\n    run     duress {}\n",
            cell.name,
            cell.aim.words(),
            Shell(&words)
        ));
        if let Aim::Bug(gate) = &cell.aim {
            let ablations = if prepared.faults == 0 { 0 } else { gate.ablations };
            text.push_str(&format!(
                "    runs    {} with the bug, {} without it, {ablations} with it and without faults\n",
                gate.trials, gate.controls
            ));
        }
        if let Some(why) = &prepared.impossible {
            let then = if cell.may_skip.is_some() { "skipped here" } else { "cannot be run here" };
            text.push_str(&format!("    {then}: {why}\n"));
        }
    }
    text.push_str(&format!("{} cells\n", cells.len()));
    text
}

/// Takes the output folder for this `duress <command>` alone, for as long as the lock is held.
pub(super) fn lock(out: &Path, command: &str) -> Result<File, Failure> {
    let path = out.join("lock");
    let context = format!("cannot lock {}", path.display());
    let lock = File::create(&path)
        .map_err(|error| Failure::internal(anyhow::Error::new(error).context(context.clone())))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            let error = anyhow::anyhow!("another duress {command} is running in {}", out.display());
            Err(Failure::usage(error).hint("wait for it, or name another folder with --out"))
        }
        Err(TryLockError::Error(error)) => Err(Failure::internal(anyhow::Error::new(error).context(context))),
    }
}

/// Holds the figures of bugs against the newest in `folder`: a loss that chance does not explain fails the cell.
fn compared(folder: &Path, machine: &str, cells: &mut [CellResult]) -> Result<(), Failure> {
    if cells.iter().all(|cell| cell.bug.is_none()) {
        return Ok(());
    }
    let Some((path, before)) = BankResults::newest(folder, machine).map_err(Failure::internal)? else {
        tell(format_args!("no earlier results in {} to compare with", folder.display()));
        return Ok(());
    };
    tell(format_args!("compared with {}", path.display()));
    let other = if before.machine == machine { String::new() } else { format!(" on {}", before.machine) };
    let mut worse = BTreeMap::new();
    for cell in cells {
        let Some(now) = &cell.bug else { continue };
        let Some(then) = before.of(&now.target, &now.bug) else { continue };
        match compare(now, then) {
            Change::WithinChance(words) => cell.change = Some(format!("{words}{other}")),
            Change::Loss(words) => {
                let words = format!("power is lost: {words}{other}");
                worse.insert(cell.name.clone(), words.clone());
                if cell.outcome < Outcome::MissingAnomaly {
                    cell.outcome = Outcome::MissingAnomaly;
                    cell.message.clone_from(&words);
                }
                cell.change = Some(words);
            }
        }
    }
    for (name, words) in worse {
        tell(format_args!("MISSING ANOMALY  {name}: {words}"));
    }
    Ok(())
}

/// Returns the closing text: the failures, and where their reports are.
fn closing(results: &MatrixResults, out: &Path) -> String {
    let mut text = String::new();
    for cell in results.cells.iter().filter(|cell| cell.outcome.failed()) {
        text.push_str(&format!("{}: {}: {}\n", cell.outcome.words(), cell.name, cell.message));
        for lead in leads(cell) {
            text.push_str(&format!("    {lead}\n"));
        }
    }
    let skipped = results.cells.iter().filter(|cell| cell.outcome == Outcome::Skipped);
    for cell in skipped {
        text.push_str(&format!("skipped: {}: {}\n", cell.name, cell.message));
    }
    text.push_str(&format!("{}; exit {}; results in {}\n", results.summary(), results.exit, out.display()));
    text
}
