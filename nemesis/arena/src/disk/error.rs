//! The errors of a mounted disk.

use std::io;
use std::path::PathBuf;

use super::device::MountError;
use super::fault::Lasting;

/// An error of a disk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// The kernel would not have it.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The backing folder cannot be prepared.
    #[error("cannot {action} {}", path.display())]
    Backing {
        /// The operation that failed.
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
        /// The operation that failed.
        action: &'static str,
        /// The mount point.
        mount_point: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A fault could not be injected; after a failed power loss, the files may be half undone.
    #[error("cannot {action} on the disk at {}", mount_point.display())]
    Inject {
        /// The operation that failed.
        action: &'static str,
        /// The mount point.
        mount_point: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A fault of this kind is in force already.
    #[error("{fault} is in force already on the disk at {}", mount_point.display())]
    AlreadyInForce {
        /// Which.
        fault: Lasting,
        /// The mount point.
        mount_point: PathBuf,
    },
    /// The fault to heal is not in force.
    #[error("{fault} is not in force on the disk at {}", mount_point.display())]
    NotInForce {
        /// Which.
        fault: Lasting,
        /// The mount point.
        mount_point: PathBuf,
    },
    /// No durable byte of a file that matches could be damaged.
    #[error("no file on the disk at {} matches \"{files}\" and holds enough durable bytes to damage", mount_point.display())]
    NothingToDamage {
        /// The pattern.
        files: String,
        /// The mount point.
        mount_point: PathBuf,
    },
}
