//! The files of every released version are read as they were meant.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::Test;
use crate::stage::{PATIENCE, Stage};

pub const TESTS: &[Test] =
    &[("runs_of_every_released_version_are_read", runs_of_every_released_version_are_read)];

/// A folder for each version, with the files of one run that found an anomaly.
const RUNS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/formats");

fn runs_of_every_released_version_are_read() {
    for version in fs::read_dir(RUNS).unwrap() {
        let version = version.unwrap();
        let stage = Stage::set();
        let run = stage.path().join("run");
        fs::create_dir(&run).unwrap();
        for file in fs::read_dir(version.path()).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), run.join(file.file_name())).unwrap();
        }
        let found = found(&run);
        assert!(!found.is_empty(), "{}", version.path().display());

        let check = stage.run("check run --json", PATIENCE).exits(1);
        let report: Value = serde_json::from_str(&check.stdout).unwrap();
        let again = report["verdict"]["invalid"].as_array().unwrap();
        let again: Vec<&str> = again.iter().map(|anomaly| anomaly["kind"].as_str().unwrap()).collect();
        assert_eq!(again, found, "{check}");

        stage.run("report run", PATIENCE).exits(0);
        let page = fs::read_to_string(run.join("report.html")).unwrap();
        assert!(page.contains(&found[0]), "the page of {} has no {}", version.path().display(), found[0]);
    }
}

/// The names of the anomalies in a run's `verdict.json`.
fn found(run: &Path) -> Vec<String> {
    let verdict: Value = serde_json::from_slice(&fs::read(run.join("verdict.json")).unwrap()).unwrap();
    let anomalies = verdict["anomalies"].as_array().unwrap();
    anomalies.iter().map(|anomaly| anomaly["kind"].as_str().unwrap().to_owned()).collect()
}
