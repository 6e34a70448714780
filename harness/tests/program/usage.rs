//! Mistakes in a command line are named, before anything is started.

use crate::Test;
use crate::stage::{PATIENCE, Stage};

pub const TESTS: &[Test] = &[
    ("what_is_unknown_is_named", what_is_unknown_is_named),
    ("what_is_out_of_range_is_named", what_is_out_of_range_is_named),
    ("plans_are_refused_by_what_is_wrong_with_them", plans_are_refused_by_what_is_wrong_with_them),
    ("a_plan_is_printed_and_nothing_is_started", a_plan_is_printed_and_nothing_is_started),
    ("flags_have_the_names_that_jepsen_gives_them", flags_have_the_names_that_jepsen_gives_them),
    ("shells_and_man_know_every_command", shells_and_man_know_every_command),
];

/// Fails the test unless the first line that `line` gets for an answer has all of `words`.
#[track_caller]
fn refused(line: &str, words: &[&str]) {
    let stage = Stage::set();
    let run = stage.run(line, PATIENCE).exits(254);
    let first = run.stderr.lines().next().unwrap_or_default();
    for word in words {
        assert!(first.contains(word), "\"{word}\" is not in the first line of {run}");
    }
    assert!(run.stdout.is_empty(), "{run}");
    assert!(!stage.path().join("runs").exists(), "something was begun by {run}");
}

fn what_is_unknown_is_named() {
    refused("run nosuch", &["\"nosuch\"", "known: store, "]);
    let no_workload = Stage::set().run("run store --workload log", PATIENCE).exits(254);
    let offers = "hint: log is offered by broker, manifests whose clients speak \"log\", by one of the protocols exec, kafka";
    assert!(no_workload.one_error().contains("store has no workload \"log\""), "{no_workload}");
    assert!(no_workload.stderr.contains(offers), "{no_workload}");
    refused("run stor", &["\"stor\"", "did you mean \"store\"?"]);
    refused("run store --mode rft", &["\"rft\"", "did you mean \"raft\"?", "raft, primary"]);
    refused("run store -o speed=1", &["\"speed\"", "snapshot_every"]);
    refused("run store -o read=any", &["\"read\"", "primary"]);
    refused("run store --mode primary -o read=ani", &["\"ani\"", "did you mean \"any\"?"]);
    refused("run store -o read", &["'read'", "key=value"]);
    refused("run store --bug nope", &["\"nope\"", "stale-leader-read"]);
    refused("run store --mode primary --bug stale-leader-read", &["\"stale-leader-read\"", "raft"]);
    refused("run store --mode ring --workload set", &["the mode ring of store", "\"set\"", "register, job"]);
    refused("hunt store --mode ring --workload bank", &["the mode ring of store", "\"bank\"", "register"]);
    refused(
        "run store --mode primary -o failover=auto --workload set",
        &["the mode primary of store with these options", "\"set\"", "register, list-append, rw-register"],
    );
    refused("run store --mode primary -o ack=simi", &["\"simi\"", "did you mean \"semi\"?"]);
    refused(
        "run store --workload job -o reads=local",
        &["the mode raft of store", "\"job\"", "it has register, set"],
    );
    refused(
        "run store --mode ring --workload job -o r=1",
        &["the mode ring of store", "\"job\"", "it has register"],
    );
    refused(
        "run store --mode primary -o failover=auto --workload lock",
        &[
            "promises too little for the workload \"lock\"",
            "register, list-append, rw-register",
            "with --promise",
        ],
    );
    refused("run store --workload lock --promise eventual", &["lock cannot be held to", "to: linearizable"]);
    refused("run store --workload lock --concurrency 1", &["concurrency", "an owner and another client"]);
    refused("run store --workload lock --ttl 1ms", &["ttl is 1", "or 0"]);
    refused("run store --workload job --promise eventual", &["job cannot be held to", "to: linearizable"]);
    refused("run store --workload job --retry maybe", &["'maybe'", "--retry"]);
    refused("run store --workload set --dedupe off", &["the workload set has no --dedupe"]);
    refused("run store --mode ring --weight cas=1", &["--weight cas", "no such operation"]);
    refused("run store --mode ring -o r=4", &["option r", "n=3"]);
    refused("run store --workload cache", &["\"cache\"", "register"]);
    refused("run store --promise exactly-once", &["register", "linearizable, stale-reads"]);
    refused("run store --workload rw-register --promise stale-reads", &["rw-register", "serializable"]);
    refused("run store --faults flood", &["\"flood\"", "the faults are partition, "]);
    refused("run store --faults kill,,pause", &["\"\"", "the faults are partition, "]);
    refused("run store --faults partition:moon", &["\"moon\"", "majority"]);
    refused("run store --faults kill:n9", &["n9", "n1, n2, n3, n4, n5"]);
    refused("run store --faults pause:n4 --nodes 3", &["n4", "n1, n2, n3"]);
    refused("run store --port carrier-pigeon", &["'carrier-pigeon'", "--port"]);
    refused("run store --speed 3", &["'--speed'"]);
    refused("frobnicate", &["'frobnicate'"]);
    refused("run", &["required"]);
    refused("check", &["required"]);
    refused("check history.jsonl --model nosuch", &["'nosuch'", "--model"]);
    let forms = "regular, safe, bounded-staleness=VERSIONS, bounded-staleness=DURATION, written";
    refused(
        "check history.jsonl --promise bounded-staleness=1d",
        &["\"bounded-staleness=1d\" is not a promise", forms],
    );
    refused("run store --promise bounded-staleness", &["\"bounded-staleness\" is not a promise", forms]);
    refused("run store --workload set --promise regular", &["set cannot be held to regular"]);
    refused("check history.jsonl --promise stale", &["\"stale\" is not a promise", "linearizable"]);
}

