//! Process file descriptors: a process named without the danger of its number being reused.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

/// One process, dead or alive; readable (for poll) once every thread of it has ended.
pub struct PidFd(OwnedFd);

impl PidFd {
    /// Opens the process that has number `pid` now.
    ///
    /// # Errors
    /// ESRCH when no process has that number.
    pub fn open(pid: Pid) -> io::Result<Self> {
        // SAFETY: pidfd_open takes two integers.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
        if fd == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just returned by the kernel, is open, and has no other owner; descriptors
        // fit in an int.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) }))
    }

    /// Sends `signal` to the process.
    ///
    /// # Errors
    /// ESRCH when it has ended and been reaped.
    pub fn send(&self, signal: Signal) -> io::Result<()> {
        // SAFETY: pidfd_send_signal takes integers and a pointer to a siginfo_t, which may be null to mean the
        // same as kill(2).
        let sent = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.0.as_raw_fd(),
                signal as libc::c_int,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        if sent == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
