//! Computation: batch work spread over workers, exact only if tasks are executed again, and are counted once all the same.

use duress_checkers::job::JobReport;

use crate::judge::verdict::RunVerdict;
use crate::lesson::experiment::{Expects, Experiment, Measured};
use crate::lesson::section::{Chart, Section, Series, Statement, Table, capitalized};
use crate::lesson::topic::{Setting, Topic};

/// The topic.
pub const TOPIC: Topic = Topic {
    name: "computation",
    claim: "Work spread over workers that may fail is exact if lost tasks are executed again and write the same result.",
    runs,
    section,
};

fn runs(_: &Setting) -> Vec<Experiment> {
    let run = |name: &str, words: &str| {
        let faults = "partition,kill,pause,partition:clients";
        Experiment::new(
            name,
            &format!("store --mode sharded --nodes 3 --workload job --tenure 1s {words} --faults {faults}"),
        )
    };
    vec![
        run("retry and dedupe", ""),
        run("no retry", "--retry off").meant_to_break(),
        run("no dedupe", "--dedupe off").meant_to_break(),
    ]
}

/// Returns the tasks of a run, and their fate.
fn job(run: &Measured) -> Option<&JobReport> {
    run.figures()?.check.details.as_ref()?.job()
}

fn section(runs: &[Measured]) -> Section {
    let statement = |run: &Measured| {
        let name = capitalized(&run.experiment.name);
        let Some(JobReport { tasks, repeated, lost, doubled, words, gathered, .. }) = job(run) else {
            return Statement::of(format!("{name}: not measured ({}).", run.kept()), [run]);
        };
        let result = match (lost, doubled, gathered == words) {
            (0, 0, true) => format!("the result is exact, {words} words"),
            _ => format!("the result is {gathered} words instead of {words}"),
        };
        let is_lucky = run.experiment.expects == Expects::Broken
            && run.figures().is_some_and(|record| record.verdict == RunVerdict::Valid);
        let luck =
            if is_lucky { ": by luck, as no task met with a failure that this leaves to chance" } else { "" };
        let text = format!(
            "{name}: of {tasks} tasks {repeated} were given to workers more than once, {lost} were lost and {doubled} counted more than \
             once; {result} ({}){luck}.",
            run.kept()
        );
        Statement::of(text, [run])
    };
    Section {
        statements: runs.iter().map(statement).collect(),
        charts: vec![chart(runs)],
        tables: vec![table(runs)],
    }
}

fn chart(runs: &[Measured]) -> Chart {
    let series = |name: &str, value: fn(&JobReport) -> u64| Series {
        name: name.to_owned(),
        predicted: false,
        values: runs
            .iter()
            .map(|run| {
                let job = job(run).filter(|job| job.tasks > 0)?;
                Some(value(job) as f64 * 100.0 / job.tasks as f64)
            })
            .collect(),
    };
    Chart {
        caption: "The fate of tasks while workers and nodes fail".to_owned(),
        across: "run".to_owned(),
        up: "share of tasks, %".to_owned(),
        categories: runs.iter().map(|run| run.experiment.name.clone()).collect(),
        series: vec![
            series("given to workers more than once", |job| job.repeated),
            series("lost", |job| job.lost),
            series("counted more than once", |job| job.doubled),
        ],
    }
}

fn table(runs: &[Measured]) -> Table {
    let row = |run: &Measured| {
        let cell = |value: fn(&JobReport) -> u64| {
            job(run).map_or_else(|| "–".to_owned(), |job| value(job).to_string())
        };
        vec![
            run.experiment.name.clone(),
            cell(|job| job.tasks),
            cell(|job| job.attempts),
            cell(|job| job.repeated),
            cell(|job| job.lost),
            cell(|job| job.doubled),
            cell(|job| job.words),
            cell(|job| job.gathered),
            run.kept(),
        ]
    };
    Table {
        caption: "Each run: its tasks, and the words of their documents".to_owned(),
        head: [
            "run",
            "tasks",
            "given to workers",
            "more than once",
            "lost",
            "counted more than once",
            "words",
            "gathered",
            "exact?",
        ]
        .map(str::to_owned)
        .into(),
        rows: runs.iter().map(row).collect(),
    }
}
