//! A run without anomalies, and everything that it leaves behind.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use crate::record::{Counts, clients, counts, nemesis};
use crate::stage::{PATIENCE, Stage};
use crate::witness::assert_proves;
use crate::{Test, TestIfAllowed};
use duress_testing::{Missing, Need};

pub const TESTS: &[Test] = &[
    ("a_run_leaves_a_true_record", a_run_leaves_a_true_record),
    ("a_run_can_end_with_its_first_anomaly", a_run_can_end_with_its_first_anomaly),
];
pub const TESTS_IF_ALLOWED: &[TestIfAllowed] = &[
    ("etcd_keeps_its_promise", etcd_keeps_its_promise),
    ("etcd_keeps_its_promise_about_transactions", etcd_keeps_its_promise_about_transactions),
    ("a_bank_on_etcd_keeps_its_total", a_bank_on_etcd_keeps_its_total),
];

fn a_run_leaves_a_true_record() {
    let stage = Stage::set();
    let run = stage.run("run store --time-limit 8 --seed 7 --interval 1500ms --runs runs", PATIENCE).exits(0);
    stage.assert_vanished();
    let record = stage.latest();
    assert_eq!(
        fs::canonicalize(stage.path().join("runs/store-raft/latest")).unwrap(),
        record.path(),
        "both links lead to the run"
    );
    for file in ["plan.json", "history.jsonl", "verdict.json", "report.txt", "duress.log"] {
        assert!(record.path().join(file).is_file(), "{file}");
    }
    for number in 1..=5 {
        for file in ["stdout.log", "stderr.log"] {
            assert!(record.path().join(format!("nodes/n{number}")).join(file).is_file(), "n{number}/{file}");
        }
    }
    assert_eq!(run.stdout, record.text("report.txt"), "what is printed is kept");
    assert!(run.stdout.starts_with("VALID: store (raft") && run.stdout.contains("seed        7\n"), "{run}");

    assert!(run.stderr.contains("no anomaly yet in "), "it is checked while it goes on: {run}");
    assert!(!record.path().join("live.json").exists(), "the verdict takes its place");

    let history = record.history();
    well_formed(&history);
    every_planned_fault_has_its_evidence(&record.json("plan.json"), &history);
    figures_are_the_historys(&record.json("verdict.json"), &run.stdout, &history);

    let again = stage.run(&format!("check {}", record.path().display()), PATIENCE).exits(0);
    assert!(again.stdout.starts_with("VALID: "), "{again}");
    one_older_answer_is_found(&stage, &history);
}

fn a_run_can_end_with_its_first_anomaly() {
    let stage = Stage::set();
    let line = "run store --mode primary -o read=any --promise linearizable --faults partition --nodes 3 --time-limit 100s \
                --stop-at-first-anomaly";
    let run = stage.run(line, PATIENCE).exits(1);
    stage.assert_vanished();
    assert!(run.stderr.contains("; ending the run"), "{run}");
    assert!(run.stdout.contains("the run was ended early"), "{run}");
    let refused = stage.run("run broker --workload queue --stop-at-first-anomaly", PATIENCE).exits(254);
    assert!(refused.one_error().contains("the workload queue"), "{refused}");
}

/// Edits one read of a real history, and compares the check's result with the edit.
fn one_older_answer_is_found(stage: &Stage, history: &[Value]) {
    let (edited, value) = with_a_past(history);
    let mut lines: Vec<String> = history.iter().map(Value::to_string).collect();
    let mut event = history[edited].clone();
    event["value"][1] = value;
    lines[edited] = event.to_string();
    stage.write("edited.jsonl", lines.join("\n") + "\n");
    let check = stage.run("check edited.jsonl --json", PATIENCE).exits(1);
    let report: Value = serde_json::from_str(&check.stdout).unwrap();
    let anomalies = report["verdict"]["invalid"].as_array().unwrap();
    assert_eq!(anomalies.len(), 1, "one key is touched: {check}");
    let mut history = history.to_vec();
    history[edited] = event;
    assert!(assert_proves(&anomalies[0], &history), "{check}");
    let operations = anomalies[0]["operations"].as_array().unwrap();
    assert!(operations.iter().any(|operation| operation["completion_index"] == edited), "{check}");
}

