//! Broken promises are found, and the anomalies are proved.

use serde_json::Value;

use crate::Test;
use crate::stage::{PATIENCE, Stage};
use crate::witness::assert_proves;

pub const TESTS: &[Test] = &[
    ("reads_of_any_replica_are_stale", reads_of_any_replica_are_stale),
    ("reads_older_than_their_bound_are_found", reads_older_than_their_bound_are_found),
    ("cas_before_order_is_found", || is_found("cas-before-order", "--time-limit 4")),
    ("stale_leader_read_is_found", || is_found("stale-leader-read", ISOLATED_LEADERS)),
    ("ack_before_commit_is_found", || is_found("ack-before-commit", ISOLATED_LEADERS)),
    ("half_a_transfer_is_found", half_a_transfer_is_found),
    ("a_bank_keeps_its_total_under_faults", a_bank_keeps_its_total_under_faults),
    ("a_lock_whose_acquisition_is_lost_has_two_owners", a_lock_whose_acquisition_is_lost_has_two_owners),
    ("a_lock_with_a_lease_may_have_two_owners", a_lock_with_a_lease_may_have_two_owners),
    ("isolated_leaders_without_a_bug_break_nothing", isolated_leaders_without_a_bug_break_nothing),
    ("no_faults_and_no_bug_break_nothing", no_faults_and_no_bug_break_nothing),
];

/// Leaders are isolated for long enough that another is elected, and clients give up soon enough on the one that was to
/// ask it something else meanwhile.
const ISOLATED_LEADERS: &str = "--time-limit 12 --interval 2s --timeout 300ms";

/// A bug is found with a probability, not always: this often it is tried, each time with another seed.
const TRIALS: u64 = 3;

/// Runs `line`; if that finds anomalies, checks their proofs and returns their kinds.
#[track_caller]
fn found(line: &str) -> Option<Vec<String>> {
    let stage = Stage::set();
    let run = stage.run(line, PATIENCE);
    stage.assert_vanished();
    if run.code() == 0 {
        return None;
    }
    let run = run.exits(1);
    assert!(run.stdout.starts_with("INVALID: "), "{run}");
    let record = stage.latest();
    let verdict = record.json("verdict.json");
    assert_eq!(verdict["verdict"], "invalid");
    let history = record.history();
    let anomalies: &Vec<Value> = verdict["anomalies"].as_array().unwrap();
    // No operation proves the harness's findings apart from the answers to clients.
    let of_clients = || anomalies.iter().filter(|anomaly| anomaly["kind"] != "diverged");
    let tried = of_clients().filter(|anomaly| assert_proves(anomaly, &history)).count();
    assert!(tried > 0, "all of {} witnesses are too large to be followed", anomalies.len());
    let kinds = anomalies.iter().map(|anomaly| anomaly["kind"].as_str().unwrap().to_owned()).collect();
    // The record alone says the same.
    stage.run(&format!("check {}", record.path().display()), PATIENCE).exits(1);
    Some(kinds)
}

fn reads_of_any_replica_are_stale() {
    let line = "run store --mode primary -o read=any --promise linearizable --faults partition --interval 1s --time-limit 5 --seed 3";
    let kinds = found(line).expect("replicas lag");
    // A stale read of a write that no other client saw looks like a lost write.
    let stale = kinds.iter().filter(|kind| ["stale-read", "lost-write"].contains(&kind.as_str())).count();
    assert!(stale > 0, "{kinds:?}");
}

fn reads_older_than_their_bound_are_found() {
    let run = "run store --mode primary -o read=any --faults partition --interval 1s --time-limit 5 --seed 3";
    let kinds =
        found(&format!("{run} --promise bounded-staleness=1")).expect("replicas lag, one without end");
    assert!(kinds.iter().any(|kind| kind == "stale-read"), "{kinds:?}");
}

fn is_found(bug: &str, options: &str) {
    let trial = |seed| found(&format!("run store --bug {bug} {options} --seed {seed}"));
    assert!((1..=TRIALS).any(|seed| trial(seed).is_some()), "{bug} was not found in {TRIALS} trials");
}

fn holds(line: &str) {
    let stage = Stage::set();
    let run = stage.run(line, PATIENCE).exits(0);
    assert!(run.stdout.starts_with("VALID: "), "{run}");
    assert_eq!(stage.latest().json("verdict.json")["verdict"], "valid");
}

/// The scenario of two of the bugs.
fn isolated_leaders_without_a_bug_break_nothing() {
    holds(&format!("run store --faults partition:isolate-leader {ISOLATED_LEADERS} --seed 1"));
}

/// The scenario of the third.
fn no_faults_and_no_bug_break_nothing() {
    holds("run store --faults none --time-limit 6 --seed 1");
}

