//! The operations of a disk, in order.

use std::ffi::OsString;

use super::super::journal::Change;
use super::model::{CrashState, States};

/// What a new file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum FileKind {
    /// A regular file, empty.
    Regular,
    /// A directory, empty.
    Directory,
    /// A symbolic link to this.
    Symlink(OsString),
    /// A pipe, a socket or the like, which a crash state leaves out: programs make them anew.
    Special,
}

/// One thing that was done to a disk. Files are called by the numbers that the kernel knew them by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum DiskOperation {
    /// There is a new file; its name comes with [`DiskOperation::Change`].
    New { file: u64, kind: FileKind },
    /// Names or a size changed, together: what the journal keeps.
    Changes(Vec<Change>),
    /// Bytes of a file were replaced.
    Write { file: u64, offset: u64, data: Vec<u8> },
    /// A file was extended with zeros, by reserving space for it.
    Extend { file: u64, size: u64 },
    /// A file or a directory was synced.
    Sync { file: u64 },
    /// The owner of the recording said something.
    Mark(Mark),
}

/// What the owner of a recording says between operations: a number of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// So many requests had been made: the effects of no later one can be there.
    Begun(u64),
    /// So many requests had been acknowledged: their effects must be there.
    Acknowledged(u64),
}

/// What was done to a disk since it was mounted empty.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    pub(super) operations: Vec<DiskOperation>,
}

impl Recording {
    /// How many operations there are, marks not counted.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.operations.iter().filter(|operation| !matches!(operation, DiskOperation::Mark(_))).count()
    }

    /// How many of them were syncs.
    #[must_use]
    pub fn syncs(&self) -> usize {
        self.operations.iter().filter(|operation| matches!(operation, DiskOperation::Sync { .. })).count()
    }

    /// What the disk may hold after a crash: moment by moment, for each moment at most `each` states, the smallest deviations
    /// from "nothing unsynced survives" and from "everything does" first. No two have the same contents and the same
    /// numbers of requests.
    pub fn states(&self, each: usize) -> impl Iterator<Item = CrashState> {
        States::new(self, each)
    }

    pub(in super::super) fn push(&mut self, operation: DiskOperation) {
        self.operations.push(operation);
    }
}
