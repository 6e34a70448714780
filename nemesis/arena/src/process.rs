//! Processes on a host: started, killed, paused, resumed, and observed until the effect is certain.
//!
//! Signals go to *everything* that lives in the host's network namespace, so that a program which forks,
//! changes its session or hands over to a successor is struck as a whole. Each call returns what /proc
//! confirmed: that is the evidence a fault records. All calls block for at most their deadline; make them
//! from a thread which may block.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::clock::{ClockPage, StartUp, Tracer, TracerError, preload_absolute_waits};
use crate::host::Host;
use crate::name::HostName;
use crate::sys::child::prepare_node;
use crate::sys::pidfd::PidFd;
use crate::sys::procfs::{self, ThreadState};

/// The time to leave the processor to others between two looks at /proc, which cannot be waited on.
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

/// The description of a process to start.
#[derive(Clone, Debug)]
pub struct ProcessSpec {
    /// The program; without a slash it is searched for in PATH.
    pub program: PathBuf,
    /// Its arguments, without the program's name.
    pub args: Vec<OsString>,
    /// Variables added to the harness's own environment.
    pub env: Vec<(OsString, OsString)>,
    /// The working directory; the harness's own if absent.
    pub cwd: Option<PathBuf>,
    /// The file to which standard output is appended.
    pub stdout: PathBuf,
    /// The file to which standard error is appended.
    pub stderr: PathBuf,
    /// The signal that asks it to end.
    pub stop: Signal,
    /// The user it runs as; the harness's own if absent.
    pub user: Option<User>,
}

/// A user of the machine, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// The user.
    pub uid: u32,
    /// The user's group.
    pub gid: u32,
}

/// Why a process could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// An output file cannot be opened.
    #[error("cannot open {path} for the output of host {host}")]
    Output {
        /// The host.
        host: HostName,
        /// The file.
        path: PathBuf,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// The working directory cannot be used.
    #[error("cannot use {path} as working directory on host {host}")]
    WorkingDirectory {
        /// The host.
        host: HostName,
        /// The directory.
        path: PathBuf,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// The program is missing or cannot be executed.
    #[error("cannot start {program} on host {host}")]
    Program {
        /// The host.
        host: HostName,
        /// The program.
        program: PathBuf,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// The library that lets programs wait by the node's clock cannot be put into memory.
    #[error("cannot make the library for waits by the clock of host {host}")]
    Preload {
        /// The host.
        host: HostName,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// The program is missing, or cannot be made to follow the node's clock.
    #[error("cannot start {program} on host {host} with a clock of its own")]
    Clock {
        /// The host.
        host: HostName,
        /// The program.
        program: PathBuf,
        /// The cause.
        #[source]
        source: TracerError,
    },
}

/// Why processes on a host could not be controlled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The deadline passed before /proc confirmed the effect.
    #[error(
        "could not {action} host {host} within {deadline:?}: of its processes {unaffected:?} do not show it"
    )]
    Deadline {
        /// The requested action.
        action: &'static str,
        /// The host.
        host: HostName,
        /// How long was allowed.
        deadline: Duration,
        /// The processes that were not seen in the wanted state.
        unaffected: Vec<Pid>,
    },
    /// Looking at or signalling the processes failed.
    #[error("cannot {action} host {host}")]
    System {
        /// The requested action.
        action: &'static str,
        /// The host.
        host: HostName,
        /// The refusal.
        #[source]
        source: io::Error,
    },
}

/// Evidence of a kill: no process lives on the host any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Killed {
    /// How many living processes were found and have ended since. Zero when the host was dead already.
    pub pids: usize,
    /// How the process that was started ended, which may have been earlier and by itself.
    pub exit: ExitStatus,
    /// How long it took until the last had ended.
    pub took: Duration,
}

/// Evidence of a pause: every thread of every process on the host was seen stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paused {
    /// The number of processes; 0 when no process lives on the host.
    pub pids: usize,
    /// How many threads they have.
    pub threads: usize,
    /// How long it took until the last had stopped.
    pub took: Duration,
}

/// Evidence of a resumption: no thread on the host is stopped any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// The number of processes; 0 when no process lives on the host.
    pub pids: usize,
    /// How many threads they have.
    pub threads: usize,
    /// How many of the processes had been stopped before.
    pub continued: usize,
    /// How many of those have been seen to do something since.
    pub progressed: usize,
    /// How long it took until the last ran again.
    pub took: Duration,
}

/// The living processes of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alive {
    /// The number of processes; none of them has ended.
    pub pids: usize,
    /// How many threads they have.
    pub threads: usize,
    /// How many of the threads are stopped.
    pub stopped: usize,
}

