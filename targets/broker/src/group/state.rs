//! The states of a group between two generations.

use std::time::Instant;

/// The state of a group; the diagram is in `membership.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupState {
    /// It has no members.
    Empty,
    /// Its members are to join again.
    Preparing {
        /// The deadline, after which the next generation begins without the members that have not joined.
        until: Instant,
        /// Whether to wait for the deadline even if all known members have joined: a new group expects more of them.
        early: Early,
    },
    /// The leader's assignment is awaited.
    Completing {
        /// The deadline, after which the members that have not sent SyncGroup are removed.
        until: Instant,
    },
    /// Every member has its assignment.
    Stable,
}

/// Whether a rebalance may end before its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Early {
    /// When every member has joined.
    Possible,
    /// No: more members are expected.
    No,
}

impl GroupState {
    /// As the protocol calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Preparing { .. } => "PreparingRebalance",
            Self::Completing { .. } => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}
