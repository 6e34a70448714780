//! Sharding: keys are split over shards, and move when nodes join.

use std::collections::BTreeMap;

use duress_store::{NodeName, Ring, place};

use crate::lesson::experiment::{Experiment, Measured, Share};
use crate::lesson::section::{Chart, Section, Series, Statement, Table, capitalized};
use crate::lesson::topic::{Setting, Topic};

/// The topic.
pub const TOPIC: Topic = Topic {
    name: "sharding",
    claim: "Sharding splits the data; with consistent hashing a node that joins takes over its share of the keys and no more.",
    runs,
    section,
};

/// How many of the runs, the last ones, read many keys at once.
const GATHERS: usize = 2;
/// How many keys are placed.
const KEYS: u64 = 100_000;
/// The points of each node, as the store has them by default.
const POINTS: u64 = 64;
/// The numbers of nodes that grow by one.
const SIZES: std::ops::RangeInclusive<u64> = 3..=8;

fn runs(_: &Setting) -> Vec<Experiment> {
    let run =
        |name: &str, words: &str| Experiment::new(name, &format!("store --mode sharded --nodes 3 {words}"));
    vec![
        run("keys that stay", "--faults none"),
        run("keys that move", "-o rebalance_every_ms=200 --faults none"),
        run("keys that move under faults", "-o rebalance_every_ms=200 --faults partition,kill,pause"),
        run("gathers from one shard", "-o shards=1 --workload job --faults none"),
        run("gathers from eight shards", "-o shards=8 --workload job --faults none"),
    ]
}

/// The keys that have another place once there is a node more: on the ring, and by the remainder of their hash.
fn moved(nodes: u64) -> [Share; 2] {
    let names = |count: u64| (1..=count).map(|number| format!("n{number}").parse().expect("a name"));
    // In order, which for fewer than ten nodes is that of their numbers.
    let ring = |count: u64| Ring::new(&names(count).collect::<Vec<NodeName>>(), POINTS, 1);
    let (before, after) = (ring(nodes), ring(nodes + 1));
    let mut moved = [Share { part: 0, of: KEYS }; 2];
    for number in 0..KEYS {
        let key = format!("key-{number}");
        let hash = place(key.as_bytes());
        moved[0].part += u64::from(before.owners(key.as_bytes()) != after.owners(key.as_bytes()));
        moved[1].part += u64::from(hash % nodes != hash % (nodes + 1));
    }
    moved
}

fn section(runs: &[Measured]) -> Section {
    let (on_keys, gathers) = runs.split_at(runs.len().saturating_sub(GATHERS));
    let growth: BTreeMap<u64, [Share; 2]> = SIZES.map(|nodes| (nodes, moved(nodes))).collect();
    let [ring, modulo] = growth[&5];
    let computed = Statement {
        text: format!(
            "A ring that grows from 5 to 6 nodes moves {}, near the 1/6 (16.7 %) that the new node must get; placing keys by \
             hash modulo the number of nodes moves {modulo}. Computed with the store's own placement, {POINTS} points a node.",
            ring.words("keys")
        ),
        commands: Vec::new(),
    };
    let lost = |run: &Measured| {
        let text = match run.figures() {
            Some(record) => format!(
                "{}: {} operations on {} keys, promised {}: {}.",
                capitalized(&run.experiment.name),
                record.check.operations,
                record.check.keys,
                record.promise,
                run.kept()
            ),
            None => format!("{}: not measured ({}).", capitalized(&run.experiment.name), run.kept()),
        };
        Statement::of(text, [run])
    };
    Section {
        statements: std::iter::once(computed)
            .chain(on_keys.iter().map(lost))
            .chain([gathered(gathers)])
            .collect(),
        charts: vec![chart(&growth), gathers_chart(gathers)],
        tables: vec![table(on_keys)],
    }
}

/// Returns the median latency of an operation of a run, in milliseconds.
fn median(run: &Measured, f: &str) -> Option<f64> {
    run.figures()?.statistics.by_f.get(f).map(|kind| kind.p50_us as f64 / 1000.0)
}

