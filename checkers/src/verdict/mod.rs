//! The answer of a checker: plain data, made to be saved, and to be printed elsewhere.
//!
//! - [`Verdict`]: valid, invalid or unknown; [`Reason`]: why unknown;
//! - [`Anomaly`]: a proof that a promise was broken, by [`AnomalyKind`]: its objects, the operations that
//!   prove it and their roles, the relations between them, and the argument step by step;
//! - [`CheckReport`]: the whole answer, with the checker's own [`Details`].

mod anomaly;
mod kind;
mod reason;
mod report;

use serde::{Deserialize, Serialize};

pub use anomaly::{
    Anomaly, Object, ObjectKind, Relation, RelationKind, Role, Step, WitnessOperation, WitnessStart,
};
pub use kind::AnomalyKind;
pub use reason::{Reached, Reason};
pub use report::{CheckReport, Details, FoundReport};

/// A checker's verdict on a history.
///
/// `Unknown` is not a pass: a question was not decided, and the reasons name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Everything that was to be checked was checked, and holds.
    Valid,
    /// At least one anomaly is proved, whatever other questions are undecided.
    Invalid(Vec<Anomaly>),
    /// No anomaly is proved, and not everything was decided.
    Unknown(Vec<Reason>),
}

impl Verdict {
    /// Returns the verdict with the proved `anomalies` and the `reasons` for undecided questions: `Invalid`
    /// dominates, then `Unknown`.
    #[must_use]
    pub fn new(anomalies: Vec<Anomaly>, reasons: Vec<Reason>) -> Self {
        match (anomalies.is_empty(), reasons.is_empty()) {
            (false, _) => Self::Invalid(anomalies),
            (true, false) => Self::Unknown(reasons),
            (true, true) => Self::Valid,
        }
    }

    /// Returns the verdict on both halves of a check.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        let (mut anomalies, mut reasons) = self.into_parts();
        let (more_anomalies, more_reasons) = other.into_parts();
        anomalies.extend(more_anomalies);
        reasons.extend(more_reasons);
        Self::new(anomalies, reasons)
    }

    /// Returns the proved anomalies; empty unless it is `Invalid`.
    #[must_use]
    pub fn anomalies(&self) -> &[Anomaly] {
        match self {
            Self::Invalid(anomalies) => anomalies,
            Self::Valid | Self::Unknown(_) => &[],
        }
    }

    fn into_parts(self) -> (Vec<Anomaly>, Vec<Reason>) {
        match self {
            Self::Valid => (Vec::new(), Vec::new()),
            Self::Invalid(anomalies) => (anomalies, Vec::new()),
            Self::Unknown(reasons) => (Vec::new(), reasons),
        }
    }
}
