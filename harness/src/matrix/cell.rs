//! A cell: one configuration of a run, and what must come of it.

use std::collections::BTreeMap;
use std::time::Duration;

use duress_checkers::verdict::AnomalyKind;

use super::command::RunCommand;
use super::key::Key;

/// One configuration and what must come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Its name, unique in the file; it depends on what the cell says, not on where it stands.
    pub name: String,
    /// The line of the file that it begins at.
    pub line: usize,
    /// The lines of its single words, for errors found later.
    pub lines: BTreeMap<Key, usize>,
    /// What is run.
    pub command: RunCommand,
    /// The seed of the first run; further runs have the following ones.
    pub seed: u64,
    /// After how long a run is ended, whatever it does; without it the time limit and [`DEADLINE_MARGIN`].
    pub deadline: Option<Duration>,
    /// Whether it belongs to the fast slice.
    pub fast: bool,
    /// Why a machine that cannot run it may go without it; without this, such a machine fails it.
    pub may_skip: Option<String>,
    /// What must come of it.
    pub aim: Aim,
}

/// How much longer than its clients a run may take, where nothing else is said: starting, healing, final reads, checking.
pub const DEADLINE_MARGIN: Duration = Duration::from_secs(150);

/// What must come of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Aim {
    /// One run, or a few until the anomaly shows.
    Verdict(Expectation),
    /// A seeded bug must be found often enough, and nothing without it.
    Bug(BugGate),
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

/// What is asked of the harness about one seeded bug.
#[derive(Clone, Debug, PartialEq)]
pub struct BugGate {
    /// The bug.
    pub bug: String,
    /// The anomalies it shows as.
    pub named: Named,
    /// The anomalies that the scenario's settings entail by themselves, bug or no bug: what promises less, breaks more.
    pub entailed: Vec<AnomalyKind>,
    /// How many runs are made with the bug.
    pub trials: u32,
    /// How many are made without it.
    pub controls: u32,
    /// How many are made with it and without faults; none where the scenario has no faults anyway.
    pub ablations: u32,
    /// The least part of the trials that must find it, 0 to 1.
    pub minimum_rate: f64,
    /// How many runs may prove nothing before the cell itself does.
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

/// The names of `kinds`.
#[must_use]
pub fn names(kinds: &[AnomalyKind], between: &str) -> String {
    kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(between)
}
