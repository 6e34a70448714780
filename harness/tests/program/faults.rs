//! Faults as a user asks for them: what they find, what they leave alone, and what becomes of nodes that they end.

use serde_json::Value;

use crate::record::nemesis;
use crate::stage::{PATIENCE, Stage};
use crate::{Test, TestIfAllowed};
use duress_testing::{Missing, Need};

pub const TESTS: &[Test] = &[
    ("a_mix_stays_within_what_the_target_tolerates", a_mix_stays_within_what_the_target_tolerates),
    ("flapping_links_and_slow_clients_break_nothing", flapping_links_and_slow_clients_break_nothing),
];
pub const TESTS_IF_ALLOWED: &[TestIfAllowed] = &[
    ("clocks_beyond_the_bound_break_leases", clocks_beyond_the_bound_break_leases),
    ("clocks_within_the_bound_break_nothing", clocks_within_the_bound_break_nothing),
    ("nodes_that_their_disks_fail_may_end", nodes_that_their_disks_fail_may_end),
];

/// The plan that `line` comes to.
fn planned(line: &str) -> Value {
    let stage = Stage::set();
    let run = stage.run(&format!("run {line} --dry-run"), PATIENCE).exits(0);
    serde_json::from_str(&run.stdout).unwrap()
}

/// The most nodes that one fault of `plan` kills.
fn most_killed(plan: &Value) -> usize {
    let faults = plan["schedule"].as_array().unwrap();
    let struck = |fault: &Value| fault["targets"]["nodes"].as_array().map_or(1, Vec::len);
    faults.iter().map(struck).max().unwrap()
}

fn a_mix_stays_within_what_the_target_tolerates() {
    let long = "--faults kill --time-limit 600 --seed 1";
    let raft = planned(&format!("store {long}"));
    assert_eq!((most_killed(&raft), &raft["losses"]), (2, &serde_json::json!({"at-most": 2})));
    // Without failover it survives the loss of nobody, and a fault strikes somebody.
    let primary = planned(&format!("store --mode primary {long}"));
    assert_eq!((most_killed(&primary), &primary["losses"]), (1, &serde_json::json!({"at-most": 1})));
    let beyond = planned(&format!("store {long} --beyond-tolerance"));
    assert_eq!((most_killed(&beyond), &beyond["losses"]), (5, &serde_json::json!("beyond")));
    // What was asked for by name is what it says.
    assert_eq!(most_killed(&planned("store --faults kill:all --seed 1")), 5);
}

fn flapping_links_and_slow_clients_break_nothing() {
    let stage = Stage::set();
    let line = "run store --nodes 3 --time-limit 8 --interval 2s --seed 4 \
                --faults partition:flapping=400ms,packet:delay=20ms@clients";
    let run = stage.run(line, PATIENCE).exits(0);
    let history = stage.latest().history();
    let starts = nemesis(&history, "start-");
    let seen = |kind: &str| starts.iter().any(|event| event["value"]["evidence"]["seen"] == kind);
    assert!(seen("flapping") && seen("shaped"), "{run}");
    // When each was in force is told to the microsecond, and never before its time.
    assert!(run.stdout.contains("in force after their time by"), "{run}");
    let evident = || starts.iter().filter(|event| !event["value"]["evidence"].is_null());
    assert!(evident().all(|event| event["value"]["late_us"].is_u64()), "{run}");
}

/// Runs `line` over as many seeds as it takes; whether any is found to break the promise.
fn breaks(line: &str, seeds: std::ops::RangeInclusive<u64>) -> Result<bool, Missing> {
    for seed in seeds {
        let stage = Stage::set();
        let run = stage.run(&format!("{line} --seed {seed}"), PATIENCE);
        stage.assert_vanished();
        match run.code() {
            0 => {}
            1 => return Ok(true),
            _ if run.stderr.contains("clocks of their own") => {
                return Err(Missing::new(Need::Ptrace, run.stderr));
            }
            _ => panic!("{run}"),
        }
    }
    Ok(false)
}

const LEASES: &str = "run store --mode raft -o reads=lease --nodes 3 --time-limit 12";

fn clocks_beyond_the_bound_break_leases() -> Result<(), Missing> {
    let broken = breaks(&format!("{LEASES} --faults clock"), 1..=4)?;
    assert!(broken, "no stale read in four trials");
    Ok(())
}

fn clocks_within_the_bound_break_nothing() -> Result<(), Missing> {
    let broken = breaks(&format!("{LEASES} --faults clock:drift=-400ms/s"), 1..=1)?;
    assert!(!broken, "a lease was broken by a clock within its bound");
    Ok(())
}

fn nodes_that_their_disks_fail_may_end() -> Result<(), Missing> {
    // By chance no node ends of it; then another seed is tried.
    for seed in 1..=4 {
        let stage = Stage::set();
        let line = "run store --nodes 3 --time-limit 8 --interval 2s --faults disk:eio,disk:enospc";
        let run = stage.run(&format!("{line} --seed {seed}"), PATIENCE);
        if run.code() == 3 && run.stdout.contains("/dev/fuse") {
            return Err(Missing::new(Need::Fuse, run.stdout));
        }
        // Nothing is broken by it, and nothing is lost.
        let run = run.exits(0);
        let history = stage.latest().history();
        let crashes = nemesis(&history, "crash");
        assert!(crashes.iter().all(|crash| crash["value"]["fault"].is_u64()), "{crashes:?}");
        if !crashes.is_empty() {
            assert!(run.stdout.contains("ended by it, as it may"), "{run}");
            return Ok(());
        }
    }
    panic!("in four trials no disk has failed a node");
}
