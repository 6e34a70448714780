//! Replication: what waiting for replicas costs, and what not waiting for them costs.

use duress_checkers::freshness::WriteAge;

use crate::lesson::experiment::{Experiment, Measured, Share};
use crate::lesson::section::{Chart, Section, Series, Statement, Table, capitalized};
use crate::lesson::topic::{Setting, Topic};

/// The topic.
pub const TOPIC: Topic = Topic {
    name: "replication",
    claim: "Replicas serve more readers, and their reads are stale; a write that waits for replicas is slower.",
    runs,
    section,
};

/// How many of the runs read at replicas.
const READS: usize = 3;

/// Faults that make the links of both replicas slow now and then.
const SLOW: &str = "packet:delay=40ms@n2+n3 --interval 2s";

fn runs(_: &Setting) -> Vec<Experiment> {
    let read = |name: &str, faults: &str| {
        Experiment::new(name, &format!("store --mode primary -o read=any --nodes 3 --faults {faults}"))
    };
    let write = |name: &str, words: &str| Experiment::new(name, &format!("store {words} --faults none"));
    vec![
        read("replicas near", "none"),
        read("replicas behind slow links", SLOW),
        read(
            "replicas behind slow links, writes acknowledged by all in contact",
            &format!("{SLOW} -o ack=sync"),
        ),
        write("the primary alone", "--mode primary --nodes 3"),
        write("the primary and a replica", "--mode primary -o ack=semi --nodes 3"),
        write("the primary and all replicas", "--mode primary -o ack=sync --nodes 3"),
        write("one node", "--mode raft --nodes 1"),
        write("a majority of 3", "--mode raft --nodes 3"),
        write("a majority of 5", "--mode raft --nodes 5"),
    ]
}

fn section(runs: &[Measured]) -> Section {
    let (reads, writes) = runs.split_at(READS.min(runs.len()));
    let statements = reads.iter().map(staleness).chain([cost(writes)]);
    Section {
        statements: statements.collect(),
        charts: vec![by_age(reads), latencies(writes)],
        tables: vec![table(runs)],
    }
}

fn share(range: &WriteAge) -> Share {
    Share { part: range.old, of: range.reads }
}

/// Says how stale reads at replicas were.
fn staleness(run: &Measured) -> Statement {
    let Some(ages) = run.ages() else {
        return Statement::of(
            format!("{}: not measured ({}).", capitalized(&run.experiment.name), run.kept()),
            [run],
        );
    };
    let young = |range: &&WriteAge| range.below_ns.is_some_and(|below| below <= 10_000_000);
    let (young, later): (Vec<_>, Vec<_>) = ages.by_write_age.iter().partition(young);
    let sum = |ranges: Vec<&WriteAge>| ranges.into_iter().map(share).fold(Share::default(), Share::and);
    let (versions, age) = (ages.versions.map_or(0, |all| all.max), ages.age_ns.map_or(0, |all| all.max));
    let name = capitalized(&run.experiment.name);
    let old = Share { part: ages.old, of: ages.reads }.words("reads");
    if ages.old == 0 {
        return Statement::of(format!("{name}: {old} at any node were old."), [run]);
    }
    let text = format!(
        "{name}: {old} at any node were old, by up to {versions} versions and {:.0} ms; of those within 10 ms after the newest \
         write {}, of later ones {}.",
        age as f64 / 1e6,
        sum(young),
        sum(later)
    );
    Statement::of(text, [run])
}

/// Returns the median latency of a run's writes, in milliseconds.
fn median(run: &Measured) -> Option<f64> {
    run.figures()?.statistics.by_f.get("write").map(|kind| kind.p50_us as f64 / 1000.0)
}

/// Says what acknowledgements cost.
fn cost(runs: &[Measured]) -> Statement {
    let each = runs.iter().map(|run| match median(run) {
        Some(ms) => format!("{} {ms:.1} ms", run.experiment.name),
        None => format!("{} not measured", run.experiment.name),
    });
    let text = format!(
        "The median latency of a write, by the copies that it waits for: {}.",
        each.collect::<Vec<_>>().join(", ")
    );
    Statement::of(text, runs)
}

fn by_age(runs: &[Measured]) -> Chart {
    let mut ends: Vec<Option<u64>> = runs
        .iter()
        .filter_map(Measured::ages)
        .flat_map(|ages| ages.by_write_age.iter().map(|range| range.below_ns))
        .collect();
    // Without an end is last.
    ends.sort_unstable_by_key(|end| end.unwrap_or(u64::MAX));
    ends.dedup();
    // Beyond the last old read there is nothing to see.
    let any_old = |end: &Option<u64>| {
        let mut ranges = runs.iter().filter_map(Measured::ages).flat_map(|ages| &ages.by_write_age);
        ranges.any(|range| range.below_ns == *end && range.old > 0)
    };
    ends.truncate(ends.iter().rposition(any_old).map_or(0, |last| last + 2));
    let series = |run: &Measured| {
        let value = |end: &Option<u64>| {
            let ranges = &run.ages()?.by_write_age;
            share(ranges.iter().find(|range| range.below_ns == *end)?).percent()
        };
        Series {
            name: run.experiment.name.clone(),
            predicted: false,
            values: ends.iter().map(value).collect(),
        }
    };
    let category = |end: &Option<u64>| match end {
        Some(ns) => format!("< {} ms", ns / 1_000_000),
        None => "later".to_owned(),
    };
    Chart {
        caption: "Old reads by the time since the newest write had ended".to_owned(),
        across: "time since the newest write".to_owned(),
        up: "share of reads, %".to_owned(),
        categories: ends.iter().map(category).collect(),
        series: runs.iter().map(series).collect(),
    }
}

fn latencies(runs: &[Measured]) -> Chart {
    Chart {
        caption: "Writes by the copies that they wait for".to_owned(),
        across: "acknowledged by".to_owned(),
        up: "median latency of a write, ms".to_owned(),
        categories: runs.iter().map(|run| run.experiment.name.clone()).collect(),
        series: vec![Series {
            name: "writes".to_owned(),
            predicted: false,
            values: runs.iter().map(median).collect(),
        }],
    }
}

fn table(runs: &[Measured]) -> Table {
    let row = |run: &Measured| {
        let dash = || "–".to_owned();
        let kind = |name: &str| run.figures().and_then(|record| record.statistics.by_f.get(name));
        let ms = |us: u64| format!("{:.1} ms", us as f64 / 1000.0);
        let promise = run.figures().map(|record| record.promise.clone());
        vec![
            run.experiment.name.clone(),
            kind("read").map_or_else(dash, |read| ms(read.p50_us)),
            kind("write").map_or_else(dash, |write| ms(write.p50_us)),
            kind("write").map_or_else(dash, |write| ms(write.p99_us)),
            promise.unwrap_or_else(dash),
            run.kept(),
        ]
    };
    Table {
        caption: "Each run".to_owned(),
        head: ["run", "read, p50", "write, p50", "write, p99", "promised", "kept?"].map(str::to_owned).into(),
        rows: runs.iter().map(row).collect(),
    }
}
