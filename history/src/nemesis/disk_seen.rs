//! What was seen of a node's disk.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::node::NodeId;

/// The error number of a full disk.
const ENOSPC: i32 = 28;

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
    /// The error number of reserving space, or 0; 0 also where none was asked for.
    #[serde(default)]
    pub reserve_errno: i32,
}

/// A fault of a disk that lasts until it is healed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LastingFault {
    /// fsync is answered, and not done.
    LyingFsync,
    /// fsync takes so much longer.
    SlowFsync {
        /// How much.
        delay: Duration,
    },
    /// Reads fail.
    ReadErrors,
    /// Writes fail.
    WriteErrors,
    /// fsyncs fail.
    FsyncErrors,
    /// There is no space.
    NoSpace,
}

/// What was seen of one fault of a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "seen", rename_all = "kebab-case")]
pub enum DiskSeen {
    /// Of a power loss.
    Undone(Undone),
    /// How often a fault that lasts was met since it began.
    Touched {
        /// Which it is; earlier versions did not keep it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fault: Option<LastingFault>,
        /// The node's operations that failed, were delayed, or were answered without being done.
        operations: u64,
        /// By how much those were delayed, all together.
        delayed: Duration,
        /// The same of operations of the disk's own probe; earlier versions counted them among the node's.
        #[serde(default)]
        probed: u64,
        /// What the disk's own probe met last, where it was made for this.
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

impl DiskSeen {
    /// Whether it shows that the disk of a node of which `processes` were killed for it, or the node, was struck.
    ///
    /// A power loss takes two things at once: the processes, and what was not durable. Of a node that had made everything
    /// durable nothing can be undone, and the loss of its power is seen by its processes alone: it is the same event, and
    /// what the disk held is what it must hold. Only a node that did not run and lost nothing was not struck.
    fn shows(&self, processes: usize) -> bool {
        match self {
            Self::Undone(undone) => processes > 0 || undone.bytes > 0 || undone.metadata_operations > 0,
            Self::Touched { fault, operations, probed, probe, .. } => {
                let met = operations + probed > 0;
                let probe_met = |is: &dyn Fn(&DiskProbe) -> bool| probe.as_ref().is_some_and(is);
                match fault {
                    Some(LastingFault::LyingFsync) => {
                        met && probe_met(&|probe| probe.fsync_errno == 0 && !probe.durable)
                    }
                    Some(LastingFault::SlowFsync { delay }) => {
                        met && probe_met(&|probe| probe.fsync_took >= *delay)
                    }
                    Some(LastingFault::NoSpace) => {
                        met && probe_met(&|probe| {
                            probe.reserve_errno == ENOSPC || probe.write_errno == ENOSPC
                        })
                    }
                    Some(
                        LastingFault::ReadErrors | LastingFault::WriteErrors | LastingFault::FsyncErrors,
                    )
                    | None => met,
                }
            }
            Self::Flipped { bits } => !bits.is_empty(),
            Self::Cut { files } => !files.is_empty(),
        }
    }
}

/// What was seen of one node's disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDisk {
    /// Which node.
    pub node: NodeId,
    /// How many of its processes were killed for it.
    pub processes: usize,
    /// What was seen of the disk, fault by fault.
    pub disk: Vec<DiskSeen>,
    /// What the disk's own probe met last, after it was healed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<DiskProbe>,
    /// How many times it was probed then.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub probes: u64,
    /// The faults that others have in force on the disk, which that probe may have met.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<LastingFault>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl NodeDisk {
    /// Whether everything that was done to the disk shows.
    #[must_use]
    pub fn was_struck(&self) -> bool {
        !self.disk.is_empty() && self.disk.iter().all(|seen| seen.shows(self.processes))
    }

    /// Whether a fault that lasts was begun on it.
    #[must_use]
    pub fn has_lasting(&self) -> bool {
        self.disk.iter().any(|seen| matches!(seen, DiskSeen::Touched { .. }))
    }

    /// Whether the disk's own probe met nothing but faults that others have in force: it wrote, synced and read back what
    /// is durable now, and no fsync was as slow as the fault that was healed had made it.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let Some(probe) = &self.after else { return false };
        let excused = |is: fn(&LastingFault) -> bool| self.others.iter().any(is);
        let full = excused(|fault| matches!(fault, LastingFault::NoSpace));
        let writes = full || excused(|fault| matches!(fault, LastingFault::WriteErrors));
        let fsyncs = excused(|fault| matches!(fault, LastingFault::FsyncErrors));
        let reads = excused(|fault| matches!(fault, LastingFault::ReadErrors));
        let lies = excused(|fault| matches!(fault, LastingFault::LyingFsync));
        let slow = excused(|fault| matches!(fault, LastingFault::SlowFsync { .. }));
        let healed_delays = self.disk.iter().filter_map(|seen| match seen {
            DiskSeen::Touched { fault: Some(LastingFault::SlowFsync { delay }), .. } => Some(*delay),
            _ => None,
        });
        (writes || [probe.write_errno, probe.reserve_errno] == [0, 0])
            && (probe.fsync_errno == 0 || fsyncs)
            && (probe.read_errno == 0 || reads)
            && (probe.durable || lies || fsyncs || writes)
            && (slow || healed_delays.max().is_none_or(|delay| probe.fsync_took < delay))
    }
}

impl fmt::Display for NodeDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.node)?;
        if self.processes > 0 {
            f.write_str(" processes gone,")?;
        }
        for (at, evidence) in self.disk.iter().enumerate() {
            f.write_str(if at == 0 { " " } else { ", " })?;
            match evidence {
                DiskSeen::Undone(undone) if undone.bytes == 0 && undone.metadata_operations == 0 => {
                    f.write_str("everything was durable and nothing is undone")?;
                }
                DiskSeen::Undone(undone) => write!(
                    f,
                    "{} bytes in {} files and {} metadata operations undone",
                    undone.bytes, undone.files, undone.metadata_operations
                )?,
                DiskSeen::Touched { operations, delayed, probed, .. } => {
                    write!(
                        f,
                        "{operations} operations of the node and {probed} of the disk's own probe met the fault"
                    )?;
                    if !delayed.is_zero() {
                        write!(f, ", the node's delayed by {:.1} s in all", delayed.as_secs_f64())?;
                    }
                }
                DiskSeen::Flipped { bits } => write!(f, "{} bits flipped", bits.len())?,
                DiskSeen::Cut { files } => write!(f, "{} files cut short", files.len())?,
            }
        }
        let Some(after) = &self.after else { return Ok(()) };
        let sound = if self.is_sound() { "sound" } else { "NOT sound" };
        write!(f, "{} its own probe finds the disk {sound}", if self.disk.is_empty() { "" } else { ";" })?;
        if self.probes > 1 {
            write!(f, ", {} times", self.probes)?;
        }
        if !self.is_sound() {
            write!(f, " ({after:?})")?;
        }
        if !self.others.is_empty() {
            write!(f, ", but for {} other faults in force", self.others.len())?;
        }
        Ok(())
    }
}
