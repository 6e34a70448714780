//! Isolation: the namespaces in which everything the program starts lives and, above all, dies.
//!
//! One call turns the program into a family of three:
//!
//! ```text
//! outer ── waits, passes signals on; what the shell or the CI job sees
//!   └── init ── process 1 of a new PID namespace: waits, reaps orphans
//!         └── runner ── the rest of the program, and below it every node
//! ```
//!
//! Whichever of the three is killed, by whatever signal, the kernel ends the whole namespace: when init dies its
//! namespace dies; init dies with outer by its parent-death signal; and init ends when the runner has.
//! No node needs to cooperate, and a node that daemonises itself does not escape.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill};
use nix::unistd::{Pid, getegid, geteuid, pipe2, read, setpgid, write};
use serde::{Deserialize, Serialize};

use crate::sys::child::{
    ForkError, Forked, end_forked, fork_single_threaded, ignore, reap_any, restore_default,
};
use crate::sys::interface::{Interface, Neighbours};

/// Which process of the family has returned from [`isolate`].
#[derive(Debug)]
#[must_use = "the outer process must exit with the status, not go on"]
pub enum Role {
    /// Inside the namespaces: go on with the program.
    Runner,
    /// Outside, after everything has ended: exit as the runner did. When the status names a signal, the runner
    /// (or init) was killed, and the program should say so.
    Outer(ExitStatus),
}

/// Why the program could not be isolated. Each says what was refused, and the hint what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IsolationError {
    /// [`isolate`] was called too late, or something forks in vain.
    #[error("cannot start the isolated process")]
    Fork(#[from] ForkError),
    /// The kernel refuses new namespaces.
    #[error("the kernel refuses new namespaces: {hint}")]
    Namespaces {
        /// What on this machine forbids it, and what to do.
        hint: String,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// Namespaces were granted, but the user could not be mapped into them.
    #[error("cannot write {path}, which maps this user into the new user namespace: {hint}")]
    IdentityMap {
        /// The file of /proc.
        path: &'static str,
        /// What on this machine forbids it, and what to do.
        hint: String,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// Namespaces were granted, but not what is needed to furnish them.
    #[error("cannot {action} inside the new namespaces: {hint}")]
    Furnish {
        /// What was being done.
        action: &'static str,
        /// What on this machine forbids it, and what to do.
        hint: String,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// A pipe, a signal mask or a wait failed: nothing this program can explain.
    #[error("cannot {action}")]
    System {
        /// What was being done.
        action: &'static str,
        /// The refusal.
        #[source]
        source: io::Error,
    },
}

/// By which right namespaces are had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NamespaceKind {
    /// Without a user namespace, by the administrator's capabilities.
    Privileged,
    /// In a user namespace of its own, as any user may where the machine allows it.
    User,
}

/// The signals that ask a program to stop: outer passes each on to the runner.
const FORWARDED: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// Isolates the rest of the program in namespaces of its own. Call it first thing, while single-threaded.
///
/// Returns twice, in two processes: in the runner as soon as the namespaces stand, and in the outer process when
/// everything inside them has ended. In between, outer passes SIGINT, SIGTERM, SIGHUP and SIGQUIT on to the
/// runner. The runner is in a process group of its own, so that a terminal's Ctrl-C reaches it once, through
/// outer, and does not reach the nodes at all. An error may be returned in either, never in both.
///
/// # Errors
/// [`IsolationError`] says what this machine forbids. After an error the process may already be inside some of
/// the namespaces; it should report and exit.
pub fn isolate() -> Result<Role, IsolationError> {
    let signals = SignalsToForward::block()?;
    let result = enter_process_namespace().and_then(|_| split(&signals));
    if !matches!(result, Ok(Role::Outer(_))) {
        signals.unblock()?;
    }
    result
}

/// Makes the calling process's children live in a new PID namespace, by the best right it has.
pub(crate) fn enter_process_namespace() -> Result<NamespaceKind, IsolationError> {
    match unshare(CloneFlags::CLONE_NEWPID) {
        Ok(()) => return Ok(NamespaceKind::Privileged),
        Err(Errno::EPERM) => {}
        Err(errno) => return Err(refused(errno)),
    }
    let (user, group) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWPID).map_err(refused)?;
    // Without this an unprivileged process may not write its group map; kernels before 3.19 lack the file.
    match fs::write("/proc/self/setgroups", "deny") {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(unmapped("/proc/self/setgroups", error));
        }
        _ => {}
    }
    for (path, id) in [("/proc/self/uid_map", user.as_raw()), ("/proc/self/gid_map", group.as_raw())] {
        fs::write(path, format!("0 {id} 1")).map_err(|error| unmapped(path, error))?;
    }
    Ok(NamespaceKind::User)
}

