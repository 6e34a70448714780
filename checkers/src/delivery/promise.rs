//! What a system promises of delivery, as a parameter; and which guarantee a record shows.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::verdict::AnomalyKind;

/// Whether messages may be lost that were acknowledged, or that somebody has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// No.
    Never,
    /// Yes: at most once.
    Allowed,
}

/// Whether one message may stand in the log, or reach a consumer group, more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Duplicates {
    /// No.
    Never,
    /// Yes: at least once.
    Allowed,
}

/// Whether a partition keeps the order in which messages were sent to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartitionOrder {
    /// Yes: what is sent later stands later.
    Kept,
    /// Messages may overtake others: resent ones, or those of producers that await no acknowledgement (`acks=0`).
    Free,
}

/// Whether consumers may be given what is not settled yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reads {
    /// No: what one consumer was given stays in the log.
    Settled,
    /// Yes: what was read may vanish, and its offset be given to another message. Only what was acknowledged counts.
    Unsettled,
}

/// What a system promises of delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DeliveryPromise {
    /// Of losses.
    pub loss: Loss,
    /// Of duplicates.
    pub duplicates: Duplicates,
    /// Of order.
    pub order: PartitionOrder,
    /// Of what consumers are given.
    pub reads: Reads,
}

impl DeliveryPromise {
    /// Nothing is lost, nothing comes twice, order is kept.
    pub const EXACTLY_ONCE: Self = Self {
        loss: Loss::Never,
        duplicates: Duplicates::Never,
        order: PartitionOrder::Kept,
        reads: Reads::Settled,
    };
    /// Nothing is lost; messages may come twice.
    pub const AT_LEAST_ONCE: Self = Self { duplicates: Duplicates::Allowed, ..Self::EXACTLY_ONCE };
    /// Messages may be lost; nothing comes twice.
    pub const AT_MOST_ONCE: Self = Self { loss: Loss::Allowed, ..Self::EXACTLY_ONCE };

    /// What the promise makes of an anomaly of `kind`.
    pub(crate) fn on(self, kind: AnomalyKind) -> Standing {
        let tolerated = match kind {
            AnomalyKind::LostWrite | AnomalyKind::Undelivered => self.loss == Loss::Allowed,
            AnomalyKind::Duplicate | AnomalyKind::Redelivered => self.duplicates == Duplicates::Allowed,
            AnomalyKind::NonmonotonicSend | AnomalyKind::IntNonmonotonicSend | AnomalyKind::Reordered => {
                self.order == PartitionOrder::Free
            }
            // A committed offset is a message too, and may be lost where messages may be.
            AnomalyKind::InconsistentOffsets
            | AnomalyKind::NonmonotonicPoll
            | AnomalyKind::CommittedOffsetBack => self.reads == Reads::Unsettled,
            // Producers share a partition: nobody promises that a batch stays in one piece.
            AnomalyKind::IntSendSkip => true,
            _ => false,
        };
        if tolerated { Standing::Tolerated } else { Standing::Forbidden }
    }
}

/// What a promise makes of an anomaly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It breaks the promise.
    Forbidden,
    /// It is counted, and breaks nothing.
    Tolerated,
}

/// Whether offsets may be missing although a message was put there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gaps {
    /// No: what was appended stays. Offsets that never held a message may be missing all the same.
    #[default]
    Never,
    /// Retention takes away the oldest messages: a log begins anywhere, and has no gap after its beginning.
    BelowStart,
    /// Compaction takes away messages anywhere. Nothing that is merely missing is lost.
    Anywhere,
}

/// What an acknowledgement says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acknowledged {
    /// That the message was appended (`acks=1`). Until it has been replicated it lies beyond the end that `end-offsets`
    /// tells, so that to have read up to that end is no proof of anything.
    #[default]
    Appended,
    /// That the message can be read from now on (`acks=all`), and `end-offsets` never goes back behind it: Kafka
    /// answers with an error rather than with an older end (KIP-207).
    Readable,
}

/// Against what a history of a log is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// What is promised.
    pub promise: DeliveryPromise,
    /// What may be missing.
    pub gaps: Gaps,
    /// What an acknowledgement says.
    pub acknowledged: Acknowledged,
}

impl Default for LogOptions {
    /// Everything promised, nothing taken away, and acknowledgements that say as little as they can.
    fn default() -> Self {
        Self {
            promise: DeliveryPromise::EXACTLY_ONCE,
            gaps: Gaps::default(),
            acknowledged: Acknowledged::default(),
        }
    }
}

/// What a record shows of delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guarantee {
    /// Nothing was lost and nothing came twice.
    ExactlyOnce,
    /// Nothing was lost; messages came twice.
    AtLeastOnce,
    /// Messages were lost; nothing came twice.
    AtMostOnce,
    /// Messages were lost, and messages came twice.
    None,
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::ExactlyOnce => "exactly once",
            Self::AtLeastOnce => "at least once",
            Self::AtMostOnce => "at most once",
            Self::None => "no guarantee",
        })
    }
}

/// Messages, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DeliveryCounts {
    /// Sent, whatever became of it.
    pub sent: u64,
    /// Sent and acknowledged.
    pub acknowledged: u64,
    /// Sent and certainly refused.
    pub failed: u64,
    /// Sent with unknown outcome.
    pub unknown: u64,
    /// Read by somebody; of a queue, given to a member of the group.
    pub delivered: u64,
    /// Read although they were never acknowledged: allowed, since their outcome was unknown.
    pub unacknowledged_delivered: u64,
    /// How many times messages were read.
    pub deliveries: u64,
    /// Proved to be gone: acknowledged, or read by somebody.
    pub lost: u64,
    /// Acknowledged, never read, and not proved to be gone.
    pub unseen: u64,
    /// Standing at more than one offset.
    pub duplicated: u64,
    /// Put before messages that had been acknowledged or read before they were sent.
    pub reordered: u64,
    /// Of a queue: passed by the group's committed offset and given to nobody.
    pub undelivered: u64,
    /// Of a queue: given to members of the group more than once.
    pub redelivered: u64,
}

/// What a record shows of delivery, beside the anomalies that break the promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DeliveryReport {
    /// What was promised.
    pub promise: DeliveryPromise,
    /// What the record shows; null where nothing was delivered, or where unseen messages leave it open.
    pub guarantee: Option<Guarantee>,
    /// Messages, by what became of them.
    pub counts: DeliveryCounts,
    /// How often each anomaly was found, those included that the promise tolerates. The verdict has witnesses of the
    /// first few of each kind only.
    pub found: BTreeMap<AnomalyKind, u64>,
}

impl DeliveryCounts {
    /// The guarantee that they show.
    pub(crate) fn guarantee(&self) -> Option<Guarantee> {
        let (lost, twice) = (self.lost + self.undelivered > 0, self.duplicated + self.redelivered > 0);
        match (lost, twice) {
            (true, true) => Some(Guarantee::None),
            (true, false) => Some(Guarantee::AtMostOnce),
            (false, _) if self.unseen > 0 || self.delivered == 0 => None,
            (false, true) => Some(Guarantee::AtLeastOnce),
            (false, false) => Some(Guarantee::ExactlyOnce),
        }
    }
}
