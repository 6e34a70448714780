//! What became of a cell, and which outcome of many is the worst.

use serde::{Deserialize, Serialize};

use crate::cli::exit::Exit;

/// What became of a cell.
///
/// The order is that of severity, and decides the exit code of the whole: what was proved against the system comes
/// first, then what was proved against the harness, then what proves nothing.
///
/// 1. An anomaly that was not expected is a proof, whatever else happened.
/// 2. An expected anomaly that did not show is a loss of power: every pass beside it is worth less.
/// 3. An error of our own, and 4. a broken run prove nothing, and a person has to look at them.
/// 5. A check that was not finished proves nothing either, and more time may decide it.
/// 6. What was not run for want of time is known to be open.
/// 7. A cell that this machine cannot run was declared to be dispensable, with its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// As expected.
    Passed,
    /// Not run: this machine cannot, and the cell says why that may be.
    Skipped,
    /// Not run, or not to its end: the time was up, or the user interrupted.
    NotRun,
    /// A check could not be finished.
    Unknown,
    /// A run that proves nothing.
    Broken,
    /// The program failed.
    Error,
    /// No anomaly of the expected kind, or too seldom.
    MissingAnomaly,
    /// An anomaly that was not expected.
    Anomaly,
}

impl Outcome {
    /// All, the worst first.
    pub const WORST_FIRST: [Self; 8] = [
        Self::Anomaly,
        Self::MissingAnomaly,
        Self::Error,
        Self::Broken,
        Self::Unknown,
        Self::NotRun,
        Self::Skipped,
        Self::Passed,
    ];

    /// How the program ends when this is the worst outcome.
    #[must_use]
    pub fn exit(self) -> Exit {
        match self {
            Self::Passed | Self::Skipped => Exit::Valid,
            Self::NotRun => Exit::NotRun,
            Self::Unknown => Exit::Unknown,
            Self::Broken => Exit::Broken,
            Self::Error => Exit::Internal,
            Self::MissingAnomaly => Exit::MissingAnomaly,
            Self::Anomaly => Exit::Anomaly,
        }
    }

    /// In a few words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Skipped => "skipped",
            Self::NotRun => "not run",
            Self::Unknown => "unknown",
            Self::Broken => "broken",
            Self::Error => "error",
            Self::MissingAnomaly => "missing anomaly",
            Self::Anomaly => "unexpected anomaly",
        }
    }

    /// Whether a run's folder is worth keeping for it.
    #[must_use]
    pub fn failed(self) -> bool {
        !matches!(self, Self::Passed | Self::Skipped)
    }
}

/// The exit code of many outcomes: that of the worst. Nothing run is nothing passed.
#[must_use]
pub fn worst(outcomes: impl IntoIterator<Item = Outcome>) -> Exit {
    outcomes.into_iter().max().map_or(Exit::NotRun, Outcome::exit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_decides_and_nothing_masks() {
        use Outcome::{Anomaly, Broken, Error, MissingAnomaly, NotRun, Passed, Skipped, Unknown};
        for (outcomes, exit) in [
            (vec![Passed, Passed], Exit::Valid),
            (vec![Passed, Skipped], Exit::Valid),
            (vec![], Exit::NotRun),
            (vec![Passed, NotRun], Exit::NotRun),
            (vec![NotRun, Unknown, Passed], Exit::Unknown),
            (vec![Unknown, Broken, NotRun], Exit::Broken),
            (vec![Broken, Error, Unknown], Exit::Internal),
            (vec![Error, MissingAnomaly, Broken], Exit::MissingAnomaly),
            (vec![MissingAnomaly, Anomaly, Error], Exit::Anomaly),
        ] {
            assert_eq!(worst(outcomes.clone()), exit, "{outcomes:?}");
        }
        let mut sorted = Outcome::WORST_FIRST;
        sorted.sort();
        sorted.reverse();
        assert_eq!(sorted, Outcome::WORST_FIRST, "the order in print is the order of severity");
        for outcome in Outcome::WORST_FIRST {
            assert_eq!(outcome.failed(), outcome.exit() != Exit::Valid, "{outcome:?}");
        }
    }

    #[test]
    fn every_failure_has_a_code_of_its_own() {
        let mut codes: Vec<u8> =
            Outcome::WORST_FIRST.iter().filter(|outcome| outcome.failed()).map(|o| o.exit().code()).collect();
        codes.sort_unstable();
        assert_eq!(codes, [1, 2, 3, 4, 5, 255]);
    }
}