/// Forks init, which forks the runner.
fn split(signals: &SignalsToForward) -> Result<Role, IsolationError> {
    // Only outer holds the writing end of `lifeline`: when outer ends, however it ends, the reading end hangs up.
    let (lifeline, outer_lives) = pipe2(OFlag::O_CLOEXEC).map_err(failed("make a pipe"))?;
    // Through `verdict` init reports how the runner ended; its own exit status could not tell a signal.
    let (verdict, report) = pipe2(OFlag::O_CLOEXEC).map_err(failed("make a pipe"))?;
    match fork_single_threaded()? {
        Forked::Parent(init) => {
            drop((lifeline, report));
            let ended = wait_forwarding(signals, init)?;
            drop(outer_lives);
            Ok(Role::Outer(read_verdict(&verdict).unwrap_or(ended)))
        }
        Forked::Child => {
            drop((verdict, outer_lives));
            become_init(signals, &lifeline, report)
        }
    }
}

/// In init: forks the runner, and returns only there.
fn become_init(
    signals: &SignalsToForward,
    lifeline: &OwnedFd,
    report: OwnedFd,
) -> Result<Role, IsolationError> {
    // Order matters. Once the signal is set the kernel kills init when outer ends; if outer had ended before,
    // the pipe has hung up, which is looked at afterwards. Either way there is no moment at which outer can end
    // unnoticed. (outer is single-threaded, so that its thread and its process end together.)
    if prctl::set_pdeathsig(Signal::SIGKILL).is_err() || hung_up(lifeline) {
        end_forked(255);
    }
    if setpgid(Pid::from_raw(0), Pid::from_raw(0)).is_err() {
        end_forked(255);
    }
    match fork_single_threaded() {
        Ok(Forked::Parent(runner)) => {
            let status = wait_forwarding(signals, runner);
            if let Ok(status) = &status {
                // If outer is gone it is not read, and nothing is lost.
                let _ = write(&report, &status.into_raw().to_ne_bytes());
            }
            end_forked(if status.is_ok() { 0 } else { 255 });
        }
        Ok(Forked::Child) => {
            drop(report);
            furnish()?;
            Ok(Role::Runner)
        }
        Err(_) => end_forked(255),
    }
}

/// In the runner: mounts, network and identity of its own.
fn furnish() -> Result<(), IsolationError> {
    setpgid(Pid::from_raw(0), Pid::from_raw(0)).map_err(failed("make a process group"))?;
    // The runner's group is not the terminal's foreground group; progress should be shown even under `stty tostop`.
    ignore(Signal::SIGTTOU).map_err(|source| system("ignore SIGTTOU", source))?;
    unshare_surroundings()?;
    mount_proc()?;
    Interface::named("lo")
        .and_then(|loopback| loopback.raise(Neighbours::Default))
        .map_err(|error| unfurnished("bring up the loopback interface", error))
}

/// Gives the calling process mounts, a network, IPC and a host name of its own.
pub(crate) fn unshare_surroundings() -> Result<(), IsolationError> {
    let spaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    unshare(spaces).map_err(refused)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .map_err(|errno| unfurnished("make mounts private", errno.into()))
}

/// Mounts a /proc that shows the PID namespace of the calling process.
pub(crate) fn mount_proc() -> Result<(), IsolationError> {
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), plain, None::<&str>)
        .map_err(|errno| unfurnished("mount /proc", errno.into()))
}

/// Waits for `child` to end, reaping every other child meanwhile and passing stop signals on to it.
fn wait_forwarding(signals: &SignalsToForward, child: Pid) -> Result<ExitStatus, IsolationError> {
    loop {
        if let Some(status) = reap(child)? {
            return Ok(status);
        }
        match signals.waited.wait() {
            Ok(Signal::SIGCHLD) | Err(Errno::EINTR) => {}
            // The child may have ended a moment ago; the next turn finds out.
            Ok(signal) => _ = kill(child, signal),
            Err(errno) => return Err(failed("wait for signals")(errno)),
        }
    }
}

/// Reaps every child that has ended, and says how `child` did if it is among them.
fn reap(child: Pid) -> Result<Option<ExitStatus>, IsolationError> {
    let mut ended = None;
    loop {
        match reap_any().map_err(|source| system("wait for the isolated process", source))? {
            Some((pid, status)) if pid == child => ended = Some(status),
            Some(_) => {}
            None => return Ok(ended),
        }
    }
}

