//! The reader of the output may go away before its end, or never have been there.

use std::fs;
use std::path::Path;

use crate::Test;
use crate::stage::{Finished, PATIENCE, Stage};

pub const TESTS: &[Test] = &[
    ("lists_may_be_cut_short", lists_may_be_cut_short),
    ("output_that_cannot_be_written_is_an_error", output_that_cannot_be_written_is_an_error),
];
pub const TESTS_OF_CLUSTERS: &[Test] = &[("a_run_may_be_cut_short", a_run_may_be_cut_short)];

/// Runs a shell script in which `"$DURESS"` is the program.
fn shell(stage: &Stage, script: &str) -> Finished {
    let mut command = stage.command(Path::new("sh"));
    command.args(["-c", script]).env("DURESS", env!("CARGO_BIN_EXE_duress"));
    stage.start(command).wait(PATIENCE)
}

/// Fails the test unless `line` ends with `code` when its output goes to a reader that reads one line at most, to one that
/// has gone already, and nowhere.
#[track_caller]
fn survives(stage: &Stage, line: &str, code: i32, ways: &[&str]) {
    for way in ways {
        let (redirection, reader) = way.split_once('|').unwrap_or((way, ""));
        let reader = if reader.is_empty() { String::new() } else { format!("| {reader}") };
        let script = format!("(\"$DURESS\" {line} {redirection}; echo $? >code) {reader}");
        let run = shell(stage, &script).exits(0);
        let got = fs::read_to_string(stage.path().join("code")).unwrap();
        assert_eq!(got.trim(), code.to_string(), "{line} with {way}: {run}");
    }
}

fn lists_may_be_cut_short() {
    let stage = Stage::set();
    let ways = ["|head -n 1", "|true", ">&-", "2>&-", "2>&1|true", ">&- 2>&- <&-"];
    for line in [
        "targets",
        "bugs",
        "faults",
        "workloads",
        "run store --dry-run --time-limit 3600",
        "help",
        "--version",
    ] {
        survives(&stage, line, 0, &ways);
    }
    survives(&stage, "run nosuch", 254, &["2>&1|true", "2>&-", "|true", ">&- 2>&- <&-"]);
    survives(&stage, "run --nosuch", 254, &["2>&1|true", "2>&-", "|true", ">&- 2>&- <&-"]);
}

fn output_that_cannot_be_written_is_an_error() {
    let stage = Stage::set();
    let run = shell(&stage, "\"$DURESS\" targets >/dev/full").exits(255);
    assert!(run.one_error().contains("standard output: No space left on device"), "{run}");
}

fn a_run_may_be_cut_short() {
    let stage = Stage::set();
    // More than five seconds, so that progress is written to nothing, too.
    survives(&stage, "run store --nodes 1 --faults none --time-limit 6", 0, &["2>&1|true"]);
    let ways = ["|head -n 1", ">&- 2>&- <&-"];
    survives(&stage, "run store --nodes 1 --faults pause --interval 500ms --time-limit 4", 0, &ways);
    stage.assert_vanished();
}
