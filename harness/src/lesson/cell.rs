//! The combinations of the lesson on delivery.

use std::fmt;
use std::time::Duration;

/// How messages are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Producing {
    /// No broker acknowledges them.
    Unacknowledged,
    /// The leader alone does; what was not acknowledged is sent again.
    Leader,
    /// Every replica in sync does, at least two; what was not acknowledged is sent again.
    All,
    /// Likewise, and the broker knows what was sent again from what is new.
    Idempotent,
}

impl Producing {
    /// All, weakest first.
    pub const ALL: [Self; 4] = [Self::Unacknowledged, Self::Leader, Self::All, Self::Idempotent];

    /// The broker's option `acks`.
    #[must_use]
    pub fn acks(self) -> &'static str {
        match self {
            Self::Unacknowledged => "0",
            Self::Leader => "1",
            Self::All | Self::Idempotent => "all",
        }
    }

    /// The broker's option `idempotent`.
    #[must_use]
    pub fn idempotent(self) -> &'static str {
        match self {
            Self::Idempotent => "on",
            Self::Unacknowledged | Self::Leader | Self::All => "off",
        }
    }

    /// The options of the target that make it so.
    fn options(self) -> Vec<String> {
        let mut options = vec![format!("acks={}", self.acks()), format!("idempotent={}", self.idempotent())];
        if self != Self::Unacknowledged {
            // The client would not know what to send again.
            options.push(format!("retries={RETRIES}"));
        }
        options
    }
}

/// How often a message that was not acknowledged is sent again.
const RETRIES: u32 = 3;

/// When a consumer commits what it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committing {
    /// Before it was given to it.
    Before,
    /// After.
    After,
}

impl Committing {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Before, Self::After];
}

impl fmt::Display for Committing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Before => "before",
            Self::After => "after",
        })
    }
}

/// One combination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// How messages are sent.
    pub producing: Producing,
    /// When they are committed.
    pub committing: Committing,
    /// The fault mix.
    pub faults: String,
}

/// What all runs of a lesson have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Common {
    /// How many brokers there are.
    pub nodes: usize,
    /// Mean time from one fault to the next.
    pub interval: Duration,
    /// How long clients run.
    pub time_limit: Duration,
    /// What every random decision is drawn from.
    pub seed: u64,
}

impl Cell {
    /// Every combination with each of `faults`.
    #[must_use]
    pub fn all(faults: &[String]) -> Vec<Self> {
        let mut cells = Vec::new();
        for producing in Producing::ALL {
            for committing in Committing::ALL {
                for faults in faults {
                    cells.push(Self { producing, committing, faults: faults.clone() });
                }
            }
        }
        cells
    }

    /// The words of its run, after the program's name.
    #[must_use]
    pub fn words(&self, common: &Common) -> Vec<String> {
        let Common { nodes, interval, time_limit, seed } = common;
        let mut words: Vec<String> = ["run", "broker", "--workload", "queue"].map(str::to_owned).into();
        for (name, value) in [
            ("--nodes", nodes.to_string()),
            ("--faults", self.faults.clone()),
            ("--interval", format!("{}ms", interval.as_millis())),
            ("--time-limit", format!("{}ms", time_limit.as_millis())),
            ("--seed", seed.to_string()),
        ] {
            words.extend([name.to_owned(), value]);
        }
        for option in self.producing.options().into_iter().chain([format!("commit={}", self.committing)]) {
            words.extend(["-o".to_owned(), option]);
        }
        words
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { producing, committing, faults } = self;
        let idempotent = if *producing == Producing::Idempotent { ", idempotent" } else { "" };
        write!(f, "acks={}{idempotent}, commit {committing}, {faults}", producing.acks())
    }
}
