//! `duress lesson`.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use duress_nemesis::FaultSpec;
use rand::RngExt;

use super::words::duration;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{print, tell};
use crate::lesson::cell::{Cell, Common};
use crate::lesson::course::{Course, share};
use crate::lesson::markdown::table;
use crate::lesson::row::{Row, RowResult};
use crate::trial::{Shell, halting};

#[derive(Debug, Args)]
pub struct LessonArgs {
    /// Which lesson
    #[arg(value_enum)]
    lesson: Lesson,
    /// How long all of it may take; the runs share it
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    budget: Duration,
    /// The fault mixes, separated by blanks; each has rows of its own
    #[arg(long, value_name = "MIXES", default_value = "kill partition:isolate-leader")]
    faults: String,
    /// How many brokers there are
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: u16,
    /// Mean time from one fault to the next
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    interval: Duration,
    /// What every random decision is drawn from [default: random, and printed]
    #[arg(long)]
    seed: Option<u64>,
    /// Where the runs' folders are made; a folder of an earlier lesson there is replaced
    #[arg(long, value_name = "FOLDER", default_value = "runs/lesson-delivery")]
    runs: PathBuf,
    /// Write the table here, too
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Print the runs' commands, and end
    #[arg(long)]
    list: bool,
}

/// What can be taught.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Lesson {
    /// What acknowledgements, idempotence, and committing before or after are worth
    Delivery,
}

/// `duress lesson`.
pub fn lesson(args: &LessonArgs) -> Result<Exit, Failure> {
    let Lesson::Delivery = args.lesson;
    let faults: Vec<String> = args.faults.split_whitespace().map(str::to_owned).collect();
    if faults.is_empty() {
        return Err(Failure::usage(anyhow::anyhow!("--faults names no mix; \"none\" is one")));
    }
    for mix in &faults {
        FaultSpec::parse_mix(mix).map_err(Failure::usage)?;
    }
    let cells = Cell::all(&faults);
    let common = Common {
        nodes: usize::from(args.nodes),
        interval: args.interval,
        time_limit: share(args.budget, cells.len()),
        seed: args.seed.unwrap_or_else(|| rand::rng().random_range(0..=u64::from(u32::MAX))),
    };
    if args.list {
        let lines = cells.iter().map(|cell| format!("duress {}\n", Shell(&cell.words(&common))));
        print(lines.collect::<String>())?;
        return Ok(Exit::Valid);
    }
    let program = std::env::current_exe().map_err(Failure::internal)?;
    tell(format_args!(
        "{} runs, {} s of clients each, seed {}; folders in {}",
        cells.len(),
        common.time_limit.as_secs_f64(),
        common.seed,
        args.runs.display()
    ));
    let course = Course { program, common, folder: args.runs.clone(), until: Instant::now() + args.budget };
    let rows = given(&course, cells)?;
    let text = table(&rows, &course.common);
    print(&text)?;
    if let Some(path) = &args.markdown {
        fs::write(path, &text).map_err(|error| {
            let context = format!("cannot write the table to {}", path.display());
            Failure::internal(anyhow::Error::new(error).context(context))
        })?;
    }
    Ok(exit(&rows))
}

/// Runs the course, until it is over or a signal asks it to end.
fn given(course: &Course, cells: Vec<Cell>) -> Result<Vec<Row>, Failure> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::internal)?;
    let all = cells.len();
    let mut number = 0;
    let rows = halting(None, async |mut halt| {
        let running = course.run(cells, &mut halt, |row| {
            number += 1;
            tell(format_args!("{number}/{all} {}: {}", row.cell, said(row)));
        });
        running.await
    });
    let rows = runtime.block_on(rows).map_err(Failure::internal)?;
    rows.map_err(|error| Failure::internal(anyhow::Error::new(error).context("a run could not be started")))
}

/// A row in a line.
fn said(row: &Row) -> String {
    match &row.result {
        RowResult::Counted(counted) => {
            let counts = counted.delivery.counts;
            format!(
                "{} acknowledged, {} lost, {} duplicated, {} reordered, {} skipped, {} repeated",
                counts.acknowledged,
                counted.gone(),
                counts.duplicated,
                counts.reordered,
                counts.undelivered,
                counts.redelivered
            )
        }
        RowResult::Nothing(why) => why.clone(),
    }
}

/// The exit code of all rows: a broken promise first, then what proves nothing, then what was not run.
fn exit(rows: &[Row]) -> Exit {
    let exit = |row: &Row| match &row.result {
        RowResult::Counted(counted) => counted.verdict.exit(),
        RowResult::Nothing(_) => Exit::NotRun,
    };
    let exits: Vec<Exit> = rows.iter().map(exit).collect();
    let order = [Exit::Anomaly, Exit::Broken, Exit::Unknown, Exit::NotRun];
    order.into_iter().find(|exit| exits.contains(exit)).unwrap_or(Exit::Valid)
}
