//! The steps of a child between fork and exec by which the tracer takes hold of it before its program starts.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Makes `command`'s child announce its process id on `socket` and wait there for the tracer's answer, an
/// errno or 0, before it goes on to exec. The socket needs a receive time-out, or a hung tracer hangs the
/// child and its parent.
///
/// The child lets process `tracer` trace it even where the Yama security module restricts tracing to
/// ancestors.
pub fn announce_to_tracer(command: &mut Command, socket: OwnedFd, tracer: i32) {
    let announce = move || {
        let descriptor = socket.as_raw_fd();
        // SAFETY: prctl takes plain numbers here; without Yama it fails with EINVAL, and nothing changes.
        // getpid cannot fail. The buffers given to send and recv are locals of the lengths given.
        unsafe {
            libc::prctl(libc::PR_SET_PTRACER, tracer, 0, 0, 0);
            let pid = libc::getpid().to_ne_bytes();
            if libc::send(descriptor, pid.as_ptr().cast(), pid.len(), libc::MSG_NOSIGNAL) == -1 {
                return Err(io::Error::last_os_error());
            }
            let mut answer = [0_u8; 4];
            match libc::recv(descriptor, answer.as_mut_ptr().cast(), answer.len(), 0) {
                -1 => Err(io::Error::last_os_error()),
                4 => match i32::from_ne_bytes(answer) {
                    0 => Ok(()),
                    errno => Err(io::Error::from_raw_os_error(errno)),
                },
                _ => Err(io::Error::from_raw_os_error(libc::ECONNRESET)),
            }
        }
    };
    // SAFETY: between fork and exec only async-signal-safe functions may run: the closure makes bare system
    // calls on a descriptor it owns, allocates nothing (an errno is wrapped as a number) and takes no lock.
    unsafe { command.pre_exec(announce) };
}

/// Takes ownership of a descriptor that has just arrived in a message.
pub fn received_descriptor(descriptor: RawFd) -> OwnedFd {
    // SAFETY: the kernel made this descriptor for the receiver of the message, and the one caller passes each
    // descriptor on exactly once.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

/// Closes every descriptor of this process above standard error except `kept`.
///
/// # Errors
/// ENOSYS before Linux 5.9.
pub fn close_all_but(kept: &OwnedFd) -> io::Result<()> {
    let kept = kept.as_raw_fd() as libc::c_uint;
    for (first, last) in [(3, kept.saturating_sub(1)), ((kept + 1).max(3), libc::c_uint::MAX)] {
        // SAFETY: called in a freshly forked process that runs only the tracer, which owns nothing but
        // `kept`: values inherited from the parent that own other descriptors are never dropped or used
        // there.
        if first <= last && unsafe { libc::close_range(first, last, 0) } == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
