//! Work on a mounted disk by the program that serves it.
//!
//! A thread that waits for a disk's answer does not die before it has it, not even by SIGKILL, and the kernel gives up a
//! disk when nobody has its device open any more. A thread of the program that serves the disk has the device open, by the
//! table of files that all threads share: killed together with the threads that serve it, it would wait for itself for
//! ever, and its process, its PID namespace and all their mounts would stay.

use std::io;

use crate::sys::own_files::leave_shared_files;

/// Does `work` on a thread that has none of the program's files open but the standard ones; what it opens, it must close.
///
/// # Errors
/// What the system says when there is no such thread to be had.
pub(super) fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("disk-user".to_owned()).spawn_scoped(scope, || {
            leave_shared_files()?;
            Ok(work())
        })?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn files_of_the_program_are_not_open_there_and_stay_open_here() {
        let file = File::open("/dev/null").unwrap();
        let place = format!("/proc/thread-self/fd/{}", file.as_raw_fd());
        let is_open = || std::fs::symlink_metadata(&place).is_ok();
        // Looking opens nothing that stays; a descriptor may have the number of another only while it does.
        assert!(!apart(is_open).unwrap());
        assert!(is_open());
    }
}
