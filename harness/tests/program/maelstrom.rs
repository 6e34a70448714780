//! Programs that speak Maelstrom's protocol.

use duress_testing::Missing;

use crate::manifests::python;
use crate::stage::{Finished, PATIENCE, Stage};
use crate::{Test, TestIfAllowed};

pub const TESTS_WITHOUT_CLUSTERS: &[Test] = &[
    (
        "nodes_that_keep_nothing_are_not_killed_unless_asked",
        nodes_that_keep_nothing_are_not_killed_unless_asked,
    ),
    ("hunts_draw_what_the_nodes_bear", hunts_draw_what_the_nodes_bear),
    ("there_are_no_crash_states_without_a_disk", there_are_no_crash_states_without_a_disk),
];
pub const TESTS_IF_ALLOWED: &[TestIfAllowed] = &[
    ("nodes_that_are_right_pass", nodes_that_are_right_pass),
    ("nodes_that_are_wrong_are_found", nodes_that_are_wrong_are_found),
    ("a_node_that_breaks_the_protocol_is_quoted", a_node_that_breaks_the_protocol_is_quoted),
    ("the_workload_is_one_of_maelstroms", the_workload_is_one_of_maelstroms),
];

/// A stage with nodes of every workload.
fn nodes() -> Result<Stage, Missing> {
    python()?;
    let stage = Stage::set();
    stage.write("node.py", include_str!("maelstrom/node.py"));
    Ok(stage)
}

/// Runs the nodes with these arguments, of which the first is the workload.
fn run(stage: &Stage, arguments: &[&str], options: &str) -> Finished {
    let mut command = stage.duress("run");
    command.arg(format!("maelstrom:python3 node.py {}", arguments.join(" ")));
    command.args(["--workload", arguments[0]]).args(options.split_whitespace());
    let finished = stage.start(command).wait(PATIENCE);
    stage.assert_vanished();
    finished
}

fn nodes_that_are_right_pass() -> Result<(), Missing> {
    let stage = nodes()?;
    for arguments in [
        &["broadcast"][..],
        &["lin-kv"],
        &["txn-list-append"],
        &["echo"],
        &["kafka"],
        &["kafka", "modest"],
        &["pn-counter"],
        &["unique-ids"],
    ] {
        let options = "--nodes 3 --time-limit 4s --faults partition --interval 800ms";
        let run = run(&stage, arguments, options).exits(0);
        assert!(run.stdout.starts_with(&format!("VALID: node ({})", arguments[0])), "{run}");
    }
    let replayed = stage.run("replay runs/latest", PATIENCE).exits(0);
    assert!(replayed.stdout.starts_with("VALID: node (unique-ids)"), "{replayed}");
    Ok(())
}

fn nodes_that_are_wrong_are_found() -> Result<(), Missing> {
    let stage = nodes()?;
    for (arguments, faults, kind) in [
        // Each message is sent once, so that those that a partition drops are missing for good.
        (["g-set", "once"], "partition", ": diverged "),
        // Reads of another store are old.
        (["lin-kv", "seq-kv"], "none", ": stale-read "),
        (["txn-rw-register", "unconditional"], "none", ": lost-update "),
        (["unique-ids", "same"], "none", ": duplicate"),
        (["echo", "constant"], "none", ": wrong-echo"),
        (["kafka", "lost"], "none", ": lost-write "),
    ] {
        let options = format!("--nodes 3 --time-limit 5s --interval 800ms --faults {faults}");
        let run = run(&stage, &arguments, &options).exits(1);
        assert!(run.stdout.contains(kind), "{arguments:?}: {run}");
        draws_messages(&stage, arguments[0]);
    }
    // A counter that only grows acknowledges what it does not subtract.
    let options = "--nodes 2 --time-limit 3s --faults none";
    let growing = run(&stage, &["pn-counter", "growing"], options).exits(1);
    assert!(growing.stdout.contains(": out-of-range "), "{growing}");
    Ok(())
}

/// Checks that the report of the latest run draws the messages that carry the operations of its first anomaly.
#[track_caller]
fn draws_messages(stage: &Stage, workload: &str) {
    let verdict = stage.latest().json("verdict.json");
    let report = std::fs::read_to_string(stage.latest().path().join("report.html")).unwrap();
    let drawing = report.split_once("<svg class=\"messages\"").map_or("", |(_, rest)| rest);
    let drawing = drawing.split_once("</svg>").map_or("", |(drawing, _)| drawing);
    let contradicts = verdict["anomalies"][0]["contradicts"].as_str().unwrap_or("A");
    let drawn = drawing.matches(&format!("data-label=\"{contradicts} m")).count();
    assert!(drawn >= 2, "{workload}: the request and the answer of {contradicts} are not in {drawing}");
    // Those of the services, or of other nodes, which are behind it.
    let behind = drawing.matches("data-label=\"m").count();
    assert!(behind > 0 || ["unique-ids", "echo", "kafka"].contains(&workload), "{workload}: {drawing}");
}

