//! The user's request.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The user's request, as it was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `--mode`, if given.
    pub mode: Option<String>,
    /// Each `-o name=value`.
    pub options: BTreeMap<String, String>,
    /// `--bug`, if given.
    pub bug: Option<String>,
    /// Whether the mode and the options that are not given are those of the run that finds the bug.
    pub scenario: bool,
    /// Each `--program name=path`.
    pub programs: BTreeMap<String, PathBuf>,
    /// Each `--upgrade-to name=path`.
    pub upgrades: BTreeMap<String, PathBuf>,
    /// The number of nodes; at least one.
    pub nodes: usize,
}

impl Request {
    /// Adds an option, or replaces its value.
    #[must_use]
    pub fn with_option(mut self, name: &str, value: &str) -> Self {
        self.options.insert(name.to_owned(), value.to_owned());
        self
    }
}
