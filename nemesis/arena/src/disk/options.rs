//! The properties of a disk before any fault.

use serde::{Deserialize, Serialize};

/// How a disk behaves and what it promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskOptions {
    /// Decides what a torn power loss keeps, which operations fail by chance, and which bits flip.
    pub seed: u64,
    /// What an fsync makes durable besides the file it names.
    pub semantics: Semantics,
    /// Whether an fsync reaches the machine's own disk.
    pub real_fsync: RealFsync,
}

impl DiskOptions {
    /// Journal semantics, with fsync kept inside.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, semantics: Semantics::Journal, real_fsync: RealFsync::Kept }
    }
}

/// What an fsync makes durable besides the file it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Semantics {
    /// An fsync or fdatasync of anything makes durable every earlier change of names, sizes set by
    /// truncation, and attributes, in order, as ext4 and XFS do. The content of other files is not: it was
    /// not asked for.
    Journal,
    /// As POSIX has it and no more: names are durable after an fsync of their directory, size and attributes
    /// after an fsync of the file. Many databases do not survive this, and do not claim to.
    Strict,
}

/// Whether an fsync reaches the machine's own disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RealFsync {
    /// It is answered from the undo log, without waiting for the real disk: nothing under test depends on
    /// that.
    Kept,
    /// It is passed on, so that it takes as long as on the bare folder.
    Forwarded,
}
