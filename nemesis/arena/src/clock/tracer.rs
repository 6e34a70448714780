//! The tracer: starts programs that follow a clock page, and asks running ones for their time.
//!
//! It is a process of its own, forked before the program has threads. Tracing belongs to a thread, and the
//! waits of one thread are visible to all others of its process: were the tracer a thread, anyone who asks
//! whether a child has ended could swallow a stop meant for the tracer, and the child would hang. To a
//! separate tracer the children remain, for their parent, what they were: the parent waits, kills and pauses
//! as ever.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command};
use std::time::Duration;

use nix::sys::prctl;
use nix::sys::socket::{
    AddressFamily, Shutdown, SockFlag, SockType, setsockopt, shutdown, socketpair, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::page::ClockPage;
use super::protocol::{Request, Sample, TraceFault, receive_answer, send_request};
use super::sys::handshake::{announce_to_tracer, close_all_but};
use crate::sys::child::{ForkError, Forked, end_forked, fork_single_threaded, restore_default};

/// How long the tracer may take to answer before it counts as lost. It answers within a millisecond unless
/// the machine is hopelessly busy.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// How long a program's start-up is followed.
///
/// Processes forked from a patched one are patched for good, since they share or copy its memory; an exec
/// starts from a fresh vDSO. Launch scripts, wrappers and daemons that re-exec themselves are therefore
/// followed until nothing in their tree has exec'ed for a while. Then the tracer lets go, and the programs
/// run untraced, with no cost but their slower clock. What they exec later shows the machine's time, and
/// [`super::ClockEvidence`] says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartUp {
    /// How long without an exec ends it.
    pub quiet: Duration,
}

impl Default for StartUp {
    /// Two seconds: launch scripts run many short programs, JVMs take about a second to begin their own work.
    fn default() -> Self {
        Self { quiet: Duration::from_secs(2) }
    }
}

