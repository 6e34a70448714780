//! A workload with its types erased: the interface for the rest of the program.

use std::marker::PhantomData;
use std::time::Duration;

use async_trait::async_trait;
use duress_checkers::growing::{Growing, SoFar};
use duress_history::jsonl::{Line, LineProcess};
use duress_history::{Payload, Promise};
use duress_targets::Setup;
use serde_json::Value;

use super::export::{ExportError, Format, export};
use super::kind::Kind;
use super::option::{Options, WorkloadOption};
use crate::judge::{
    JudgeError, Judged, Judgement, Question, RecordedRun, Recording, judge_operations, settled,
};
use crate::plan::range::RangeError;
use crate::run::RunError;
use crate::run::exercise::{Stage, exercise};

/// A model that histories can be checked against: `duress check --model`.
pub trait Model: Send + Sync {
    /// Returns the name on the command line.
    fn name(&self) -> &'static str;

    /// Returns the content of its histories, in one line.
    fn holds(&self) -> &'static str;

    /// Returns the names of the promises that its histories can be held to; none if only one answer is right.
    fn promises(&self) -> &'static [&'static str];

    /// Checks that its histories can be held to `promise`.
    ///
    /// # Errors
    /// [`PromiseError`], with the promises that they can be held to.
    fn can_be_held_to(&self, promise: Promise) -> Result<(), PromiseError> {
        let known = self.promises();
        match promise.is_among(known) {
            true => Ok(()),
            false => Err(PromiseError { name: self.name(), promise, known }),
        }
    }

    /// Whether its histories can be held to what a system promises: to `promise`, or to one that it implies, if to any.
    fn suits(&self, promise: Promise) -> bool {
        let known = self.promises();
        let implied = |name: &&str| Promise::named(name).is_some_and(|named| promise.implies(named));
        known.is_empty() || promise.is_among(known) || known.iter().any(implied)
    }

    /// Checks the history in `recording`; questions undecided after `limit`, or when the program is asked to
    /// end, are unknown.
    ///
    /// # Errors
    /// [`JudgeError`].
    fn check(
        &self,
        recording: &Recording,
        question: &Question,
        limit: Duration,
    ) -> Result<Judgement, JudgeError>;

    /// Returns the history in `recording` in the form of another program.
    ///
    /// # Errors
    /// [`ExportError`].
    fn export(&self, recording: &Recording, format: Format) -> Result<Vec<u8>, ExportError>;
}

/// A workload: the clients' operations, the end of a run, and the judgement. Its histories can be checked by
/// the same name.
#[async_trait(?Send)]
pub trait Workload: Model {
    /// Describes the operations, the end of a run, and the check: a few lines.
    fn description(&self) -> &'static str;

    /// Returns the vocabulary of its operations: a system takes part that has clients of it.
    fn vocabulary(&self) -> &'static str;

    /// Returns its options on the command line.
    fn options(&self) -> &'static [WorkloadOption];

    /// Returns the default values of its options.
    fn defaults(&self) -> Options;

    /// Whether `options` are its options and within their ranges, for so many processes at a time.
    ///
    /// # Errors
    /// [`OptionsError`].
    fn validate(&self, options: &Options, concurrency: usize) -> Result<(), OptionsError>;

    /// Returns the resources that the system must prepare before clients begin.
    ///
    /// # Errors
    /// [`OptionsError`].
    fn setup(&self, options: &Options) -> Result<Setup, OptionsError>;

