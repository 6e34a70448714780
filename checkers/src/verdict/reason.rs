//! Why something was not decided.

use std::fmt;

use duress_history::{NodeId, Scalar};
use serde::{Deserialize, Serialize};

/// The longest prefix of a history that a search found to be right before it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// How many operations are completed in it.
    pub completed: u64,
    /// How many are completed in the whole history.
    pub of: u64,
    /// The index of its last completion.
    pub index: u64,
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { completed, of, index } = self;
        write!(f, "{completed} of {of} completed operations, those up to index {index}, fit one order")
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
        /// The prefix of the history that was found to be right.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reached: Option<Reached>,
    },
    /// The configurations that must be remembered do not fit into the memory allowed.
    Memory {
        /// The register that was not decided.
        key: Option<Scalar>,
        /// How many configurations were explored.
        explored: u64,
        /// The prefix of the history that was found to be right.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reached: Option<Reached>,
        /// The memory allowed, for all registers together.
        bytes_max: usize,
    },
    /// The check was stopped: a time-out, or Ctrl-C.
    Interrupted {
        /// The register that was not decided.
        key: Option<Scalar>,
        /// How many configurations were explored.
        explored: u64,
        /// The prefix of the history that was found to be right.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reached: Option<Reached>,
    },
    /// More events on one object than positions can be numbered.
    TooLong {
        /// The register that was not decided.
        key: Option<Scalar>,
        /// How many operations it has.
        operations: u64,
    },
    /// More operations were open at once than the search can distinguish.
    TooManyOpen {
        /// The object that was not decided.
        key: Option<Scalar>,
        /// How many may be open.
        open_max: u64,
        /// The prefix of the history that was found to be right.
        reached: Reached,
    },
    /// Acknowledged messages that were never read, in a partition that was not read far enough to show that they are gone.
    Unseen {
        /// The partition.
        key: Option<Scalar>,
        /// How many messages.
        messages: u64,
    },
    /// A value that was sent to one partition more than once: its messages cannot be distinguished.
    RepeatedValue {
        /// The partition.
        key: Option<Scalar>,
        /// The value.
        value: Scalar,
    },
    /// A value that more than one transaction wrote to one object: what is read of it does not say from which.
    RepeatedWrite {
        /// The list or register.
        key: Option<Scalar>,
        /// The value.
        value: Scalar,
    },
    /// A register that was deleted: the check does not decide it.
    Deleted {
        /// The register.
        key: Option<Scalar>,
    },
    /// Elements whose add was acknowledged, that were never read, and that no read shows to be lost.
    ElementsUnseen {
        /// The set.
        key: Option<Scalar>,
        /// How many elements.
        elements: u64,
    },
    /// No operation succeeded, so that nothing was observed.
    NothingHappened {
        /// How many operations there are.
        operations: u64,
    },
    /// Operations succeeded, and none of their answers shows their effect: nothing was read.
    NothingObserved {
        /// How many operations succeeded.
        happened: u64,
    },
    /// At the end, registers were not read at more than one replica: whether replicas agree is not known.
    NotCompared {
        /// How many replicas answered reads at the end.
        replicas: u64,
    },
    /// At the end, the replicas that answered lack an acknowledged write, and others did not answer.
    ReplicasUnread {
        /// The register.
        key: Option<Scalar>,
        /// The replicas that did not answer.
        nodes: Vec<NodeId>,
    },
    /// A bound on the age of reads, some of which are old, in a history whose events do not all have times.
    NoTimes {
        /// The register.
        key: Option<Scalar>,
    },
    /// The check of single reads was stopped.
    ReadsLeft {
        /// The register.
        key: Option<Scalar>,
        /// How many reads had been checked.
        reads: u64,
        /// These began before the event of this index.
        index: u64,
    },
    /// Something outside of the history, in the words of the caller, was not looked at.
    NotExamined {
        /// What, as a sentence without its full stop.
        what: String,
    },
}

