//! The same seed is the same schedule and the same operations.

use std::fs;

use crate::Test;
use crate::record::{Record, generated};
use crate::stage::{PATIENCE, Stage};

pub const TESTS: &[Test] = &[
    ("the_seed_decides_the_run", the_seed_decides_the_run),
    ("several_runs_have_consecutive_seeds", several_runs_have_consecutive_seeds),
];

// So short a run may have no more than two faults, of which none need leave the clients a leader.
const LINE: &str =
    "run store --nodes 3 --seed 42 --time-limit 4 --interval 700ms --faults pause,partition --floor 0";

fn the_seed_decides_the_run() {
    let stage = Stage::set();
    let first = ran(&stage, LINE);
    let second = ran(&stage, LINE);
    let replayed = ran(&stage, &format!("replay {}", first.path().display()));
    for (what, other) in [("a second run", &second), ("the replay", &replayed)] {
        assert_ne!(first.path(), other.path(), "{what} has a folder of its own");
        assert!(first.text("plan.json") == other.text("plan.json"), "{what} has the same plan");
        let (before, after) = (first.history(), other.history());
        let (before, after) = (generated(&before), generated(&after));
        let shorter = before.len().min(after.len());
        assert!(shorter > 100, "{what}: only {shorter} operations to compare");
        for (number, (expected, got)) in before.iter().zip(&after).enumerate() {
            assert_eq!(expected, got, "operation {number} of {what}");
        }
    }
    let other = ran(&stage, &LINE.replace("--seed 42", "--seed 43"));
    assert!(first.text("plan.json") != other.text("plan.json"), "another seed is another plan");
    assert!(generated(&first.history())[..100] != generated(&other.history())[..100], "and other operations");
}

fn several_runs_have_consecutive_seeds() {
    let stage = Stage::set();
    let line = "run store --nodes 3 --time-limit 1 --faults none --floor 0 --test-count 2 --seed=7";
    let runs = stage.run(line, PATIENCE).exits(0);
    stage.assert_vanished();
    assert!(runs.stdout.ends_with("2 of 2 runs: 2 valid, 0 invalid, 0 unknown\n"), "{runs}");
    let folders = fs::read_dir(stage.path().join("runs/store-raft")).unwrap();
    let of_runs = folders.map(|entry| entry.unwrap().path()).filter(|path| !path.is_symlink());
    let mut seeds: Vec<_> =
        of_runs.map(|path| Record::new(path).json("plan.json")["seed"].as_u64()).collect();
    seeds.sort_unstable();
    assert_eq!(seeds, [Some(7), Some(8)]);
}

#[track_caller]
fn ran(stage: &Stage, line: &str) -> Record {
    stage.run(line, PATIENCE).exits(0);
    let record = stage.latest();
    // The link moves on with the next run.
    assert!(fs::symlink_metadata(record.path()).unwrap().is_dir());
    record
}
