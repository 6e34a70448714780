//! A run of a lesson, and its results.

use std::path::Path;
use std::time::Duration;

use duress_checkers::freshness::ReadAges;

use crate::judge::sides::Side;
use crate::judge::verdict::RunVerdict;
use crate::record::verdict::VerdictRecord;
use crate::run::conductor::chain;
use crate::trial::Shell;

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
    /// It is held to more than it promises, to show that it does not keep that.
    Broken,
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

    /// The same run, meant to break what it is held to.
    #[must_use]
    pub fn meant_to_break(self) -> Self {
        Self { expects: Expects::Broken, ..self }
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
    /// Its verdict with all figures; why there is none otherwise.
    pub result: Result<Box<VerdictRecord>, String>,
}

impl Measured {
    /// Reads the result that the run left in `folder`; `otherwise` is the reason why there may be none.
    #[must_use]
    pub fn read(experiment: Experiment, command: String, folder: &Path, otherwise: String) -> Self {
        let result = match VerdictRecord::load(folder) {
            Ok(Some(record)) => Ok(Box::new(record)),
            Ok(None) => Err(otherwise),
            Err(error) => Err(chain(&error)),
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
            for (sum, Side { asked, answered, .. }) in sums.iter_mut().zip([&sides.away, &sides.others]) {
                (sum.of, sum.part) = (sum.of + asked, sum.part + answered);
            }
        }
        (sums[0].of > 0).then_some(sums)
    }

    /// Returns its verdict on what it was held to, in words.
    #[must_use]
    pub fn kept(&self) -> String {
        match &self.result {
            Err(why) => format!("not known: {why}"),
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
