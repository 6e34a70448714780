//! The promise of delivery to check, and the result of the check.

use std::collections::BTreeMap;

use duress_history::{Allowed, Delivery};
use serde::{Deserialize, Serialize};

use crate::verdict::AnomalyKind;

/// Whether `promise` allows an anomaly of `kind`: it is then counted, and breaks nothing.
pub(crate) fn allows(promise: Delivery, kind: AnomalyKind) -> Allowed {
    match kind {
        AnomalyKind::LostWrite | AnomalyKind::Lost | AnomalyKind::Undelivered => promise.loss,
        AnomalyKind::Duplicate | AnomalyKind::Redelivered => promise.repetition,
        AnomalyKind::NonmonotonicSend | AnomalyKind::IntNonmonotonicSend | AnomalyKind::Reordered => {
            promise.reordering
        }
        // A message that may be lost although it was read leaves the table to an earlier one of its key, or to none. A
        // committed offset is a message too.
        AnomalyKind::InconsistentOffsets
        | AnomalyKind::NonmonotonicPoll
        | AnomalyKind::G1c
        | AnomalyKind::PrecommittedRead
        | AnomalyKind::CommittedOffsetBack
        | AnomalyKind::LatestLost
        | AnomalyKind::TableDiverged => promise.unsettled_reads,
        // Producers share a partition: no promise keeps a batch in one piece.
        AnomalyKind::IntSendSkip => Allowed::Yes,
        _ => Allowed::No,
    }
}

/// Whether offsets may be missing although a message was put there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gaps {
    /// Messages are never removed. Offsets that never held a message may be missing all the same.
    #[default]
    Never,
    /// Retention removes the oldest messages: a log begins anywhere, and has no gap after its beginning.
    BelowStart,
    /// Compaction removes messages anywhere. A merely missing message is not lost.
    Anywhere,
}

/// The meaning of an acknowledgement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acknowledged {
    /// The message was appended (`acks=1`). Until it has been replicated it lies beyond the end that
    /// `end-offsets` reports, so that reading up to that end proves nothing.
    #[default]
    Appended,
    /// That the message can be read from now on (`acks=all`), and `end-offsets` never goes back behind it: Kafka
    /// answers with an error rather than with an older end (KIP-207).
    Readable,
}

/// The options for checking a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// The promise.
    pub promise: Delivery,
    /// The messages that may be missing.
    pub gaps: Gaps,
    /// The meaning of an acknowledgement.
    pub acknowledged: Acknowledged,
}

impl Default for LogOptions {
    /// Returns the strictest options: everything promised, nothing removed, and the weakest acknowledgements.
    fn default() -> Self {
        Self { promise: Delivery::EXACTLY_ONCE, gaps: Gaps::default(), acknowledged: Acknowledged::default() }
    }
}

/// Messages, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DeliveryCounts {
    /// Sent, whatever the outcome.
    pub sent: u64,
    /// Sent and acknowledged.
    pub acknowledged: u64,
    /// Sent and certainly refused.
    pub failed: u64,
    /// Sent with unknown outcome.
    pub unknown: u64,
    /// Read; for a queue, received by a member of the group.
    pub delivered: u64,
    /// Read although they were never acknowledged: allowed, since their outcome was unknown.
    pub unacknowledged_delivered: u64,
    /// How many times messages were read.
    pub deliveries: u64,
    /// Proved to be gone: acknowledged, or read.
    pub lost: u64,
    /// Acknowledged, never read, and not proved to be gone.
    pub unseen: u64,
    /// At more than one offset.
    pub duplicated: u64,
    /// Put before messages that had been acknowledged or read before they were sent.
    pub reordered: u64,
    /// Messages of a queue that the group's committed offset passed and no member was given.
    pub undelivered: u64,
    /// For a queue: received by members of the group more than once.
    pub redelivered: u64,
}

/// The record's result on delivery, besides the anomalies that break the promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DeliveryReport {
    /// The promise.
    pub promise: Delivery,
    /// The promise that the record shows to be kept; null if nothing was delivered, or unseen messages leave
    /// it open.
    pub reached: Option<Delivery>,
    /// Messages, by what became of them.
    pub counts: DeliveryCounts,
    /// How often each anomaly was found, those included that the promise tolerates. The verdict has witnesses of the
    /// first few of each kind only.
    pub found: BTreeMap<AnomalyKind, u64>,
}

impl DeliveryCounts {
    /// Returns the strongest promise that they keep.
    pub(crate) fn reached(&self) -> Option<Delivery> {
        let loss = Allowed::from(self.lost + self.undelivered > 0);
        let repetition = Allowed::from(self.duplicated + self.redelivered > 0);
        let open = self.unseen > 0 || self.delivered == 0;
        (loss == Allowed::Yes || !open).then(|| Delivery::of(loss, repetition))
    }
}
