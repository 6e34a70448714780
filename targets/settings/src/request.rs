//! What the user asked for.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// What the user asked for, as it was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `--mode`, if given.
    pub mode: Option<String>,
    /// Each `-o name=value`.
    pub options: BTreeMap<String, String>,
    /// `--bug`, if given.
    pub bug: Option<String>,
    /// Each `--program name=path`.
    pub programs: BTreeMap<String, PathBuf>,
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