/// With the bug, a read comes between the two commands of a transfer.
fn half_a_transfer_is_found() {
    let stage = Stage::set();
    let line = "run store --workload bank --bug exec-piecewise --faults none --time-limit 4 --seed 1";
    let run = stage.run(line, PATIENCE).exits(1);
    assert!(run.stdout.contains("INVALID: ") && run.stdout.contains("wrong-total"), "{run}");
    let record = stage.latest();
    let verdict = record.json("verdict.json");
    let anomaly =
        verdict["anomalies"].as_array().unwrap().iter().find(|anomaly| anomaly["kind"] == "wrong-total");
    let operations = anomaly.unwrap()["operations"].as_array().unwrap();
    let action = |at: usize| operations[at]["action"].as_str().unwrap();
    assert!(
        action(0).starts_with("create a0: 10, a1: 10") && action(1).starts_with("read -> a0: "),
        "{verdict}"
    );
    let balances =
        action(1).split(": ").skip(1).map(|rest| rest.split(',').next().unwrap().parse::<i64>().unwrap());
    assert_ne!(balances.sum::<i64>(), 80, "{verdict}");
    // The record alone says the same, and nothing where nothing is promised.
    let path = record.path().display().to_string();
    stage.run(&format!("check {path}"), PATIENCE).exits(1);
    let open = stage.run(&format!("check {path} --promise read-committed"), PATIENCE).exits(2);
    assert!(open.stdout.contains("read-committed promises nothing about the total"), "{open}");
}

/// The primary alone acknowledges, and the replica that takes over does not know who holds what.
fn a_lock_whose_acquisition_is_lost_has_two_owners() {
    let line = "run store --mode primary -o failover=auto --nodes 3 --workload lock --promise linearizable \
                --faults partition:isolate-leader --time-limit 8";
    let two_owners = |seed| {
        let stage = Stage::set();
        let run = stage.run(&format!("{line} --seed {seed}"), PATIENCE);
        if run.code() == 0 {
            return false;
        }
        assert!(run.exits(1).stdout.starts_with("INVALID: "));
        let record = stage.latest();
        stage.run(&format!("check {}", record.path().display()), PATIENCE).exits(1);
        let (verdict, history) = (record.json("verdict.json"), record.history());
        let anomalies = verdict["anomalies"].as_array().unwrap();
        let twice = anomalies.iter().find(|anomaly| anomaly["kind"] == "double-acquire");
        // Each was told that it has the lock, and no other operation of the witness gave it back.
        let owners = twice.map(|anomaly| {
            let told = |operation: &Value| {
                let completion = &history[operation["completion_index"].as_u64().unwrap() as usize];
                assert_eq!(completion["key"], anomaly["objects"][0]["name"], "{anomaly}");
                (completion["f"] == "acquire" && completion["type"] == "ok")
                    .then(|| completion["process"].clone())
            };
            anomaly["operations"].as_array().unwrap().iter().filter_map(told).collect::<Vec<Value>>()
        });
        assert!(owners.as_ref().is_none_or(|owners| owners.len() >= 2), "{verdict}");
        owners.is_some()
    };
    assert!((1..=TRIALS).any(two_owners), "two owners were not found in {TRIALS} trials");
}

/// Owners are paused for longer than their leases.
fn a_lock_with_a_lease_may_have_two_owners() {
    let stage = Stage::set();
    let line =
        "run store --nodes 3 --workload lock --ttl 50ms --faults partition,pause --time-limit 8 --seed 1";
    let run = stage.run(line, PATIENCE).exits(0);
    stage.assert_vanished();
    assert!(run.stdout.contains("tokens grow in the order of the acquisitions"), "{run}");
    let path = stage.latest().path().display().to_string();
    let check = stage.run(&format!("check {path} --model fenced-mutex"), PATIENCE).exits(1);
    assert!(check.stdout.contains("double-acquire"), "{check}");
}

fn a_bank_keeps_its_total_under_faults() {
    let stage = Stage::set();
    let line = "run store --nodes 3 --workload bank --faults partition,kill,pause --time-limit 8 --seed 1";
    let run = stage.run(line, PATIENCE).exits(0);
    stage.assert_vanished();
    assert!(run.stdout.starts_with("VALID: store (raft"), "{run}");
    let history = stage.latest().history();
    let count = |f: &str, op_type: &str| {
        history.iter().filter(|event| event["f"] == f && event["type"] == op_type).count()
    };
    assert!(count("create", "ok") == 1 && count("transfer", "ok") > 20 && count("read", "ok") > 20, "{run}");
    // Some transfers are of more than there is.
    let refused = |event: &&Value| event["error"].to_string().contains("the account has less than that");
    assert!(history.iter().any(|event| refused(&event)), "{run}");
    let last: std::collections::BTreeSet<String> = history
        .iter()
        .rev()
        .take_while(|event| event["f"] != "transfer")
        .filter(|event| event["type"] == "ok" && event["f"] == "read")
        .map(|event| event["node"].to_string())
        .collect();
    assert_eq!(last.len(), 3, "all balances are read through every node at the end: {last:?}");
}
