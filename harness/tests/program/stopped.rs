//! Runs that are asked to end before their time.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::Test;
use crate::record::{Record, nemesis};
use crate::stage::{PATIENCE, Stage, Started, wait_until};

pub const TESTS: &[Test] = &[
    ("one_interrupt_ends_it_early", || ends_early(Signal::SIGINT)),
    ("a_request_to_terminate_ends_it_early", || ends_early(Signal::SIGTERM)),
    ("two_interrupts_end_it_at_once", two_interrupts_end_it_at_once),
    (
        "an_interrupt_is_passed_on_to_the_last_of_several_runs",
        an_interrupt_is_passed_on_to_the_last_of_several_runs,
    ),
];

/// Long, so that none of these ends in time by itself.
const LINE: &str =
    "run store --nodes 3 --time-limit 60 --seed 5 --warm-up 500ms --interval 10s --faults partition:majority";

/// Starts a run, and waits until its first fault is in force.
fn with_fault_in_force(stage: &Stage) -> (Started, Record) {
    let started = stage.start(stage.duress(LINE));
    let link = stage.path().join("runs/latest");
    wait_until("the run has a folder", PATIENCE, || link.exists());
    let record = stage.latest();
    wait_until("a fault is in force", PATIENCE, || !proven(&record.history(), "start-").is_empty());
    (started, record)
}

/// Returns the numbers of the faults that have evidence of their start, or stop.
fn proven(history: &[Value], prefix: &str) -> Vec<u64> {
    let events = nemesis(history, prefix);
    let proven = events.iter().filter(|event| event["value"]["evidence"].is_object());
    proven.map(|event| event["value"]["fault"].as_u64().unwrap()).collect()
}

fn ends_early(signal: Signal) {
    let stage = Stage::set();
    let (started, record) = with_fault_in_force(&stage);
    started.signal(signal);
    let run = started.wait(Duration::from_secs(40));
    stage.assert_vanished();
    // The fault may have been in force for a moment only, without any operation.
    assert!([0, 2].contains(&run.code()), "{run}");
    assert!(run.stdout.contains("the run was ended early"), "{run}");
    assert!(run.stderr.contains("ending early"), "{run}");
    let history = record.history();
    assert_eq!(proven(&history, "stop-"), proven(&history, "start-"), "every fault was healed");
    let recovered = nemesis(&history, "recovered");
    assert_eq!(recovered.len(), 1);
    assert_eq!(recovered[0]["value"]["not_serving"], serde_json::json!([]), "{}", recovered[0]);
    let end = recovered[0]["index"].as_u64().unwrap();
    let read = history.iter().filter(|event| event["index"].as_u64().unwrap() > end && event["type"] == "ok");
    assert!(read.count() > 0, "every key was read at the end");
    stage.run(&format!("check {}", record.path().display()), PATIENCE).exits(0);
}

fn two_interrupts_end_it_at_once() {
    let stage = Stage::set();
    let (started, record) = with_fault_in_force(&stage);
    let asked = Instant::now();
    started.signal(Signal::SIGINT);
    wait_until("the first is answered", PATIENCE, || started.stderr().contains("ending early"));
    started.signal(Signal::SIGINT);
    let run = started.wait(Duration::from_secs(20));
    let took = asked.elapsed();
    stage.assert_vanished();
    assert!(run.stdout.contains("was aborted") || run.stdout.contains("ended early"), "{run}");
    assert!([2, 3].contains(&run.code()), "without final reads it is not valid: {run}");
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    stage.run(&format!("check {}", record.path().display()), PATIENCE).exits(0);
}

fn an_interrupt_is_passed_on_to_the_last_of_several_runs() {
    let stage = Stage::set();
    let line = "run store --nodes 3 --time-limit 60 --seed 5 --faults none --floor 0 --test-count 3";
    let started = stage.start(stage.duress(line));
    let link = stage.path().join("runs/latest");
    wait_until("the run has a folder", PATIENCE, || link.exists());
    let record = stage.latest();
    wait_until("operations were answered", PATIENCE, || {
        record.history().iter().filter(|event| event["type"] == "ok").count() > 100
    });
    started.signal(Signal::SIGINT);
    let runs = started.wait(Duration::from_secs(40)).exits(5);
    stage.assert_vanished();
    assert!(runs.stdout.contains("the run was ended early"), "{runs}");
    assert!(runs.stdout.ends_with("1 of 3 runs: 1 valid, 0 invalid, 0 unknown\n"), "{runs}");
}
