//! The state of one transactional id.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::group::TopicPartition;
use crate::log::Outcome;

/// The stage of a transactional id.
///
/// ```text
///            a partition          the client ends it,          every partition
///            is added             or its time is up            has its marker
///   Idle ─────────────> Ongoing ──────────────────> Ending ───────────────────> Ended
///    ^                     ^                                                      │ │
///    │                     └──────────── a partition is added ────────────────────┘ │
///    └────────────────────────── a new instance begins ─────────────────────────────┘
/// ```
///
/// Once a record says `Ending`, the outcome is decided: any coordinator that reads it writes the markers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// There was no transaction since the producer began.
    Idle,
    /// A transaction is open.
    Ongoing,
    /// The outcome is decided, and the markers are being written.
    Ending(Outcome),
    /// The markers are written.
    Ended(Outcome),
}

/// The state of a transactional id, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) producer_id: i64,
    pub(super) epoch: i16,
    /// After how long the coordinator aborts a transaction.
    pub(super) timeout: Duration,
    /// Counts transactions.
    pub(super) number: u64,
    pub(super) stage: Stage,
    /// The partitions of the transaction.
    pub(super) partitions: BTreeSet<TopicPartition>,
}

impl Kept {
    /// Returns the state of a transactional id that is used for the first time.
    pub(super) fn new(producer_id: i64, timeout: Duration) -> Self {
        let partitions = BTreeSet::new();
        Self { producer_id, epoch: 0, timeout, number: 0, stage: Stage::Idle, partitions }
    }

    /// Returns the state after the present instance of the producer is fenced, if it has a transaction: it is aborted.
    pub(super) fn fenced(&self) -> Self {
        Self { epoch: self.epoch + 1, stage: Stage::Ending(Outcome::Abort), ..self.clone() }
    }

    /// Returns the state for a new instance of the producer; one that has used up its epochs gets `fresh_id`.
    pub(super) fn renewed(&self, fresh_id: i64, timeout: Duration) -> Self {
        // The greatest epoch is left for fencing the last instance.
        let (producer_id, epoch) = match self.epoch < i16::MAX - 1 {
            true => (self.producer_id, self.epoch + 1),
            false => (fresh_id, 0),
        };
        let partitions = BTreeSet::new();
        Self { producer_id, epoch, timeout, number: self.number, stage: Stage::Idle, partitions }
    }

    /// Returns the state with these partitions in its transaction, which may begin with them.
    pub(super) fn with(&self, added: impl IntoIterator<Item = TopicPartition>) -> Self {
        let mut next = self.clone();
        if next.stage != Stage::Ongoing {
            next.number += 1;
            next.partitions.clear();
        }
        next.stage = Stage::Ongoing;
        next.partitions.extend(added);
        next
    }
}