fn a_node_that_breaks_the_protocol_is_quoted() -> Result<(), Missing> {
    let run = run(&nodes()?, &["lin-kv", "chatty"], "--nodes 3 --time-limit 5s").exits(3);
    assert!(run.stdout.contains("the node wrote a line that is not a message"), "{run}");
    assert!(run.stdout.contains("ready to serve"), "{run}");
    let run =
        self::run(&nodes()?, &["unique-ids", "late"], "--nodes 1 --time-limit 2s --faults none").exits(3);
    assert!(run.stdout.contains("ended by itself") && run.stdout.contains("\"late\""), "{run}");
    Ok(())
}

fn the_workload_is_one_of_maelstroms() -> Result<(), Missing> {
    let stage = nodes()?;
    let run = |options: &str| {
        let mut command = stage.duress("run");
        command.arg("maelstrom:./node.py").args(options.split_whitespace());
        stage.start(command).wait(PATIENCE).exits(254).stderr
    };
    let missing = run("");
    assert!(missing.contains("--workload") && missing.contains("broadcast, g-set"), "{missing}");
    let keys = run("--workload broadcast --keys 5");
    assert!(keys.contains("--keys: the system has one set"), "{keys}");
    for lacking in ["subscriptions", "committed"] {
        let refused = run(&format!("--workload kafka --weight {lacking}=1"));
        assert!(
            refused.contains(&format!("--weight {lacking}: the system's clients have no such")),
            "{refused}"
        );
    }
    let unknown = run("--workload lin-kw");
    assert!(unknown.contains("did you mean \"lin-kv\"?"), "{unknown}");
    Ok(())
}

/// Returns the plan of a run of a program that speaks Maelstrom's protocol.
fn plan(workload: &str, options: &str) -> serde_json::Value {
    let line = format!("run maelstrom:./node --workload {workload} --seed 1 --dry-run {options}");
    serde_json::from_str(&Stage::set().run(&line, PATIENCE).exits(0).stdout).unwrap()
}

fn nodes_that_keep_nothing_are_not_killed_unless_asked() {
    let broadcast = plan("broadcast", "");
    assert_eq!(broadcast["faults"], "partition,pause,packet:delay=50ms,packet:loss=10%");
    assert_eq!(plan("broadcast", "--nodes 1")["faults"], "pause");
    let killed = plan("broadcast", "--faults kill");
    for plan in [&broadcast, &killed] {
        assert!(plan["schedule"].as_array().is_some_and(|faults| !faults.is_empty()), "{plan:#}");
        assert_ne!(plan["final_restart"], true, "{plan:#}");
    }
    let store = Stage::set().run("run store --seed 1 --dry-run", PATIENCE).exits(0).stdout;
    assert!(store.contains("\"final_restart\": true"), "others are restarted: {store}");
    // One set, of which each read returns everything.
    let options = &broadcast["workload"];
    assert_eq!((&options["keys"], &options["cold_keys"]), (&1.into(), &0.into()), "{broadcast:#}");
    assert_eq!(broadcast["rate_hz"], 100.0);
    let many = plan("lin-kv", "");
    assert_eq!(many["workload"]["name"], "register");
    assert!(many["workload"]["keys"].as_u64() > Some(1) && many["rate_hz"].is_null(), "{many:#}");
}

fn hunts_draw_what_the_nodes_bear() {
    let runs = Stage::set().run("hunt maelstrom:./node --workload broadcast --seed 1 --list 60", PATIENCE);
    let runs = runs.exits(0).stdout;
    assert_eq!(runs.lines().filter(|run| run.contains("--workload broadcast")).count(), 60, "{runs}");
    assert!(runs.contains("partition") && runs.contains("pause"), "{runs}");
    for unbearable in ["kill", "restart", "disk", "packet", "story", "--keys"] {
        assert!(!runs.contains(unbearable), "{unbearable}: {runs}");
    }
}

fn there_are_no_crash_states_without_a_disk() {
    let refused = Stage::set().run("crash-states maelstrom:./node", PATIENCE).exits(254);
    assert!(refused.one_error().contains("keeps no data on a disk"), "{refused}");
}
