//! The kernel's side: /dev/fuse opened, the file system mounted, and unmounted again.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{getegid, geteuid};

use super::apart::apart;

/// The device by which a program becomes a file system.
const DEVICE: &str = "/dev/fuse";

/// Why the kernel would not have a file system of ours.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// The device cannot be opened.
    #[error("cannot open {DEVICE}: {hint}")]
    Device {
        /// Why this machine refuses it, and how to allow it.
        hint: &'static str,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// The mount point cannot be looked at.
    #[error("cannot look at the mount point {}", path.display())]
    MountPoint {
        /// The mount point.
        path: PathBuf,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// The mount is refused.
    #[error("cannot mount a file system on {}: {hint}", path.display())]
    Mount {
        /// The mount point.
        path: PathBuf,
        /// Why this machine refuses it, and how to allow it.
        hint: &'static str,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// The unmount is refused.
    #[error("cannot unmount {}", path.display())]
    Unmount {
        /// The mount point.
        path: PathBuf,
        /// The refusal.
        #[source]
        source: io::Error,
    },
}

/// Opens the device.
///
/// # Errors
/// [`MountError::Device`], with what to do about it.
pub(super) fn open() -> Result<File, MountError> {
    OpenOptions::new().read(true).write(true).open(DEVICE).map_err(|source| {
        let hint = match source.kind() {
            io::ErrorKind::NotFound => {
                "this kernel has no FUSE, or its module is not loaded (modprobe fuse); in a container, pass the device in"
            }
            io::ErrorKind::PermissionDenied => {
                "this user may not open it; an administrator can allow it to everyone (chmod 0666), as most distributions do"
            }
            _ => "the device is there but does not work",
        };
        MountError::Device { hint, source }
    })
}

/// Mounts the file system that `device` will serve on `mount_point`.
///
/// # Errors
/// [`MountError::MountPoint`], [`MountError::Mount`].
pub(super) fn attach(device: &File, mount_point: &Path) -> Result<(), MountError> {
    let mode = std::fs::metadata(mount_point)
        .map_err(|source| MountError::MountPoint { path: mount_point.to_owned(), source })?
        .mode();
    // The kernel checks permissions, for every user there is: a node may run as another user than we do.
    let options = format!(
        "fd={},rootmode={:o},user_id={},group_id={},default_permissions,allow_other",
        device.as_raw_fd(),
        mode & libc::S_IFMT,
        geteuid(),
        getegid()
    );
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOATIME;
    mount(Some("duress"), mount_point, Some("fuse.duress"), flags, Some(options.as_str())).map_err(|errno| {
        let hint = match errno {
            Errno::EPERM => {
                "mounting needs CAP_SYS_ADMIN in a mount namespace of our own; isolate the program first"
            }
            Errno::ENODEV => "this kernel has no FUSE",
            _ => "the kernel refuses it",
        };
        MountError::Mount { path: mount_point.to_owned(), hint, source: errno.into() }
    })
}

/// Unmounts. If the file system is still in use, it is cut off: its users get errors from then on.
///
/// # Errors
/// [`MountError::Unmount`] when nothing is mounted there, or the kernel refuses.
pub(super) fn detach(mount_point: &Path) -> Result<(), MountError> {
    let place = mount_point.to_owned();
    let unmounted = apart(move || {
        let unmount = |flags| umount2(&place, flags | MntFlags::UMOUNT_NOFOLLOW);
        unmount(MntFlags::empty()).or_else(|errno| match errno {
            Errno::EBUSY => match unmount(MntFlags::MNT_FORCE) {
                // A forced unmount aborts every request, and the serving threads end, busy or not; only the
                // name remains.
                Err(Errno::EBUSY) => unmount(MntFlags::MNT_DETACH),
                result => result,
            },
            errno => Err(errno),
        })
    });
    unmounted
        .and_then(|unmounted| unmounted.map_err(io::Error::from))
        .map_err(|source| MountError::Unmount { path: mount_point.to_owned(), source })
}
