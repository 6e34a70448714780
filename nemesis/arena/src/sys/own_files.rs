//! A thread with a table of open files of its own.

use std::io;

use nix::sched::{CloneFlags, unshare};

/// Gives the calling thread a table of open files of its own, with only the standard ones in it. Other
/// threads keep their open files; this thread must not use files that were opened before.
///
/// # Errors
/// Any error of the system.
pub fn leave_shared_files() -> io::Result<()> {
    unshare(CloneFlags::CLONE_FILES)?;
    // SAFETY: the table was copied for this thread alone: no descriptor is closed that another thread uses,
    // and this thread owns none yet.
    match unsafe { libc::close_range(3, libc::c_uint::MAX, 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
