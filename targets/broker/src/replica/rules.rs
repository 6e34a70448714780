//! The rules for all copies of a broker: those of the plain code, or with one defect.

use std::time::Duration;

use super::leading::{CommitRule, Shrinking};

/// How far a follower cuts its log when it begins to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truncation {
    /// To the end of its last epoch at the leader, for which it asks the leader.
    ToEpochEnd,
    /// Defect: to its own high watermark.
    ToHighWatermark,
}

/// How far consumers may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visible {
    /// Up to the high watermark.
    ToHighWatermark,
    /// Defect: up to the log end.
    ToLogEnd,
}

/// How far consumers of committed transactions may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// Up to the last stable offset.
    ToLastStable,
    /// Defect: as far as other consumers.
    AsOthers,
}

/// Which aborted transactions consumers of committed ones are told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AbortedList {
    /// Those among the records that they are served.
    Complete,
    /// Defect: none.
    Empty,
}

/// The rules for all copies of a broker.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// How long a follower may be behind.
    pub lag_max: Duration,
    /// How often the log is cleaned of old records.
    pub cleanup_every: Duration,
    /// Whether a leader waits before it continues without a follower.
    pub shrinking: Shrinking,
    /// The rule for the high watermark.
    pub commit: CommitRule,
    /// How far a follower cuts its log.
    pub truncation: Truncation,
    /// How far consumers may read.
    pub visible: Visible,
    /// How far consumers of committed transactions may read.
    pub settled: Settled,
    /// The aborted transactions that they are told of.
    pub aborted: AbortedList,
}