/// Evidence of a clean stop: the process that was started has ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminated {
    /// How it ended.
    pub exit: ExitStatus,
    /// How long it took.
    pub took: Duration,
    /// How many processes it left behind on the host.
    pub left: usize,
}

/// The state of the process that was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessState {
    /// It runs or sleeps.
    Running,
    /// All its threads are stopped.
    Stopped,
    /// It has ended, and its status was not collected.
    Zombie,
    /// It has ended, and its status is known.
    Gone,
}

/// A process on a host, and through it everything that lives there.
///
/// Dropping it leaves the processes running: they end with the namespaces, or by [`NodeProcess::kill`].
#[derive(Debug)]
pub struct NodeProcess {
    host: Arc<Host>,
    child: Child,
    pid: Pid,
    started: Instant,
    stop: Signal,
}

impl NodeProcess {
    /// Starts a process on `host`; with a clock, it and everything that it starts follow the clock's page.
    pub(super) fn spawn(
        host: Arc<Host>,
        spec: &ProcessSpec,
        clock: Option<(&Tracer, &ClockPage)>,
    ) -> Result<Self, SpawnError> {
        let name = || host.name().clone();
        let output = |path: &PathBuf| {
            let file = OpenOptions::new().append(true).create(true).open(path);
            file.map_err(|source| SpawnError::Output { host: name(), path: path.clone(), source })
        };
        let (stdout, stderr): (File, File) = (output(&spec.stdout)?, output(&spec.stderr)?);
        let mut command = Command::new(&spec.program);
        command.args(&spec.args).envs(spec.env.iter().map(|(key, value)| (key, value)));
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        if let Some(path) = &spec.cwd {
            // Looked at beforehand: exec's "not found" could mean the program or the directory.
            std::fs::read_dir(path).map_err(|source| SpawnError::WorkingDirectory {
                host: name(),
                path: path.clone(),
                source,
            })?;
            command.current_dir(path);
        }
        prepare_node(&mut command, host.namespace(), spec.user);
        let program = || spec.program.clone();
        if clock.is_some() {
            preload_absolute_waits(&mut command)
                .map_err(|source| SpawnError::Preload { host: name(), source })?;
        }
        let child = match clock {
            None => command.spawn().map_err(|source| SpawnError::Program {
                host: name(),
                program: program(),
                source,
            })?,
            Some((tracer, page)) => tracer
                .spawn(command, page, StartUp::default())
                .map_err(|source| SpawnError::Clock { host: name(), program: program(), source })?,
        };
        let started = Instant::now();
        let pid = Pid::from_raw(child.id().cast_signed());
        Ok(Self { host, child, pid, started, stop: spec.stop })
    }

    /// Returns the host it runs on.
    #[must_use]
    pub fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// Returns its number in the arena's PID namespace.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// When it had started: the program was being executed.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Kills everything on the host, and returns when all of it has ended and is reaped.
    ///
    /// # Errors
    /// [`ControlError`]; some processes may have been killed even so.
    pub fn kill(&mut self, deadline: Duration) -> Result<Killed, ControlError> {
        let control = Control::begin("kill", &self.host, deadline);
        let mut killed = 0;
        loop {
            // Again and again, since a process may fork while it is being looked for; with each round there are
            // only those left that were forked after the look.
            let targets = control.find_alive()?;
            if targets.is_empty() {
                break;
            }
            for (_, target) in &targets {
                control.send(target, Signal::SIGKILL)?;
            }
            killed += targets.len();
            control.await_end(targets)?;
        }
        let exit = control.await_exit(&mut self.child, self.pid)?;
        Ok(Killed { pids: killed, exit, took: control.elapsed() })
    }

    /// Sends `signal` to everything that lives on the host now, without awaiting the effect, so that many
    /// hosts can be struck at once before the effect on each of them is confirmed. Returns the number of
    /// processes.
    ///
    /// # Errors
    /// [`ControlError::System`]; some processes may have received the signal even so.
    pub fn strike(&self, signal: Signal) -> Result<usize, ControlError> {
        let control = Control::begin("signal", &self.host, Duration::ZERO);
        let targets = control.find_alive()?;
        for (_, target) in &targets {
            control.send(target, signal)?;
        }
        Ok(targets.len())
    }

    /// Stops everything on the host with SIGSTOP, and returns when every thread was seen stopped.
    ///
    /// # Errors
    /// [`ControlError`]; some processes may be stopped even so.
    pub fn pause(&self, deadline: Duration) -> Result<Paused, ControlError> {
        let control = Control::begin("pause", &self.host, deadline);
        // One that waits in the kernel may wait for a process that is stopped, and stops before it does anything.
        let (pids, threads) = control.signal_until(Signal::SIGSTOP, |state| {
            matches!(state, ThreadState::Stopped | ThreadState::Waiting)
        })?;
        Ok(Paused { pids, threads, took: control.elapsed() })
    }

