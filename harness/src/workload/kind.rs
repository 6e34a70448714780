//! A kind of workload, typed by its operations: what each folder beside this file implements.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use duress_checkers::growing::Growing;
use duress_history::recorder::RecordError;
use duress_history::{Operation, Promise, Scalar};
use duress_targets::Setup;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::generator::Generator;
use super::option::WorkloadOption;
use crate::judge::{Judgement, Question};
use crate::plan::range::RangeError;
use crate::run::dispatcher::{Dispatcher, Vocabulary};

/// A kind of work, described by its options: a vocabulary of operations, a generator, a final phase, and a checker.
#[async_trait(?Send)]
pub trait Kind: Default + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The operations.
    type Action: Vocabulary;
    /// The generator of the main phase.
    type Mix: Generator<Self::Action>;

    /// The name on the command line.
    const NAME: &'static str;
    /// The operations, the end of a run, and the check: a few lines.
    const DESCRIPTION: &'static str;
    /// The names of the promises that its histories can be held to.
    const PROMISES: &'static [&'static str] = &[];
    /// Its options on the command line.
    const OPTIONS: &'static [WorkloadOption] = &[];
    /// How long the final phase may take if the run is not broken.
    const FINISH: Duration;

    /// Whether a client may go from node to node: it keeps no state between operations.
    const ROAMS: bool = false;

    /// Whether it can run on a cluster that keeps what earlier runs wrote: [`Self::rename`] gives it names of its own, or it does
    /// not see what others wrote.
    const BEARS_LEFTOVERS: bool = false;

    /// Whether an anomaly of the first part of a history, up to any moment, is one of the whole.
    const PREFIX_CLOSED: bool = false;

    /// Returns a check of histories that grow against `promise`, if there is one.
    fn growing(_promise: Promise) -> Option<Box<dyn Growing<Self::Action>>> {
        None
    }

    /// Whether every option is within its range, for so many processes at a time.
    ///
    /// # Errors
    /// [`RangeError`] names the first that is not.
    fn validate(&self, _concurrency: usize) -> Result<(), RangeError> {
        Ok(())
    }

    /// Returns the resources that the system must prepare before clients begin. Keys that hold values need
    /// none.
    fn setup(&self) -> Setup {
        Setup::default()
    }

    /// Returns the operations of the main phase, endlessly, drawn from `seed`.
    fn mix(&self, seed: u64) -> Self::Mix;

    /// Has the names of all that `mix` is about begin with `prefix`. It has not drawn an operation yet.
    fn rename(_mix: &mut Self::Mix, _prefix: &str) {}

    /// Ends a run: makes losses visible, through `dispatcher`. Everything is healed by then; `mix` knows the
    /// earlier operations, those of an earlier call too. Checks that could not be made must be reported.
    ///
    /// # Errors
    /// [`RecordError`] when the history cannot be kept.
    async fn finish(
        mix: &mut Self::Mix,
        dispatcher: &mut Dispatcher<Self::Action>,
        deadline: Duration,
    ) -> Result<Ending, RecordError>;

    /// Judges operations against the promise, until `interrupt` is raised; questions undecided then are
    /// unknown.
    fn judge(
        operations: &[Operation<Self::Action>],
        question: &Question,
        interrupt: &AtomicBool,
    ) -> Judgement;
}

/// The result of a final phase.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ending {
    /// Checks that were not made, so that the run cannot be called valid.
    pub undecided: Vec<String>,
}

impl Ending {
    /// Returns an ending that leaves something open.
    #[must_use]
    pub fn undecided(what: String) -> Self {
        Self { undecided: vec![what] }
    }
}

/// Keys in words, the first few of them.
pub(super) fn listed(keys: &[Scalar]) -> String {
    const SHOWN: usize = 6;
    let mut text = keys.iter().take(SHOWN).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if keys.len() > SHOWN {
        text.push_str(", …");
    }
    text
}