fn what_is_out_of_range_is_named() {
    refused("run store --seed twelve", &["'twelve'", "--seed"]);
    refused("run store --seed -1", &["'-1'", "--seed"]);
    refused("run store --seed 18446744073709551616", &["'18446744073709551616'", "--seed"]);
    refused("run store --nodes 0", &["--nodes", "0", "1 to 99"]);
    refused("run store --nodes -3", &["'-3'", "--nodes"]);
    refused("run store --nodes 1000", &["--nodes", "1000", "1 to 99"]);
    refused("run store --nodes 1 --faults partition", &["partition", "--nodes 2"]);
    refused("run store --rate -5", &["rate", "-5"]);
    refused("run store --rate nan", &["rate", "NaN"]);
    refused("run store --rate 0", &["rate", "0"]);
    refused("run store --time-limit -8", &["-8", "--time-limit"]);
    refused("run store --time-limit 0", &["time limit", "0"]);
    refused("run store --time-limit 3weeks", &["3weeks", "--time-limit"]);
    refused("run store --timeout 0", &["time-out", "0"]);
    refused("run store --interval 1ms", &["--interval", "100ms"]);
    refused("run store --concurrency 0", &["'0'", "--concurrency"]);
    refused("run store --concurrency -2", &["'-2'", "--concurrency"]);
    refused("run store --concurrency 200n --nodes 99", &["concurrency", "19800"]);
    refused("run store --keys 0", &["keys", "0"]);
    refused("run store --operations-per-key 0", &["operations per key", "0"]);
}

fn plans_are_refused_by_what_is_wrong_with_them() {
    let stage = Stage::set();
    let plan = stage.run("run store --dry-run --seed 1", PATIENCE).exits(0).stdout;
    let tries = [
        ("missing.json", None, "missing.json"),
        ("empty.json", Some(String::new()), "empty.json"),
        ("half.json", Some(plan[..plan.len() / 2].to_owned()), "half.json"),
        ("other.json", Some("[1, 2, 3]\n".to_owned()), "other.json"),
        (
            "future.json",
            Some(plan.replace("\"version\": 2", "\"version\": 99")),
            "of version 99 of the format",
        ),
        ("extra.json", Some(plan.replacen('{', "{\"surprise\": 1,", 1)), "surprise"),
        ("target.json", Some(plan.replace("\"target\": \"store\"", "\"target\": \"stone\"")), "\"stone\""),
        ("seed.json", Some(plan.replace("\"seed\": 1", "\"seed\": -1")), "-1"),
        ("twins.json", Some(plan.replace("\"10.77.0.2\"", "\"10.77.0.1\"")), "hosts is n1"),
    ];
    for (name, text, word) in tries {
        if let Some(text) = text {
            assert_ne!(text, plan, "{name} is not changed");
            stage.write(name, text);
        }
        let run = stage.run(&format!("replay {name}"), PATIENCE).exits(254);
        assert!(run.one_error().contains(word), "\"{word}\" is not in {run}");
    }
    assert!(!stage.path().join("runs").exists(), "something was begun");
}