    /// Runs it: clients and nemesis side by side, then the final phase, then teardown.
    ///
    /// # Errors
    /// [`RunError`].
    async fn run(&self, options: &Options, stage: Stage<'_>) -> Result<(), RunError>;

    /// Whether it can run on a cluster that keeps what earlier runs wrote.
    fn bears_leftovers(&self) -> bool;

    /// Whether an anomaly of the first part of a history is one of the whole.
    fn prefix_closed(&self) -> bool;

    /// Returns a check of a history that grows against `promise`, if there is one.
    fn follow(&self, promise: Promise) -> Option<Box<dyn Follow>>;

    /// Judges the history of a run.
    ///
    /// # Errors
    /// [`JudgeError`].
    fn judge(&self, run: &RecordedRun<'_>) -> Result<Judged, JudgeError>;
}

/// The check of a history of our own that grows.
pub trait Follow: Send {
    /// Takes the next line of its file.
    fn take(&mut self, line: &Line<'_>);

    /// Returns what is known until now.
    fn so_far(&self) -> SoFar;
}

struct Followed<A> {
    growing: Box<dyn Growing<A>>,
    /// Lines of clients that are not of the vocabulary.
    unread: u64,
}

impl<A: Payload> Follow for Followed<A> {
    fn take(&mut self, line: &Line<'_>) {
        match line.event() {
            // A history that lacks an event would be another one.
            _ if self.unread > 0 => {}
            Some(event) => self.growing.take(&event),
            None => self.unread += u64::from(line.process != LineProcess::Nemesis),
        }
    }

    fn so_far(&self) -> SoFar {
        let so_far = self.growing.so_far();
        SoFar { left: so_far.left + self.unread, ..so_far }
    }
}

/// A promise that is not about the operations of a workload or model.
#[derive(Debug, thiserror::Error)]
#[error("{name} cannot be held to {promise}; {}", known_promises(known))]
pub struct PromiseError {
    name: &'static str,
    promise: Promise,
    known: &'static [&'static str],
}

fn known_promises(known: &[&str]) -> String {
    match known {
        [] => "it takes no promise".to_owned(),
        known => format!("it can be held to: {}", known.join(", ")),
    }
}

/// Options that a workload cannot use.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// One is unknown, missing, or of another type.
    #[error("the options of the workload {workload} are malformed")]
    Malformed {
        /// The workload.
        workload: &'static str,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
    /// One is out of range.
    #[error(transparent)]
    Range(#[from] RangeError),
}

/// The workload that `K` describes.
pub struct Erased<K>(PhantomData<fn() -> K>);

impl<K> Default for Erased<K> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<K: Kind> Erased<K> {
    fn typed(options: &Options) -> Result<K, OptionsError> {
        serde_json::from_value(Value::Object(options.clone()))
            .map_err(|source| OptionsError::Malformed { workload: K::NAME, source })
    }
}

impl<K: Kind> Model for Erased<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn holds(&self) -> &'static str {
        K::DESCRIPTION.lines().next().unwrap_or_default()
    }

    fn promises(&self) -> &'static [&'static str] {
        K::PROMISES
    }

    fn check(
        &self,
        recording: &Recording,
        question: &Question,
        limit: Duration,
    ) -> Result<Judgement, JudgeError> {
        let recorded = recording.read::<K::Action>()?;
        let healed_ns = question.healed_ns.or(settled(&recorded.nemesis));
        let question = Question { healed_ns, timing: recorded.timing, ..question.clone() };
        recorded.judged(limit, |operations, interrupt| K::judge(operations, &question, interrupt))
    }

    fn export(&self, recording: &Recording, format: Format) -> Result<Vec<u8>, ExportError> {
        export::<K::Action>(recording, format)
    }
}

#[async_trait(?Send)]
impl<K: Kind> Workload for Erased<K> {
    fn description(&self) -> &'static str {
        K::DESCRIPTION
    }

    fn vocabulary(&self) -> &'static str {
        K::Action::NAME
    }

    fn options(&self) -> &'static [WorkloadOption] {
        K::OPTIONS
    }

    fn defaults(&self) -> Options {
        match serde_json::to_value(K::default()) {
            Ok(Value::Object(options)) => options,
            other => unreachable!("the options of a workload are a struct of numbers: {other:?}"),
        }
    }

    fn validate(&self, options: &Options, concurrency: usize) -> Result<(), OptionsError> {
        Ok(Self::typed(options)?.validate(concurrency)?)
    }

    fn setup(&self, options: &Options) -> Result<Setup, OptionsError> {
        Ok(Self::typed(options)?.setup())
    }

    async fn run(&self, options: &Options, stage: Stage<'_>) -> Result<(), RunError> {
        exercise(&Self::typed(options)?, stage).await
    }

    fn bears_leftovers(&self) -> bool {
        K::BEARS_LEFTOVERS
    }

    fn prefix_closed(&self) -> bool {
        K::PREFIX_CLOSED
    }

    fn follow(&self, promise: Promise) -> Option<Box<dyn Follow>> {
        let growing = K::growing(promise)?;
        Some(Box::new(Followed { growing, unread: 0 }))
    }

    fn judge(&self, run: &RecordedRun<'_>) -> Result<Judged, JudgeError> {
        judge_operations(run, K::judge)
    }
}
