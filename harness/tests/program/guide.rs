//! The examples of the guide show what it says.

use std::fs;
use std::path::Path;

use crate::Test;
use crate::stage::{PATIENCE, Stage};

pub const TESTS: &[Test] = &[("every_anomaly_s_example_shows_it", every_anomaly_s_example_shows_it)];

/// The root of the source tree, in which the guide's commands are given.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn every_anomaly_s_example_shows_it() {
    let page = fs::read_to_string(Path::new(ROOT).join("docs/anomalies.md")).unwrap();
    let stage = Stage::set();
    let mut shown = 0;
    for line in page.lines() {
        let Some((words, name)) = line
            .strip_prefix("duress ")
            .filter(|words| words.starts_with("check "))
            .and_then(|words| words.split_once('#'))
        else {
            continue;
        };
        let mut command = stage.duress(words);
        command.current_dir(ROOT);
        let answer = stage.start(command).wait(PATIENCE).exits(1);
        let name = name.trim();
        let says = |word: &str| word.trim_matches([',', ';']) == name;
        assert!(answer.stdout.split_whitespace().any(says), "{name} is not in {answer}");
        shown += 1;
    }
    assert!(shown > 40, "{shown} examples");
}
