//! The runs and matrices in a folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::root::Root;
use crate::matrix::results::MatrixResults;
use crate::report::html::record::{PlanRecord, load};

/// Folders within folders are looked into this deep.
const DEPTH_MAX: usize = 8;
/// More are not listed.
const RUNS_MAX: usize = 5000;
/// A history that was not appended to for this long is no longer being made.
const QUIET: Duration = Duration::from_secs(10);

/// How a run stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It was judged: `valid`, `invalid`, `unknown` or `broken`.
    Judged(String),
    /// It is still going on.
    Running,
    /// It ended without a verdict.
    Unfinished,
}

impl State {
    /// In a word.
    #[must_use]
    pub fn word(&self) -> &str {
        match self {
            Self::Judged(verdict) => verdict,
            Self::Running => "running",
            Self::Unfinished => "unfinished",
        }
    }
}

/// A run, in a line of a list.
#[derive(Clone, Debug)]
pub struct RunLine {
    /// Its folder, as requests call it.
    pub name: String,
    /// What was planned.
    pub plan: PlanRecord,
    /// How it stands.
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
    /// What it came to.
    pub results: MatrixResults,
}

/// Everything there is.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    /// The latest first.
    pub runs: Vec<RunLine>,
    /// The latest first.
    pub matrices: Vec<MatrixLine>,
}

/// What of a list is wanted.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// Words that must all occur in the line.
    pub text: String,
    /// How it must stand, if it matters.
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
            run.plan.workload_name(),
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

#[derive(Default, Deserialize)]
#[serde(default)]
struct VerdictLine {
    verdict: String,
    anomalies: Vec<AnomalyLine>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AnomalyLine {
    kind: String,
}

impl Catalogue {
    /// Looks through `root`. Links are not followed, so that nothing is listed twice or from elsewhere.
    #[must_use]
    pub fn read(root: &Root) -> Self {
        let mut catalogue = Self::default();
        let mut folders: Vec<(PathBuf, usize)> = vec![(root.path().to_owned(), 0)];
        while let Some((folder, depth)) = folders.pop() {
            if catalogue.runs.len() >= RUNS_MAX {
                break;
            }
            if let Some(run) = run_line(root, &folder) {
                catalogue.runs.push(run);
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

/// The run in `folder`, if it is one.
#[must_use]
pub fn run_line(root: &Root, folder: &Path) -> Option<RunLine> {
    let began = fs::metadata(folder.join("plan.json")).and_then(|plan| plan.modified()).ok()?;
    let plan: PlanRecord = load(folder, "plan.json")?;
    let verdict: Option<VerdictLine> = load(folder, "verdict.json");
    let mut anomalies: Vec<String> = verdict
        .iter()
        .flat_map(|verdict| verdict.anomalies.iter().map(|anomaly| anomaly.kind.clone()))
        .collect();
    anomalies.sort();
    anomalies.dedup();
    let state = match verdict {
        Some(verdict) => State::Judged(verdict.verdict),
        None if is_growing(folder, began) => State::Running,
        None => State::Unfinished,
    };
    Some(RunLine { name: root.name(folder), plan, state, anomalies, began })
}

/// Whether a run without a verdict was heard of lately: by its history, or by its plan where there is none yet.
fn is_growing(folder: &Path, began: SystemTime) -> bool {
    let history = fs::metadata(folder.join("history.jsonl")).and_then(|history| history.modified());
    let heard = history.unwrap_or(began);
    heard.elapsed().map_or(true, |since| since < QUIET)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_found_where_they_are_and_filtered() {
        let folder = tempfile::tempdir().expect("a folder");
        let make = |name: &str, verdict: Option<&str>| {
            let run = folder.path().join(name);
            fs::create_dir_all(&run).expect("a folder");
            let plan =
                r#"{"target": "store", "settings": {"mode": "raft"}, "workload": {"name": "register"}}"#;
            fs::write(run.join("plan.json"), plan).expect("a file");
            if let Some(verdict) = verdict {
                fs::write(run.join("verdict.json"), verdict).expect("a file");
            }
        };
        make("store-raft/1", Some(r#"{"verdict": "valid"}"#));
        make(
            "matrix/cell/2",
            Some(r#"{"verdict": "invalid", "anomalies": [{"kind": "stale-read"}, {"kind": "stale-read"}]}"#),
        );
        make("store-raft/3", None);
        std::os::unix::fs::symlink("1", folder.path().join("store-raft/latest")).expect("a link");
        let root = Root::new(folder.path()).expect("a folder");
        let catalogue = Catalogue::read(&root);
        let mut names: Vec<_> = catalogue.runs.iter().map(|run| run.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["matrix/cell/2", "store-raft/1", "store-raft/3"]);
        let wanted = |text: &str, verdict: &str| {
            let filter = Filter { text: text.to_owned(), verdict: verdict.to_owned() };
            catalogue.runs.iter().filter(|run| filter.wants(run)).count()
        };
        assert_eq!(
            [wanted("", ""), wanted("STALE raft", ""), wanted("", "valid"), wanted("", "running")],
            [3, 1, 1, 1]
        );
        assert_eq!(wanted("raft nonsense", ""), 0);
    }
}