/// Returns a read that was answered, and an older value of its key: one that another read had seen, and seen
/// replaced, before this one began.
fn with_a_past(history: &[Value]) -> (usize, Value) {
    let mut began = BTreeMap::new();
    // By key, each answered read: its beginning, its end, its value.
    let mut reads: BTreeMap<&str, Vec<(usize, usize, &Value)>> = BTreeMap::new();
    for (at, event) in history.iter().enumerate().filter(|(_, event)| event["f"] == "read") {
        let process = event["process"].as_u64().unwrap();
        if event["type"] == "invoke" {
            began.insert(process, at);
        } else if event["type"] == "ok" {
            let key = event["value"][0].as_str().unwrap();
            reads.entry(key).or_default().push((began[&process], at, &event["value"][1]));
        }
    }
    for reads in reads.values() {
        for (began, edited, _) in reads {
            for (later_began, later_ended, later) in reads.iter().filter(|read| read.1 < *began) {
                let older = reads
                    .iter()
                    .find(|(_, ended, value)| ended < later_began && value != later && value.is_i64());
                if let Some((_, _, older)) = older
                    && later_ended < began
                    && history[*edited]["value"][1] != **older
                {
                    return (*edited, (*older).clone());
                }
            }
        }
    }
    panic!("no key was read often enough");
}

/// Indices count from 0, time never falls, and a process does one thing at a time, on one node, until it is retired.
fn well_formed(history: &[Value]) {
    let mut last_time = 0;
    let mut open: BTreeMap<u64, &Value> = BTreeMap::new();
    for (index, event) in history.iter().enumerate() {
        assert_eq!(event["index"], index, "{event}");
        let time = event["time"].as_u64().unwrap();
        assert!(time >= last_time, "time falls at {event}");
        last_time = time;
        let Some(process) = event["process"].as_u64() else {
            assert_eq!((&event["process"], &event["type"]), (&"nemesis".into(), &"info".into()), "{event}");
            continue;
        };
        if event["type"] == "invoke" {
            assert!(open.insert(process, event).is_none(), "two things at a time: {event}");
            continue;
        }
        // A retired process stays in `open`: a later operation of it would be a second one at the same time.
        let invoked =
            if event["type"] == "info" { open.get(&process).copied() } else { open.remove(&process) };
        let invoked = invoked.unwrap_or_else(|| panic!("never invoked: {event}"));
        assert_eq!((&invoked["f"], &invoked["node"]), (&event["f"], &event["node"]), "{event}");
        assert!(event["type"] == "ok" || event["error"].is_string(), "no reason given: {event}");
    }
}

fn every_planned_fault_has_its_evidence(plan: &Value, history: &[Value]) {
    let schedule = plan["schedule"].as_array().unwrap();
    assert!(schedule.len() >= 2, "a schedule that tests something: {schedule:?}");
    for fault in schedule {
        let id = &fault["id"];
        let mut ends = [0, 0];
        for (end, prefix) in ends.iter_mut().zip(["start-", "stop-"]) {
            let events = nemesis(history, prefix);
            let proven =
                |event: &&&Value| event["value"]["fault"] == *id && event["value"]["evidence"].is_object();
            let event = events
                .iter()
                .find(proven)
                .unwrap_or_else(|| panic!("fault {id}: no evidence of its {prefix}"));
            assert!(event["error"].is_null(), "{event}");
            *end = event["time"].as_u64().unwrap() / 1_000_000;
        }
        // Not before its time; how much later is the machine's business.
        assert!(
            ends[0] >= fault["start_ms"].as_u64().unwrap(),
            "fault {id} began at {} ms: {fault}",
            ends[0]
        );
        assert!(ends[1] >= fault["stop_ms"].as_u64().unwrap(), "fault {id} ended at {} ms: {fault}", ends[1]);
    }
    let nodes = plan["nodes"].as_array().unwrap().len();
    all_are_restarted_and_compared(schedule.len() as u64 + 1, nodes, history);
}

/// At its end a run kills all nodes at once, and asks every node for its copies before and after.
fn all_are_restarted_and_compared(id: u64, nodes: usize, history: &[Value]) {
    let started = nemesis(history, "start-kill");
    let last =
        started.iter().rfind(|event| event["value"]["evidence"].is_object()).expect("a restart of all");
    assert_eq!(last["value"]["fault"], id, "{last}");
    assert_eq!(last["value"]["evidence"]["nodes"].as_array().unwrap().len(), nodes, "{last}");
    assert_eq!(nemesis(history, "recovered").len(), 2, "before it and after it");
    let compared = nemesis(history, "compared");
    let occasions: Vec<&Value> = compared.iter().map(|event| &event["value"]["occasion"]).collect();
    assert_eq!(occasions, ["healed", "restarted"]);
    for event in compared {
        let copies = event["value"]["objects"][0]["copies"].as_array().unwrap();
        assert_eq!(copies.len(), nodes, "{event}");
        for field in ["position", "digest", "keys"] {
            assert!(copies.iter().all(|copy| copy[field] == copies[0][field]), "{field}: {event}");
        }
        assert!(copies[0]["keys"].as_u64().unwrap() > 5, "{event}");
    }
    let after = last["index"].as_u64().unwrap();
    let read = |event: &&Value| event["f"] == "read" && event["type"] == "ok";
    assert!(clients(history).filter(read).any(|event| event["index"].as_u64().unwrap() > after));
}

