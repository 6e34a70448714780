//! `duress lesson`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::PossibleValuesParser;
use duress_nemesis::FaultSpec;
use rand::RngExt;

use super::words::duration;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{print, tell};
use crate::lesson::course::{AROUND_A_RUN, Course, share};
use crate::lesson::experiment::{Common, Experiment, Measured};
use crate::lesson::section::Section;
use crate::lesson::topic::{Setting, TOPICS, Topic};
use crate::lesson::{html, markdown};
use crate::trial::{Shell, halting};

/// All topics.
const ALL: &str = "all";
/// How long clients run in each run, unless a budget says otherwise.
const USUAL_TIME_LIMIT: Duration = Duration::from_secs(14);

#[derive(Debug, Args)]
pub struct LessonArgs {
    /// The topic
    #[arg(value_parser = PossibleValuesParser::new([ALL].into_iter().chain(TOPICS.map(|topic| topic.name))), default_value = ALL)]
    topic: String,
    /// The time limit of the whole lesson, shared by its runs [default: 22 s for each]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    budget: Option<Duration>,
    /// The fault mixes of the topic delivery, separated by spaces; each has runs of its own
    #[arg(long, value_name = "MIXES", default_value = "kill partition:isolate-leader")]
    faults: String,
    /// The number of brokers in the topic delivery
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: u16,
    /// Mean time from one fault to the next in the topic delivery
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    interval: Duration,
    /// The seed of every random decision [default: random, and printed]
    #[arg(long)]
    seed: Option<u64>,
    /// The folder for the runs' folders; a folder of an earlier lesson there is replaced [default: runs/lesson-TOPIC]
    #[arg(long, value_name = "FOLDER")]
    runs: Option<PathBuf>,
    /// Also write the page to this file, as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write the page to this file, as HTML [default: lesson.html in the folder of the runs]
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print the runs' commands, and end
    #[arg(long)]
    list: bool,
}

/// `duress lesson`.
pub fn lesson(args: &LessonArgs) -> Result<Exit, Failure> {
    let faults: Vec<String> = args.faults.split_whitespace().map(str::to_owned).collect();
    if faults.is_empty() {
        return Err(Failure::usage(anyhow::anyhow!("--faults is empty: use \"none\" for no faults")));
    }
    for mix in &faults {
        FaultSpec::parse_mix(mix).map_err(Failure::usage)?;
    }
    let setting = Setting { faults, nodes: usize::from(args.nodes), interval: args.interval };
    let topics: Vec<(Topic, Vec<Experiment>)> = TOPICS
        .into_iter()
        .filter(|topic| args.topic == ALL || args.topic == topic.name)
        .map(|topic| (topic, (topic.runs)(&setting)))
        .collect();
    let counts: Vec<usize> = topics.iter().map(|(_, runs)| runs.len()).collect();
    let (topics, runs): (Vec<Topic>, Vec<Vec<Experiment>>) = topics.into_iter().unzip();
    let runs: Vec<Experiment> = runs.into_iter().flatten().collect();
    let usual = (USUAL_TIME_LIMIT + AROUND_A_RUN) * u32::try_from(runs.len()).unwrap_or(u32::MAX);
    let budget = args.budget.unwrap_or(usual);
    let common = Common {
        time_limit: share(budget, runs.len()),
        seed: args.seed.unwrap_or_else(|| rand::rng().random_range(0..=u64::from(u32::MAX))),
    };
    if args.list {
        let lines = runs.iter().map(|run| format!("duress {}\n", Shell(&run.words(&common))));
        print(lines.collect::<String>())?;
        return Ok(Exit::Valid);
    }
    let program = std::env::current_exe().map_err(Failure::internal)?;
    let folder = args.runs.clone().unwrap_or_else(|| format!("runs/lesson-{}", args.topic).into());
    tell(format_args!(
        "{} runs, {} s of clients each, seed {}; folders in {}",
        runs.len(),
        common.time_limit.as_secs_f64(),
        common.seed,
        folder.display()
    ));
    let course = Course { program, common, folder: folder.clone(), until: Instant::now() + budget };
    let results = given(&course, runs)?;
    let mut rest = &results[..];
    let mut sections: Vec<(Topic, Section)> = Vec::new();
    for (topic, count) in topics.into_iter().zip(counts) {
        let (of, others) = rest.split_at(count);
        sections.push((topic, (topic.section)(of)));
        rest = others;
    }
    let text = markdown::page(&sections, &common);
    print(&text)?;
    // A lesson without a run has none yet.
    fs::create_dir_all(&folder).map_err(Failure::internal)?;
    let page = args.html.clone().unwrap_or_else(|| folder.join("lesson.html"));
    written(&page, &html::page(&sections, &common))?;
    if let Some(path) = &args.markdown {
        written(path, &text)?;
    }
    tell(format_args!("page: {}", page.display()));
    Ok(exit(&results))
}

fn written(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| {
        let context = format!("cannot write the page to {}", path.display());
        Failure::internal(anyhow::Error::new(error).context(context))
    })
}

/// Makes the runs, until all are over or a signal asks them to end.
fn given(course: &Course, runs: Vec<Experiment>) -> Result<Vec<Measured>, Failure> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::internal)?;
    let all = runs.len();
    let mut number = 0;
    let results = halting(None, async |mut halt| {
        let running = course.run(runs, &mut halt, |run| {
            number += 1;
            tell(format_args!("{number}/{all} {}: {}", run.experiment.name, run.kept()));
        });
        running.await
    });
    let results = runtime.block_on(results).map_err(Failure::internal)?;
    results
        .map_err(|error| Failure::internal(anyhow::Error::new(error).context("a run could not be started")))
}

/// Returns the exit code of all runs: a broken promise first, then runs that prove nothing, then runs not
/// made.
fn exit(results: &[Measured]) -> Exit {
    let exits: Vec<Exit> = results.iter().map(Measured::exit).collect();
    let order = [Exit::Anomaly, Exit::Broken, Exit::Unknown, Exit::NotRun];
    order.into_iter().find(|exit| exits.contains(exit)).unwrap_or(Exit::Valid)
}
