//! Many cells and one exit code: each kind of failure has its own, and whatever ends a matrix, nothing is left behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::Test;
use crate::stage::{PATIENCE, Stage, wait_until};

pub const TESTS: &[Test] = &[
    ("each_kind_of_failure_has_a_code_of_its_own", each_kind_of_failure_has_a_code_of_its_own),
    ("a_node_that_falls_over_breaks_its_cell", a_node_that_falls_over_breaks_its_cell),
    ("a_run_that_is_killed_is_an_error", a_run_that_is_killed_is_an_error),
    ("what_does_not_fit_into_the_budget_is_not_run", what_does_not_fit_into_the_budget_is_not_run),
    ("an_interrupted_matrix_goes_on_where_it_was", an_interrupted_matrix_goes_on_where_it_was),
    ("a_killed_matrix_leaves_nothing_behind", a_killed_matrix_leaves_nothing_behind),
    ("a_bug_is_found_and_its_figures_are_kept", a_bug_is_found_and_its_figures_are_kept),
];

pub const TESTS_WITHOUT_CLUSTERS: &[Test] = &[
    ("cells_are_listed_and_nothing_is_started", cells_are_listed_and_nothing_is_started),
    ("what_no_run_would_take_is_named_with_its_line", what_no_run_would_take_is_named_with_its_line),
    ("the_files_of_the_repository_are_understood", the_files_of_the_repository_are_understood),
];

/// One cell for each way to end, each as short as it can be.
const CELLS: &str = r#"
[defaults]
target = "store"
mode = "primary"
nodes = 3
faults = "none"
time-limit = "1s"

[[cell]]
name = "fine"
expect = "valid"

[[cell]]
name = "anomaly"
options = { read = "any" }
promise = "linearizable"
time-limit = "4s"
interval = "1s"
faults = "partition"
expect = "valid"

[[cell]]
name = "missing"
expect = ["stale-read"]
found-within = 2

[[cell]]
name = "unknown"
time-limit = "4s"
keys = 200
check-limit = "0s"
expect = "valid"

[[cell]]
name = "broken"
time-limit = "30s"
deadline = "2s"
expect = "valid"
"#;

