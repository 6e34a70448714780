//! A run of a lesson, and its results.

use std::time::Duration;

use duress_checkers::freshness::ReadAges;
use duress_checkers::verdict::{Anomaly, AnomalyKind};

use crate::cli::exit::Exit;
use crate::judge::sides::Side;
use crate::judge::verdict::RunVerdict;
use crate::record::verdict::VerdictRecord;
use crate::run::conductor::chain;
use crate::trial::{Finding, Shell, Trial};

/// The shared options of all runs of a lesson.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Common {
    /// How long clients run.
    pub time_limit: Duration,
    /// The seed of every random decision.
    pub seed: u64,
}

/// Whether a run is meant to keep what it is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expects {
    /// It is held to its own promise.
    Kept,
    /// It is held to more than it promises, to show that it breaks that by anomalies of these kinds.
    Broken(&'static [AnomalyKind]),
}

/// A run of a lesson.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Experiment {
    /// Its name within its topic.
    pub name: String,
    /// Whether it is meant to keep what it is held to.
    pub expects: Expects,
    words: Vec<String>,
}

impl Experiment {
    /// A run of `words`, which are those of `duress run` without the time limit and the seed, separated by spaces.
    #[must_use]
    pub fn new(name: impl Into<String>, words: &str) -> Self {
        let words = words.split_whitespace().map(str::to_owned).collect();
        Self { name: name.into(), expects: Expects::Kept, words }
    }

    /// The same run, meant to break what it is held to by anomalies of these kinds.
    #[must_use]
    pub fn meant_to_break(self, kinds: &'static [AnomalyKind]) -> Self {
        Self { expects: Expects::Broken(kinds), ..self }
    }

    /// Returns the words of the run, after the program's name.
    #[must_use]
    pub fn words(&self, common: &Common) -> Vec<String> {
        let Common { time_limit, seed } = common;
        let limit = format!("{}ms", time_limit.as_millis());
        let shared = ["--time-limit".to_owned(), limit, "--seed".to_owned(), seed.to_string()];
        ["run".to_owned()].into_iter().chain(self.words.iter().cloned()).chain(shared).collect()
    }

    /// Returns the command of the run.
    #[must_use]
    pub fn command(&self, common: &Common) -> String {
        format!("duress {}", Shell(&self.words(common)))
    }
}

/// A run of a lesson and its results.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The run.
    pub experiment: Experiment,
    /// Its command.
    pub command: String,
    /// Its verdict with all figures.
    pub result: Result<Box<VerdictRecord>, NoVerdict>,
}

/// Why a run has no verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoVerdict {
    /// It was not made.
    NotRun(String),
    /// It failed.
    Failed(String),
}

impl Measured {
    /// Takes the verdict that a trial left, if that is what the trial found.
    #[must_use]
    pub fn of(experiment: Experiment, command: String, trial: &Trial) -> Self {
        let failed = |why: String| Err(NoVerdict::Failed(why));
        let result = match (&trial.finding, VerdictRecord::load(&trial.folder)) {
            (Finding::Error { message }, _) => failed(message.clone()),
            (_, Err(error)) => failed(chain(&error)),
            (Finding::Valid, Ok(Some(record))) if record.verdict == RunVerdict::Valid => Ok(Box::new(record)),
            (Finding::Invalid { .. }, Ok(Some(record))) if !record.verdict.anomalies().is_empty() => {
                Ok(Box::new(record))
            }
            (Finding::Unknown { .. }, Ok(Some(record)))
                if matches!(record.verdict, RunVerdict::Unknown { .. }) =>
            {
                Ok(Box::new(record))
            }
            (Finding::Broken { .. }, Ok(Some(record)))
                if matches!(record.verdict, RunVerdict::Broken { .. }) =>
            {
                Ok(Box::new(record))
            }
            (Finding::Broken { reasons } | Finding::Unknown { reasons }, Ok(_)) => failed(reasons.join("; ")),
            (_, Ok(_)) => failed("its verdict.json is gone, or says something else".to_owned()),
        };
        Self { experiment, command, result }
    }

    /// Returns the figures of a run that proves something; `None` of one that was not made or was broken.
    #[must_use]
    pub fn figures(&self) -> Option<&VerdictRecord> {
        let record = self.result.as_deref().ok()?;
        (!matches!(record.verdict, RunVerdict::Broken { .. })).then_some(record)
    }

    /// Returns how old its reads of registers were, if that was measured.
    #[must_use]
    pub fn ages(&self) -> Option<&ReadAges> {
        self.figures()?.check.details.as_ref()?.read_ages()
    }

    /// Returns the operations at the nodes that its faults took away, and at the others, summed up over its faults.
    #[must_use]
    pub fn sides(&self) -> Option<[Share; 2]> {
        let faults = &self.figures()?.faults;
        let mut sums = [Share::default(); 2];
        for sides in faults.iter().filter_map(|fault| fault.sides.as_ref()) {
            // An operation that waits for the heal was not answered meanwhile.
            for (sum, Side { asked, answered, .. }) in sums.iter_mut().zip([&sides.away, &sides.others]) {
                (sum.of, sum.part) = (sum.of + asked, sum.part + answered);
            }
        }
        (sums[0].of > 0).then_some(sums)
    }

    /// Returns the first of its anomalies that it was meant to show.
    #[must_use]
    pub fn shown(&self) -> Option<&Anomaly> {
        let Expects::Broken(kinds) = self.experiment.expects else { return None };
        self.figures()?.verdict.anomalies().iter().find(|anomaly| kinds.contains(&anomaly.kind))
    }

