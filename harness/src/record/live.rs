//! `live.json`: what was checked of the history of a run that goes on. It is gone when the run is over.

use std::fmt;

use duress_checkers::growing::SoFar;
use duress_checkers::verdict::Verdict;
use serde::{Deserialize, Serialize};

/// The name of the file.
pub const FILE: &str = "live.json";

/// The result so far. It is never that the history is valid: that needs its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveRecord {
    /// How many operations were checked.
    pub operations: u64,
    /// How many objects only the check at the end will look at.
    pub left: u64,
    /// The first anomaly, in a sentence.
    pub anomaly: Option<String>,
}

impl From<SoFar> for LiveRecord {
    fn from(SoFar { operations, left, .. }: SoFar) -> Self {
        Self { operations, left, anomaly: None }
    }
}

impl LiveRecord {
    /// Returns the result that the `verdict` on the history until now is; `None` if it decided nothing, so that its `operations` were
    /// not checked.
    #[must_use]
    pub fn of(verdict: &Verdict, operations: u64) -> Option<Self> {
        let first = match verdict {
            Verdict::Valid => None,
            Verdict::Invalid(anomalies) => Some(anomalies.first()?),
            Verdict::Unknown(_) => return None,
        };
        let anomaly = first.map(|first| format!("{}: {}", first.kind, first.summary));
        Some(Self { operations, left: 0, anomaly })
    }
}

impl fmt::Display for LiveRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(anomaly) = &self.anomaly {
            return write!(f, "an anomaly: {anomaly}");
        }
        write!(f, "no anomaly yet in {} operations", self.operations)?;
        match self.left {
            0 => Ok(()),
            left => write!(f, " ({left} objects are left to the check at the end)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_that_decided_nothing_is_no_result() {
        let valid = LiveRecord::of(&Verdict::Valid, 7).expect("a result");
        assert_eq!(valid.to_string(), "no anomaly yet in 7 operations");
        assert_eq!(LiveRecord::of(&Verdict::Unknown(Vec::new()), 7), None);
    }
}
