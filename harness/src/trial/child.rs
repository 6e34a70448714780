//! A trial: one `duress run` or `duress replay` as a child process, ended when necessary, and its results.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use duress_checkers::verdict::{Anomaly, AnomalyKind};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use super::halt::Halt;
use crate::cli::exit::Exit;
use crate::judge::verdict::RunVerdict;
use crate::record::situations::Situation;
use crate::record::verdict::{VerdictError, VerdictRecord};
use crate::run::conductor::chain;

/// After the first request to end, a run heals, reads everything and checks; after this it is asked again.
const GRACE_TO_FINISH: Duration = Duration::from_secs(40);
/// After that, it only has to leave.
const GRACE_TO_LEAVE: Duration = Duration::from_secs(15);
/// The time until it is asked to leave when its verdict is no longer wanted.
const GRACE_UNWANTED: Duration = Duration::from_secs(1);

/// The specification of one trial.
#[derive(Clone, Debug)]
pub struct TrialSpec {
    /// The words after the program's name.
    pub words: Vec<String>,
    /// Its seed, which is among the words.
    pub seed: u64,
    /// The folder for its run's folder and for its output; it is made.
    pub folder: PathBuf,
    /// The deadline of the run.
    pub deadline: Duration,
}

/// The results of a trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// The words after the program's name, as they would be typed.
    pub command: String,
    /// Its seed.
    pub seed: u64,
    /// Its finding.
    pub finding: Finding,
    /// How long it took, in seconds, from start to end.
    pub seconds: f64,
    /// The run's folder, or that of its output if there is none.
    pub folder: PathBuf,
    /// The folder that was made for the trial, with the run's in it.
    pub home: PathBuf,
    /// The command that runs it again, where a plan was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay: Option<String>,
    /// The situations of the faults that took hold.
    #[serde(default)]
    pub situations: Vec<Situation>,
    /// Operations that succeeded.
    #[serde(default)]
    pub operations: u64,
}

/// The finding of a trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
pub enum Finding {
    /// The promise was kept.
    Valid,
    /// It was broken.
    Invalid {
        /// How, by name.
        anomalies: Vec<Found>,
    },
    /// The check was not finished.
    Unknown {
        /// Why.
        reasons: Vec<String>,
    },
    /// The run proves nothing.
    Broken {
        /// Why.
        reasons: Vec<String>,
    },
    /// The program failed.
    Error {
        /// How.
        message: String,
    },
}

/// Anomalies of one name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// The name.
    pub kind: AnomalyKind,
    /// How many there are.
    pub count: usize,
    /// The first of them in one sentence.
    pub summary: String,
    /// When the first witness was complete, in seconds since the clients' start, where the witness says.
    pub at_s: Option<f64>,
}

impl Trial {
    /// Returns the anomalies it found.
    #[must_use]
    pub fn anomalies(&self) -> &[Found] {
        match &self.finding {
            Finding::Invalid { anomalies } => anomalies,
            _ => &[],
        }
    }

    /// Returns the file to read: the run's report, or the program's output.
    #[must_use]
    pub fn report(&self) -> PathBuf {
        let names = ["report.html", "report.txt", OUTPUT];
        let found = names.iter().map(|name| self.folder.join(name)).find(|path| path.is_file());
        found.unwrap_or_else(|| self.folder.clone())
    }
}

/// The file of a trial's output.
const OUTPUT: &str = "output.txt";