    /// Returns the exit code that it is worth.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match &self.result {
            Err(NoVerdict::NotRun(_)) => Exit::NotRun,
            Err(NoVerdict::Failed(_)) => Exit::Broken,
            Ok(record) => match (self.experiment.expects, record.verdict.anomalies()) {
                (Expects::Broken(kinds), [first, rest @ ..])
                    if [first].into_iter().chain(rest).all(|anomaly| kinds.contains(&anomaly.kind)) =>
                {
                    Exit::Valid
                }
                _ => record.verdict.exit(),
            },
        }
    }

    /// Returns its verdict on what it was held to, in words.
    #[must_use]
    pub fn kept(&self) -> String {
        match &self.result {
            Err(NoVerdict::NotRun(why)) => why.clone(),
            Err(NoVerdict::Failed(why)) => format!("the run failed: {why}"),
            Ok(record) => match &record.verdict {
                RunVerdict::Valid => "kept".to_owned(),
                RunVerdict::Invalid { .. } => "broken".to_owned(),
                RunVerdict::Unknown { .. } => "not decided".to_owned(),
                RunVerdict::Broken { .. } => "the run proves nothing".to_owned(),
            },
        }
    }
}

/// A part of a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// The part.
    pub part: u64,
    /// The whole.
    pub of: u64,
}

impl Share {
    /// Returns the share in percent; `None` of nothing.
    #[must_use]
    pub fn percent(self) -> Option<f64> {
        (self.of > 0).then(|| self.part as f64 * 100.0 / self.of as f64)
    }

    /// Returns `12 of 80 reads (15.0 %)`, where `what` is `reads`.
    #[must_use]
    pub fn words(self, what: &str) -> String {
        match self.percent() {
            Some(percent) => format!("{} of {} {what} ({percent:.1} %)", self.part, self.of),
            None => format!("none of 0 {what}"),
        }
    }

    /// Adds another share of another whole.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { part: self.part + other.part, of: self.of + other.of }
    }
}

impl std::fmt::Display for Share {
    /// Formats `12 of 80 (15.0 %)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.percent() {
            Some(percent) => write!(f, "{} of {} ({percent:.1} %)", self.part, self.of),
            None => f.write_str("none of 0"),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::PathBuf;

    use serde_json::{Value, json};

    use super::*;

    /// A run that left this verdict.
    pub(crate) fn with_verdict(experiment: Experiment, verdict: &Value) -> Measured {
        let record = serde_json::from_value(verdict.clone()).expect("a verdict");
        Measured { experiment, command: "duress run".to_owned(), result: Ok(Box::new(record)) }
    }

    pub(crate) fn invalid(kinds: &[&str]) -> Value {
        let anomaly = |kind: &&str| {
            json!({"kind": kind, "objects": [], "summary": "it is wrong", "start": null, "operations": [],
                "relations": [], "contradicts": null, "steps": []})
        };
        json!({"version": 2, "verdict": "invalid", "anomalies": kinds.iter().map(anomaly).collect::<Vec<_>>()})
    }

    #[test]
    fn a_run_is_excused_by_the_anomalies_that_it_was_meant_to_show_only() {
        let kept = || Experiment::new("a run", "store");
        let broken = || kept().meant_to_break(&[AnomalyKind::LostTask]);
        let exit = |experiment, verdict: &Value| with_verdict(experiment, verdict).exit();
        assert_eq!(exit(kept(), &invalid(&["lost-task"])), Exit::Anomaly);
        assert_eq!(exit(broken(), &invalid(&["lost-task", "lost-task"])), Exit::Valid);
        assert_eq!(exit(broken(), &invalid(&["lost-task", "lost-write"])), Exit::Anomaly);
        assert_eq!(exit(broken(), &invalid(&["not-recovered"])), Exit::Anomaly);
        assert_eq!(exit(broken(), &json!({"version": 2, "verdict": "valid"})), Exit::Valid);
        assert_eq!(
            exit(broken(), &json!({"version": 2, "verdict": "broken", "reasons": ["x"]})),
            Exit::Broken
        );
        let shown =
            |kinds: &[&str]| with_verdict(broken(), &invalid(kinds)).shown().map(|anomaly| anomaly.kind);
        assert_eq!(shown(&["not-recovered", "lost-task"]), Some(AnomalyKind::LostTask));
        assert_eq!(shown(&["not-recovered"]), None);
    }

    #[test]
    fn a_verdict_that_the_trial_did_not_find_is_not_believed() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("verdict.json"), r#"{"version": 2, "verdict": "valid"}"#)
            .expect("it is written");
        let of = |finding| {
            let trial = Trial {
                command: String::new(),
                seed: 1,
                finding,
                seconds: 1.0,
                folder: folder.path().to_owned(),
                home: PathBuf::new(),
                replay: None,
                situations: Vec::new(),
                operations: 0,
            };
            Measured::of(Experiment::new("a run", "store"), String::new(), &trial)
        };
        assert_eq!(of(Finding::Valid).kept(), "kept");
        let overdue = of(Finding::Broken { reasons: vec!["it took too long".to_owned()] });
        assert_eq!(
            (overdue.kept().as_str(), overdue.exit()),
            ("the run failed: it took too long", Exit::Broken)
        );
        let killed = of(Finding::Error { message: "it was killed".to_owned() });
        assert_eq!((killed.kept().as_str(), killed.exit()), ("the run failed: it was killed", Exit::Broken));
    }
}