    /// Lets everything on the host continue, and returns when no thread was seen stopped and every process that had been
    /// stopped has done something since, or the deadline is over.
    ///
    /// # Errors
    /// [`ControlError`] when a thread is still stopped at the deadline; some processes may be running even so.
    pub fn resume(&self, deadline: Duration) -> Result<Resumed, ControlError> {
        let control = Control::begin("resume", &self.host, deadline);
        let mut stopped = Vec::new();
        for (pid, held) in control.find_alive()? {
            let states = control.system(procfs::threads(pid))?;
            if states.contains(&ThreadState::Stopped)
                && let Some(before) = control.system(procfs::activity(pid))?
            {
                stopped.push((pid, held, before));
            }
        }
        let (pids, threads) = control.signal_until(Signal::SIGCONT, |state| state != ThreadState::Stopped)?;
        loop {
            let (mut continued, mut progressed) = (0, 0);
            for (pid, _, before) in &stopped {
                // A process that has ended meanwhile is not on the host any more, and proves nothing.
                if control.system(self.host.holds(*pid))?
                    && let Some(now) = control.system(procfs::activity(*pid))?
                {
                    continued += 1;
                    progressed += usize::from(now != *before);
                }
            }
            if progressed == continued || control.elapsed() >= deadline {
                return Ok(Resumed { pids, threads, continued, progressed, took: control.elapsed() });
            }
            thread::sleep(BETWEEN_LOOKS);
        }
    }

    /// Everything that lives on the host now, as /proc shows it.
    ///
    /// # Errors
    /// [`ControlError::System`] when /proc cannot be read.
    pub fn alive(&self) -> Result<Alive, ControlError> {
        let control = Control::begin("look at", &self.host, Duration::ZERO);
        let mut alive = Alive { pids: 0, threads: 0, stopped: 0 };
        for pid in control.system(self.host.pids())? {
            let states = control.system(procfs::threads(pid))?;
            let living = states.iter().filter(|&&state| state != ThreadState::Dead);
            alive.pids += usize::from(living.clone().next().is_some());
            alive.threads += living.count();
            alive.stopped += states.iter().filter(|&&state| state == ThreadState::Stopped).count();
        }
        Ok(alive)
    }

    /// Asks the process that was started to end, by the signal of its specification, and waits until it has.
    ///
    /// # Errors
    /// [`ControlError::Deadline`] when it does not comply in time.
    pub fn terminate(&mut self, deadline: Duration) -> Result<Terminated, ControlError> {
        let control = Control::begin("terminate", &self.host, deadline);
        if control.system(self.child.try_wait())?.is_none() {
            // Not reaped yet, so the number is still this process's.
            let target = control.system(PidFd::open(self.pid))?;
            control.send(&target, self.stop)?;
            control.await_end(vec![(self.pid, target)])?;
        }
        let exit = control.await_exit(&mut self.child, self.pid)?;
        let left = control.system(self.host.pids())?.len();
        Ok(Terminated { exit, took: control.elapsed(), left })
    }

    /// How the process that was started has ended; `None` while it has not.
    ///
    /// # Errors
    /// [`ControlError::System`] with what waitpid(2) reports.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>, ControlError> {
        let control = Control::begin("look at", &self.host, Duration::ZERO);
        control.system(self.child.try_wait())
    }

    /// Returns the state of the process that was started.
    ///
    /// # Errors
    /// [`ControlError::System`] when /proc cannot be read.
    pub fn state(&mut self) -> Result<ProcessState, ControlError> {
        if self.try_wait()?.is_some() {
            return Ok(ProcessState::Gone);
        }
        let control = Control::begin("look at", &self.host, Duration::ZERO);
        let states = control.system(procfs::threads(self.pid))?;
        Ok(if states.iter().all(|&state| state == ThreadState::Dead) {
            ProcessState::Zombie
        } else if states.iter().all(|&state| matches!(state, ThreadState::Stopped | ThreadState::Dead)) {
            ProcessState::Stopped
        } else {
            ProcessState::Running
        })
    }
}

/// One attempt to bring all processes of a host into some state.
struct Control<'a> {
    action: &'static str,
    host: &'a Host,
    began: Instant,
    deadline: Duration,
}

impl<'a> Control<'a> {
    fn begin(action: &'static str, host: &'a Host, deadline: Duration) -> Self {
        Self { action, host, began: Instant::now(), deadline }
    }

    fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Returns the living processes on the host, each held so that its number cannot come to mean another
    /// one.
    fn find_alive(&self) -> Result<Vec<(Pid, PidFd)>, ControlError> {
        let mut alive = Vec::new();
        for pid in self.system(self.host.pids())? {
            let opened = match PidFd::open(pid) {
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => continue,
                opened => self.system(opened)?,
            };
            // Looked at again now that it is held: before, the number may have passed from one process to another.
            if self.system(self.host.holds(pid))? {
                alive.push((pid, opened));
            }
        }
        Ok(alive)
    }

    fn send(&self, target: &PidFd, signal: Signal) -> Result<(), ControlError> {
        match target.send(signal) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            sent => self.system(sent),
        }
    }

    /// Waits until every target has ended with all its threads.
    fn await_end(&self, mut targets: Vec<(Pid, PidFd)>) -> Result<(), ControlError> {
        while !targets.is_empty() {
            let remaining = self.deadline.saturating_sub(self.elapsed());
            if remaining.is_zero() {
                return Err(self.late(targets.into_iter().map(|(pid, _)| pid).collect()));
            }
            let mut ends: Vec<_> =
                targets.iter().map(|(_, target)| PollFd::new(target.as_fd(), PollFlags::POLLIN)).collect();
            // Rounded up, so that the last wait before the deadline is not a busy one.
            let timeout = PollTimeout::try_from(remaining + BETWEEN_LOOKS).unwrap_or(PollTimeout::MAX);
            match poll(&mut ends, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return self.system(Err(errno.into())),
            }
            let mut ended =
                ends.into_iter().map(|end| end.revents().is_some_and(|events| !events.is_empty()));
            let ended: Vec<bool> = ended.by_ref().collect();
            let mut ended = ended.into_iter();
            targets.retain(|_| !ended.next().unwrap_or(false));
        }
        Ok(())
    }

    /// Reaps the started process, which has ended or is just about to.
    fn await_exit(&self, child: &mut Child, pid: Pid) -> Result<ExitStatus, ControlError> {
        loop {
            if let Some(exit) = self.system(child.try_wait())? {
                return Ok(exit);
            }
            self.look_again(|| vec![pid])?;
        }
    }

    /// Sends `signal` to every process on the host, again and again until two successive looks show the same processes with
    /// every thread in a state that satisfies `wanted`; returns how many processes and threads those are.
    ///
    /// Two looks, because a process forked during the first one by a process that was not yet stopped may have
    /// been missed: it is there at the second, and no process can have forked since.
    fn signal_until(
        &self,
        signal: Signal,
        wanted: impl Fn(ThreadState) -> bool,
    ) -> Result<(usize, usize), ControlError> {
        let mut confirmed: Option<Vec<Pid>> = None;
        let mut signalled: BTreeSet<Pid> = BTreeSet::new();
        loop {
            let alive = self.find_alive()?;
            let mut threads = 0;
            let mut unaffected = Vec::new();
            for (pid, target) in &alive {
                let states = self.system(procfs::threads(*pid))?;
                let living = states.iter().filter(|&&state| state != ThreadState::Dead);
                threads += living.clone().count();
                let affected = living.clone().all(|&state| wanted(state));
                // Whatever its state was, it may be that of another signal, or end with a wait.
                if signalled.insert(*pid) || !affected {
                    self.send(target, signal)?;
                }
                if !affected {
                    unaffected.push(*pid);
                }
            }
            let pids: Vec<Pid> = alive.iter().map(|(pid, _)| *pid).collect();
            if !unaffected.is_empty() {
                confirmed = None;
                self.look_again(|| unaffected.clone())?;
            } else if confirmed.as_ref() == Some(&pids) {
                return Ok((pids.len(), threads));
            } else {
                confirmed = Some(pids);
            }
        }
    }

    /// Leaves the processor to others for a moment, unless the deadline has passed.
    fn look_again(&self, unaffected: impl FnOnce() -> Vec<Pid>) -> Result<(), ControlError> {
        if self.elapsed() >= self.deadline {
            return Err(self.late(unaffected()));
        }
        thread::sleep(BETWEEN_LOOKS);
        Ok(())
    }

    fn late(&self, unaffected: Vec<Pid>) -> ControlError {
        ControlError::Deadline {
            action: self.action,
            host: self.host.name().clone(),
            deadline: self.deadline,
            unaffected,
        }
    }

    fn system<T>(&self, result: io::Result<T>) -> Result<T, ControlError> {
        result.map_err(|source| ControlError::System {
            action: self.action,
            host: self.host.name().clone(),
            source,
        })
    }
}
