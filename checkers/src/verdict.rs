//! What a checker answers.
//!
//! Everything here is plain data, made to be saved and to be printed by somebody else.

use std::fmt;

use duress_history::{NodeId, Process, Scalar};
use serde::{Deserialize, Serialize};

use crate::delivery::DeliveryReport;

/// What a checker says of a history.
///
/// `Unknown` is no pass: something was not decided, and the reasons say what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Everything that was to be checked was checked, and holds.
    Valid,
    /// At least one anomaly is proved, whatever else was not decided.
    Invalid(Vec<Anomaly>),
    /// No anomaly is proved, and not everything was decided.
    Unknown(Vec<Reason>),
}

impl Verdict {
    /// What is proved; nothing unless it is `Invalid`.
    #[must_use]
    pub fn anomalies(&self) -> &[Anomaly] {
        match self {
            Self::Invalid(anomalies) => anomalies,
            Self::Valid | Self::Unknown(_) => &[],
        }
    }

    /// The verdict on both halves of a history: `Invalid` dominates, then `Unknown`.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        match (self, other) {
            (Self::Invalid(mut anomalies), Self::Invalid(more)) => {
                anomalies.extend(more);
                Self::Invalid(anomalies)
            }
            (Self::Invalid(anomalies), _) | (_, Self::Invalid(anomalies)) => Self::Invalid(anomalies),
            (Self::Unknown(mut reasons), Self::Unknown(more)) => {
                reasons.extend(more);
                Self::Unknown(reasons)
            }
            (Self::Unknown(reasons), Self::Valid) | (Self::Valid, Self::Unknown(reasons)) => {
                Self::Unknown(reasons)
            }
            (Self::Valid, Self::Valid) => Self::Valid,
        }
    }
}

/// Why something was not decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "why")]
pub enum Reason {
    /// The search explored as many configurations as it was allowed to.
    Configurations {
        /// The register that was not decided.
        key: Option<Scalar>,
        /// How many configurations were explored.
        explored: u64,
    },
    /// The configurations that must be remembered do not fit into the memory allowed.
    Memory {
        /// The register that was not decided.
        key: Option<Scalar>,
        /// How many configurations were explored.
        explored: u64,
        /// The memory allowed, for all registers together.
        bytes_max: usize,
    },
    /// The check was told to stop: a time-out, or somebody pressed Ctrl-C.
    Interrupted {
        /// The register that was not decided.
        key: Option<Scalar>,
        /// How many configurations were explored.
        explored: u64,
    },
    /// More events on one register than positions can be numbered.
    TooLong {
        /// The register that was not decided.
        key: Option<Scalar>,
        /// How many operations it has.
        operations: u64,
    },
    /// Acknowledged messages that nobody read, in a partition that nobody read far enough to show that they are gone.
    Unseen {
        /// The partition.
        key: Option<Scalar>,
        /// How many messages.
        messages: u64,
    },
    /// A value that was sent to one partition more than once: its messages cannot be told apart.
    RepeatedValue {
        /// The partition.
        key: Option<Scalar>,
        /// The value.
        value: Scalar,
    },
}