fn figures_are_the_historys(verdict: &Value, report: &str, history: &[Value]) {
    let said = |counts: &Value| Counts {
        ok: counts["ok"].as_u64().unwrap(),
        fail: counts["fail"].as_u64().unwrap(),
        info: counts["info"].as_u64().unwrap(),
    };
    let statistics = &verdict["statistics"];
    let all = counts(clients(history));
    assert!(all.ok > 100, "a run in which something happened: {all:?}");
    assert_eq!(said(&statistics["counts"]), all);
    let Counts { ok, fail, info } = all;
    assert!(report.contains(&format!(": {ok} ok, {fail} fail, {info} info\n")), "{all:?} in {report}");
    for (field, parts) in [("f", &statistics["by_f"]), ("node", &statistics["by_node"])] {
        let parts = parts.as_object().unwrap();
        let mut sum = 0;
        for (name, part) in parts {
            let of_part = counts(clients(history).filter(|event| event[field] == **name));
            assert_eq!(said(&part["counts"]), of_part, "{field} {name}");
            sum += of_part.ok + of_part.fail + of_part.info;
        }
        assert_eq!(sum, ok + fail + info, "every operation has one {field}");
    }
    let keys: std::collections::BTreeSet<&str> =
        clients(history).map(|event| event["value"][0].as_str().unwrap()).collect();
    assert_eq!(verdict["check"]["keys"], keys.len());
}

/// Runs etcd with these arguments, and expects that it keeps its promise.
fn run_etcd(stage: &Stage, arguments: &str) -> Result<(), Missing> {
    let line = format!("run etcd --nodes 3 --time-limit 8 --seed 11 --interval 1s {arguments}");
    let run = stage.run(&line, PATIENCE);
    if run.code() == 3 && run.stderr.contains("etcd cannot be started") {
        return Err(Missing::new(Need::Etcd, run.stderr));
    }
    let run = run.exits(0);
    assert!(run.stdout.starts_with("VALID: etcd"), "{run}");
    Ok(())
}

fn a_bank_on_etcd_keeps_its_total() -> Result<(), Missing> {
    let stage = Stage::set();
    run_etcd(&stage, "--workload bank --faults pause")?;
    let history = stage.latest().history();
    let done = |f: &str| history.iter().filter(|event| event["f"] == f && event["type"] == "ok").count();
    assert!(done("transfer") > 20 && done("read") > 20, "{} and {}", done("transfer"), done("read"));
    Ok(())
}

/// No target is special.
fn etcd_keeps_its_promise() -> Result<(), Missing> {
    let stage = Stage::set();
    run_etcd(&stage, "--faults pause,partition")?;
    let record = stage.latest();
    every_planned_fault_has_its_evidence(&record.json("plan.json"), &record.history());
    stage.assert_vanished();
    Ok(())
}

fn etcd_keeps_its_promise_about_transactions() -> Result<(), Missing> {
    let stage = Stage::set();
    run_etcd(&stage, "--workload list-append --faults pause")?;
    let record = stage.latest();
    let verdict = record.json("verdict.json");
    assert_eq!(verdict["promise"], "strict-serializable");
    let checked = &verdict["check"]["details"]["transactions"];
    assert!(checked["committed"].as_u64() > Some(0), "{verdict}");
    let folder = record.path().display().to_string();
    stage.run(&format!("check {folder}"), PATIENCE).exits(0);

    // Without the last element of the longest list, its last reader saw less than others had seen before it.
    let mut history = record.history();
    let length = |event: &Value| {
        let micros = event["value"].as_array().into_iter().flatten();
        micros.filter(|micro| micro[0] == "r").filter_map(|micro| micro[2].as_array()).map(Vec::len).max()
    };
    let longest = history.iter().filter(|event| event["type"] == "ok").filter_map(length).max().unwrap();
    let reader = history.iter().rposition(|event| event["type"] == "ok" && length(event) == Some(longest));
    let micros = history[reader.unwrap()]["value"].as_array_mut().unwrap();
    for micro in micros.iter_mut().filter(|micro| micro[0] == "r") {
        let list = micro[2].as_array_mut().unwrap();
        if list.len() == longest {
            list.pop();
        }
    }
    let lines: Vec<String> = history.iter().map(Value::to_string).collect();
    stage.write("edited.jsonl", lines.join("\n") + "\n");
    let edited = stage.run("check edited.jsonl --model list-append --json", PATIENCE).exits(1);
    let report: Value = serde_json::from_str(&edited.stdout).unwrap();
    let found = report["details"]["transactions"]["found"].as_object().unwrap();
    assert!(found.keys().any(|kind| kind.starts_with("G-single")), "{edited}");
    stage.run("check edited.jsonl --model list-append --consistency PL-2", PATIENCE).exits(0);
    Ok(())
}
