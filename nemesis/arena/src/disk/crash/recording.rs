//! The operations of a disk, in order.

use std::ffi::OsString;

use super::super::filesystem::lock;
use super::super::journal::Change;
use super::super::mounted::FaultDisk;
use super::model::{CrashState, States};

/// The kind of a new file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum FileKind {
    /// A regular file, empty.
    Regular,
    /// A directory, empty.
    Directory,
    /// A symbolic link, with its target.
    Symlink(OsString),
    /// A pipe, a socket or the like. Crash states lack it, since programs make it anew.
    Special,
}

/// An operation on a disk. Files are identified by their inode numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum RecordedOperation {
    /// A new file; its name comes with [`RecordedOperation::Changes`].
    New { file: u64, kind: FileKind },
    /// Changes of names or of a size, which the journal commits together.
    Changes(Vec<Change>),
    /// Bytes of a file were replaced.
    Write { file: u64, offset: u64, data: Vec<u8> },
    /// A file was extended with zeros, by reserving space for it.
    Extend { file: u64, size: u64 },
    /// A file or a directory was synced.
    Sync { file: u64 },
    /// A mark of the owner of the recording.
    Mark(Mark),
}

/// A mark that the owner of a recording sets between operations. Clients are numbered from 0; each makes one request
/// after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// The client has made this many requests; effects of later ones cannot be there.
    Begun {
        /// The client.
        client: usize,
        /// The number of its requests.
        count: u64,
    },
    /// This many requests of the client have been acknowledged; their effects must be there.
    Acknowledged {
        /// The client.
        client: usize,
        /// The number of its requests.
        count: u64,
    },
}

/// The requests of one client before a crash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Requests {
    /// The largest number of requests that may have been made.
    pub begun: u64,
    /// The number of requests that were certainly acknowledged.
    pub acknowledged: u64,
}

/// The operations on a disk since it was mounted, empty.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    pub(super) operations: Vec<RecordedOperation>,
}

impl Recording {
    /// Returns the number of operations, without marks.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.operations.iter().filter(|operation| !matches!(operation, RecordedOperation::Mark(_))).count()
    }

    /// Returns the number of syncs among them.
    #[must_use]
    pub fn syncs(&self) -> usize {
        self.operations.iter().filter(|operation| matches!(operation, RecordedOperation::Sync { .. })).count()
    }

    /// Returns the states that a crash may leave, moment by moment: at most `each` for each moment, the smallest deviations
    /// from "nothing unsynced survives" and from "everything survives" first. No two states have both the same contents
    /// and the same numbers of requests.
    pub fn states(&self, each: usize) -> impl Iterator<Item = CrashState> {
        States::new(self, each)
    }

    pub(in super::super) fn push(&mut self, operation: RecordedOperation) {
        self.operations.push(operation);
    }
}

impl FaultDisk {
    /// Records every operation from now on, in memory. Call it before anything is written: files that are there already
    /// are not in the recording.
    pub fn record(&self) {
        lock(&self.disk).recording = Some(Recording::default());
    }

    /// Adds a mark to the recording, if there is one, after all operations that the disk has answered.
    pub fn mark(&self, mark: Mark) {
        if let Some(recording) = &mut lock(&self.disk).recording {
            recording.push(RecordedOperation::Mark(mark));
        }
    }

    /// Ends the recording and returns it; `None` if there was none.
    #[must_use]
    pub fn take_recording(&self) -> Option<Recording> {
        lock(&self.disk).recording.take()
    }
}
