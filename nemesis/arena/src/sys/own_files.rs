//! A thread with a table of open files of its own.

use std::io;

use nix::sched::{CloneFlags, unshare};

/// Gives the calling thread a table of open files of its own, with nothing in it but the standard ones. Whatever others
/// have open stays so; nothing that was opened before may be used by this thread any more.
///
/// # Errors
/// What the system says.
pub fn leave_shared_files() -> io::Result<()> {
    unshare(CloneFlags::CLONE_FILES)?;
    // SAFETY: the table was copied for this thread alone: no descriptor is closed that anybody else uses, and this thread
    // owns none yet.
    match unsafe { libc::close_range(3, libc::c_uint::MAX, 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
