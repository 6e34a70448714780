//! `verdict.json`: the result of a run, with all figures of the report. Written and read only here.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use duress_checkers::CheckReport;
use duress_checkers::delivery::DeliveryReport;
use duress_checkers::verdict::Details;
use serde::{Deserialize, Serialize};

use crate::judge::finding::Finding;
use crate::judge::statistics::RunStatistics;
use crate::judge::verdict::RunVerdict;
use crate::record::faults::FaultRecord;

/// The file in the run's folder.
pub const FILE: &str = "verdict.json";
/// The version of its format. Files of version 1 have no version.
pub const VERSION: u32 = 2;

/// The result of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VerdictRecord {
    /// [`VERSION`].
    #[serde(default = "unsaid")]
    pub version: u32,
    /// The verdict, with its proofs or reasons.
    #[serde(flatten)]
    pub verdict: RunVerdict,
    /// The run, in words: `store (raft), 5 nodes, register`.
    #[serde(default)]
    pub subject: String,
    /// The promise, in words.
    #[serde(default)]
    pub promise: String,
    /// The seed of every random decision.
    #[serde(default)]
    pub seed: u64,
    /// The command that runs it again.
    #[serde(default)]
    pub replay: String,
    /// Findings apart from the answers to clients; each is one of the anomalies too.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// How much was checked.
    #[serde(default)]
    pub check: CheckRecord,
    /// Figures.
    #[serde(default)]
    pub statistics: RunStatistics,
    /// Faults with their evidence.
    #[serde(default)]
    pub faults: Vec<FaultRecord>,
    /// Other notes for the reader.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// How much a checker checked, and what else it found out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CheckRecord {
    /// How many registers, or partitions, there were.
    #[serde(default)]
    pub keys: u64,
    /// How many operations took part.
    #[serde(default)]
    pub operations: u64,
    /// The checker's other findings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
}

/// A `verdict.json` that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum VerdictError {
    /// The system does not give it.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// It is of a version that this program does not know.
    #[error("{} has format {found}, and this duress reads format {VERSION}: judge the run again with `duress check`", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// It is not a verdict.
    #[error("{} is not a verdict of this version of duress", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
}

fn unsaid() -> u32 {
    1
}

impl VerdictRecord {
    /// Reads the verdict of the run in `folder`; `None` if it does not exist yet.
    ///
    /// # Errors
    /// [`VerdictError`].
    pub fn load(folder: &Path) -> Result<Option<Self>, VerdictError> {
        /// The field that every version has.
        #[derive(Deserialize)]
        struct Versioned {
            #[serde(default = "unsaid")]
            version: u32,
        }
        let path = folder.join(FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(VerdictError::Read { path, source }),
        };
        let parsed = serde_json::from_slice::<Versioned>(&text);
        let Versioned { version: found } = match parsed {
            Ok(versioned) => versioned,
            Err(source) => return Err(VerdictError::Parse { path, source }),
        };
        match serde_json::from_slice(&text) {
            Ok(record) if found <= VERSION => Ok(Some(record)),
            Err(source) if found == VERSION => Err(VerdictError::Parse { path, source }),
            _ => Err(VerdictError::Version { path, found }),
        }
    }

    /// Returns the text of the file.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a verdict has only keys that are strings");
        text.push('\n');
        text
    }
}

impl CheckRecord {
    /// How much `report` covers, and what else it found: its verdict is part of the run's own.
    #[must_use]
    pub fn of(report: &CheckReport) -> Self {
        Self { keys: report.keys, operations: report.operations, details: Some(report.details.clone()) }
    }

    /// Returns the delivery counts, if there were messages.
    #[must_use]
    pub fn delivery(&self) -> Option<&DeliveryReport> {
        self.details.as_ref()?.delivery()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::record::example::{anomaly, verdict};

    #[test]
    fn a_verdict_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(VerdictRecord::load(folder.path()).expect("nothing is there").is_none());
        let check = CheckRecord { keys: 6, operations: 90, details: None };
        let stale = anomaly("stale-read", "A read what was replaced", &[(1, Some(2))]);
        let written = VerdictRecord {
            check,
            ..verdict(json!({"version": VERSION, "verdict": "invalid", "anomalies": [stale], "seed": 7}))
        };
        fs::write(folder.path().join(FILE), written.to_json()).expect("written");
        assert_eq!(VerdictRecord::load(folder.path()).expect("reads"), Some(written));
    }

    #[test]
    fn another_version_is_read_where_it_can_be_and_else_refused_by_its_number() {
        let folder = tempfile::tempdir().expect("a folder");
        let load = |text: &str| {
            fs::write(folder.path().join(FILE), text).expect("written");
            VerdictRecord::load(folder.path())
        };
        let old = r#"{"verdict": "broken", "reasons": ["x"], "faults": [{"id": 1, "served_after_ms": [["n1", 4]]}]}"#;
        let old = load(old).expect("reads").expect("is there");
        assert_eq!((old.version, old.verdict.name(), old.faults[0].id), (1, "broken", 1));
        let other_shape = load(r#"{"verdict": "invalid", "anomalies": [{"kind": "of-old"}]}"#);
        assert!(matches!(other_shape, Err(VerdictError::Version { found: 1, .. })), "{other_shape:?}");
        let later = load(r#"{"version": 99, "verdict": "valid"}"#);
        assert!(matches!(later, Err(VerdictError::Version { found: 99, .. })), "{later:?}");
        let torn = load(r#"{"version": 2, "verd"#);
        assert!(matches!(torn, Err(VerdictError::Parse { .. })), "{torn:?}");
    }
}
