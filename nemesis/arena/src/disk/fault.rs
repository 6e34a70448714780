//! Disk faults as data, and the evidence that they took hold.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What can be done to a disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum DiskFault {
    /// The power is lost: what was not made durable is undone. At once; the node's processes must have been
    /// killed.
    PowerLoss {
        /// What survives of what was not durable.
        keep: Keep,
    },
    /// Every fsync answers that it is done, and does nothing, until healed.
    LyingFsync,
    /// Every fsync takes longer, until healed.
    SlowFsync {
        /// How much longer.
        delay: Duration,
    },
    /// Operations fail with `EIO`, until healed.
    Errors {
        /// Which operations.
        on: IoKind,
        /// Which of them.
        trigger: Trigger,
        /// On which files.
        files: FilePattern,
    },
    /// The disk is nearly full, until healed: files cannot grow beyond what is left, and fail with `ENOSPC`.
    NoSpace {
        /// Bytes by which files can still grow, all together.
        free_bytes: u64,
    },
    /// Bits of durable blocks flip. At once, and for good.
    BitFlip {
        /// In which files; the bits are spread over all of them.
        files: FilePattern,
        /// How many bits.
        bits: u32,
    },
    /// Files lose their end. At once, and for good.
    Truncate {
        /// Which files.
        files: FilePattern,
        /// How many bytes each loses, or all it has.
        bytes: u64,
    },
}

/// What survives a power loss of what was not durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// Nothing.
    Nothing,
    /// A random subset of the 4 KiB blocks and a random prefix of the metadata operations: torn writes.
    RandomSubset,
}

/// Operations that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IoKind {
    /// Reads that reach the disk. What the kernel has cached since the fault began is not read from the disk.
    Reads,
    /// Writes and truncations.
    Writes,
    /// fsync and fdatasync of files, and fsync of directories. What they were to make durable stays as it is,
    /// and a later fsync that succeeds does make it durable.
    Fsync,
}

/// Which of the operations fail.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    /// Each on its own, with this probability from 0 to 1.
    Probability(f64),
    /// Only the one with this number, counted from 1 as the fault begins.
    Nth(u64),
}

/// Files by their path below the disk's root: `*` stands for any characters, also `/`, and `?` for any one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FilePattern(pub String);

impl FilePattern {
    /// Every file.
    #[must_use]
    pub fn all() -> Self {
        Self("*".to_owned())
    }

    /// Whether `path` is one of the files.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let (pattern, path): (Vec<char>, Vec<char>) = (self.0.chars().collect(), path.chars().collect());
        let (mut at, mut in_pattern) = (0, 0);
        // After a star: where to take up the pattern again, and how far the star has reached.
        let mut star: Option<(usize, usize)> = None;
        while at < path.len() {
            match pattern.get(in_pattern) {
                Some('*') => {
                    star = Some((in_pattern + 1, at));
                    in_pattern += 1;
                }
                Some(&wanted) if wanted == '?' || wanted == path[at] => {
                    in_pattern += 1;
                    at += 1;
                }
                _ => match star {
                    Some((resume, reached)) => {
                        star = Some((resume, reached + 1));
                        in_pattern = resume;
                        at = reached + 1;
                    }
                    None => return false,
                },
            }
        }
        pattern[in_pattern..].iter().all(|left| *left == '*')
    }
}

impl fmt::Display for FilePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A fault that stays until it is healed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lasting {
    /// [`DiskFault::LyingFsync`].
    LyingFsync,
    /// [`DiskFault::SlowFsync`].
    SlowFsync,
    /// [`DiskFault::Errors`] on these operations.
    Errors(IoKind),
    /// [`DiskFault::NoSpace`].
    NoSpace,
}

impl fmt::Display for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LyingFsync => "lying fsync",
            Self::SlowFsync => "slow fsync",
            Self::Errors(IoKind::Reads) => "errors on reads",
            Self::Errors(IoKind::Writes) => "errors on writes",
            Self::Errors(IoKind::Fsync) => "errors on fsync",
            Self::NoSpace => "no space",
        })
    }
}

impl DiskFault {
    /// How to name it for healing, when it lasts.
    #[must_use]
    pub fn lasting(&self) -> Option<Lasting> {
        match self {
            Self::LyingFsync => Some(Lasting::LyingFsync),
            Self::SlowFsync { .. } => Some(Lasting::SlowFsync),
            Self::Errors { on, .. } => Some(Lasting::Errors(*on)),
            Self::NoSpace { .. } => Some(Lasting::NoSpace),
            Self::PowerLoss { .. } | Self::BitFlip { .. } | Self::Truncate { .. } => None,
        }
    }
}

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
    /// Files that something still had open. Zero when every process of the node was dead, as it must be;
    /// later operations on these handles fail with `EIO`.
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

/// What the disk's own probe met when it created a file, wrote to it, reserved space for more, synced it and read it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeSeen {
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
    /// The error number of reserving space for the file, or 0; 0 also where none was asked for.
    pub reserve_errno: i32,
}

impl ProbeSeen {
    /// Whether nothing unusual was met.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        let errors = [self.write_errno, self.fsync_errno, self.read_errno, self.reserve_errno];
        errors == [0; 4] && self.durable
    }
}

/// What was seen of a fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "seen", rename_all = "kebab-case")]
pub enum DiskEvidence {
    /// Of a power loss.
    Undone(Undone),
    /// How often a fault that lasts was met since it began.
    Touched {
        /// The node's operations that failed, were delayed, or were answered without being done.
        operations: u64,
        /// By how much those were delayed, all together.
        delayed: Duration,
        /// The same of operations of the disk's own probe.
        probed: u64,
        /// What the disk's own probe met last, where it was made for this.
        probe: Option<ProbeSeen>,
    },
    /// Of flipped bits, each verified in the backing folder.
    Flipped {
        /// Which.
        bits: Vec<FlippedBit>,
    },
    /// Of files that lost their end, each verified in the backing folder.
    Cut {
        /// Which.
        files: Vec<CutFile>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let matches = |pattern: &str, path: &str| FilePattern(pattern.to_owned()).matches(path);
        assert!(matches("*", "a/b"));
        assert!(matches("wal/*.log", "wal/0001.log"));
        assert!(matches("*.db", "deep/down/x.db"));
        assert!(matches("a?c*", "abc"));
        assert!(!matches("*.db", "x.db-wal"));
        assert!(!matches("a?c", "ac"));
        assert!(matches("*ab*ab", "abab"));
        assert!(!matches("", "a"));
    }

    #[test]
    fn a_fault_reads_as_it_is_written() {
        let fault =
            DiskFault::Errors { on: IoKind::Writes, trigger: Trigger::Nth(3), files: FilePattern::all() };
        let text = serde_json::to_string(&fault).expect("plain data");
        assert_eq!(text, r#"{"kind":"errors","on":"writes","trigger":{"nth":3},"files":"*"}"#);
        assert_eq!(serde_json::from_str::<DiskFault>(&text).expect("as written"), fault);
    }
}
