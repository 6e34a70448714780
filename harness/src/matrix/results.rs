//! The results of a matrix, as data: `results.json`, and the figures of bugs that are kept from date to date.

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::bank::BugRecord;
use super::cell::Published;
use super::outcome::{Outcome, worst};
use crate::cli::exit::Exit;
use crate::trial::Trial;

/// The version of the format of `results.json` and of dated results.
pub const FORMAT: u32 = 1;

/// The results of a matrix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MatrixResults {
    /// [`FORMAT`].
    pub format: u32,
    /// The file, as it was named.
    pub matrix: PathBuf,
    /// The version of the program.
    pub program: String,
    /// The machine, in a word.
    pub machine: String,
    /// When it began: RFC 3339, UTC.
    pub began: String,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The part of the matrix that this is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<String>,
    /// The exit code.
    pub exit: u8,
    /// Each cell, in the order of the file.
    pub cells: Vec<CellResult>,
}

/// The result of a cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellResult {
    /// Its name.
    pub name: String,
    /// Its system.
    pub target: String,
    /// Its line in the file.
    pub line: usize,
    /// The expectation, in words.
    pub expected: String,
    /// The outcome.
    pub outcome: Outcome,
    /// Why, in a sentence.
    pub message: String,
    /// How long its runs took together, in seconds.
    pub seconds: f64,
    /// Its first run, as it would be typed.
    pub command: String,
    /// Its runs.
    pub runs: Vec<RunResult>,
    /// Figures, where it is a bug.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bug: Option<BugRecord>,
    /// What was published of it, if it is a bug of a system that others wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Published>,
    /// How the figures compare with those before, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
}

/// A run of a cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// Its series.
    pub series: SeriesName,
    /// Its result.
    #[serde(flatten)]
    pub trial: Trial,
    /// Whether its folder was kept.
    pub kept: bool,
}

/// A series of runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeriesName {
    /// The cell itself; with the bug, where there is one.
    Trial,
    /// Without the bug.
    Control,
    /// With the bug, without faults.
    Ablation,
}

impl SeriesName {
    /// Returns the name, as saved and as part of folders.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Trial => "trial",
            Self::Control => "control",
            Self::Ablation => "ablation",
        }
    }
}

impl MatrixResults {
    /// Returns the exit code that the cells call for.
    #[must_use]
    pub fn worst(&self) -> Exit {
        worst(self.cells.iter().map(|cell| cell.outcome))
    }

    /// Returns the number of cells of each outcome, the worst first; without outcomes that did not occur.
    #[must_use]
    pub fn counts(&self) -> Vec<(Outcome, usize)> {
        let count = |outcome| self.cells.iter().filter(|cell| cell.outcome == outcome).count();
        let counts = Outcome::WORST_FIRST.map(|outcome| (outcome, count(outcome)));
        counts.into_iter().filter(|(_, count)| *count > 0).collect()
    }

    /// In a line: `1 unexpected anomaly, 12 passed of 13 in 83 s`.
    #[must_use]
    pub fn summary(&self) -> String {
        let count = |(outcome, count): (Outcome, usize)| format!("{count} {}", outcome.words());
        let counts: Vec<String> = self.counts().into_iter().map(count).collect();
        let counts = if counts.is_empty() { "no cell".to_owned() } else { counts.join(", ") };
        format!("{counts} of {} in {:.0} s", self.cells.len(), self.seconds)
    }

    /// Returns the figures of the bugs among the cells, as they are kept.
    #[must_use]
    pub fn bank(&self) -> BankResults {
        BankResults {
            format: FORMAT,
            began: self.began.clone(),
            machine: self.machine.clone(),
            program: self.program.clone(),
            bugs: self.cells.iter().filter_map(|cell| cell.bug.clone()).collect(),
        }
    }
}

impl CellResult {
    /// Returns the runs whose folders were kept.
    pub fn kept(&self) -> impl Iterator<Item = &RunResult> {
        self.runs.iter().filter(|run| run.kept)
    }
}

/// The figures of bugs on one date.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BankResults {
    /// [`FORMAT`].
    pub format: u32,
    /// When it began: RFC 3339, UTC.
    pub began: String,
    /// The machine, in a word.
    pub machine: String,
    /// The version of the program.
    pub program: String,
    /// The figures.
    pub bugs: Vec<BugRecord>,
}

/// Results that cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// A file or folder that cannot be read or written.
    #[error("cannot keep or read results in {}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// A file of something else.
    #[error("{} does not hold results of this version of duress", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
}

/// How unlikely a loss must be by chance before it is one. Several bugs are compared at a time, so that 1 in 20 would
/// cry wolf.
pub const SIGNIFICANCE: f64 = 0.01;

