//! Disk faults as a schedule has them.

use std::fmt;
use std::time::Duration;

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::quantity;
use crate::variant::{DISKS, Kind, Row};
use duress_arena::disk::{DiskFault, FilePattern, IoKind, Keep, Trigger};

/// Bytes that a nearly full disk has left.
const FREE_BYTES: u64 = 16 * 1024;
/// How likely an operation on a failing disk fails.
const EIO_PROBABILITY: f64 = 0.05;
/// How many bits flip at rest.
const FLIPPED_BITS: u32 = 8;
/// How much files lose at rest, in bytes.
const TRUNCATED_BYTES: u64 = 4096;

/// One effect on a node's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskEffect {
    /// The node loses its power: its processes are killed, and unsynced data is lost.
    PowerLoss,
    /// The same, but a random part of the unsynced data survives.
    Torn,
    /// fsync reports success, and does nothing; the node loses its power at the end.
    LyingFsync,
    /// fsync takes so much longer.
    SlowFsync(Duration),
    /// Some writes and fsyncs fail with EIO.
    Eio,
    /// The disk is full, but for a few blocks.
    Enospc,
    /// The node is killed, and a few bits of its files flip.
    Bitflip,
    /// The node is killed, and its files lose their ends.
    Truncate,
}

impl DiskEffect {
    /// How much longer fsync may be made to take: it takes as long to prove that it does.
    const SLOWEST_FSYNC: Duration = Duration::from_secs(10);

    /// Returns the state in which the node must be: killed at the start and started again at the end, or
    /// running.
    #[must_use]
    pub fn target_state(self) -> TargetState {
        match self {
            Self::PowerLoss | Self::Torn | Self::Bitflip | Self::Truncate => TargetState::DeadNode,
            Self::LyingFsync | Self::SlowFsync(_) | Self::Eio | Self::Enospc => TargetState::LiveNode,
        }
    }

    /// Whether a node that meets it may rightly end: its disk refuses an operation that the node needs.
    #[must_use]
    pub fn may_end_node(self) -> bool {
        matches!(self, Self::Eio | Self::Enospc)
    }

    /// Returns the data that survives, if it is a power loss.
    #[must_use]
    pub fn keep(self) -> Option<Keep> {
        match self {
            Self::PowerLoss => Some(Keep::Nothing),
            Self::Torn => Some(Keep::RandomSubset),
            _ => None,
        }
    }

    /// Returns the faults to inject into the disk, if it is not a power loss.
    #[must_use]
    pub fn faults(self) -> Vec<DiskFault> {
        let files = FilePattern::all;
        match self {
            Self::PowerLoss | Self::Torn => Vec::new(),
            Self::LyingFsync => vec![DiskFault::LyingFsync],
            Self::SlowFsync(delay) => vec![DiskFault::SlowFsync { delay }],
            Self::Eio => [IoKind::Writes, IoKind::Fsync]
                .map(|on| DiskFault::Errors {
                    on,
                    trigger: Trigger::Probability(EIO_PROBABILITY),
                    files: files(),
                })
                .to_vec(),
            Self::Enospc => vec![DiskFault::NoSpace { free_bytes: FREE_BYTES }],
            Self::Bitflip => vec![DiskFault::BitFlip { files: files(), bits: FLIPPED_BITS }],
            Self::Truncate => vec![DiskFault::Truncate { files: files(), bytes: TRUNCATED_BYTES }],
        }
    }
}

impl Kind for DiskEffect {
    fn rows() -> &'static [Row<Self>] {
        DISKS
    }

    fn name(&self) -> &'static str {
        match self {
            Self::PowerLoss => "power-loss",
            Self::Torn => "torn",
            Self::LyingFsync => "lying-fsync",
            Self::SlowFsync(_) => "slow-fsync",
            Self::Eio => "eio",
            Self::Enospc => "enospc",
            Self::Bitflip => "bitflip",
            Self::Truncate => "truncate",
        }
    }

    fn with(self, parameter: Option<&str>) -> Option<Self> {
        match (self, parameter) {
            (Self::SlowFsync(_), Some(value)) => {
                let delay = quantity::duration(value)?;
                (delay <= Self::SLOWEST_FSYNC).then_some(Self::SlowFsync(delay))
            }
            (Self::SlowFsync(_), None) | (_, Some(_)) => None,
            (other, None) => Some(other),
        }
    }

    fn varied(self, rng: &mut impl Rng) -> Self {
        match self {
            Self::SlowFsync(_) => Self::SlowFsync(Duration::from_millis(rng.random_range(5..=50))),
            other => other,
        }
    }
}

/// The state that a node must be in for its disk to be struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetState {
    /// The node's processes are killed first, and started again when it is healed.
    DeadNode,
    /// The node continues to run.
    LiveNode,
}

impl fmt::Display for DiskEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::SlowFsync(delay) => write!(f, "={}", quantity::show_duration(*delay)),
            _ => Ok(()),
        }
    }
}