fn read_verdict(verdict: &OwnedFd) -> Option<ExitStatus> {
    let mut raw = [0; size_of::<i32>()];
    let complete = matches!(read(verdict, &mut raw), Ok(length) if length == raw.len());
    complete.then(|| ExitStatus::from_raw(i32::from_ne_bytes(raw)))
}

fn hung_up(pipe: &OwnedFd) -> bool {
    let mut look = [PollFd::new(pipe.as_fd(), PollFlags::empty())];
    let looked = poll(&mut look, PollTimeout::ZERO);
    looked.is_err() || look[0].revents().is_some_and(|events| events.contains(PollFlags::POLLHUP))
}

/// The signals outer and init wait for instead of being struck by them, and the mask as it was before.
struct SignalsToForward {
    waited: SigSet,
    before: SigSet,
}

impl SignalsToForward {
    fn block() -> Result<Self, IsolationError> {
        let mut waited = SigSet::empty();
        for signal in FORWARDED {
            // SIGHUP that the caller ignores, as nohup does, stays ignored. SIGINT and SIGQUIT do not: shells start
            // background jobs with them ignored, and one that is sent to a job by its number is meant.
            if signal != Signal::SIGHUP || !is_ignored(signal)? {
                // Once it is passed on it must have an effect, whether or not the runner listens to it.
                restore_default(signal).map_err(|source| system("reset a signal", source))?;
                waited.add(signal);
            }
        }
        // With SIGCHLD ignored the kernel would reap children by itself, and their status would be lost.
        restore_default(Signal::SIGCHLD).map_err(|source| system("reset SIGCHLD", source))?;
        waited.add(Signal::SIGCHLD);
        let before = waited.thread_swap_mask(SigmaskHow::SIG_BLOCK).map_err(failed("block signals"))?;
        Ok(Self { waited, before })
    }

    fn unblock(&self) -> Result<(), IsolationError> {
        self.before.thread_set_mask().map_err(failed("unblock signals"))
    }
}

fn is_ignored(asked: Signal) -> Result<bool, IsolationError> {
    let status =
        fs::read_to_string("/proc/self/status").map_err(|source| system("read /proc/self/status", source))?;
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    Ok(ignored & (1 << (asked as u32 - 1)) != 0)
}

fn failed(action: &'static str) -> impl Fn(Errno) -> IsolationError {
    move |errno| system(action, errno.into())
}

fn system(action: &'static str, source: io::Error) -> IsolationError {
    IsolationError::System { action, source }
}

fn refused(errno: Errno) -> IsolationError {
    IsolationError::Namespaces { hint: refusal_hint(errno), source: errno.into() }
}

fn unmapped(path: &'static str, source: io::Error) -> IsolationError {
    IsolationError::IdentityMap { path, hint: refusal_hint(Errno::EPERM), source }
}

fn unfurnished(action: &'static str, source: io::Error) -> IsolationError {
    let hint = if action == "mount /proc" {
        "a container that hides parts of /proc (as most do) forbids a new one; run it with an unmasked /proc \
         or outside the container"
            .to_owned()
    } else {
        refusal_hint(Errno::EPERM)
    };
    IsolationError::Furnish { action, hint, source }
}

/// What on this machine is the likely reason of a refusal, and what its owner can do.
fn refusal_hint(errno: Errno) -> String {
    let setting = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let is = |path: &str, value: &str| setting(path).is_some_and(|found| found == value);
    let status = setting("/proc/self/status").unwrap_or_default();
    let text = match errno {
        Errno::EINVAL | Errno::ENOSYS => "this kernel was built without them; use another kernel",
        _ if is("/proc/sys/user/max_user_namespaces", "0") => {
            "user namespaces are limited to none; `sysctl user.max_user_namespaces=10000` allows them"
        }
        Errno::ENOSPC | Errno::EUSERS => {
            "too many namespaces exist or too many are nested; see `sysctl user.max_pid_namespaces`"
        }
        _ if is("/proc/sys/kernel/unprivileged_userns_clone", "0") => {
            "unprivileged users may not make them; `sysctl kernel.unprivileged_userns_clone=1` allows it, \
             or run as root"
        }
        _ if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") => {
            "AppArmor restricts them; `sysctl kernel.apparmor_restrict_unprivileged_userns=0` allows them, \
             or run as root"
        }
        _ if status
            .lines()
            .any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2")) =>
        {
            "a seccomp filter is in force, as in most containers; run the container with it unconfined \
             (and with CAP_SYS_ADMIN), or run outside the container"
        }
        _ => "neither CAP_SYS_ADMIN nor user namespaces are available to this user; run as root",
    };
    text.to_owned()
}
