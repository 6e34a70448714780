//! CAP: under a partition a system is consistent, or available on both sides.

use crate::lesson::experiment::{Experiment, Measured, Share};
use crate::lesson::section::{Chart, Section, Series, Statement, Table, capitalized};
use crate::lesson::topic::{ENOUGH, QUICK, Setting, Topic};

/// The topic.
pub const TOPIC: Topic = Topic {
    name: "cap",
    claim: "While a partition lasts, a system answers on both sides or is consistent: it cannot be both.",
    runs,
    section,
};

fn runs(_: &Setting) -> Vec<Experiment> {
    [
        ("consensus", "--mode raft"),
        ("consensus, reads at any node", "--mode raft -o reads=local"),
        ("one master, reads at any node", "--mode primary -o read=any"),
        ("quorums, R=W=2", "--mode ring -o r=2 -o w=2"),
        ("quorums, R=W=1", "--mode ring -o r=1 -o w=1"),
    ]
    .map(|(name, mode)| {
        Experiment::new(name, &format!("store {mode} --nodes 3 --faults partition:one --interval 4s {QUICK}"))
    })
    .into()
}

/// How much was answered.
enum Answers {
    All,
    Some,
    None,
}

fn answers(share: Share) -> Answers {
    match share.percent() {
        Some(percent) if percent >= 90.0 => Answers::All,
        Some(percent) if percent >= 10.0 => Answers::Some,
        _ => Answers::None,
    }
}

fn section(runs: &[Measured]) -> Section {
    let statement = |run: &Measured| {
        let name = &run.experiment.name;
        let (Some(record), Some([away, others])) = (run.figures(), run.sides()) else {
            return Statement::of(format!("{name}: not measured ({}).", run.kept()), [run]);
        };
        if away.of.min(others.of) < ENOUGH {
            let text = format!(
                "{}, promised to be {} ({}): not measured, as only {} operations began at the nodes cut off, and {} at the others.",
                capitalized(name),
                record.promise,
                run.kept(),
                away.of,
                others.of
            );
            return Statement::of(text, [run]);
        }
        let available = match (answers(away), answers(others)) {
            (Answers::All, Answers::All) => {
                "is available on both sides of a partition, the nodes cut off included"
            }
            (Answers::All, _) => "is available at the nodes cut off, and in part at the others",
            (Answers::Some, _) => "is available in part at the nodes cut off",
            (Answers::None, _) => "is not available at the nodes cut off",
        };
        let old = run.ages().map(|ages| Share { part: ages.old, of: ages.reads });
        let old = old.map(|old| format!("; {} were old", old.words("reads"))).unwrap_or_default();
        let text = format!(
            "{}, promised to be {} ({}), {available}: {} were answered there, {others} at the others{old}.",
            capitalized(name),
            record.promise,
            run.kept(),
            away.words("operations"),
        );
        Statement::of(text, [run])
    };
    let percent =
        |side: usize| runs.iter().map(|run| run.sides().and_then(|sides| sides[side].percent())).collect();
    let series = |name: &str, side| Series { name: name.to_owned(), predicted: false, values: percent(side) };
    let chart = Chart {
        caption: "Answered while one of three nodes was cut off".to_owned(),
        across: "system".to_owned(),
        up: "share of operations, %".to_owned(),
        categories: runs.iter().map(|run| run.experiment.name.clone()).collect(),
        series: vec![series("at the node cut off", 0), series("at the others", 1)],
    };
    Section {
        statements: runs.iter().map(statement).collect(),
        charts: vec![chart],
        tables: vec![table(runs)],
    }
}

/// A row for each partition of each run.
fn table(runs: &[Measured]) -> Table {
    let rows = runs.iter().flat_map(|run| {
        let faults = run.figures().map(|record| &record.faults[..]).unwrap_or_default();
        faults.iter().filter_map(|fault| {
            let sides = fault.sides.as_ref()?;
            let share =
                |side: &crate::judge::sides::Side| Share { part: side.answered, of: side.asked }.to_string();
            let lasted = fault.stop_ms?.saturating_sub(fault.start_ms?);
            Some(vec![
                run.experiment.name.clone(),
                format!("{:.1} s", lasted as f64 / 1000.0),
                share(&sides.away),
                share(&sides.others),
            ])
        })
    });
    Table {
        caption: "Each partition".to_owned(),
        head: ["system", "lasted", "answered at the node cut off", "answered at the others"]
            .map(str::to_owned)
            .into(),
        rows: rows.collect(),
    }
}
