//! The same, without any right: as an ordinary user, who owns one folder.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use nix::unistd::geteuid;

use crate::TestIfAllowed;
use crate::record::{clients, counts, nemesis};
use crate::stage::{PATIENCE, Stage};
use duress_testing::{Missing, Need};

pub const TESTS_IF_ALLOWED: &[TestIfAllowed] = &[("runs_a_cluster", runs_a_cluster)];

/// `nobody`, by convention.
const USER: u32 = 65534;

fn runs_a_cluster() -> Result<(), Missing> {
    if !geteuid().is_root() {
        return Err(Missing::new(Need::Root, "every test here already runs as an ordinary user".to_owned()));
    }
    let stage = Stage::set();
    chown(stage.path(), Some(USER), Some(USER)).unwrap();
    // The program's build folder may be closed to that user.
    let program = stage.path().join("duress");
    fs::copy(env!("CARGO_BIN_EXE_duress"), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let as_user = |line: &str| -> Command {
        let mut command = stage.command(Path::new("setpriv"));
        command.arg(format!("--reuid={USER}")).arg(format!("--regid={USER}")).arg("--clear-groups");
        command.arg(&program).args(line.split_whitespace());
        command
    };
    if Command::new("setpriv").arg("--version").output().is_err() {
        return Err(Missing::new(
            Need::Root,
            "setpriv, which would switch to an ordinary user, is missing".to_owned(),
        ));
    }
    let doctor = stage.start(as_user("doctor")).wait(PATIENCE);
    assert!(doctor.stdout.starts_with("running as an ordinary user"), "{doctor}");
    if doctor.code() != 0 {
        return Err(Missing::new(Need::Root, format!("an ordinary user can run no cluster here: {doctor}")));
    }
    let run = stage.start(as_user("run store --time-limit 12 --seed 5 --faults all")).wait(PATIENCE).exits(0);
    stage.assert_vanished();
    assert!(run.stdout.starts_with("VALID: store"), "{run}");
    let record = stage.latest();
    assert_eq!(fs::metadata(record.path().join("history.jsonl")).unwrap().uid(), USER);
    let history = record.history();
    assert!(counts(clients(&history)).ok > 100, "{run}");
    let planned = record.json("plan.json")["schedule"].as_array().unwrap().len();
    // One whose event did not come in time did not begin, and the record says so.
    let faults = planned - nemesis(&history, "skip-").len();
    assert!(faults >= 7, "{run}");
    for prefix in ["start-", "stop-"] {
        let events = nemesis(&history, prefix);
        let proven = events.iter().filter(|event| event["value"]["evidence"].is_object());
        // One more ends all nodes when everything was read.
        assert_eq!(proven.count(), faults + 1, "every fault has evidence of its {prefix}: {run}");
    }
    stage.start(as_user(&format!("check {}", record.path().display()))).wait(PATIENCE).exits(0);
    Ok(())
}