/// Runs `program` with `spec`, to its end or until its deadline; `None` when `halt` demands to leave first.
///
/// The child is in a process group of its own, so that a Ctrl-C at the terminal is this program's to pass on.
///
/// # Errors
/// Only when its folder cannot be made or the program cannot be started: failures of the run are its finding.
pub async fn run(
    program: &Path,
    spec: &TrialSpec,
    halt: &mut watch::Receiver<Halt>,
) -> io::Result<Option<Trial>> {
    // The remains of an interrupted attempt are useless.
    match fs::remove_dir_all(&spec.folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => fs::create_dir_all(&spec.folder)?,
    }
    let output = File::create(spec.folder.join(OUTPUT))?;
    let began = Instant::now();
    let child = Command::new(program)
        .args(["--end-with-parent".to_owned(), std::process::id().to_string()])
        .args(&spec.words)
        .arg("--runs")
        .arg(&spec.folder)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let mut child =
        Started { pid: child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw), child };
    let mut overdue = false;
    let status = tokio::select! {
        status = child.child.wait() => status?,
        () = tokio::time::sleep(spec.deadline) => {
            overdue = true;
            child.end(GRACE_TO_FINISH).await?
        }
        // The sender outlives every trial; if it were gone, nothing would need the run.
        _ = halt.wait_for(|halt| *halt != Halt::No) => {
            child.end(GRACE_UNWANTED).await?;
            return Ok(None);
        }
    };
    let left = Left::read(&spec.folder);
    let mut finding = left.finding(status);
    if overdue && !matches!(finding, Finding::Invalid { .. }) {
        let reason = format!("it had not ended after {} s, and was ended", spec.deadline.as_secs());
        finding = Finding::Broken { reasons: vec![reason] };
    }
    Ok(Some(Trial {
        command: format!("duress {}", super::shell::Shell(&spec.words)),
        seed: spec.seed,
        finding,
        seconds: began.elapsed().as_secs_f64(),
        home: spec.folder.clone(),
        situations: Situation::of(left.record().map_or(&[], |record| &record.faults)),
        operations: left.record().map_or(0, |record| record.statistics.counts.ok),
        replay: left.record().map(|record| record.replay.clone()),
        folder: left.folder,
    }))
}

struct Started {
    child: Child,
    /// `None` once it has been waited for.
    pid: Option<Pid>,
}

impl Started {
    /// Asks it to end, then to leave, then ends it; answers how it ended.
    async fn end(&mut self, grace: Duration) -> io::Result<ExitStatus> {
        for (signal, patience) in [(Signal::SIGINT, grace), (Signal::SIGTERM, GRACE_TO_LEAVE)] {
            // It is not waited for before `wait` has answered, so that the number is still its own.
            if let Some(pid) = self.pid {
                // It may have ended just now, and then the signal is pointless.
                let _ = kill(pid, signal);
            }
            if let Ok(status) = timeout(patience, self.child.wait()).await {
                return status;
            }
        }
        self.child.start_kill()?;
        self.child.wait().await
    }
}

/// The contents of a run's folder.
struct Left {
    folder: PathBuf,
    verdict: Result<Option<VerdictRecord>, VerdictError>,
    printed: String,
}

/// When the witness of `anomaly` was complete, in seconds.
fn at_s(anomaly: &Anomaly) -> Option<f64> {
    let times =
        anomaly.operations.iter().map(|operation| operation.completion_time.unwrap_or(operation.time));
    times.max().map(|nanoseconds| nanoseconds as f64 / 1e9)
}

impl Left {
    fn read(folder: &Path) -> Self {
        let printed = fs::read(folder.join(OUTPUT)).unwrap_or_default();
        let printed = String::from_utf8_lossy(&printed).into_owned();
        // The newest run; there is only this one.
        let run = fs::canonicalize(folder.join("latest")).unwrap_or_else(|_| folder.to_owned());
        let here = std::env::current_dir().unwrap_or_default();
        let shown = run.strip_prefix(&here).unwrap_or(&run).to_owned();
        Self { folder: shown, verdict: VerdictRecord::load(&run), printed }
    }

    fn record(&self) -> Option<&VerdictRecord> {
        self.verdict.as_ref().ok().and_then(Option::as_ref)
    }

    /// Returns the run's finding. Its exit code and its verdict must agree.
    fn finding(&self, status: ExitStatus) -> Finding {
        let error = |message: String| Finding::Error { message };
        let Some(code) = status.code() else {
            return error(format!("the run was killed ({status}); its last output: {}", self.last_words()));
        };
        let exits = |exit: Exit| code == i32::from(exit.code());
        match &self.verdict {
            Ok(Some(record)) => {
                if !exits(record.verdict.exit()) {
                    let verdict = record.verdict.name();
                    return error(format!(
                        "it ended with {code}, though its verdict is {verdict}: {}",
                        self.last_words()
                    ));
                }
                match record.verdict.clone() {
                    RunVerdict::Valid => Finding::Valid,
                    RunVerdict::Invalid { anomalies } => Finding::Invalid { anomalies: by_name(&anomalies) },
                    RunVerdict::Unknown { reasons } => Finding::Unknown { reasons },
                    RunVerdict::Broken { reasons } => Finding::Broken { reasons },
                }
            }
            Err(unreadable) => error(chain(unreadable)),
            // It was broken before there was anything to judge.
            Ok(None) if exits(Exit::Broken) => Finding::Broken { reasons: vec![self.last_words()] },
            Ok(None) => error(format!("it ended with {code} and without a verdict: {}", self.last_words())),
        }
    }

