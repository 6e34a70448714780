//! The runs and matrices in a folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::root::Root;
use crate::matrix::results::MatrixResults;
use crate::plan::{Plan, PlanError};
use crate::record::folder::load;
use crate::record::verdict::VerdictRecord;
use crate::run::conductor::chain;

/// Folders within folders are looked into this deep.
const DEPTH_MAX: usize = 8;
/// More are not listed.
const RUNS_MAX: usize = 5000;
/// A run whose history was not appended to for this long has ended.
const QUIET: Duration = Duration::from_secs(10);

/// The state of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It was judged: `valid`, `invalid`, `unknown` or `broken`.
    Judged(&'static str),
    /// It is still going on.
    Running,
    /// It ended without a verdict.
    Unfinished,
    /// Its verdict cannot be read, and why.
    Unreadable(String),
}

impl State {
    /// In a word.
    #[must_use]
    pub fn word(&self) -> &str {
        match self {
            Self::Judged(verdict) => verdict,
            Self::Running => "running",
            Self::Unfinished => "unfinished",
            Self::Unreadable(_) => "unreadable",
        }
    }
}

/// A run, in a line of a list.
#[derive(Clone, Debug)]
pub struct RunLine {
    /// Its folder, as requests call it.
    pub name: String,
    /// The plan.
    pub plan: Plan,
    /// The state.
    pub state: State,
    /// The kinds of its anomalies, each once, in order.
    pub anomalies: Vec<String>,
    /// When it began.
    pub began: SystemTime,
}

/// A matrix, in a line of a list.
#[derive(Clone, Debug)]
pub struct MatrixLine {
    /// Its `results.json`, as requests call it.
    pub name: String,
    /// The results.
    pub results: MatrixResults,
}

/// Everything there is.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    /// The latest first.
    pub runs: Vec<RunLine>,
    /// The latest first.
    pub matrices: Vec<MatrixLine>,
    /// Runs whose plan cannot be read, each with the reason.
    pub refused: Vec<String>,
}

/// The filter of a list.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// Words that must all occur in the line.
    pub text: String,
    /// The wanted verdict or state, if it matters.
    pub verdict: String,
}

impl Filter {
    /// Whether `run` is wanted.
    #[must_use]
    pub fn wants(&self, run: &RunLine) -> bool {
        let settings = &run.plan.settings;
        let text = [
            run.name.as_str(),
            &run.plan.target,
            &settings.mode,
            settings.bug.as_deref().unwrap_or(""),
            &run.plan.workload.name,
            &run.plan.faults,
            run.state.word(),
            &run.anomalies.join(" "),
        ]
        .join(" ")
        .to_lowercase();
        let fits = self.verdict.is_empty() || self.verdict == run.state.word();
        fits && self.text.to_lowercase().split_whitespace().all(|word| text.contains(word))
    }
}

impl Catalogue {
    /// Searches `root`. Links are not followed, so that nothing is listed twice or from elsewhere.
    #[must_use]
    pub fn read(root: &Root) -> Self {
        let mut catalogue = Self::default();
        let mut folders: Vec<(PathBuf, usize)> = vec![(root.path().to_owned(), 0)];
        while let Some((folder, depth)) = folders.pop() {
            if catalogue.runs.len() >= RUNS_MAX {
                break;
            }
            match run_line(root, &folder) {
                Some(Ok(run)) => catalogue.runs.push(run),
                Some(Err(error)) => catalogue.refused.push(chain(&error)),
                None => {}
            }
            if folder.join("plan.json").is_file() {
                continue;
            }
            if let Some(results) = load::<MatrixResults>(&folder, "results.json") {
                catalogue
                    .matrices
                    .push(MatrixLine { name: root.name(&folder.join("results.json")), results });
            }
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            let inner = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            if depth < DEPTH_MAX {
                folders.extend(inner.map(|entry| (entry.path(), depth + 1)));
            }
        }
        catalogue.runs.sort_by(|a, b| (b.began, &b.name).cmp(&(a.began, &a.name)));
        catalogue.matrices.sort_by(|a, b| b.results.began.cmp(&a.results.began));
        catalogue
    }
}

/// Returns the run in `folder`, if it is one.
///
/// # Errors
/// [`PlanError`] when its plan is not one that this program reads.
pub fn run_line(root: &Root, folder: &Path) -> Option<Result<RunLine, PlanError>> {
    let began = fs::metadata(folder.join("plan.json")).and_then(|plan| plan.modified()).ok()?;
    let plan = match Plan::load(folder) {
        Ok(plan) => plan,
        Err(error) => return Some(Err(error)),
    };
    let mut anomalies: Vec<String> = Vec::new();
    let state = match VerdictRecord::load(folder) {
        Ok(Some(record)) => {
            anomalies.extend(record.verdict.anomalies().iter().map(|anomaly| anomaly.kind.to_string()));
            State::Judged(record.verdict.name())
        }
        Ok(None) if is_growing(folder, began) => State::Running,
        Ok(None) => State::Unfinished,
        Err(error) => State::Unreadable(chain(&error)),
    };
    anomalies.sort();
    anomalies.dedup();
    Some(Ok(RunLine { name: root.name(folder), plan, state, anomalies, began }))
}

/// Whether a run without a verdict was active lately: by its history, or by its plan if it has none yet.
fn is_growing(folder: &Path, began: SystemTime) -> bool {
    let history = fs::metadata(folder.join("history.jsonl")).and_then(|history| history.modified());
    let heard = history.unwrap_or(began);
    heard.elapsed().map_or(true, |since| since < QUIET)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::record::example::{anomaly, plan};

    #[test]
    fn runs_are_found_where_they_are_and_filtered() {
        let folder = tempfile::tempdir().expect("a folder");
        let make = |name: &str, verdict: Option<serde_json::Value>| {
            let run = folder.path().join(name);
            fs::create_dir_all(&run).expect("a folder");
            fs::write(run.join("plan.json"), plan().to_json()).expect("a file");
            if let Some(verdict) = verdict {
                fs::write(run.join("verdict.json"), verdict.to_string()).expect("a file");
            }
        };
        make("store-raft/1", Some(json!({"verdict": "valid"})));
        let stale = anomaly("stale-read", "A is stale", &[]);
        make("matrix/cell/2", Some(json!({"verdict": "invalid", "anomalies": [stale, stale]})));
        make("store-raft/3", None);
        make("store-raft/4", Some(json!({"verdict": "valid", "version": 99})));
        let other = folder.path().join("of-another-version");
        fs::create_dir_all(&other).expect("a folder");
        fs::write(other.join("plan.json"), r#"{"version": 99}"#).expect("a file");
        std::os::unix::fs::symlink("1", folder.path().join("store-raft/latest")).expect("a link");
        let root = Root::new(folder.path()).expect("a folder");
        let catalogue = Catalogue::read(&root);
        let mut names: Vec<_> = catalogue.runs.iter().map(|run| run.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["matrix/cell/2", "store-raft/1", "store-raft/3", "store-raft/4"]);
        assert_eq!(catalogue.refused.len(), 1, "{:?}", catalogue.refused);
        let wanted = |text: &str, verdict: &str| {
            let filter = Filter { text: text.to_owned(), verdict: verdict.to_owned() };
            catalogue.runs.iter().filter(|run| filter.wants(run)).count()
        };
        assert_eq!(["", "valid", "running", "unreadable"].map(|verdict| wanted("", verdict)), [4, 1, 1, 1]);
        assert_eq!((wanted("STALE raft", ""), wanted("raft nonsense", "")), (1, 0));
    }
}