/// Why the tracer could not be started or do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TracerError {
    /// Clock faults are machine code, and there is none for this architecture.
    #[error("clock faults are not supported on {architecture}")]
    Unsupported {
        /// The architecture this program was built for.
        architecture: &'static str,
    },
    /// [`Tracer::start`] was called too late, or forking failed.
    #[error("cannot start the clock tracer")]
    Fork(#[from] ForkError),
    /// A socket could not be made or used.
    #[error("cannot {action} the clock tracer")]
    Socket {
        /// What was being done.
        action: &'static str,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// The program did not start; the source says why, and may come from the tracer's refusal to attach.
    #[error("cannot start {program} under the clock tracer")]
    Program {
        /// What was to be started.
        program: String,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// The program started but could not be made to follow the clock; it was killed.
    #[error("{program} cannot be made to follow its node's clock")]
    Unpatched {
        /// What was started.
        program: String,
        /// What went wrong.
        #[source]
        source: TraceFault,
    },
    /// A running process could not be asked.
    #[error("cannot read the time as process {pid} sees it")]
    Sample {
        /// The process.
        pid: i32,
        /// What went wrong.
        #[source]
        source: TraceFault,
    },
}

/// A handle to the tracer process. Dropping it ends the process; programs it has patched go on as they are.
#[derive(Debug)]
pub struct Tracer {
    process: Pid,
    requests: OwnedFd,
}

impl Tracer {
    /// Forks the tracer. Call it while the program is single-threaded, after it has been isolated.
    ///
    /// # Errors
    /// [`TracerError::Unsupported`] except on x86_64, [`TracerError::Fork`] once there are threads.
    pub fn start() -> Result<Self, TracerError> {
        if !cfg!(target_arch = "x86_64") {
            return Err(TracerError::Unsupported { architecture: std::env::consts::ARCH });
        }
        let (requests, served) = pair("connect to")?;
        match fork_single_threaded()? {
            Forked::Parent(process) => Ok(Self { process, requests }),
            Forked::Child => {
                // Nothing of the copied program may go on from here, not even by unwinding.
                let served = catch_unwind(AssertUnwindSafe(|| run(&served)));
                end_forked(if matches!(served, Ok(Ok(()))) { 0 } else { 255 });
            }
        }
    }

    /// The tracer's process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.process
    }

    /// Starts a program that follows `page`'s clock, as does everything it starts during `start_up`. Returns
    /// when the program is in place, patched, and has run none of its own code yet or hardly any.
    ///
    /// The command may carry whatever [`std::process::Command`] can, preparations between fork and exec
    /// included; the tracer's own come last. A set-user-id program started this way does not change its user,
    /// as under any tracer. While it is followed, /proc shows the program's `TracerPid`, and no debugger can
    /// attach.
    ///
    /// # Errors
    /// [`TracerError::Program`] when it cannot be started; [`TracerError::Unpatched`] when it was started and
    /// cannot be patched (a 32-bit program, say), in which case it has been killed.
    pub fn spawn(
        &self,
        mut command: Command,
        page: &ClockPage,
        start_up: StartUp,
    ) -> Result<Child, TracerError> {
        let program = command.get_program().to_string_lossy().into_owned();
        let (ours, theirs) = pair("connect a child to")?;
        let childs = ours.try_clone().map_err(socket("connect a child to"))?;
        let request = Request::Follow { segment: page.id(), quiet: start_up.quiet };
        send_request(self.requests.as_raw_fd(), &request, &theirs).map_err(socket("ask"))?;
        drop(theirs);
        announce_to_tracer(&mut command, childs, self.process.as_raw());
        let mut child =
            command.spawn().map_err(|source| TracerError::Program { program: program.clone(), source })?;
        let patched: Result<(), TraceFault> = match receive_answer(&ours) {
            Ok(patched) => patched,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(TraceFault::Ended),
            Err(source) => {
                end(&mut child);
                return Err(TracerError::Socket { action: "hear from", source });
            }
        };
        match patched {
            Ok(()) => Ok(child),
            Err(source) => {
                end(&mut child);
                Err(TracerError::Unpatched { program, source })
            }
        }
    }

    /// Lets one thread of process `pid`, which follows `page`, read its wall clock by the very function the
    /// program itself would call, between two looks at the machine's clock. The process does not cooperate
    /// and sees at most what a very short pause would show it.
    ///
    /// # Errors
    /// [`TracerError::Sample`]: the process is paused, has ended, follows no clock, or did not stop in time.
    pub fn sample(&self, pid: Pid, page: &ClockPage, deadline: Duration) -> Result<Sample, TracerError> {
        let (ours, theirs) = pair("connect to")?;
        let deadline = deadline.min(ANSWER_LIMIT / 2);
        let request = Request::Sample { pid: pid.as_raw(), segment: page.id(), deadline };
        send_request(self.requests.as_raw_fd(), &request, &theirs).map_err(socket("ask"))?;
        drop(theirs);
        let sampled: Result<Sample, TraceFault> = receive_answer(&ours).map_err(socket("hear from"))?;
        sampled.map_err(|source| TracerError::Sample { pid: pid.as_raw(), source })
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // The tracer sees its requests end, though another process may hold a copy of our socket for a moment, and
        // ends. If it has ended before, both calls fail, and nothing is left to do.
        let _ = shutdown(self.requests.as_raw_fd(), Shutdown::Both);
        let _ = waitpid(self.process, None);
    }
}

/// The tracer process.
fn run(requests: &OwnedFd) -> io::Result<()> {
    // A pipe or a socket of the program's, kept open here, would hide from its other end that the program is
    // gone.
    close_all_but(requests)?;
    prctl::set_name(c"duress-clock")?;
    // If stops of children were ignored they would not be announced.
    restore_default(nix::sys::signal::Signal::SIGCHLD)?;
    serve(requests)
}

#[cfg(target_arch = "x86_64")]
use super::server::serve;

#[cfg(not(target_arch = "x86_64"))]
fn serve(_: &OwnedFd) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A connected pair of sockets that keep message boundaries. The first waits at most [`ANSWER_LIMIT`] for a
/// message.
fn pair(action: &'static str) -> Result<(OwnedFd, OwnedFd), TracerError> {
    let made = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC);
    let (ours, theirs) = made.map_err(|errno| socket(action)(errno.into()))?;
    let limit = TimeVal::milliseconds(ANSWER_LIMIT.as_millis() as i64);
    setsockopt(&ours, sockopt::ReceiveTimeout, &limit).map_err(|errno| socket(action)(errno.into()))?;
    Ok((ours, theirs))
}

fn socket(action: &'static str) -> impl Fn(io::Error) -> TracerError {
    move |source| TracerError::Socket { action, source }
}

fn end(child: &mut Child) {
    // Fails only if it has ended already.
    let _ = child.kill();
    let _ = child.wait();
}
