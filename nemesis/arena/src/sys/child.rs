//! Forking, and preparing a child between fork and exec.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};
use std::sync::Arc;

use nix::sys::signal::{SigHandler, Signal};
use nix::unistd::{ForkResult, Pid};

use crate::process::User;

/// The caller's side of a fork.
pub enum Forked {
    /// The caller is the new process.
    Child,
    /// The caller is the parent of this process.
    Parent(Pid),
}

/// The process has other threads, so a forked copy of it could not safely go on running Rust code.
#[derive(Debug, thiserror::Error)]
pub enum ForkError {
    /// Another thread may hold a lock (the allocator's, say) that no thread of the child would release.
    #[error("the process must be single-threaded here, but runs {threads} threads")]
    ManyThreads {
        /// How many threads were counted.
        threads: usize,
    },
    /// Counting threads or forking failed.
    #[error("fork failed")]
    Fork(#[source] io::Error),
}

/// Forks a process that has only one thread, so that the child may do everything that a program may do.
///
/// # Errors
/// [`ForkError::ManyThreads`] when other threads exist; [`ForkError::Fork`] when the kernel refuses.
pub fn fork_single_threaded() -> Result<Forked, ForkError> {
    let threads = std::fs::read_dir("/proc/self/task").map_err(ForkError::Fork)?.count();
    if threads != 1 {
        return Err(ForkError::ManyThreads { threads });
    }
    // SAFETY: fork is unsafe because the child of a multi-threaded process may only call async-signal-safe
    // functions. Exactly one thread was counted above, and no other can have started since: it would have to be
    // started by this thread. The child is therefore a complete copy, free to allocate and to take locks.
    match unsafe { nix::unistd::fork() } {
        Ok(ForkResult::Child) => Ok(Forked::Child),
        Ok(ForkResult::Parent { child }) => Ok(Forked::Parent(child)),
        Err(errno) => Err(ForkError::Fork(errno.into())),
    }
}

/// Collects one child that has ended; `None` when no child has.
///
/// # Errors
/// Any error of waitpid(2), except that having no child at all is `None` as well.
pub fn reap_any() -> io::Result<Option<(Pid, ExitStatus)>> {
    let mut status = 0;
    // SAFETY: the pointer is to an int, which waitpid writes.
    match unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } {
        0 => Ok(None),
        -1 => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ECHILD) => Ok(None),
            error => Err(error),
        },
        pid => Ok(Some((Pid::from_raw(pid), ExitStatus::from_raw(status)))),
    }
}

/// Gives `signal` its default disposition.
///
/// # Errors
/// EINVAL for a signal whose disposition cannot be changed.
pub fn restore_default(signal: Signal) -> io::Result<()> {
    // SAFETY: SIG_DFL installs no handler, so no code can run at a bad moment.
    unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) }?;
    Ok(())
}

/// Makes this process ignore `signal`.
///
/// # Errors
/// EINVAL for a signal whose disposition cannot be changed.
pub fn ignore(signal: Signal) -> io::Result<()> {
    // SAFETY: SIG_IGN installs no handler, so no code can run at a bad moment.
    unsafe { nix::sys::signal::signal(signal, SigHandler::SigIgn) }?;
    Ok(())
}

/// Kills every process of the group `group`; nothing happens where there is none.
pub fn kill_group(group: u32) {
    // ESRCH: all have ended already.
    let _ = nix::sys::signal::killpg(Pid::from_raw(group.cast_signed()), Signal::SIGKILL);
}

/// Arranges that the kernel kills `command`'s child when the thread that starts it is gone, however it ended.
pub fn die_with_parent(command: &mut Command) {
    let parent = nix::unistd::getpid();
    let prepare = move || {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        // It may have ended before.
        if nix::unistd::getppid() != parent { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    };
    // SAFETY: the closure makes two async-signal-safe system calls, and allocates nothing.
    unsafe { command.pre_exec(prepare) };
}

/// Ends a forked process at once, without running the exit handlers it inherited from its parent.
pub fn end_forked(code: u8) -> ! {
    // SAFETY: _exit takes any status and does not return; it is made to be called in forked children.
    unsafe { libc::_exit(i32::from(code)) }
}

/// Arranges that `command`'s child starts inside the network namespace `netns`, in a session of its own, with
/// default signal dispositions and no signal blocked, and as the kernel's preferred victim when memory runs out
/// (the harness, which keeps the record, should be the last to go).
pub fn prepare_node(command: &mut Command, netns: Arc<File>, user: Option<User>) {
    let prepare = move || {
        // SAFETY: setns and setsid take plain integers; the descriptor lives as long as this closure, which
        // owns it. Both are async-signal-safe system calls.
        unsafe {
            if libc::setns(netns.as_raw_fd(), libc::CLONE_NEWNET) == -1 || libc::setsid() == -1 {
                return Err(io::Error::last_os_error());
            }
        }
        reset_signals();
        prefer_as_oom_victim();
        if let Some(User { uid, gid }) = user {
            // Last, since the user may not do the rest. The group first, since the user may not change it.
            // SAFETY: bare system calls that take plain integers; no groups means that the pointer is not read. The C
            // library's functions of these names would wait for other threads, which a forked child does not have.
            unsafe {
                if libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()) == -1
                    || libc::syscall(libc::SYS_setgid, gid) == -1
                    || libc::syscall(libc::SYS_setuid, uid) == -1
                {
                    return Err(io::Error::last_os_error());
                }
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec in a multi-threaded program only async-signal-safe functions may run: the
    // closure makes bare system calls, allocates nothing (`last_os_error` only reads errno) and takes no lock.
    unsafe { command.pre_exec(prepare) };
}

fn reset_signals() {
    /// Signals that the kernel knows.
    const SIGNALS: libc::c_int = 64;
    /// The kernel's own `struct sigaction` has a handler, flags, a restorer and a mask, eight bytes each or fewer: all
    /// zero is SIG_DFL without flags on every architecture.
    const DEFAULT: [u64; 4] = [0; 4];
    for signal in 1..=SIGNALS {
        // The C library refuses to change two real-time signals that it keeps for itself, and a parent may have left them
        // ignored: hence the bare system call.
        // SAFETY: the action is valid storage of at least the kernel's size, a null third argument means that the old
        // action is not wanted, and 8 is the size of the kernel's mask. For SIGKILL and SIGSTOP it fails and changes
        // nothing, as intended.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, DEFAULT.as_ptr(), std::ptr::null::<u64>(), 8usize);
        }
    }
    // SAFETY: an all-zero sigset_t is valid storage for sigemptyset, which initialises it before it is used;
    // a null third argument is allowed and means that the old mask is not wanted.
    unsafe {
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
}

fn prefer_as_oom_victim() {
    const SCORE: &[u8] = b"500";
    // SAFETY: the path is a NUL-terminated literal, the buffer is a literal of the given length, and the
    // descriptor is closed here. Failure is harmless: the preference is only a courtesy.
    unsafe {
        let file = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if file >= 0 {
            libc::write(file, SCORE.as_ptr().cast(), SCORE.len());
            libc::close(file);
        }
    }
}
