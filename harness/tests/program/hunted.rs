//! Hunts: many runs, each drawn differently, until one finds an anomaly; and its run, shrunk.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::Test;
use crate::stage::Stage;

pub const TESTS: &[Test] = &[
    ("a_defect_is_found_and_made_small", a_defect_is_found_and_made_small),
    ("a_quiet_hunt_goes_on_where_it_was", a_quiet_hunt_goes_on_where_it_was),
    ("an_undecided_replay_excludes_nothing", an_undecided_replay_excludes_nothing),
];

pub const TESTS_WITHOUT_CLUSTERS: &[Test] = &[
    ("the_scenario_of_a_bug_lends_nothing_to_a_hunt", the_scenario_of_a_bug_lends_nothing_to_a_hunt),
    ("runs_are_the_same_whenever_they_are_listed", runs_are_the_same_whenever_they_are_listed),
    ("what_cannot_be_hunted_or_shrunk_is_said", what_cannot_be_hunted_or_shrunk_is_said),
];

/// How long a hunt may take in all.
const PATIENCE: Duration = Duration::from_secs(420);

fn json(stage: &Stage, path: &str) -> Value {
    let text = fs::read_to_string(stage.path().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap()
}

fn a_defect_is_found_and_made_small() {
    let stage = Stage::set();
    // Registers that are answered before a majority has them: any loss of a leader shows it.
    let line = "hunt store --bug ack-before-commit --mode raft --workload register --nodes 3 --faults kill:leader \
                --time-limit 8 --seed 1 --budget 5m --no-shrink";
    let hunt = stage.run(line, PATIENCE).exits(1);
    stage.assert_vanished();
    assert!(hunt.stdout.starts_with("FOUND in run "), "{hunt}");
    let report = hunt.stdout.lines().find_map(|line| line.trim().strip_prefix("report: ")).expect("a report");
    let run = report.strip_suffix("/report.html").expect("the report of a run");
    let before = json(&stage, &format!("{run}/plan.json"));

    let shrunk = stage.run(&format!("shrink {run} --budget 60s"), PATIENCE).exits(1);
    stage.assert_vanished();
    assert!(shrunk.stdout.starts_with("SHRUNK from "), "{shrunk}");
    let after = json(&stage, &format!("{run}/shrunk/plan.json"));
    let faults = |plan: &Value| plan["schedule"].as_array().unwrap().len();
    assert!(faults(&after) <= faults(&before), "{shrunk}");
    let rate = json(&stage, &format!("{run}/shrunk/rate.json"));
    assert!(rate["found"].as_u64() >= Some(1), "{rate}");

    // With all of its faults the run fails, as it did; with none of them, others are drawn.
    let measured = stage.run(&format!("shrink {run} --curve --points 2 --runs 1"), PATIENCE).exits(0);
    stage.assert_vanished();
    assert!(measured.stdout.contains("no fault is kept"), "{measured}");
    let curve = json(&stage, &format!("{run}/curve.json"));
    let points: Vec<(u64, u64)> = curve["points"]
        .as_array()
        .unwrap()
        .iter()
        .map(|point| (point["kept"].as_u64().unwrap(), point["rate"]["of"].as_u64().unwrap()))
        .collect();
    assert_eq!(points, [(0, 1), (faults(&before) as u64, 1)], "{measured}");
    stage.run(&format!("report {run}"), PATIENCE).exits(0);
    let page = fs::read_to_string(stage.path().join(format!("{run}/report.html"))).unwrap();
    assert!(page.contains("When it became likely"), "the report draws the curve");
}

fn a_quiet_hunt_goes_on_where_it_was() {
    let stage = Stage::set();
    // Links that are slow: however they are drawn, clients are answered meanwhile.
    let line = "hunt store --mode raft --workload register --nodes 3 --faults packet:delay=1ms --time-limit 4 --seed 5 \
                --out hunt";
    let hunt = stage.run(&format!("{line} --runs-max 1"), PATIENCE).exits(0);
    assert!(hunt.stdout.starts_with("QUIET: "), "{hunt}");
    let again = stage.run(&format!("{line} --runs-max 2"), PATIENCE).exits(0);
    assert!(again.stderr.contains("1 runs are done already"), "{again}");
    assert!(!again.stderr.contains("\n1: ") && again.stderr.contains("\n2: quiet"), "{again}");
    assert!(again.stdout.contains("2 runs, "), "{again}");
    stage.assert_vanished();
}

fn an_undecided_replay_excludes_nothing() {
    let stage = Stage::set();
    let run = "run store --mode raft --nodes 3 --time-limit 5 --seed 1 --dry-run";
    let replayed = |faults: &str, code: i32| {
        let plan = stage.run(&format!("{run} {faults}"), PATIENCE).exits(0).stdout;
        stage.write("plan.json", plan);
        stage.run("replay plan.json --times 1", PATIENCE).exits(code).stdout
    };
    // No node answers for as long as there is no leader.
    let undecided = replayed("--faults kill:leader --floor 100", 2);
    assert!(undecided.contains("did not decide everything") && !undecided.contains("chance"), "{undecided}");
    let quiet = replayed("--faults packet:delay=20ms", 0);
    assert!(quiet.contains("1 quiet runs in a row would have a chance of 90.00 %"), "{quiet}");
    stage.assert_vanished();
}

/// A hunt for a bug must find it without the settings of the run that is known to find it.
fn the_scenario_of_a_bug_lends_nothing_to_a_hunt() {
    let stage = Stage::set();
    let snapshots = |line: &str| {
        let plan = stage.run(&format!("{line} --dry-run"), PATIENCE).exits(0).stdout;
        let plan: Value = serde_json::from_str(&plan).unwrap();
        plan["settings"]["options"]["snapshot_every"].as_str().unwrap().to_owned()
    };
    let run = "run store --bug snapshot-lacks-last-batch";
    assert_eq!((snapshots(run), snapshots(&format!("{run} --no-scenario"))), ("20".into(), "5000".into()));
    let listed = stage.run("hunt store --bug snapshot-lacks-last-batch --seed 1 --list 5", PATIENCE).exits(0);
    assert_eq!(listed.stdout.matches(" --no-scenario ").count(), 5, "{listed}");
}

fn runs_are_the_same_whenever_they_are_listed() {
    let stage = Stage::set();
    let list = |target: &str, seed: u64| {
        stage.run(&format!("hunt {target} --seed {seed} --list 40"), PATIENCE).exits(0).stdout
    };
    assert_eq!(list("broker", 1), list("broker", 1));
    assert_ne!(list("broker", 1), list("broker", 2));
    // Each is a run that can be typed.
    for target in ["store", "broker", "etcd"] {
        for line in list(target, 3).lines() {
            let line = line.strip_prefix("duress ").expect("a command");
            stage.run(&format!("{line} --dry-run"), PATIENCE).exits(0);
        }
    }
}

fn what_cannot_be_hunted_or_shrunk_is_said() {
    let stage = Stage::set();
    let unknown = stage.run("hunt stores", PATIENCE).exits(254);
    assert!(unknown.one_error().contains("did you mean \"store\""), "{unknown}");
    for (line, word) in [
        ("hunt store --mode raftt", "did you mean \"raft\"?"),
        ("hunt store -o reads=sometimes", "sometimes"),
        ("hunt store --bug no-such-bug", "no-such-bug"),
        ("hunt store --workload log", "store has no workload \"log\""),
        ("hunt store --faults kil", "kil"),
        ("hunt store --nodes 100", "1 to 99 nodes"),
    ] {
        let refused = stage.run(&format!("{line} --list 1"), PATIENCE).exits(254);
        assert!(refused.one_error().contains(word), "{refused}");
    }
    // An option of another mode than the first is drawn with that mode.
    let listed = stage.run("hunt store -o read=any --list 5", PATIENCE).exits(0);
    assert!(listed.stdout.lines().all(|line| line.contains("--mode primary")), "{listed}");
    let missing = stage.run("shrink nowhere --runs 3", PATIENCE).exits(254);
    assert!(missing.stderr.contains("--curve"), "{missing}");
    let missing = stage.run("shrink nowhere", PATIENCE).exits(254);
    assert!(missing.one_error().contains("cannot read the plan nowhere"), "{missing}");
}
