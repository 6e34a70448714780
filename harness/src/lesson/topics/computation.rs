//! Computation: batch work spread over workers, exact only if tasks are executed again, and are counted once all the same.

use duress_checkers::job::JobReport;
use duress_checkers::verdict::AnomalyKind;

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
        run("no retry", "--retry off").meant_to_break(&[AnomalyKind::LostTask]),
        run("no dedupe", "--dedupe off").meant_to_break(&[AnomalyKind::DoubledTask]),
    ]
}

/// Returns the tasks of a run, and their fate.
fn job(run: &Measured) -> Option<&JobReport> {
    run.figures()?.check.details.as_ref()?.job()
}

fn section(runs: &[Measured]) -> Section {
    let statement = |run: &Measured| {
        let name = capitalized(&run.experiment.name);
        let (Some(record), Some(job)) = (run.figures(), job(run)) else {
            return Statement::of(format!("{name}: not measured ({}).", run.kept()), [run]);
        };
        let JobReport { tasks, repeated, lost, doubled, ungathered, words, gathered, .. } = job;
        let is_exact = record.verdict == RunVerdict::Valid;
        let result = match (is_exact, *ungathered) {
            (true, _) => format!("the result is exact, {words} words"),
            (false, 0) => format!("the documents have {words} words, and {gathered} were gathered"),
            (false, open) => format!(
                "{open} of the tasks were not gathered, and {gathered} words of {words} of the others"
            ),
        };
        let unshown = match run.experiment.expects {
            Expects::Broken(_) if is_exact => ": this run does not show the difference",
            Expects::Broken(_) | Expects::Kept => "",
        };
        let text = format!(
            "{name}: of {tasks} tasks {repeated} were given to workers more than once, {lost} were lost and {doubled} counted more than \
             once; {result} ({}){unshown}.",
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::lesson::experiment::tests::{invalid, with_verdict};

    #[test]
    fn a_result_is_exact_only_if_the_verdict_says_so() {
        let says = |mut verdict: Value, ungathered: u64, gathered: u64| {
            verdict["check"] = json!({"details": {"job": {
                "tasks": 9, "attempts": 12, "repeated": 2, "lost": 0, "doubled": 0, "ungathered": ungathered,
                "words": 80, "gathered": gathered
            }}});
            let run = Experiment::new("no retry", "store").meant_to_break(&[AnomalyKind::LostTask]);
            section(&[with_verdict(run, &verdict)]).statements[0].text.clone()
        };
        let valid = || json!({"version": 2, "verdict": "valid"});
        let unknown = json!({"version": 2, "verdict": "unknown", "reasons": ["some were not gathered"]});
        assert!(
            says(valid(), 0, 80)
                .ends_with("the result is exact, 80 words (kept): this run does not show the difference.")
        );
        let open = says(unknown, 3, 80);
        assert!(open.contains("3 of the tasks were not gathered") && !open.contains("exact"), "{open}");
        let wrong = says(invalid(&["wrong-count"]), 0, 80);
        assert!(wrong.contains("have 80 words, and 80 were gathered (broken)"), "{wrong}");
    }
}