    /// Returns the error that the program ended with, or else the last line it said.
    fn last_words(&self) -> String {
        let mut lines = self.printed.lines().rev().map(str::trim).filter(|line| !line.is_empty());
        let last = lines.clone().next().unwrap_or("no output");
        lines.find_map(|line| line.strip_prefix("duress: ")).unwrap_or(last).to_owned()
    }
}

/// Anomalies grouped by their names, with the first of each.
fn by_name(anomalies: &[Anomaly]) -> Vec<Found> {
    let mut found: BTreeMap<AnomalyKind, Found> = BTreeMap::new();
    for anomaly in anomalies {
        let at_s = at_s(anomaly);
        found
            .entry(anomaly.kind)
            .and_modify(|found| {
                found.count += 1;
                let both = [found.at_s, at_s];
                found.at_s = both.into_iter().flatten().min_by(f64::total_cmp);
            })
            .or_insert_with(|| Found {
                kind: anomaly.kind,
                count: 1,
                summary: anomaly.summary.clone(),
                at_s,
            });
    }
    found.into_values().collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use serde_json::{Value, json};

    use super::*;
    use crate::record::example::{anomaly, verdict};

    fn left(fields: Option<Value>, printed: &str) -> Left {
        Left { folder: PathBuf::from("there"), verdict: Ok(fields.map(verdict)), printed: printed.to_owned() }
    }

    fn exited(code: i32) -> ExitStatus {
        ExitStatus::from_raw(code << 8)
    }

    #[test]
    fn anomalies_are_grouped_and_dated_by_their_first_complete_witness() {
        let anomalies = [
            anomaly("stale-read", "first", &[(1, Some(5_000_000_000)), (7_000_000_000, None)]),
            anomaly("lost-write", "other", &[(1, Some(2))]),
            anomaly("stale-read", "second", &[(1, Some(3_000_000_000))]),
        ];
        let verdict = json!({"verdict": "invalid", "replay": "duress replay there", "anomalies": anomalies});
        let Finding::Invalid { anomalies } = left(Some(verdict), "").finding(exited(1)) else { panic!() };
        let [stale, lost] = &anomalies[..] else { panic!("{anomalies:?}") };
        assert_eq!((stale.kind, stale.count, stale.summary.as_str()), (AnomalyKind::StaleRead, 2, "first"));
        assert_eq!(stale.at_s, Some(3.0));
        assert_eq!((lost.kind, lost.count), (AnomalyKind::LostWrite, 1));
    }

    #[test]
    fn a_verdict_and_an_exit_code_that_disagree_are_an_error() {
        let valid = || Some(json!({"verdict": "valid"}));
        assert_eq!(left(valid(), "").finding(exited(0)), Finding::Valid);
        for code in [1, 2, 3, 254, 255] {
            assert!(matches!(left(valid(), "").finding(exited(code)), Finding::Error { .. }), "{code}");
        }
        // Exit code 0 without a verdict is not a pass either.
        assert!(matches!(left(None, "").finding(exited(0)), Finding::Error { .. }));
        assert!(matches!(left(valid(), "").finding(ExitStatus::from_raw(9)), Finding::Error { .. }));
    }

    #[test]
    fn what_the_program_said_is_passed_on() {
        let said = "recording into x\nduress: no room\nhint: make some\n";
        let Finding::Error { message } = left(None, said).finding(exited(255)) else { panic!() };
        assert!(message.contains("no room"), "{message}");
        let broken = left(None, "duress: etcd cannot be started\n").finding(exited(3));
        assert_eq!(broken, Finding::Broken { reasons: vec!["etcd cannot be started".to_owned()] });
    }
}
