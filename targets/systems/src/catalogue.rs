//! What a system offers: its modes and what they promise, its options, and the defects it can be told to have.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A mode of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// The name on the command line.
    pub name: &'static str,
    /// What it is, in one line.
    pub summary: &'static str,
    /// What it promises, in words.
    pub promises: &'static str,
    /// What it promises with its default options.
    pub promise: Promise,
}

/// What may be expected of the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Promise {
    /// Each key is a linearizable register.
    Linearizable,
    /// Writes and compare-and-sets of a key take effect in one order that respects real time; a read returns some earlier
    /// value, or the initial one, and may be arbitrarily old.
    StaleReads,
    /// Messages are kept in partitions, each with one order, and handed to groups of consumers.
    Messages {
        /// How often an acknowledged message is in its partition, as whoever reads all of it sees.
        stored: Delivery,
        /// How often an acknowledged message is handed to a group that consumes by subscription, over all its members.
        consumed: Delivery,
    },
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linearizable => f.pad("linearizable"),
            Self::StaleReads => f.pad("stale reads"),
            Self::Messages { stored, consumed } => f.pad(&format!("stored {stored}, consumed {consumed}")),
        }
    }
}

/// How strongly delivery is guaranteed, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// A message may be lost, and may be delivered again.
    BestEffort,
    /// A message may be lost, and is never delivered again.
    AtMostOnce,
    /// No acknowledged message is lost, and any may be delivered again.
    AtLeastOnce,
    /// Every acknowledged message is delivered, and none again.
    ExactlyOnce,
}

impl Delivery {
    /// The strongest guarantee of what may lose and may repeat as told.
    #[must_use]
    pub fn of(loss: Allowed, repetition: Allowed) -> Self {
        match (loss, repetition) {
            (Allowed::Yes, Allowed::Yes) => Self::BestEffort,
            (Allowed::Yes, Allowed::No) => Self::AtMostOnce,
            (Allowed::No, Allowed::Yes) => Self::AtLeastOnce,
            (Allowed::No, Allowed::No) => Self::ExactlyOnce,
        }
    }

    /// Whether an acknowledged message may be lost.
    #[must_use]
    pub fn loss(self) -> Allowed {
        match self {
            Self::BestEffort | Self::AtMostOnce => Allowed::Yes,
            Self::AtLeastOnce | Self::ExactlyOnce => Allowed::No,
        }
    }

    /// Whether a message may be delivered again.
    #[must_use]
    pub fn repetition(self) -> Allowed {
        match self {
            Self::BestEffort | Self::AtLeastOnce => Allowed::Yes,
            Self::AtMostOnce | Self::ExactlyOnce => Allowed::No,
        }
    }
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::BestEffort => "best effort",
            Self::AtMostOnce => "at most once",
            Self::AtLeastOnce => "at least once",
            Self::ExactlyOnce => "exactly once",
        })
    }
}

/// Whether a promise leaves room for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// It may happen.
    Yes,
    /// It breaks the promise.
    No,
}

/// An option: `-o name=value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionSpec {
    /// The name.
    pub name: &'static str,
    /// The values it accepts.
    pub values: Values,
    /// The value it has when none is given.
    pub default: &'static str,
    /// What it decides.
    pub summary: &'static str,
    /// The modes that have it.
    pub modes: &'static [&'static str],
}

/// The values that an option accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// One of these words.
    Words(&'static [&'static str]),
    /// A whole number from `min` to `max`, both included, written in decimal.
    Whole {
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
    },
}

impl Values {
    /// Whether `value` is one of them.
    #[must_use]
    pub fn accept(&self, value: &str) -> bool {
        match self {
            Self::Words(words) => words.contains(&value),
            Self::Whole { min, max } => {
                value.bytes().all(|byte| byte.is_ascii_digit())
                    && value.parse().is_ok_and(|number: u64| (*min..=*max).contains(&number))
            }
        }
    }
}

impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words(words) => f.write_str(&words.join(", ")),
            Self::Whole { min, max } => write!(f, "a whole number from {min} to {max}"),
        }
    }
}

/// A defect that a system can be told to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BugSpec {
    /// The name on the command line.
    pub name: &'static str,
    /// Which real defect it is.
    pub defect: &'static str,
    /// What a history shows because of it.
    pub anomaly: &'static str,
    /// The modes that can have it.
    pub modes: &'static [&'static str],
    /// The run that finds it.
    pub scenario: Scenario,
    /// Whether that run can be made now.
    pub findable: Findable,
}

/// The run that finds a defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// The workload.
    pub workload: &'static str,
    /// The mode.
    pub mode: &'static str,
    /// The options that are not the mode's defaults.
    pub options: &'static [(&'static str, &'static str)],
    /// The fault mix, item by item: a family, or `family:variant`.
    pub faults: &'static [&'static str],
    /// The number of nodes.
    pub nodes: usize,
    /// Mean time from one fault to the next, in seconds.
    pub interval_s: u64,
    /// How long clients run, in seconds.
    pub time_limit_s: u64,
    /// When a client gives up on an operation, in seconds, where it is not the harness's default.
    pub timeout_s: Option<u64>,
}

impl Scenario {
    /// The scenario as words of a command line:
    /// `--workload register --mode raft --nodes 3 --faults kill:all --interval 3s --time-limit 30s`.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let mut words = vec![
            "--workload".to_owned(),
            self.workload.to_owned(),
            "--mode".to_owned(),
            self.mode.to_owned(),
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
        for (name, value) in self.options {
            words.extend(["-o".to_owned(), format!("{name}={value}")]);
        }
        words
    }
}

/// Whether the scenario of a defect can be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Findable {
    /// It can.
    Now,
    /// It needs a fault that there is none of yet.
    Needs(&'static str),
}
