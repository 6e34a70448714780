//! The run that finds a seeded bug.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The run that finds a seeded bug: an entry of a system's `scenarios.toml`, by the bug's name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Scenario {
    /// The workload.
    pub workload: String,
    /// The mode.
    pub mode: String,
    /// The options that are not the mode's defaults.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// The options of the workload that are not its defaults, as flags of the command line: `keys = "400"`,
    /// `weight = "reads=4"`.
    #[serde(default)]
    pub workload_options: BTreeMap<String, String>,
    /// The fault mix, item by item: a family, or `family:variant`.
    pub faults: Vec<String>,
    /// The number of nodes.
    pub nodes: usize,
    /// Mean time from one fault to the next, in seconds.
    #[serde(default)]
    pub interval_s: u64,
    /// How long clients run, in seconds.
    pub time_limit_s: u64,
    /// When a client gives up on an operation, in seconds, where it is not the harness's default.
    #[serde(default)]
    pub timeout_s: Option<u64>,
}

impl Scenario {
    /// The scenarios of `text`, the `scenarios.toml` of a built-in system.
    ///
    /// # Panics
    /// When the text, which is part of this program, is malformed; a test reads all of them.
    pub(crate) fn built_in(text: &str) -> BTreeMap<String, Self> {
        toml::from_str(text).expect("the scenarios of built-in systems are well-formed")
    }

    /// The scenario as words of a command line:
    /// `--workload register --mode raft --nodes 3 --faults kill:all --interval 3s --time-limit 30s`.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let mut words = vec![
            "--workload".to_owned(),
            self.workload.clone(),
            "--mode".to_owned(),
            self.mode.clone(),
            "--nodes".to_owned(),
            self.nodes.to_string(),
            "--faults".to_owned(),
            if self.faults.is_empty() { "none".to_owned() } else { self.faults.join(",") },
        ];
        if !self.faults.is_empty() {
            words.extend(["--interval".to_owned(), format!("{}s", self.interval_s)]);
        }
        words.extend(["--time-limit".to_owned(), format!("{}s", self.time_limit_s)]);
        if let Some(timeout_s) = self.timeout_s {
            words.extend(["--timeout".to_owned(), format!("{timeout_s}s")]);
        }
        for (name, value) in &self.options {
            words.extend(["-o".to_owned(), format!("{name}={value}")]);
        }
        for (name, value) in &self.workload_options {
            words.extend([format!("--{name}"), value.clone()]);
        }
        words
    }
}