/// The results of the matrix `m.toml` on `stage`.
fn results(stage: &Stage) -> Value {
    let path = stage.path().join("runs/matrix/m/results.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The process of the run that a matrix on `stage` has under way, once its nodes are being started.
fn run_under_way(stage: &Stage) -> Pid {
    let mut found = None;
    wait_until("a run is under way", PATIENCE, || {
        let words = |pid: &Pid| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let has =
            |pid: &Pid, word: &str| words(pid).split(|byte| *byte == 0).any(|have| have == word.as_bytes());
        let members = stage.members();
        // Outer, init and runner have the same words; the first was there first.
        let begun = members.iter().filter(|pid| has(pid, "--end-with-parent")).min();
        found = begun.copied();
        found.is_some() && members.len() >= 5
    });
    found.unwrap()
}

fn each_kind_of_failure_has_a_code_of_its_own() {
    let stage = Stage::set();
    stage.write("m.toml", CELLS);
    for (cell, code, words) in [
        ("fine", 0, vec!["ok  fine: valid"]),
        ("missing", 4, vec!["MISSING ANOMALY", "2 runs found nothing", "duress replay runs/"]),
        ("unknown", 2, vec!["UNKNOWN", "not decided", "duress replay runs/"]),
        ("broken", 3, vec!["BROKEN", "it had not ended after 2 s", "duress replay runs/"]),
        ("anomaly", 1, vec!["UNEXPECTED ANOMALY", "stale-read", "duress replay runs/"]),
    ] {
        let run = stage.run(&format!("matrix m.toml --only {cell}"), PATIENCE).exits(code);
        for word in words {
            assert!(run.stderr.contains(word), "\"{word}\" is not in {run}");
        }
        let results = results(&stage);
        assert_eq!(results["exit"], code, "{results:#}");
        // A failed cell keeps its runs, with their reports; a passed one does not.
        for run in results["cells"][0]["runs"].as_array().unwrap() {
            let folder = stage.path().join(run["folder"].as_str().unwrap());
            assert_eq!(folder.join("report.txt").is_file(), code != 0, "{run:#}");
        }
    }
    // Together: the worst, and every other one told as well.
    let run = stage.run("matrix m.toml --jobs 2 --junit j.xml --markdown s.md", PATIENCE).exits(1);
    stage.assert_vanished();
    assert!(
        run.stdout.contains("1 unexpected anomaly, 1 missing anomaly, 1 broken, 1 unknown, 1 passed of 5"),
        "{run}"
    );
    let junit = fs::read_to_string(stage.path().join("j.xml")).unwrap();
    assert!(junit.contains("tests=\"5\"") && junit.contains("failures=\"2\" errors=\"2\""), "{junit}");
    let markdown = fs::read_to_string(stage.path().join("s.md")).unwrap();
    assert_eq!(markdown.matches("- again: `duress replay runs/").count(), 5, "{markdown}");
    // The command that it prints does run it again.
    let results = results(&stage);
    let replay = results["cells"][1]["runs"][0]["replay"].as_str().unwrap();
    stage.run(replay.strip_prefix("duress ").unwrap(), PATIENCE).exits(1);
}

fn a_node_that_falls_over_breaks_its_cell() {
    let stage = Stage::set();
    stage.write("m.toml", CELLS.replace("time-limit = \"1s\"", "time-limit = \"6s\""));
    let matrix = stage.start(stage.duress("matrix m.toml --only fine"));
    let mut node = None;
    wait_until("a node is there", PATIENCE, || {
        let is_node = |pid: &Pid| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            words.split(|byte| *byte == 0).nth(1) == Some(b"store")
        };
        // All three, and the clients have begun: what falls over before is not ready, and no less broken.
        let nodes: Vec<Pid> = stage.members().into_iter().filter(is_node).collect();
        node = nodes.first().copied().filter(|_| nodes.len() == 3);
        node.is_some()
    });
    kill(node.unwrap(), Signal::SIGKILL).unwrap();
    let run = matrix.wait(PATIENCE).exits(3);
    assert!(run.stderr.contains("BROKEN  fine: "), "{run}");
    stage.assert_vanished();
}

fn a_run_that_is_killed_is_an_error() {
    let stage = Stage::set();
    stage.write("m.toml", CELLS.replace("time-limit = \"1s\"", "time-limit = \"60s\""));
    let matrix = stage.start(stage.duress("matrix m.toml --only fine"));
    kill(run_under_way(&stage), Signal::SIGKILL).unwrap();
    let run = matrix.wait(PATIENCE).exits(255);
    assert!(run.stderr.contains("ERROR  fine: the run was killed"), "{run}");
    stage.assert_vanished();
}

fn what_does_not_fit_into_the_budget_is_not_run() {
    let stage = Stage::set();
    stage.write("m.toml", CELLS.replace("time-limit = \"1s\"", "time-limit = \"60s\""));
    let run = stage.run("matrix m.toml --only fine --only broken --budget 5s", PATIENCE).exits(5);
    assert!(run.stdout.contains("2 not run of 2"), "{run}");
    stage.assert_vanished();
}

fn an_interrupted_matrix_goes_on_where_it_was() {
    let stage = Stage::set();
    let slow = CELLS.replace("time-limit = \"4s\"\nkeys = 200\ncheck-limit = \"0s\"", "time-limit = \"60s\"");
    stage.write("m.toml", &slow);
    let line = "matrix m.toml --only fine --only unknown";
    let matrix = stage.start(stage.duress(line));
    let state = stage.path().join("runs/matrix/m/state.jsonl");
    let done = || fs::read_to_string(&state).unwrap_or_default().lines().count();
    wait_until("the first cell is done", PATIENCE, || done() == 1);
    run_under_way(&stage);
    // Another one may not be at work there meanwhile.
    stage.run(line, PATIENCE).exits(254);
    matrix.signal(Signal::SIGINT);
    let run = matrix.wait(Duration::from_secs(30)).exits(5);
    assert!(run.stdout.contains("1 not run, 1 passed of 2"), "{run}");
    assert!(run.stdout.contains("unknown: interrupted"), "{run}");
    stage.assert_vanished();
    // The cell that was cut off is changed, and begins anew; the other one is known.
    stage.write("m.toml", CELLS.replace("check-limit = \"0s\"", ""));
    let run = stage.run(line, PATIENCE).exits(0);
    assert!(run.stderr.contains("1 runs are done already"), "{run}");
    assert!(run.stdout.contains("2 passed of 2"), "{run}");
    assert_eq!(done(), 0, "what was run to its end is run anew the next time");
}

fn a_killed_matrix_leaves_nothing_behind() {
    let stage = Stage::set();
    stage.write("m.toml", CELLS.replace("time-limit = \"1s\"", "time-limit = \"60s\""));
    let matrix = stage.start(stage.duress("matrix m.toml --only fine"));
    run_under_way(&stage);
    matrix.signal(Signal::SIGKILL);
    // The run is asked to end, and does so in its own time: heals, reads, checks.
    wait_until("the run has ended", PATIENCE, || stage.members().is_empty());
    stage.assert_vanished();
}

fn a_bug_is_found_and_its_figures_are_kept() {
    let stage = Stage::set();
    stage.write(
        "m.toml",
        r#"
        [matrix]
        results = "results"
        [[bug]]
        target = "store"
        bug = "cas-before-order"
        nodes = 3
        time-limit = "3s"
        trials = 2
        controls = 1
        minimum-rate = 0.5
        expect = ["lost-update", "stale-cas", "lost-write", "stale-read", "nonlinearizable"]
        "#,
    );
    let run = stage.run("matrix m.toml --record --machine here", PATIENCE).exits(0);
    assert!(run.stderr.contains("ok  store/cas-before-order: found in "), "{run}");
    let kept: Vec<PathBuf> =
        fs::read_dir(stage.path().join("results")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [path] = &kept[..] else { panic!("{kept:?}") };
    let bank: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let bug = &bank["bugs"][0];
    assert_eq!(bank["machine"], "here");
    assert_eq!(bug["detection"]["of"], 2, "{bug:#}");
    assert_eq!(bug["false_alarms"], serde_json::json!({"found": 0, "of": 1}));
    assert!(bug["without_faults"].is_null(), "its scenario has no faults: {bug:#}");
    assert!((0.0..3.5).contains(&bug["median_s"].as_f64().unwrap()), "{bug:#}");
    // Once more, and compared; a slice of it is enough.
    stage.write("m.toml", fs::read_to_string(stage.path().join("m.toml")).unwrap() + "fast = true\n");
    let run = stage.run("matrix m.toml --fast --machine here", PATIENCE).exits(0);
    assert!(run.stderr.contains("compared with results/"), "{run}");
    stage.assert_vanished();
}

fn cells_are_listed_and_nothing_is_started() {
    let stage = Stage::set();
    stage.write("m.toml", CELLS);
    let run = stage.run("matrix m.toml --list --only *n*", PATIENCE).exits(0);
    let names: Vec<&str> = run.stdout.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(names, ["fine", "anomaly", "missing", "unknown", "broken", "5 cells"]);
    let command =
        "    run     duress run store --mode primary --faults none --nodes 3 --time-limit 30s --seed 1\n";
    assert!(run.stdout.contains(command), "{run}");
    // Every command is one that `duress run` takes.
    for line in run.stdout.lines().filter_map(|line| line.strip_prefix("    run     duress ")) {
        stage.run(&format!("{line} --dry-run"), PATIENCE).exits(0);
    }
    let shards: Vec<String> = (1..=2)
        .map(|shard| stage.run(&format!("matrix m.toml --list --shard {shard}/2"), PATIENCE).exits(0).stdout)
        .collect();
    for name in ["fine", "anomaly", "missing", "unknown", "broken"] {
        let holds = |text: &&String| text.lines().any(|line| line == name);
        assert_eq!(shards.iter().filter(holds).count(), 1, "{name} in {shards:?}");
    }
    let shifted = stage.run("matrix m.toml --list --seed 100 --only fine", PATIENCE).exits(0);
    assert!(shifted.stdout.contains("--seed 100\n"), "{shifted}");
    assert!(!stage.path().join("runs").exists(), "something was begun");
}

fn what_no_run_would_take_is_named_with_its_line() {
    let stage = Stage::set();
    let refused = |text: &str, line: &str, words: &[&str]| {
        stage.write("m.toml", text);
        let run = stage.run(line, PATIENCE).exits(254);
        let first = run.one_error();
        for word in words {
            assert!(first.contains(word), "\"{word}\" is not in the first line of {run}");
        }
        assert!(!stage.path().join("runs").exists(), "something was begun by {run}");
    };
    let cell =
        |more: &str| format!("[[cell]]\nname = \"a\"\ntarget = \"store\"\nexpect = \"valid\"\n{more}\n");
    refused(&cell("mode = \"rft\""), "matrix m.toml", &["m.toml:5", "\"rft\"", "\"raft\""]);
    refused(&cell("time-limit = \"soon\""), "matrix m.toml", &["m.toml:5", "soon", "--time-limit"]);
    refused(&cell("nodes = 1000"), "matrix m.toml", &["m.toml:5", "1000", "1 to 99"]);
    refused(&cell("faults = \"kill:n9\""), "matrix m.toml", &["m.toml:", "n9"]);
    // A run with no fault in it would test nothing of what its name says.
    refused(
        &cell("faults = \"kill\"\ntime-limit = \"1s\""),
        "matrix m.toml",
        &["m.toml:5", "no fault", "kill"],
    );
    refused(&cell(""), "matrix m.toml --only b", &["none of the 1 cells"]);
    refused(&cell(""), "matrix m.toml --fast", &["none of the 1 cells"]);
    refused(&cell(""), "matrix m.toml --shard 2/2", &["shard 2/2"]);
    refused(&cell(""), "matrix m.toml --record", &["names no folder"]);
    refused(&cell(""), "matrix nowhere.toml", &["nowhere.toml"]);
    refused(&cell(""), "matrix m.toml --machine a/b", &["\"a/b\""]);
}

fn the_files_of_the_repository_are_understood() {
    let stage = Stage::set();
    let ci = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("ci");
    let listed = |file: &str, fast: &str| {
        stage.run(&format!("matrix {}/{file} --list{fast}", ci.display()), PATIENCE).exits(0).stdout
    };
    assert!(listed("matrix.toml", "").lines().count() > listed("matrix.toml", " --fast").lines().count());
    // A bug that is seeded is put into the bank.
    let bank = listed("bugs.toml", "");
    for (target, bug) in duress::matrix::vocabulary::seeded_bugs() {
        let named = |line: &str| line.strip_suffix("  (fast)").unwrap_or(line) == format!("{target}/{bug}");
        assert!(bank.lines().any(named), "{target}/{bug} is not in ci/bugs.toml");
    }
}
