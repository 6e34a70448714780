//! The protocol between the program and its tracer process.
//!
//! Requests go over one sequenced-packet socket as JSON, each with a socket of its own for the answers
//! attached, so that threads need not wait for each other.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recv, recvmsg, send, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// No message is longer.
const MESSAGE_LIMIT: usize = 4096;

/// A request to the tracer.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Request {
    /// A child will announce itself on the attached socket: trace it and patch every program it becomes or
    /// starts until it has been quiet for so long. The first patch is answered with `Result<(), TraceFault>`.
    Follow {
        /// The clock page's segment.
        segment: i32,
        /// How long without an exec start-up must be before it is over.
        quiet: Duration,
    },
    /// Let one thread of a process read its wall clock. Answered with `Result<Sample, TraceFault>`.
    Sample {
        /// The process.
        pid: i32,
        /// The clock page's segment.
        segment: i32,
        /// How long the process may take to stop.
        deadline: Duration,
    },
}

/// One reading of a process's wall clock between two of the machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The machine's clock before, in nanoseconds since 1970.
    pub before_ns: i64,
    /// The time that the process read.
    pub seen_ns: i64,
    /// The machine's clock after.
    pub after_ns: i64,
}

/// Why the tracer could not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TraceFault {
    /// The kernel refused a step.
    #[error("cannot {action}: {}", io::Error::from_raw_os_error(*errno))]
    System {
        /// The operation that failed.
        action: String,
        /// The refusal.
        errno: i32,
    },
    /// The program's vDSO is missing, of another architecture, or unlike any known one.
    #[error("{0}")]
    Vdso(String),
    /// The process ended meanwhile.
    #[error("the process has ended")]
    Ended,
    /// The process is paused, and paused it shall stay.
    #[error("the process is paused")]
    Paused,
    /// The process is not started with this clock page, or has left it by a later exec.
    #[error("the process does not follow this clock")]
    Unpatched,
    /// The process was somewhere it must not be disturbed, or already being asked.
    #[error("the process is busy")]
    Busy,
    /// The process did not stop in time.
    #[error("the process did not stop in time")]
    TimedOut,
    /// Our own code did not run as it should in the process.
    #[error("the clock code failed with signal {signal}")]
    Crashed {
        /// The signal that ended it.
        signal: i32,
    },
}

impl TraceFault {
    /// Returns a refused step.
    pub(super) fn system(action: &str, error: &io::Error) -> Self {
        match error.raw_os_error().unwrap_or(libc::EIO) {
            libc::ESRCH => Self::Ended,
            errno => Self::System { action: action.to_owned(), errno },
        }
    }
}

/// Sends a request with the socket for its answers.
pub(super) fn send_request(socket: RawFd, request: &Request, answers: &OwnedFd) -> io::Result<()> {
    let message = serde_json::to_vec(request)?;
    let descriptors = [answers.as_raw_fd()];
    let control = [ControlMessage::ScmRights(&descriptors)];
    let flags = MsgFlags::MSG_NOSIGNAL;
    sendmsg::<UnixAddr>(socket, &[IoSlice::new(&message)], &control, flags, None)?;
    Ok(())
}

/// Receives a request; `None` when the program has gone.
pub(super) fn receive_request(socket: RawFd) -> io::Result<Option<(Request, OwnedFd)>> {
    let mut buffer = [0; MESSAGE_LIMIT];
    let mut control = nix::cmsg_space!(RawFd);
    let (length, descriptor) = {
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<UnixAddr>(socket, &mut parts, Some(&mut control), flags)?;
        let descriptor = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::ScmRights(descriptors) => descriptors.first().copied(),
            _ => None,
        });
        (message.bytes, descriptor)
    };
    let Some(descriptor) = descriptor else { return Ok(None) };
    let answers = super::sys::handshake::received_descriptor(descriptor);
    Ok(Some((serde_json::from_slice(&buffer[..length])?, answers)))
}

/// Sends an answer.
pub(super) fn send_answer<A: Serialize>(socket: &OwnedFd, answer: &A) -> io::Result<()> {
    send(socket.as_raw_fd(), &serde_json::to_vec(answer)?, MsgFlags::MSG_NOSIGNAL)?;
    Ok(())
}

/// Waits for an answer for as long as the socket's receive time-out allows.
///
/// # Errors
/// `UnexpectedEof` when the tracer, or the process it was about, is gone; `TimedOut`.
pub(super) fn receive_answer<A: DeserializeOwned>(socket: &OwnedFd) -> io::Result<A> {
    let mut buffer = [0; MESSAGE_LIMIT];
    match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(length) => Ok(serde_json::from_slice(&buffer[..length])?),
        Err(Errno::EAGAIN) => Err(io::ErrorKind::TimedOut.into()),
        Err(errno) => Err(errno.into()),
    }
}
