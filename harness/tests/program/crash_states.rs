//! Crash states: a node is started on every state of its disk that a crash may leave.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use duress_testing::{Missing, Need};

use crate::TestIfAllowed;
use crate::stage::{Finished, Stage};

pub const TESTS_IF_ALLOWED: &[TestIfAllowed] = &[
    ("what_was_acknowledged_too_early_is_missing", what_was_acknowledged_too_early_is_missing),
    ("a_correct_node_survives_every_state", a_correct_node_survives_every_state),
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

fn a_correct_node_survives_every_state() -> Result<(), Missing> {
    for target in ["store", "store --mode primary", "broker"] {
        let stage = Stage::set();
        let run = explored(&stage, &format!("{target} --writes 3 --each 4"))?.exits(0);
        assert!(run.stdout.starts_with("VALID: ") && run.stdout.contains(" 0 not tried"), "{run}");
    }
    Ok(())
}

fn states_that_were_not_tried_are_no_pass() -> Result<(), Missing> {
    let run = explored(&Stage::set(), "store --writes 30 --limit 1s")?.exits(2);
    assert!(run.stdout.starts_with("UNKNOWN: "), "{run}");
    Ok(())
}
