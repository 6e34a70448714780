//! Messages through our broker: the workloads `log`, `queue` and `table`, their counts, and the same result
//! from a later check.

use serde_json::Value;

use crate::Test;
use crate::stage::{PATIENCE, Stage};

pub const TESTS: &[Test] = &[
    ("nothing_is_lost_though_brokers_are_killed", nothing_is_lost_though_brokers_are_killed),
    (
        "a_group_is_given_everything_and_a_table_is_the_fold",
        a_group_is_given_everything_and_a_table_is_the_fold,
    ),
    (
        "what_only_the_leader_acknowledged_is_lost_and_counted",
        what_only_the_leader_acknowledged_is_lost_and_counted,
    ),
];

fn delivery(verdict: &Value) -> &Value {
    &verdict["check"]["details"]["delivery"]["counts"]
}

fn nothing_is_lost_though_brokers_are_killed() {
    let stage = Stage::set();
    let run =
        "run broker --workload log --nodes 3 --faults kill --interval 3s --time-limit 9 --seed 5 --runs runs";
    stage.run(run, PATIENCE).exits(0);
    let record = stage.latest();
    let verdict = record.json("verdict.json");
    let counts = delivery(&verdict);
    assert!(counts["acknowledged"].as_u64().unwrap() > 100, "{counts}");
    for none in ["lost", "duplicated", "unseen"] {
        assert_eq!(counts[none], 0, "{counts}");
    }
    let again = stage.run(&format!("check {}", record.path().display()), PATIENCE).exits(0);
    assert!(again.stdout.contains("delivery reached: exactly once"), "{again}");

    // One acknowledged message that no consumer was ever given again is found.
    let mut history = record.history();
    let polled = |value: &Value, gone: &Value| {
        let micros = value.as_array().cloned().unwrap_or_default();
        micros.iter().any(|micro| {
            micro[1].as_object().is_some_and(|by_key| {
                by_key
                    .values()
                    .flat_map(|messages| messages.as_array().unwrap())
                    .any(|message| message[1] == *gone)
            })
        })
    };
    let sent = history.iter().find(|event| event["f"] == "send" && event["type"] == "ok").unwrap();
    let gone = sent["value"][0][2][1].clone();
    for event in history.iter_mut().filter(|event| event["f"] == "poll" && event["type"] == "ok") {
        if !polled(&event["value"], &gone) {
            continue;
        }
        for micro in event["value"].as_array_mut().unwrap() {
            for messages in micro[1].as_object_mut().unwrap().values_mut() {
                messages.as_array_mut().unwrap().retain(|message| message[1] != gone);
            }
        }
    }
    let lines: Vec<String> = history.iter().map(Value::to_string).collect();
    stage.write("edited.jsonl", lines.join("\n") + "\n");
    let edited = stage.run("check edited.jsonl --model log", PATIENCE).exits(1);
    assert!(edited.stdout.contains("lost-write"), "{edited}");
}

fn a_group_is_given_everything_and_a_table_is_the_fold() {
    let stage = Stage::set();
    for workload in ["queue", "table"] {
        let run = format!(
            "run broker --workload {workload} --nodes 3 --faults none --time-limit 5 --seed 6 --runs runs"
        );
        stage.run(&run, PATIENCE).exits(0);
        let counts = delivery(&stage.latest().json("verdict.json")).clone();
        assert!(counts["acknowledged"].as_u64().unwrap() > 100, "{workload}: {counts}");
        assert_eq!(counts["undelivered"], 0, "{workload}: {counts}");
    }
}

fn what_only_the_leader_acknowledged_is_lost_and_counted() {
    let stage = Stage::set();
    let run = "run broker --workload log -o acks=1 --nodes 3 --faults partition:isolate-leader --interval 2s \
               --time-limit 20 --seed 32 --runs runs";
    stage.run(run, PATIENCE).exits(0);
    let record = stage.latest();
    let verdict = record.json("verdict.json");
    assert!(delivery(&verdict)["lost"].as_u64().unwrap() > 0, "{verdict:#}");
    // A weaker promise allows it; against a stronger promise the same history is a proof.
    let check = format!("check {}", record.path().display());
    stage.run(&check, PATIENCE).exits(0);
    let strict = stage.run(&format!("{check} --promise exactly-once"), PATIENCE).exits(1);
    assert!(strict.stdout.contains("lost-write"), "{strict}");
}
