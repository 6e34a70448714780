//! What was seen of a node's disk.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a power loss undid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undone {
    /// Files whose content is not what it was, or that are gone.
    pub files: u64,
    /// Blocks that were put back, or lost with their file.
    pub blocks: u64,
    /// Bytes in those blocks.
    pub bytes: u64,
    /// Changes of names, sizes and attributes that were undone.
    pub metadata_operations: u64,
    /// Blocks that were not durable and survived by chance.
    pub blocks_kept: u64,
    /// Changes of metadata that were not durable and survived by chance.
    pub metadata_operations_kept: u64,
    /// Files that something still had open; zero when every process of the node was dead, as it must be.
    pub stale_handles: u64,
}

/// A bit that was flipped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlippedBit {
    /// The file, below the disk's root.
    pub file: String,
    /// The byte, from the start of the file.
    pub offset: u64,
    /// The bit, from 0, the least significant, to 7.
    pub bit: u8,
}

/// A file that lost its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutFile {
    /// The file, below the disk's root.
    pub file: String,
    /// Its size before, in bytes.
    pub from: u64,
    /// Its size after, in bytes.
    pub to: u64,
}

/// What the disk's own probe met when it created a file, wrote to it, synced it and read it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskProbe {
    /// The error number of the write, or 0.
    pub write_errno: i32,
    /// The error number of the fsync, or 0.
    pub fsync_errno: i32,
    /// How long the fsync took.
    pub fsync_took: Duration,
    /// Whether the fsync left what was written durable.
    pub durable: bool,
    /// The error number of the read, or 0.
    pub read_errno: i32,
}

/// What was seen of one fault of a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "seen", rename_all = "kebab-case")]
pub enum DiskSeen {
    /// Of a power loss.
    Undone(Undone),
    /// Of a fault that lasts, since it began: how many operations it touched, the disk's own probe among them.
    Touched {
        /// Operations that failed, were delayed, or were answered without being done.
        operations: u64,
        /// By how much operations were delayed, all together.
        delayed: Duration,
        /// What the probe met, where the fault is one that any file meets.
        probe: Option<DiskProbe>,
    },
    /// Of flipped bits, each verified on the disk.
    Flipped {
        /// Which.
        bits: Vec<FlippedBit>,
    },
    /// Of files that lost their end, each verified on the disk.
    Cut {
        /// Which.
        files: Vec<CutFile>,
    },
}
