//! Streams: consume, transform, produce; and a table is the fold of its log.

use duress_checkers::delivery::DeliveryCounts;

use crate::lesson::experiment::{Experiment, Measured};
use crate::lesson::section::{Section, Statement, Table, capitalized};
use crate::lesson::topic::{Setting, Topic};

/// The topic.
pub const TOPIC: Topic = Topic {
    name: "streams",
    claim: "A topic is a partitioned log; its latest record of each key is a table. A worker that reads one topic and writes \
            another does so exactly once if it commits outputs and read positions together.",
    runs,
    section,
};

/// How many of the runs consume, transform and produce; the others rebuild a table.
const STREAMS: usize = 2;

fn runs(_: &Setting) -> Vec<Experiment> {
    let run = |name: &str, words: &str| Experiment::new(name, &format!("broker --nodes 3 {words}"));
    vec![
        run("outputs and positions in one transaction", "--workload stream --faults kill,partition"),
        run(
            "outputs first, then positions",
            "--workload stream -o processing=at-least-once --faults kill,partition",
        ),
        run("a table from a compacted topic", "--workload table --faults none"),
        run("the same table, while brokers fail", "--workload table --faults kill,partition"),
    ]
}

fn section(runs: &[Measured]) -> Section {
    let statement = |(at, run): (usize, &Measured)| {
        let name = capitalized(&run.experiment.name);
        let text = match counts(run) {
            Some(DeliveryCounts { acknowledged, lost, duplicated, .. }) if at < STREAMS => format!(
                "{name}: {acknowledged} inputs were acknowledged; {lost} outputs were lost, and {duplicated} inputs have more than one \
                 ({}).",
                run.kept()
            ),
            Some(DeliveryCounts { acknowledged, lost, .. }) => format!(
                "{name}: {acknowledged} records were acknowledged, and the table rebuilt from what compaction left was compared with \
                 them: {lost} were lost ({}).",
                run.kept()
            ),
            None => format!("{name}: not measured ({}).", run.kept()),
        };
        Statement::of(text, [run])
    };
    let row = |run: &Measured| {
        let counts = counts(run);
        let cell = |value: Option<u64>| value.map_or_else(|| "–".to_owned(), |value| value.to_string());
        vec![
            run.experiment.name.clone(),
            cell(counts.map(|counts| counts.acknowledged)),
            cell(counts.map(|counts| counts.failed)),
            cell(counts.map(|counts| counts.unknown)),
            cell(counts.map(|counts| counts.lost)),
            cell(counts.map(|counts| counts.duplicated)),
            run.kept(),
        ]
    };
    Section {
        statements: runs.iter().enumerate().map(statement).collect(),
        charts: Vec::new(),
        tables: vec![Table {
            caption: "Inputs and records of each run".to_owned(),
            head: ["run", "acknowledged", "failed", "unknown", "lost", "doubled", "promise kept?"]
                .map(str::to_owned)
                .into(),
            rows: runs.iter().map(row).collect(),
        }],
    }
}

fn counts(run: &Measured) -> Option<DeliveryCounts> {
    Some(run.figures()?.check.details.as_ref()?.delivery()?.counts)
}