/// Says what a read costs that asks all shards.
fn gathered(runs: &[Measured]) -> Statement {
    let each = runs.iter().map(|run| match (median(run, "load"), median(run, "gather")) {
        (Some(one), Some(all)) => format!(
            "{} took {all:.1} ms, and a write of one key beside them {one:.1} ms",
            run.experiment.name
        ),
        _ => format!("{} not measured ({})", run.experiment.name, run.kept()),
    });
    let text = format!(
        "The median latency of a read of many keys at once: {}.",
        each.collect::<Vec<_>>().join("; ")
    );
    Statement::of(text, runs)
}

fn gathers_chart(runs: &[Measured]) -> Chart {
    let series = |name: &str, f: &str| Series {
        name: name.to_owned(),
        predicted: false,
        values: runs.iter().map(|run| median(run, f)).collect(),
    };
    Chart {
        caption: "A write of one key, and a read of many keys".to_owned(),
        across: "run".to_owned(),
        up: "median latency, ms".to_owned(),
        categories: runs.iter().map(|run| run.experiment.name.clone()).collect(),
        series: vec![series("one key", "load"), series("many keys", "gather")],
    }
}

fn chart(growth: &BTreeMap<u64, [Share; 2]>) -> Chart {
    let series = |name: &str, predicted, value: &dyn Fn(u64, &[Share; 2]) -> Option<f64>| Series {
        name: name.to_owned(),
        predicted,
        values: growth.iter().map(|(nodes, moved)| value(*nodes, moved)).collect(),
    };
    Chart {
        caption: "Keys that move when a node joins".to_owned(),
        across: "nodes before and after".to_owned(),
        up: "share of 100,000 keys, %".to_owned(),
        categories: growth.keys().map(|nodes| format!("{nodes} → {}", nodes + 1)).collect(),
        series: vec![
            series("ring", false, &|_, moved| moved[0].percent()),
            series("hash modulo nodes", false, &|_, moved| moved[1].percent()),
            series("1/n", true, &|nodes, _| Some(100.0 / (nodes + 1) as f64)),
            series("1−1/n", true, &|nodes, _| Some(100.0 * nodes as f64 / (nodes + 1) as f64)),
        ],
    }
}

fn table(runs: &[Measured]) -> Table {
    let row = |run: &Measured| {
        let dash = || "–".to_owned();
        let statistics = run.figures().map(|record| &record.statistics);
        let kind = |name: &str| statistics.and_then(|all| all.by_f.get(name));
        let ms = |us: u64| format!("{:.1} ms", us as f64 / 1000.0);
        vec![
            run.experiment.name.clone(),
            statistics.map_or_else(dash, |all| all.counts.ok.to_string()),
            kind("read").map_or_else(dash, |kind| format!("{} / {}", ms(kind.p50_us), ms(kind.p99_us))),
            kind("write").map_or_else(dash, |kind| format!("{} / {}", ms(kind.p50_us), ms(kind.p99_us))),
            run.kept(),
        ]
    };
    Table {
        caption: "Each run: latencies are medians and 99th percentiles".to_owned(),
        head: ["run", "operations that happened", "read", "write", "promise kept?"].map(str::to_owned).into(),
        rows: runs.iter().map(row).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_that_grows_moves_the_share_of_the_new_node() {
        for nodes in SIZES {
            let [ring, modulo] = moved(nodes).map(|share| share.percent().expect("there are keys"));
            let needed = 100.0 / (nodes + 1) as f64;
            assert!((needed * 0.7..=needed * 1.3).contains(&ring), "{nodes}: {ring} %, and {needed} % must");
            assert!(modulo > 70.0, "{nodes}: {modulo} %");
        }
        let ring = moved(5)[0].percent().expect("there are keys");
        assert!((ring - 100.0 / 6.0).abs() < 0.2 * 100.0 / 6.0, "{ring} %");
    }
}