impl Reason {
    /// The register or partition that was not decided, where there is more than one.
    #[must_use]
    pub fn key(&self) -> Option<&Scalar> {
        match self {
            Self::Configurations { key, .. }
            | Self::Memory { key, .. }
            | Self::Interrupted { key, .. }
            | Self::TooLong { key, .. }
            | Self::Unseen { key, .. }
            | Self::RepeatedValue { key, .. } => key.as_ref(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(key) = self.key() {
            write!(f, "key {key} was not decided: ")?;
        }
        match self {
            Self::Configurations { explored, .. } => {
                write!(f, "the search gave up after {explored} configurations, as many as it may explore")
            }
            Self::Memory { explored, bytes_max, .. } => {
                write!(
                    f,
                    "the search gave up after {explored} configurations: it may use {} MB of memory",
                    bytes_max >> 20
                )
            }
            Self::Interrupted { explored: 0, .. } => {
                f.write_str("the check was stopped before its turn came")
            }
            Self::Interrupted { explored, .. } => {
                write!(f, "the check was stopped after {explored} configurations")
            }
            Self::TooLong { operations, .. } => {
                write!(f, "{operations} operations on one register are more than can be numbered")
            }
            Self::Unseen { messages, .. } => write!(
                f,
                "{messages} acknowledged messages were never read, and nobody read far enough to say that they are lost"
            ),
            Self::RepeatedValue { value, .. } => {
                write!(f, "{value} was sent more than once, and only what is sent once can be told apart")
            }
        }
    }
}

/// An anomaly's name, in the field's words. Each is given only where the witness proves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnomalyKind {
    /// A read saw a value that nothing ever wrote.
    PhantomRead,
    /// A read or poll saw a value whose only writers had failed, that is, certainly had not happened.
    AbortedRead,
    /// A read saw a value before anybody began to write it.
    FutureRead,
    /// A read saw a value that had been overwritten before it began.
    StaleRead,
    /// Registers: an acknowledged write was never seen by anybody, and a read that began afterwards saw an older value.
    /// Logs: a message that was acknowledged or read is not in its partition.
    LostWrite,
    /// Two compare-and-sets took effect from one and the same write: one of them is lost.
    LostUpdate,
    /// A compare-and-set succeeded although the value it compared with had been overwritten before it began.
    StaleCas,
    /// Two acquisitions of a lock succeeded, and nothing could release it in between.
    DoubleAcquire,
    /// A release succeeded although nobody can have held the lock.
    UnheldRelease,
    /// No order of the operations agrees with real time and with every answer; no simpler name fits.
    Nonlinearizable,
    /// A poll gave a message that nobody had sent to that partition by then.
    NeverSent,
    /// One message stands at more than one offset of its partition.
    Duplicate,
    /// Two answers disagree about which message stands at an offset.
    InconsistentOffsets,
    /// Within one operation, a poll left out a message that others were given.
    IntPollSkip,
    /// Within one operation, a poll gave offsets that do not rise.
    IntNonmonotonicPoll,
    /// From one operation to the next, a consumer that kept its place left out a message that others were given.
    PollSkip,
    /// From one operation to the next, a consumer that kept its place was given what lies before it.
    NonmonotonicPoll,
    /// Within one operation, messages were put in another order than they were sent in.
    IntNonmonotonicSend,
    /// Within one operation, messages of others came between those sent.
    IntSendSkip,
    /// A process sent a message after another was acknowledged to it, and it was put before that one.
    NonmonotonicSend,
    /// A message sent after another was acknowledged or read, by somebody else, was put before that one.
    Reordered,
    /// A group's committed offset went back, and nobody can have committed the lower one.
    CommittedOffsetBack,
    /// A group committed an offset beyond a message that none of its members was ever given.
    Undelivered,
    /// A group's members were given a message of one offset more than once.
    Redelivered,
    /// Folding what remained of a log gives a key a value that it no longer had.
    TableDiverged,
    /// The latest record of a key is gone from the log, and no other of it remains.
    LatestLost,
}

impl AnomalyKind {
    /// The name as printed and as saved.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PhantomRead => "phantom-read",
            Self::AbortedRead => "aborted-read",
            Self::FutureRead => "future-read",
            Self::StaleRead => "stale-read",
            Self::LostWrite => "lost-write",
            Self::LostUpdate => "lost-update",
            Self::StaleCas => "stale-cas",
            Self::DoubleAcquire => "double-acquire",
            Self::UnheldRelease => "unheld-release",
            Self::Nonlinearizable => "nonlinearizable",
            Self::NeverSent => "never-sent",
            Self::Duplicate => "duplicate",
            Self::InconsistentOffsets => "inconsistent-offsets",
            Self::IntPollSkip => "int-poll-skip",
            Self::IntNonmonotonicPoll => "int-nonmonotonic-poll",
            Self::PollSkip => "poll-skip",
            Self::NonmonotonicPoll => "nonmonotonic-poll",
            Self::IntNonmonotonicSend => "int-nonmonotonic-send",
            Self::IntSendSkip => "int-send-skip",
            Self::NonmonotonicSend => "nonmonotonic-send",
            Self::Reordered => "reordered",
            Self::CommittedOffsetBack => "committed-offset-back",
            Self::Undelivered => "undelivered",
            Self::Redelivered => "redelivered",
            Self::TableDiverged => "table-diverged",
            Self::LatestLost => "latest-lost",
        }
    }
}

