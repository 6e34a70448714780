//! Workloads: what clients do, how a run of them ends, and how what they saw is judged.
//!
//! A workload is its options, which a plan keeps, and what follows from them: a vocabulary of operations, the clients
//! that do them, a generator, a final phase, and a checker. [`crate::plan::Workload`] lists them all.
//!
//! - [`register`]: is each key linearizable?
//! - [`log`]: is every acknowledged message in its partition, once, in its place, for everybody?
//! - [`queue`]: is every message given to a member of the group, and how often?
//! - [`table`]: is what remains of a compacted log the table that the whole log made?

mod delivery;
pub mod generator;
pub mod log;
pub mod queue;
pub mod register;
pub mod table;

use std::time::Duration;

use duress_history::recorder::RecordError;
use duress_history::{Operation, Scalar};
use duress_targets::{Client, Promise, WorkloadSetup};

use crate::judge::{JudgeError, Judgement};
use crate::plan::PlanError;
use crate::run::cluster_access::ClusterAccess;
use crate::run::dispatcher::{Dispatcher, Vocabulary};
use crate::workload::generator::Generator;

/// A kind of work, described by its options.
pub trait WorkloadKind {
    /// The operations.
    type Action: Vocabulary;
    /// The generator of the main phase.
    type Mix: Generator<Self::Action>;

    /// How long the final phase may take where nothing is broken.
    const FINISH: Duration;

    /// Whether every option is within its range.
    ///
    /// # Errors
    /// [`PlanError::Range`] names the first that is not.
    fn validate(&self) -> Result<(), PlanError>;

    /// What the system must have made before clients begin.
    fn setup(&self) -> WorkloadSetup;

    /// A fresh client for the process slot `slot`.
    fn client(cluster: &ClusterAccess, slot: usize) -> Box<dyn Client<Self::Action>>;

    /// The operations of the main phase, endlessly, drawn from `seed`.
    fn mix(&self, seed: u64) -> Self::Mix;

    /// Ends a run: sees to it, through `dispatcher`, that what was lost shows. Everything is healed by then; `mix` says what
    /// was done before. What could not be looked at must be told.
    ///
    /// # Errors
    /// [`RecordError`] when the history cannot be kept.
    fn finish(
        mix: &Self::Mix,
        dispatcher: &mut Dispatcher<Self::Action>,
        deadline: Duration,
    ) -> impl Future<Output = Result<Ending, RecordError>>;

    /// Judges the operations of a run against what the system promised; what is undecided after `limit` is unknown.
    ///
    /// # Errors
    /// [`JudgeError`].
    fn judge(
        operations: &[Operation<Self::Action>],
        promise: Promise,
        limit: Duration,
    ) -> Result<Judgement, JudgeError>;
}

/// What a final phase came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ending {
    /// What a reader should know.
    pub notes: Vec<String>,
    /// What was not looked at, so that nobody can call the run valid.
    pub undecided: Vec<String>,
}

impl Ending {
    /// One that leaves something open.
    fn undecided(what: String) -> Self {
        Self { undecided: vec![what], ..Self::default() }
    }
}

/// Keys in words, the first few of them.
fn listed(keys: &[Scalar]) -> String {
    const SHOWN: usize = 6;
    let mut text = keys.iter().take(SHOWN).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if keys.len() > SHOWN {
        text.push_str(", …");
    }
    text
}