fn a_plan_is_printed_and_nothing_is_started() {
    let stage = Stage::set();
    // A mode that lacks the target's first workload is run with its own.
    let other = stage.run("run store --mode ring -o conflict=siblings --dry-run", PATIENCE).exits(0);
    let plan: serde_json::Value = serde_json::from_str(&other.stdout).unwrap();
    assert_eq!(plan["workload"]["name"], "set", "{other}");
    let line = "run store --dry-run --seed 7 --faults partition,kill,pause,partition:bridge --time-limit 60";
    let [first, second] = [(); 2].map(|()| stage.run(line, PATIENCE).exits(0));
    assert!(first.stdout == second.stdout, "the same seed, and two plans:\n{first}\n{second}");
    let other = stage.run(&line.replace("--seed 7", "--seed 8"), PATIENCE).exits(0);
    assert!(first.stdout != other.stdout, "another seed, and the same plan");
    let plan: serde_json::Value = serde_json::from_str(&first.stdout).unwrap();
    assert!(plan["schedule"].as_array().unwrap().len() > 10, "{plan:#}");
    // A random seed is in the plan, and makes it again.
    let random = stage.run("run store --dry-run", PATIENCE).exits(0).stdout;
    let seed = serde_json::from_str::<serde_json::Value>(&random).unwrap()["seed"].as_u64().unwrap();
    assert_eq!(stage.run(&format!("run store --dry-run --seed {seed}"), PATIENCE).exits(0).stdout, random);
    assert!(!stage.path().join("runs").exists(), "something was begun");
}

fn flags_have_the_names_that_jepsen_gives_them() {
    let stage = Stage::set();
    let plan =
        |line: &str| stage.run(&format!("run store --dry-run --seed 1 {line}"), PATIENCE).exits(0).stdout;
    assert_eq!(
        plan("--nemesis kill,pause --nemesis-interval 2 --time-limit 60 --nodes 3 --concurrency 2n"),
        plan("--faults kill,pause --interval 2s --time-limit 1m --nodes 3 --concurrency 6")
    );
    let by_number = plan("--workload set --rate 50 --nodes 3 --operations-per-key 99");
    assert_eq!(plan("-w set -r 50 -n n1 -n n2 --node n3 --ops-per-key 99"), by_number);
    assert_eq!(plan("--workload set --rate 50 --nodes n1,n2,n3 --operations-per-key 99"), by_number);
    refused("run store -n db1 -n db2", &["n1, n2, …", "\"db1\"", "--nodes 2"]);
    refused("run store --nodes db1,db2,db3", &["\"db1\"", "--nodes 3"]);
    refused("run store --nodes 3 -n n1", &["--nodes", "--node"]);
    refused("run store --test-count 0", &["--test-count"]);
    refused("run store --test-count 2 --dry-run", &["--test-count", "--dry-run"]);
    refused("run store --test-count 2 --faults flood", &["\"flood\""]);
}

fn shells_and_man_know_every_command() {
    let stage = Stage::set();
    for shell in ["bash", "zsh", "fish"] {
        let script = stage.run(&format!("completions {shell}"), PATIENCE).exits(0).stdout;
        assert!(script.contains("crash-states") && script.contains("beyond-tolerance"), "{shell}: {script}");
    }
    let page = stage.run("man", PATIENCE).exits(0).stdout;
    assert!(page.contains(".TH duress 1") && page.contains("crash\\-states"), "{page}");
    let refused = stage.run("man nowhere", PATIENCE).exits(254);
    assert!(refused.one_error().contains("nowhere"), "{refused}");
    std::fs::create_dir(stage.path().join("pages")).unwrap();
    stage.run("man pages", PATIENCE).exits(0);
    let page = std::fs::read_to_string(stage.path().join("pages/duress-run.1")).unwrap();
    assert!(page.contains("time\\-limit"), "{page}");
}