impl fmt::Display for AnomalyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A proof that a promise was broken: a few operations that cannot have happened as they were answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anomaly {
    /// Its name.
    pub kind: AnomalyKind,
    /// The register, where there is more than one; of logs, the partition; of tables, the record's key.
    pub key: Option<Scalar>,
    /// The anomaly in one sentence.
    pub summary: String,
    /// What the register held before the first of `operations`; null for logs and tables, whose witnesses suppose nothing.
    pub start: Option<WitnessStart>,
    /// The witness, by invocation: these operations alone, with the rest of the history left out in ways that can
    /// only make it easier to explain, are already impossible.
    pub operations: Vec<WitnessOperation>,
    /// Why they are impossible, to be followed on paper.
    pub steps: Vec<Step>,
}

/// What a witness supposes of the register before its first operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WitnessStart {
    /// The history's initial value; `None` is the register that was never written.
    Initial(Option<Scalar>),
    /// Nothing: the witness is impossible whatever the register held.
    Any,
}

/// One operation of a witness.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessOperation {
    /// What the steps call it: `A`, `B`, …
    pub label: String,
    /// Index of its invocation in the history.
    pub index: u64,
    /// Index of its completion, if it has one.
    pub completion_index: Option<u64>,
    /// Who did it.
    pub process: Process,
    /// The node it was sent to.
    pub node: Option<NodeId>,
    /// When it was invoked, nanoseconds since the run began.
    pub time: u64,
    /// When it completed, nanoseconds since the run began, if it did.
    pub completion_time: Option<u64>,
    /// What it did: `write 7`, `read -> 3`, `cas 3 -> 4`; `send 7 to t0-2 -> 15`, `poll t0-2 -> 7@15`.
    pub action: String,
    /// How it ended.
    pub outcome: Outcome,
}

/// How an operation of a witness ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It happened.
    Ok,
    /// It certainly did not happen.
    Fail,
    /// It may have happened.
    Info,
}

/// One sentence of a proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The sentence.
    pub sentence: String,
    /// The labels of the operations it speaks of.
    pub labels: Vec<String>,
}

/// The whole answer of a checker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// What it says of the history.
    pub verdict: Verdict,
    /// How many registers there are; of logs and tables, partitions.
    pub keys: u64,
    /// How many operations took part in the check.
    pub operations: u64,
    /// Which operations took no part, and why.
    pub skipped: Skipped,
    /// What the check cost.
    pub statistics: Statistics,
    /// Which guarantee of delivery the record shows, with counts; of logs and queues only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliveryReport>,
}

/// Operations that took no part in a check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Failed operations: they did not happen. A failed compare-and-set is not taken as an observation.
    pub failed: u64,
    /// Reads without an answer: they change nothing and say nothing.
    pub unanswered_reads: u64,
    /// Reads answered with nothing from a register that held a value from the start: the client did not learn it.
    pub empty_reads: u64,
    /// Operations of unknown outcome whose effect nobody can have seen.
    pub unobserved: u64,
}

impl Skipped {
    /// Both counts together.
    pub(crate) fn add(&mut self, other: Self) {
        self.failed += other.failed;
        self.unanswered_reads += other.unanswered_reads;
        self.empty_reads += other.empty_reads;
        self.unobserved += other.unobserved;
    }
}

/// What a check cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// Registers decided by the near-linear algorithm for unique values.
    pub keys_by_chains: u64,
    /// Registers that needed the search.
    pub keys_by_search: u64,
    /// Configurations that the search explored, over all registers.
    pub configurations: u64,
    /// Configurations that it explored for the hardest register.
    pub configurations_of_one_key_max: u64,
}
