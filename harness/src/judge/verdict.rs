//! The verdict on a whole run: the checker's, unless the run itself proves nothing.

use duress_checkers::verdict::{Anomaly, AnomalyKind, Reason, Verdict};
use serde::{Deserialize, Serialize};

use crate::cli::exit::Exit;

/// The verdict on a run. In order of dominance: an anomaly is an anomaly however broken the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
pub enum RunVerdict {
    /// The promise was broken, and each anomaly proves it.
    Invalid {
        /// The proofs.
        anomalies: Vec<Anomaly>,
    },
    /// The run itself proves nothing.
    Broken {
        /// Why, one sentence each.
        reasons: Vec<String>,
    },
    /// Not everything was decided.
    Unknown {
        /// Why, one sentence each.
        reasons: Vec<String>,
    },
    /// Everything was checked, and holds.
    Valid,
}

impl RunVerdict {
    /// Returns the verdict on a run with the checker's verdict `checked`, the failures `broken`, and the open
    /// questions `undecided`.
    #[must_use]
    pub fn new(checked: &Verdict, broken: Vec<String>, undecided: Vec<String>) -> Self {
        let unexamined = undecided.into_iter().map(|what| Reason::NotExamined { what }).collect();
        match (Verdict::new(Vec::new(), unexamined).merge(checked.clone()), broken) {
            (Verdict::Invalid(mut anomalies), _) => {
                // The easiest to follow comes first: a stale read, then others with names, each with few operations.
                anomalies.sort_by_key(|anomaly| {
                    let rank = match anomaly.kind {
                        AnomalyKind::StaleRead => 0,
                        AnomalyKind::Nonlinearizable => 2,
                        AnomalyKind::NotRecovered => 3,
                        _ => 1,
                    };
                    (rank, anomaly.operations.len())
                });
                Self::Invalid { anomalies }
            }
            (_, reasons) if !reasons.is_empty() => Self::Broken { reasons },
            (Verdict::Unknown(reasons), _) => {
                Self::Unknown { reasons: reasons.iter().map(ToString::to_string).collect() }
            }
            (Verdict::Valid, _) => Self::Valid,
        }
    }

    /// Returns the exit code it calls for.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Valid => Exit::Valid,
            Self::Invalid { .. } => Exit::Anomaly,
            Self::Unknown { .. } => Exit::Unknown,
            Self::Broken { .. } => Exit::Broken,
        }
    }

    /// Returns the proofs; empty unless it is `Invalid`.
    #[must_use]
    pub fn anomalies(&self) -> &[Anomaly] {
        match self {
            Self::Invalid { anomalies } => anomalies,
            Self::Broken { .. } | Self::Unknown { .. } | Self::Valid => &[],
        }
    }

    /// Returns why it is neither valid nor invalid; empty if it is one of them.
    #[must_use]
    pub fn reasons(&self) -> &[String] {
        match self {
            Self::Broken { reasons } | Self::Unknown { reasons } => reasons,
            Self::Invalid { .. } | Self::Valid => &[],
        }
    }

    /// Returns the verdict as files have it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Invalid { .. } => "invalid",
            Self::Unknown { .. } => "unknown",
            Self::Broken { .. } => "broken",
        }
    }

    /// Returns the verdict as one word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Valid => "VALID",
            Self::Invalid { .. } => "INVALID",
            Self::Unknown { .. } => "UNKNOWN",
            Self::Broken { .. } => "BROKEN",
        }
    }
}
