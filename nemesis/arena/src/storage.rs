//! Where nodes keep their data: folders in memory, private to the arena.

use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

/// A folder that could not be put into memory.
#[derive(Debug, thiserror::Error)]
#[error("cannot mount a tmpfs on {}", path.display())]
pub struct TmpfsError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Mounts a tmpfs on the existing folder `path`, in the mount namespace that [`crate::isolate`] made: no process outside
/// sees it, and it is gone with the last process inside.
///
/// # Errors
/// [`TmpfsError`].
pub fn mount_tmpfs(path: &Path) -> Result<(), TmpfsError> {
    mount(Some("duress"), path, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=0755"))
        .map_err(|errno| TmpfsError { path: path.to_owned(), source: errno.into() })
}
