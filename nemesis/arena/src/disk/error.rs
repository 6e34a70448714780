//! What can go wrong with a mounted disk.

use std::io;
use std::path::PathBuf;

use super::device::MountError;
use super::fault::Lasting;

/// What went wrong with a disk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// The kernel would not have it.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The backing folder cannot be prepared.
    #[error("cannot {action} {}", path.display())]
    Backing {
        /// What was being done.
        action: &'static str,
        /// To which folder.
        path: PathBuf,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// The threads that serve it could not start, or did not end well.
    #[error("cannot {action} the threads that serve {}", mount_point.display())]
    Serve {
        /// What was being done.
        action: &'static str,
        /// Where the disk is mounted.
        mount_point: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// A fault could not be injected; of a power loss, the files may be half undone.
    #[error("cannot {action} on the disk at {}", mount_point.display())]
    Inject {
        /// What was being done.
        action: &'static str,
        /// Where the disk is mounted.
        mount_point: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// A fault of this kind is in force already.
    #[error("{fault} is in force already on the disk at {}", mount_point.display())]
    AlreadyInForce {
        /// Which.
        fault: Lasting,
        /// Where the disk is mounted.
        mount_point: PathBuf,
    },
    /// There is nothing to heal.
    #[error("{fault} is not in force on the disk at {}", mount_point.display())]
    NotInForce {
        /// Which.
        fault: Lasting,
        /// Where the disk is mounted.
        mount_point: PathBuf,
    },
    /// No durable byte of a file that matches could be damaged.
    #[error("no file on the disk at {} matches \"{files}\" and holds enough durable bytes to damage", mount_point.display())]
    NothingToDamage {
        /// The pattern.
        files: String,
        /// Where the disk is mounted.
        mount_point: PathBuf,
    },
}