impl BankResults {
    /// Returns the newest results in `folder`: of `machine`, or of any if it has none; `None` without
    /// results.
    ///
    /// # Errors
    /// [`ResultsError`].
    pub fn newest(folder: &Path, machine: &str) -> Result<Option<(PathBuf, Self)>, ResultsError> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ResultsError::File { path: folder.to_owned(), source }),
        };
        let mut newest: Option<(PathBuf, Self)> = None;
        for entry in entries {
            let failed = |source| ResultsError::File { path: folder.to_owned(), source };
            let path = entry.map_err(failed)?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let bytes =
                fs::read(&path).map_err(|source| ResultsError::File { path: path.clone(), source })?;
            let results: Self = serde_json::from_slice(&bytes)
                .map_err(|source| ResultsError::Format { path: path.clone(), source })?;
            let rank = |results: &Self| (results.machine == machine, results.began.clone());
            if newest.as_ref().is_none_or(|(_, best)| rank(best) < rank(&results)) {
                newest = Some((path, results));
            }
        }
        Ok(newest)
    }

    /// Keeps these results in `folder`, as `<date>-<machine>.json`, or `<date>-<machine>-2.json`, … where that exists.
    ///
    /// # Errors
    /// [`ResultsError`].
    pub fn keep(&self, folder: &Path) -> Result<PathBuf, ResultsError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ResultsError::File { path, source }
        };
        fs::create_dir_all(folder).map_err(failed(folder))?;
        let date = self.began.get(..10).unwrap_or("undated");
        let text = format!("{:#}\n", serde_json::json!(self));
        for number in 1..1000 {
            let suffix = if number == 1 { String::new() } else { format!("-{number}") };
            let path = folder.join(format!("{date}-{}{suffix}.json", self.machine));
            match fs::File::create_new(&path) {
                Ok(mut file) => {
                    io::Write::write_all(&mut file, text.as_bytes()).map_err(failed(&path))?;
                    return Ok(path);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(&path)(error)),
            }
        }
        Err(failed(folder)(io::ErrorKind::AlreadyExists.into()))
    }

    /// Returns the figures of one bug.
    #[must_use]
    pub fn of(&self, target: &str, bug: &str) -> Option<&BugRecord> {
        self.bugs.iter().find(|record| record.target == target && record.bug == bug)
    }
}

/// How the power to find a bug changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Not by more than chance explains.
    WithinChance(String),
    /// It is found less often, and chance explains that badly.
    Loss(String),
}

/// Compares the figures of a bug with earlier ones.
#[must_use]
pub fn compare(now: &BugRecord, before: &BugRecord) -> Change {
    let chance = now.detection.loss(before.detection);
    let words = format!("{} before", before.detection.words());
    if chance < SIGNIFICANCE {
        Change::Loss(format!(
            "found in {} trials, and in {words}: chance alone would do that {:.2} % of the time",
            now.detection.words(),
            chance * 100.0
        ))
    } else {
        Change::WithinChance(words)
    }
}

#[cfg(test)]
mod tests {
    use super::super::detection::Detections;
    use super::*;
    use crate::trial::Proportion;

    fn record(found: u32, of: u32) -> BugRecord {
        let detection = Proportion { found, of };
        BugRecord {
            target: "store".to_owned(),
            bug: "stale-leader-read".to_owned(),
            detection,
            detection_interval: detection.wilson(),
            time: Detections::default(),
            median_s: None,
            false_alarms: Proportion { found: 0, of },
            without_faults: None,
            inconclusive: 0,
            anomalies: Vec::new(),
        }
    }

    fn results(began: &str, machine: &str, found: u32) -> BankResults {
        BankResults {
            format: FORMAT,
            began: began.to_owned(),
            machine: machine.to_owned(),
            program: "0.1.0".to_owned(),
            bugs: vec![record(found, 10)],
        }
    }

    #[test]
    fn only_a_significant_loss_is_one() {
        assert!(matches!(compare(&record(4, 10), &record(10, 10)), Change::Loss(_)));
        for (now, before) in [(6, 10), (10, 10), (10, 3), (0, 0)] {
            let change = compare(&record(now, 10), &record(before, 10));
            assert!(matches!(change, Change::WithinChance(_)), "{now} after {before}: {change:?}");
        }
    }

    #[test]
    fn the_newest_results_of_the_same_machine_come_first() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(BankResults::newest(&folder.path().join("none"), "a").unwrap(), None);
        let old = results("2026-01-01T10:00:00Z", "a", 1).keep(folder.path()).unwrap();
        let same_day = results("2026-01-01T12:00:00Z", "a", 2).keep(folder.path()).unwrap();
        let other = results("2026-02-01T10:00:00Z", "b", 3).keep(folder.path()).unwrap();
        assert_eq!(old.file_name().unwrap(), "2026-01-01-a.json");
        assert_eq!(same_day.file_name().unwrap(), "2026-01-01-a-2.json");
        let newest = |machine| BankResults::newest(folder.path(), machine).unwrap().unwrap();
        assert_eq!(newest("a").0, same_day);
        assert_eq!(newest("b").0, other);
        assert_eq!(newest("c").0, other, "better another machine's than none");
        assert_eq!(newest("a").1.of("store", "stale-leader-read").unwrap().detection.found, 2);
        fs::write(folder.path().join("x.json"), "{}").unwrap();
        assert!(
            BankResults::newest(folder.path(), "a").is_err(),
            "what is not understood is not passed over"
        );
    }
}
