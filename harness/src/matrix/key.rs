//! The keys of a cell that may vary from cell to cell: the options of `duress run`.

use std::collections::BTreeMap;
use std::fmt;

/// One thing that a cell says of its run. The order is that in which values come into a cell's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// The system under test.
    Target,
    /// `--bug`.
    Bug,
    /// `--mode`.
    Mode,
    /// `-o NAME=…`.
    Option(String),
    /// `--workload`.
    Workload,
    /// `--faults`.
    Faults,
    /// `--NAME`, any other.
    Flag(String),
    /// `--seed`.
    Seed,
}

impl Key {
    /// Returns the key of the option of the command line that is called `name`.
    #[must_use]
    pub fn flag(name: &str) -> Self {
        match name {
            "bug" => Self::Bug,
            "mode" => Self::Mode,
            "workload" => Self::Workload,
            "faults" => Self::Faults,
            "seed" => Self::Seed,
            other => Self::Flag(other.to_owned()),
        }
    }

    /// Returns its name in a cell; for an option of the target, that option's own.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Target => "target",
            Self::Bug => "bug",
            Self::Mode => "mode",
            Self::Workload => "workload",
            Self::Faults => "faults",
            Self::Seed => "seed",
            Self::Option(name) | Self::Flag(name) => name,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Whether an option of the command line is followed by a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// It is: `--nodes 5`.
    Value,
    /// It is not: `--overlap`.
    Nothing,
}

/// The options of `duress run` that a cell may give, by their long names.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    takes: BTreeMap<String, Takes>,
}

impl RunOptions {
    /// These options and no others.
    pub fn new(options: impl IntoIterator<Item = (String, Takes)>) -> Self {
        Self { takes: options.into_iter().collect() }
    }

    /// Whether the option `name` takes a value; `None` if the option does not exist.
    #[must_use]
    pub fn takes(&self, name: &str) -> Option<Takes> {
        self.takes.get(name).copied()
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.takes.keys().map(String::as_str)
    }
}
