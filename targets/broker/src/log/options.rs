//! What a log promises and how it is kept. All of it is decided when the log is opened.

use std::time::Duration;

/// When appended batches are made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FsyncPolicy {
    /// Before anybody is told that they are there.
    BeforeAck,
    /// When this long has passed since the last time.
    Every(Duration),
    /// Never by us; the kernel writes them back when it likes.
    Never,
}

/// What becomes of old records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleanup {
    /// Whole segments go, by age or by size.
    Delete,
    /// The latest value of every key stays.
    Compact,
    /// Both.
    CompactAndDelete,
}

impl Cleanup {
    /// Whether records are kept by key.
    pub fn compacts(self) -> bool {
        matches!(self, Self::Compact | Self::CompactAndDelete)
    }

    /// Whether records go by age or size.
    pub fn deletes(self) -> bool {
        matches!(self, Self::Delete | Self::CompactAndDelete)
    }
}

/// What becomes of a place in the log that a power loss has torn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TornTail {
    /// Everything from the first batch that is not whole and valid is cut off when the log is opened.
    Cut,
    /// Defect: what cannot be read is skipped, and what is readable behind it stays, as if nothing were missing.
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

/// What syncing a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Waits until the data is on the device.
    Fsync,
    /// Defect: trusts that the kernel will write it back, and answers at once.
    Skipped,
}

/// What an append by a producer that numbers its batches is held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SequenceCheck {
    /// A repeated batch is answered with its old place, a gap is refused.
    Checked,
    /// Defect: whatever arrives is appended.
    Ignored,
}

/// Whether a follower keeps account of producers' sequence numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FollowerProducers {
    /// It learns them from the batches that it copies.
    Tracked,
    /// Defect: only a leader does. A follower drops what it knew, which is going to be out of date, so that a new leader
    /// knows no producer of the past.
    Ignored,
}

/// How one partition's log is kept.
#[derive(Debug, Clone)]
pub struct LogOptions {
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
    /// What becomes of old records.
    pub cleanup: Cleanup,
    /// Segments go when their newest record is older; none keeps them for ever.
    pub retention_age: Option<Duration>,
    /// The oldest segments go while the log is larger, bytes; none keeps them for ever.
    pub retention_bytes: Option<u64>,
    /// How long compaction keeps a tombstone after it has first met it, so that slow readers see it.
    pub delete_retention: Duration,
    /// Compaction waits until at least this part of the closed segments is new, 0 to 1.
    pub dirty_ratio_min: f64,
    /// Memory for the keys of one compaction, bytes; what does not fit is left for the next one.
    pub key_map_bytes_max: usize,
    /// What becomes of what a power loss has torn.
    pub torn_tail: TornTail,
    /// Which record of a key compaction keeps.
    pub compaction_keeps: CompactionKeeps,
    /// What syncing does.
    pub durability: Durability,
    /// What numbered appends are held to.
    pub sequence_check: SequenceCheck,
    /// Whether a follower keeps account of producers.
    pub follower_producers: FollowerProducers,
}

impl Default for LogOptions {
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
        }
    }
}
