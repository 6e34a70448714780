//! What is wrong with the machine is said, in one line, and costs nothing that was recorded.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::unistd::geteuid;

use crate::TestIfAllowed;
use crate::stage::{Finished, PATIENCE, Stage};
use duress_testing::{Missing, Need};

pub const TESTS_IF_ALLOWED: &[TestIfAllowed] = &[
    ("a_full_disk_keeps_what_was_recorded", a_full_disk_keeps_what_was_recorded),
    ("a_missing_etcd_is_named", a_missing_etcd_is_named),
    ("a_folder_that_cannot_be_made_is_named", a_folder_that_cannot_be_made_is_named),
];

/// Runs a shell script in a mount namespace of its own, with `$DURESS` and an empty folder `$EMPTY` at hand.
fn in_own_mounts(stage: &Stage, script: &str) -> Result<Finished, Missing> {
    let flags = if geteuid().is_root() { "-m" } else { "-Urm" };
    let trial = Command::new("unshare").args([flags, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).output();
    match trial {
        Ok(trial) if trial.status.success() => {}
        Ok(trial) => {
            return Err(Missing::new(
                Need::Namespaces,
                format!("no mounts of one's own: {}", String::from_utf8_lossy(&trial.stderr)),
            ));
        }
        Err(error) => return Err(Missing::new(Need::Namespaces, format!("there is no unshare: {error}"))),
    }
    let empty = stage.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let mut command = stage.command(Path::new("unshare"));
    command.args([flags, "sh", "-eu", "-c", script]);
    command.env("DURESS", env!("CARGO_BIN_EXE_duress")).env("EMPTY", &empty);
    Ok(stage.start(command).wait(PATIENCE))
}

fn a_full_disk_keeps_what_was_recorded() -> Result<(), Missing> {
    let stage = Stage::set();
    let script = "mkdir runs
        mount -t tmpfs -o size=400k tmpfs runs
        \"$DURESS\" run store --nodes 3 --time-limit 60 --faults none --seed 1 || echo $? >code
        cp runs/latest/history.jsonl history.jsonl
        \"$DURESS\" check runs/latest >checked
        df runs >free";
    let run = in_own_mounts(&stage, script)?.exits(0);
    stage.assert_vanished();
    let read = |name: &str| fs::read_to_string(stage.path().join(name)).unwrap();
    assert_eq!(read("code"), "255\n", "{run}");
    let errors: Vec<&str> = run.stderr.lines().filter(|line| !is_progress(line)).collect();
    assert!(
        errors.len() == 2
            && errors[0].starts_with("duress: cannot append to the history ")
            && errors[1].starts_with("hint: "),
        "{errors:#?} of {run}"
    );
    assert!(errors[0].contains("No space left on device"), "{run}");
    assert!(read("checked").lines().any(|line| line.starts_with("VALID: ")), "{}", read("checked"));
    assert!(fs::metadata(stage.path().join("history.jsonl")).unwrap().len() > 100_000, "{}", read("free"));
    stage.run("check history.jsonl", PATIENCE).exits(0);
    Ok(())
}

/// Lines that a run says on standard error when nothing is wrong.
fn is_progress(line: &str) -> bool {
    line.starts_with("store-raft: ")
        || line.starts_with("recording into ")
        || line.contains(" op/s ")
        || line == "the history was cut short: its last event was left out"
}

fn a_missing_etcd_is_named() -> Result<(), Missing> {
    let stage = Stage::set();
    let script = "for file in /usr/bin/etcd /usr/local/bin/etcd; do
            if [ -e $file ]; then mount --bind /dev/null $file; fi
        done
        PATH=$EMPTY exec \"$DURESS\" run etcd --time-limit 1";
    let run = in_own_mounts(&stage, script)?.exits(3);
    let error = run.one_error();
    assert!(error.contains("etcd cannot be started") && error.contains("install"), "{error}");
    assert_eq!(run.stdout, "");
    assert!(!stage.path().join("runs").exists(), "nothing was begun");
    Ok(())
}

fn a_folder_that_cannot_be_made_is_named() -> Result<(), Missing> {
    let stage = Stage::set();
    let file = stage.write("file", "in the way");
    let run = stage.run("run store --time-limit 1 --runs file", PATIENCE).exits(255);
    let error = run.one_error();
    assert!(error.contains(file.to_str().unwrap()) && error.contains("Not a directory"), "{error}");
    stage.assert_vanished();
    Ok(())
}
