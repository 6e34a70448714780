//! What comes back after a heal, and what is said of a node that does not.

use std::fs;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::Test;
use crate::record::nemesis;
use crate::stage::{PATIENCE, Stage, wait_until};

pub const TESTS: &[Test] = &[
    ("every_heal_says_what_came_back", every_heal_says_what_came_back),
    ("a_node_that_stays_silent_is_found", a_node_that_stays_silent_is_found),
];

/// A partition of n2 from both others, from second 1 on.
fn partition(stop_ms: u64) -> Value {
    let links = [["n1", "n2"], ["n2", "n1"], ["n2", "n3"], ["n3", "n2"]];
    json!({"id": 1, "start_ms": 1000, "stop_ms": stop_ms, "kind": "partition",
        "shape": {"nodes": ["n2"]}, "cut": {"links": links}})
}

fn every_heal_says_what_came_back() {
    let stage = Stage::set();
    let pause =
        json!({"id": 2, "start_ms": 2000, "stop_ms": 6000, "kind": "pause", "targets": {"nodes": ["n2"]}});
    stage.write("schedule.json", json!([partition(2500), pause]).to_string());
    let line = "run store --nodes 3 --time-limit 8 --seed 1 --schedule schedule.json";
    let run = stage.run(line, PATIENCE).exits(0);
    let record = stage.latest();
    let history = record.history();
    let recoveries = nemesis(&history, "recovery");
    let of = |fault: u64| {
        let found = recoveries.iter().find(|event| event["value"]["fault"] == fault);
        found.unwrap_or_else(|| panic!("nothing is said of fault {fault}: {run}"))["value"].clone()
    };
    let came = |recovery: &Value, node: &str| {
        let nodes = recovery["nodes"].as_array().unwrap();
        nodes.iter().find(|one| one["node"] == node).map(|one| one["came"].clone())
    };
    // n2 was paused before the partition healed, and nothing is asked of it before that is over.
    let (first, second) = (of(1), of(2));
    assert_eq!(came(&first, "n1"), Some(json!("back")), "{first}");
    assert_eq!(came(&first, "n2"), Some(json!("not-judged")), "{first}");
    let of_n2 = first["nodes"].as_array().unwrap().iter().find(|one| one["node"] == "n2").unwrap();
    assert_eq!(of_n2["because"], json!({"why": "fault", "fault": 2}), "{first}");
    assert_eq!(first["links"].as_array().unwrap().len(), 4, "{first}");
    assert!(first["links"].as_array().unwrap().iter().all(|link| link["came"] == "back"), "{first}");
    assert_eq!((came(&second, "n1"), came(&second, "n2")), (None, Some(json!("back"))), "{second}");
    assert!(run.stdout.contains("came back: ") && run.stdout.contains("fault 2 struck it"), "{run}");
    let page = fs::read_to_string(record.path().join("report.html")).unwrap();
    assert!(page.contains("came back: n1 after "), "the page says it too");
}

fn a_node_that_stays_silent_is_found() {
    let stage = Stage::set();
    stage.write("schedule.json", json!([partition(3000)]).to_string());
    let line = "run store --nodes 3 --time-limit 5 --seed 1 --schedule schedule.json";
    let started = stage.start(stage.duress(line));
    let link = stage.path().join("runs/latest");
    wait_until("the run has a folder", PATIENCE, || link.exists());
    let record = stage.latest();
    wait_until("the partition is in force", PATIENCE, || {
        nemesis(&record.history(), "start-").iter().any(|event| event["value"]["evidence"].is_object())
    });
    // Something that no fault of the schedule explains, and no healing undoes.
    let node = process_of(&stage, "n2");
    kill(node, Signal::SIGSTOP).unwrap();
    let run = started.wait(PATIENCE + Duration::from_secs(30)).exits(1);
    assert!(
        run.stdout.contains("n2 did not serve for") && run.stdout.contains("not-recovered on node n2"),
        "{run}"
    );
    let verdict: Value =
        serde_json::from_slice(&fs::read(record.path().join("verdict.json")).unwrap()).unwrap();
    let [finding] = &verdict["findings"].as_array().unwrap()[..] else { panic!("{}", verdict["findings"]) };
    assert_eq!((&finding["kind"], &finding["node"]), (&json!("not-recovered"), &json!("n2")), "{finding}");
    assert_eq!((&finding["fault"], &finding["bound_ms"]), (&json!(1), &json!(15_000)), "{finding}");
    assert!(finding["silent_ms"].as_u64().unwrap() >= 15_000, "{finding}");
    assert_eq!(verdict["anomalies"].as_array().unwrap().len(), 1, "safety holds: {}", verdict["anomalies"]);
    // Checked again, the record says the same.
    let again = stage.run(&format!("check {}", record.path().display()), PATIENCE).exits(1);
    assert!(again.stdout.contains("not-recovered on node n2"), "{again}");
    stage.assert_vanished();
}

/// The process of a node, by its arguments.
fn process_of(stage: &Stage, node: &str) -> Pid {
    let is_it = |pid: &Pid| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = words.split(|byte| *byte == 0).collect();
        words.windows(2).any(|pair| pair == [b"--node".as_slice(), node.as_bytes()])
    };
    stage.members().into_iter().find(is_it).unwrap_or_else(|| panic!("node {node} does not run"))
}
