//! The options of the workload `job`.

use serde::{Deserialize, Serialize};

use crate::plan::range::{RangeError, range};
use crate::workload::option::WorkloadOption;

/// The options on the command line.
pub const ON_COMMAND_LINE: &[WorkloadOption] = &[
    WorkloadOption::number("documents", "documents", "how many documents a round has"),
    WorkloadOption::number("words", "words", "how many words each document has"),
    WorkloadOption::duration("tenure", "worker_ms", "how long, on average, a worker lives"),
    WorkloadOption::switch(
        "retry",
        "retry",
        "whether a task that was not acknowledged is given to another worker",
    ),
    WorkloadOption::switch(
        "dedupe",
        "dedupe",
        "whether all executions of a task write the same part; else each writes one of its own",
    ),
];

/// How a job is exercised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobOptions {
    /// How many documents a round has.
    pub documents: u32,
    /// How many words each document has.
    pub words: u32,
    /// How long, on average, a worker lives until it ends in the midst of a task, in milliseconds.
    pub worker_ms: u64,
    /// Whether a task that was not acknowledged is given to another worker.
    pub retry: bool,
    /// Whether all executions of a task write the same part.
    pub dedupe: bool,
}

impl Default for JobOptions {
    fn default() -> Self {
        Self { documents: 40, words: 8, worker_ms: 5_000, retry: true, dedupe: true }
    }
}

impl JobOptions {
    /// Whether every option is within its range.
    ///
    /// # Errors
    /// [`RangeError`].
    pub fn validate(&self) -> Result<(), RangeError> {
        let Self { documents, words, worker_ms, .. } = *self;
        range("documents", &documents, (1..=1000).contains(&documents), "1 to 1000 documents in a round")?;
        range("words", &words, (1..=1000).contains(&words), "1 to 1000 words in a document")?;
        let fine = (10..=86_400_000).contains(&worker_ms);
        range("tenure", &worker_ms, fine, "10 ms to one day")
    }
}
