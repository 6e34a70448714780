//! Crash states: a node is started on the states of its disk that a crash may leave.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use duress_testing::{Missing, Need};
use nix::sys::signal::Signal;

use crate::TestIfAllowed;
use crate::manifests::python;
use crate::stage::{Finished, Stage, wait_until};

pub const TESTS_IF_ALLOWED: &[TestIfAllowed] = &[
    ("what_was_acknowledged_too_early_is_missing", what_was_acknowledged_too_early_is_missing),
    ("a_message_behind_a_torn_one_is_found", a_message_behind_a_torn_one_is_found),
    ("a_correct_node_survives_every_state", a_correct_node_survives_every_state),
    ("each_wrong_way_to_keep_a_file_is_found", each_wrong_way_to_keep_a_file_is_found),
    ("the_right_ways_to_keep_a_file_survive", the_right_ways_to_keep_a_file_survive),
    ("an_interrupted_exploration_reports_what_it_tried", an_interrupted_exploration_reports_what_it_tried),
    ("states_that_were_not_tried_are_no_pass", states_that_were_not_tried_are_no_pass),
];

const PATIENCE: Duration = Duration::from_secs(240);

fn explored(stage: &Stage, line: &str) -> Result<Finished, Missing> {
    let run = stage.run(&format!("crash-states {line}"), PATIENCE);
    if run.code() == 3 && run.stderr.contains("/dev/fuse") {
        return Err(Missing::new(Need::Fuse, run.stderr));
    }
    stage.assert_vanished();
    Ok(run)
}

/// Returns the folder of the only exploration of `name`.
fn folder(stage: &Stage, name: &str) -> PathBuf {
    let runs = stage.path().join("runs").join(format!("crash-states-{name}"));
    let mut found = fs::read_dir(&runs)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().is_some_and(|name| name != "latest"));
    found.next().unwrap_or_else(|| panic!("{} is empty", runs.display()))
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn what_was_acknowledged_too_early_is_missing() -> Result<(), Missing> {
    for (target, mode) in [("store", "raft"), ("broker", "isr")] {
        let stage = Stage::set();
        let run = explored(&stage, &format!("{target} --bug fsync-skipped --writes 4"))?.exits(1);
        assert!(run.stdout.starts_with("INVALID: "), "{run}");
        assert!(run.stdout.contains("acknowledged"), "{run}");
        let folder = folder(&stage, &format!("{target}-{mode}-fsync-skipped"));
        assert_eq!(fs::read_to_string(folder.join("report.txt")).unwrap(), run.stdout);
        let report = json(&folder.join("crash-states.json"));
        let state = report["failing"][0]["state"].as_u64().unwrap();
        assert!(folder.join(format!("state-{state}")).is_dir(), "the files of the failing state");
    }
    Ok(())
}

fn a_message_behind_a_torn_one_is_found() -> Result<(), Missing> {
    let run = explored(&Stage::set(), "broker --bug torn-tail-kept")?.exits(1);
    assert!(run.stdout.contains("has a message at offset"), "{run}");
    Ok(())
}

fn a_correct_node_survives_every_state() -> Result<(), Missing> {
    for target in ["store", "store --mode primary", "broker"] {
        let stage = Stage::set();
        let run = explored(&stage, &format!("{target} --writes 3 --each 4"))?.exits(0);
        assert!(run.stdout.starts_with("VALID: ") && run.stdout.contains(" 0 not tried"), "{run}");
    }
    Ok(())
}

/// A stage with a system that keeps its data in the way that an option names.
fn storage() -> Result<Stage, Missing> {
    python()?;
    let stage = Stage::set();
    stage.write("duress.toml", include_str!("storage/duress.toml"));
    stage.write("kv.py", include_str!("storage/kv.py"));
    Ok(stage)
}

fn each_wrong_way_to_keep_a_file_is_found() -> Result<(), Missing> {
    for (storage_option, finding) in [
        ("sqlite-full", "was acknowledged"),
        ("rename-unsynced-file", "the node does not come up"),
        ("rename-unsynced-folder", "was acknowledged"),
        ("in-place", "the node does not come up"),
    ] {
        let run = explored(&storage()?, &format!(". -o storage={storage_option}"))?.exits(1);
        assert!(run.stdout.contains(finding), "{run}");
    }
    Ok(())
}

fn the_right_ways_to_keep_a_file_survive() -> Result<(), Missing> {
    for storage_option in ["log", "sqlite-extra"] {
        let line = format!(". -o storage={storage_option} --writes 4 --each 4");
        explored(&storage()?, &line)?.exits(0);
    }
    Ok(())
}

fn an_interrupted_exploration_reports_what_it_tried() -> Result<(), Missing> {
    let stage = Stage::set();
    let exploring = stage.start(stage.duress("crash-states store --writes 200"));
    // The node writes into its own output when it is started on the first state.
    let starts = || {
        let runs = stage.path().join("runs/crash-states-store-raft/latest/nodes/n1/stderr.log");
        fs::read_to_string(runs).unwrap_or_default().matches("serving").count()
    };
    let refused = || exploring.stderr().contains("/dev/fuse");
    wait_until("the node was started on a state", PATIENCE, || starts() > 2 || refused());
    if !refused() {
        exploring.signal(Signal::SIGINT);
    }
    let run = exploring.wait(PATIENCE);
    if run.code() == 3 && run.stderr.contains("/dev/fuse") {
        return Err(Missing::new(Need::Fuse, run.stderr));
    }
    let run = run.exits(2);
    assert!(run.stdout.starts_with("UNKNOWN: "), "{run}");
    let report = json(&stage.path().join("runs/crash-states-store-raft/latest/crash-states.json"));
    assert!(report["tried"].as_u64() > Some(0) && report["untried"].as_u64() > Some(0), "{report}");
    stage.assert_vanished();
    Ok(())
}

fn states_that_were_not_tried_are_no_pass() -> Result<(), Missing> {
    let run = explored(&Stage::set(), "store --writes 30 --limit 1s")?.exits(2);
    assert!(run.stdout.starts_with("UNKNOWN: "), "{run}");
    Ok(())
}
