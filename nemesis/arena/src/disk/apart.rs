//! Work on a mounted disk by the program that serves it.
//!
//! A thread that waits for a disk's answer does not die before it has it, not even by SIGKILL, and the kernel gives up a
//! disk when no process has its device open any more. A thread of the program that serves the disk has the device open, by the
//! table of files that all threads share: killed together with the threads that serve it, it would wait for itself for
//! ever, and its process, its PID namespace and all their mounts would stay.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread::Builder;
use std::time::Duration;

use crate::sys::own_files::leave_shared_files;

/// How long a disk may take to answer, the longest delay of its fsync several times over.
const DEADLINE: Duration = Duration::from_secs(60);

/// Does `work` on a thread that has none of the program's files open but the standard ones; what it opens, it must close.
///
/// # Errors
/// What the system says when there is no such thread to be had; [`io::ErrorKind::TimedOut`] when the work is not done
/// within a minute, and then its thread is left to wait.
pub(super) fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let (done, result) = sync_channel(1);
    let thread = Builder::new().name("disk-user".to_owned()).spawn(move || {
        // The caller has gone once the deadline is over.
        let _unheard = done.send(leave_shared_files().map(|()| work()));
    })?;
    match result.recv_timeout(DEADLINE) {
        Ok(worked) => worked,
        Err(RecvTimeoutError::Timeout) => {
            Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer for {} s", DEADLINE.as_secs())))
        }
        Err(RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => Err(io::Error::other("a thread ended without an answer")),
        },
    }
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
        let is_open = |place: &str| std::fs::symlink_metadata(place).is_ok();
        let there = place.clone();
        assert!(!apart(move || is_open(&there)).unwrap());
        assert!(is_open(&place));
    }

    #[test]
    #[should_panic(expected = "at work")]
    fn a_panic_is_passed_on() {
        let _nothing: io::Result<()> = apart(|| panic!("at work"));
    }
}
