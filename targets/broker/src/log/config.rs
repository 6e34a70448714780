//! The configuration of a log, decided when the log is opened.

use std::time::Duration;

/// When appended batches are made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FsyncPolicy {
    /// Before they are acknowledged.
    BeforeAck,
    /// When this long has passed since the last time.
    Every(Duration),
    /// Never by the broker: when the kernel writes them back.
    Never,
}

/// How old records are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleanup {
    /// Whole segments are removed, by age or by size.
    Delete,
    /// Only the latest record of every key is kept.
    Compact,
    /// Both.
    CompactAndDelete,
}

impl Cleanup {
    /// Whether the latest record of every key is kept.
    pub fn compacts(self) -> bool {
        matches!(self, Self::Compact | Self::CompactAndDelete)
    }

    /// Whether segments are removed by age or size.
    pub fn deletes(self) -> bool {
        matches!(self, Self::Delete | Self::CompactAndDelete)
    }
}

/// How opening a log treats a place that a power loss has torn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TornTail {
    /// It cuts off everything from the first batch that is incomplete or invalid.
    Cut,
    /// Defect: it skips unreadable batches and keeps the readable ones behind them, as if nothing were missing.
    Keep,
}

/// Which record of a key compaction keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompactionKeeps {
    /// The one with the largest offset.
    Latest,
    /// Defect: the one that was entered into the map of keys first.
    First,
}

/// The effect of syncing a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It waits until the data is on the device.
    Fsync,
    /// Defect: it returns at once and leaves the data to the kernel.
    Skipped,
}

/// How an append by a producer that numbers its batches is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SequenceCheck {
    /// A repeated batch is answered with its old offsets, a gap is refused.
    Checked,
    /// Defect: every batch is appended.
    Ignored,
}

/// Whether a follower keeps account of producers' sequence numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FollowerProducers {
    /// Yes: it learns them from the batches that it copies.
    Tracked,
    /// Defect: only a leader does. A follower drops its account, which would get out of date, so that a new leader knows
    /// no earlier producer.
    Ignored,
}

/// What a log that is opened knows of producers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProducersOnOpen {
    /// What its batches say of them.
    Rebuilt,
    /// Defect: nothing, like a log that no producer has written to.
    Unknown,
}

/// The configuration of one partition's log.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// A segment is closed before it grows past this, bytes.
    pub segment_bytes_max: u64,
    /// A segment is closed when its first batch was appended this long ago.
    pub segment_age_max: Duration,
    /// Distance between entries of the sparse index, bytes.
    pub index_interval_bytes: u64,
    /// Largest batch that is accepted, bytes.
    pub batch_bytes_max: usize,
    /// When appended batches are made durable.
    pub fsync: FsyncPolicy,
    /// How old records are removed.
    pub cleanup: Cleanup,
    /// Age of its newest record at which a segment is removed; none keeps segments for ever.
    pub retention_age: Option<Duration>,
    /// Size above which the oldest segments are removed, bytes; none keeps them for ever.
    pub retention_bytes: Option<u64>,
    /// How long compaction keeps a tombstone after it has first met it, so that slow readers see it.
    pub delete_retention: Duration,
    /// Compaction waits until at least this part of the closed segments is new, 0 to 1.
    pub dirty_ratio_min: f64,
    /// Memory for the keys of one compaction, bytes; the rest is left for the next one.
    pub key_map_bytes_max: usize,
    /// How a torn place is treated.
    pub torn_tail: TornTail,
    /// Which record of a key compaction keeps.
    pub compaction_keeps: CompactionKeeps,
    /// The effect of syncing.
    pub durability: Durability,
    /// How numbered appends are checked.
    pub sequence_check: SequenceCheck,
    /// Whether a follower keeps account of producers.
    pub follower_producers: FollowerProducers,
    /// What is known of producers when the log is opened.
    pub producers_on_open: ProducersOnOpen,
}

impl Default for LogConfig {
    /// Kafka's defaults where it has them, but durable before acknowledgement.
    fn default() -> Self {
        Self {
            segment_bytes_max: 64 << 20,
            segment_age_max: Duration::from_secs(7 * 24 * 3600),
            index_interval_bytes: 4096,
            batch_bytes_max: 1 << 20,
            fsync: FsyncPolicy::BeforeAck,
            cleanup: Cleanup::Delete,
            retention_age: Some(Duration::from_secs(7 * 24 * 3600)),
            retention_bytes: None,
            delete_retention: Duration::from_secs(24 * 3600),
            dirty_ratio_min: 0.5,
            key_map_bytes_max: 64 << 20,
            torn_tail: TornTail::Cut,
            compaction_keeps: CompactionKeeps::Latest,
            durability: Durability::Fsync,
            sequence_check: SequenceCheck::Checked,
            follower_producers: FollowerProducers::Tracked,
            producers_on_open: ProducersOnOpen::Rebuilt,
        }
    }
}