impl Reason {
    /// Returns why a history without anomalies is not valid either: `happened` of its `operations` succeeded,
    /// and `observed` of their answers show the object's state.
    pub(crate) fn nothing_shown(operations: u64, happened: u64, observed: u64) -> Option<Self> {
        match (happened, observed) {
            (0, _) => Some(Self::NothingHappened { operations }),
            (_, 0) => Some(Self::NothingObserved { happened }),
            _ => None,
        }
    }

    /// Returns the register or partition that was not decided, where there is more than one.
    #[must_use]
    pub fn key(&self) -> Option<&Scalar> {
        match self {
            Self::Configurations { key, .. }
            | Self::Memory { key, .. }
            | Self::Interrupted { key, .. }
            | Self::TooLong { key, .. }
            | Self::TooManyOpen { key, .. }
            | Self::Unseen { key, .. }
            | Self::RepeatedValue { key, .. }
            | Self::RepeatedWrite { key, .. } => key.as_ref(),
            Self::ElementsUnseen { key, .. }
            | Self::ReplicasUnread { key, .. }
            | Self::Deleted { key }
            | Self::ReadsLeft { key, .. }
            | Self::NoTimes { key } => key.as_ref(),
            Self::NothingHappened { .. }
            | Self::NothingObserved { .. }
            | Self::NotCompared { .. }
            | Self::NotExamined { .. } => None,
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
                write!(f, "{operations} operations on one object are more than can be numbered")
            }
            Self::TooManyOpen { open_max, .. } => write!(
                f,
                "more than {open_max} operations are open at once, and the search cannot distinguish so many; an operation of \
                 unknown outcome stays open to the end"
            ),
            Self::Unseen { messages, .. } => write!(
                f,
                "{messages} acknowledged messages were never read, and no consumer read far enough to show whether they are lost"
            ),
            Self::RepeatedValue { value, .. } => {
                write!(f, "{value} was sent more than once, so that its messages cannot be distinguished")
            }
            Self::RepeatedWrite { value, .. } => {
                write!(f, "{value} was written more than once, and which write a read saw is not known")
            }
            Self::ElementsUnseen { elements, .. } => {
                write!(
                    f,
                    "{elements} elements were acknowledged and never read, and no read shows that they are lost"
                )
            }
            Self::NothingHappened { operations: 0 } => f.write_str("the history has no operations"),
            Self::NothingHappened { operations } => {
                write!(f, "none of {operations} operations succeeded")
            }
            Self::NothingObserved { happened } => {
                write!(f, "{happened} operations succeeded, but no answer shows their effect")
            }
            Self::NotCompared { replicas } => {
                write!(
                    f,
                    "no key was read at two replicas at the end, of {replicas} that answered: whether replicas agree is not known"
                )
            }
            Self::Deleted { .. } => f.write_str(
                "a client deleted it, and a read that finds nothing does not show which delete it saw, if any",
            ),
            Self::ReplicasUnread { nodes, .. } => {
                let nodes: Vec<String> = nodes.iter().map(ToString::to_string).collect();
                write!(
                    f,
                    "the replicas that answered at the end lack an acknowledged write, and {} did not answer",
                    nodes.join(", ")
                )
            }
            Self::NoTimes { .. } => f.write_str(
                "a read is a version old, and how old in time is not known: the times of events are missing, fall, or are all \
                 the same",
            ),
            Self::ReadsLeft { reads, index, .. } => {
                write!(f, "the check was stopped after {reads} reads, those that began before index {index}")
            }
            Self::NotExamined { what } => f.write_str(what),
        }?;
        match self {
            Self::Configurations { reached: Some(reached), .. }
            | Self::Memory { reached: Some(reached), .. }
            | Self::Interrupted { reached: Some(reached), .. }
            | Self::TooManyOpen { reached, .. } => write!(f, "; {reached}"),
            _ => Ok(()),
        }
    }
}
