//! Streams: a table is the fold of its log.

use crate::lesson::experiment::{Experiment, Measured};
use crate::lesson::section::{Section, Statement, Table, capitalized};
use crate::lesson::topic::{Setting, Topic};

/// The topic.
pub const TOPIC: Topic = Topic {
    name: "streams",
    claim: "A topic is a partitioned log; its latest record of each key is a table, and brokers may fail.",
    runs,
    section,
};

fn runs(_: &Setting) -> Vec<Experiment> {
    let run = |name: &str, faults: &str| {
        Experiment::new(name, &format!("broker --workload table --nodes 3 --faults {faults}"))
    };
    vec![run("a table from a compacted topic", "none"), run("the same, while brokers fail", "kill,partition")]
}

fn section(runs: &[Measured]) -> Section {
    let statement = |run: &Measured| {
        let delivery =
            run.figures().and_then(|record| Some((record, record.check.details.as_ref()?.delivery()?)));
        let text = match delivery {
            Some((record, delivery)) => {
                format!(
                    "{}: {} records were acknowledged, and after compaction the last one of each key was in the rebuilt table: {} \
                 ({} lost, {} duplicated).",
                    capitalized(&run.experiment.name),
                    delivery.counts.acknowledged,
                    run.kept(),
                    delivery.counts.lost,
                    delivery.counts.duplicated
                ) + if record.verdict.anomalies().is_empty() { "" } else { " See its report." }
            }
            None => format!("{}: not measured ({}).", capitalized(&run.experiment.name), run.kept()),
        };
        Statement::of(text, [run])
    };
    let row = |run: &Measured| {
        let counts = run.figures().and_then(|record| Some(record.check.details.as_ref()?.delivery()?.counts));
        let cell = |value: Option<u64>| value.map_or_else(|| "–".to_owned(), |value| value.to_string());
        vec![
            run.experiment.name.clone(),
            cell(counts.map(|counts| counts.acknowledged)),
            cell(counts.map(|counts| counts.failed)),
            cell(counts.map(|counts| counts.unknown)),
            cell(counts.map(|counts| counts.lost)),
            run.kept(),
        ]
    };
    Section {
        statements: runs.iter().map(statement).collect(),
        charts: Vec::new(),
        tables: vec![Table {
            caption: "Records of each run".to_owned(),
            head: ["run", "acknowledged", "failed", "unknown", "lost", "promise kept?"]
                .map(str::to_owned)
                .into(),
            rows: runs.iter().map(row).collect(),
        }],
    }
}
