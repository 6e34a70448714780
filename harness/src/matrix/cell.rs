//! A cell: one configuration of a run, and its expected result.

use std::collections::BTreeMap;
use std::time::Duration;

use duress_checkers::verdict::AnomalyKind;
use serde::{Deserialize, Serialize};

use super::command::RunCommand;
use super::key::Key;

/// One configuration and its expected result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Its name, unique in the file; it depends on the cell's content, not on its place.
    pub name: String,
    /// The line of the file that it begins at.
    pub line: usize,
    /// The lines of its single words, for errors found later.
    pub lines: BTreeMap<Key, usize>,
    /// The run.
    pub command: RunCommand,
    /// The seed of the first run; further runs have the following ones.
    pub seed: u64,
    /// The deadline of a run; without it, the time limit and [`DEADLINE_MARGIN`].
    pub deadline: Option<Duration>,
    /// Whether it belongs to the fast slice.
    pub fast: bool,
    /// Why a machine that cannot run it may go without it; without this, such a machine fails it.
    pub may_skip: Option<String>,
    /// Its expected result.
    pub aim: Aim,
}

/// The default margin of a run's deadline over its clients' time: starting, healing, final reads, checking.
pub const DEADLINE_MARGIN: Duration = Duration::from_secs(150);

/// The expected result of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Aim {
    /// One run, or a few until the anomaly shows.
    Verdict(Expectation),
    /// A bug must be found often enough, and no anomaly without it.
    Bug(Box<BugGate>),
}

/// The verdict that a run must end with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// Every promise is kept.
    Valid,
    /// The promise is broken, in a way with a name.
    Anomaly {
        /// The names, and how many runs are made until one of them shows.
        named: Named,
        /// How many seeds are tried.
        found_within: u32,
    },
}

/// Anomalies by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// One of these must appear.
    pub expected: Vec<AnomalyKind>,
    /// These may appear besides.
    pub allowed: Vec<AnomalyKind>,
}

impl Named {
    /// Whether `kind` is one of those that must appear.
    #[must_use]
    pub fn expects(&self, kind: AnomalyKind) -> bool {
        self.expected.contains(&kind)
    }

    /// Whether `kind` may appear.
    #[must_use]
    pub fn admits(&self, kind: AnomalyKind) -> bool {
        self.expects(kind) || self.allowed.contains(&kind)
    }
}

/// A bug of a system that others wrote, as it was published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// What goes wrong, in a sentence.
    pub what: String,
    /// The address of the report.
    pub source: String,
}

/// The demands on the harness about one bug: a seeded one, or one that a version of a system has.
#[derive(Clone, Debug, PartialEq)]
pub struct BugGate {
    /// The bug.
    pub bug: String,
    /// The run without it.
    pub without: RunCommand,
    /// Who described it, unless it is a seeded one.
    pub published: Option<Published>,
    /// The anomalies it shows as.
    pub named: Named,
    /// The anomalies that the scenario's settings entail even without the bug: a weaker promise allows more.
    pub entailed: Vec<AnomalyKind>,
    /// How many runs are made with the bug.
    pub trials: u32,
    /// How many are made without it.
    pub controls: u32,
    /// The number made with it and without faults; 0 if the scenario has no faults anyway.
    pub ablations: u32,
    /// The least part of the trials that must find it, 0 to 1.
    pub minimum_rate: f64,
    /// The number of inconclusive runs that the cell tolerates.
    pub inconclusive_allowed: u32,
    /// How many trials the fast slice makes at most, until one finds it.
    pub fast_trials: u32,
}

// Rates are read from a file, where they are never NaN.
impl Eq for BugGate {}

impl Expectation {
    /// In words: `valid`, or the names that must appear.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Valid => "valid".to_owned(),
            Self::Anomaly { named, .. } => names(&named.expected, " or "),
        }
    }
}

impl Aim {
    /// In words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Verdict(expectation) => expectation.words(),
            Self::Bug(gate) => {
                format!(
                    "{} in at least {:.0} % of {} trials",
                    names(&gate.named.expected, " or "),
                    gate.minimum_rate * 100.0,
                    gate.trials
                )
            }
        }
    }
}

/// Returns the names of `kinds`.
#[must_use]
pub fn names(kinds: &[AnomalyKind], between: &str) -> String {
    kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(between)
}
