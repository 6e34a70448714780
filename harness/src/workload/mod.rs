//! Workloads: what clients do, how a run of them ends, and how what they saw is judged.
//!
//! A workload is its options, which a plan keeps, and what follows from them: a vocabulary of operations, the clients
//! that do them, a generator, a final phase, and a checker. [`crate::plan::Workload`] lists them all.
//!
//! - [`register`]: is each key linearizable?

pub mod register;

use std::time::Duration;

use duress_history::Operation;
use duress_history::recorder::RecordError;
use duress_targets::{Client, Promise};

use crate::cluster_access::ClusterAccess;
use crate::dispatcher::{Dispatcher, Vocabulary};
use crate::generator::Generator;
use crate::judge::{JudgeError, Judgement};
use crate::plan::PlanError;

/// A kind of work, described by its options.
pub trait WorkloadKind {
    /// The operations.
    type Action: Vocabulary;
    /// The generator of the main phase.
    type Mix: Generator<Self::Action>;

    /// Whether every option is within its range.
    ///
    /// # Errors
    /// [`PlanError::Range`] names the first that is not.
    fn validate(&self) -> Result<(), PlanError>;

    /// A fresh client for the process slot `slot`.
    fn client(cluster: &ClusterAccess, slot: usize) -> Box<dyn Client<Self::Action>>;

    /// The operations of the main phase, endlessly, drawn from `seed`.
    fn mix(&self, seed: u64) -> Self::Mix;

    /// Ends a run: sees to it, through `dispatcher`, that what was lost shows. Everything is healed by then; `mix` says what
    /// was done before. Returns what a reader should know; what could not be looked at must be among it.
    ///
    /// # Errors
    /// [`RecordError`] when the history cannot be kept.
    fn finish(
        mix: &Self::Mix,
        dispatcher: &mut Dispatcher<Self::Action>,
        deadline: Duration,
    ) -> impl Future<Output = Result<Vec<String>, RecordError>>;

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
