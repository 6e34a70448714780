//! Processes on a host: started, killed, paused, resumed, and observed until the effect is certain.
//!
//! Signals go to *everything* that lives in the host's network namespace, so that a program which forks,
//! changes its session or hands over to a successor is struck as a whole. Each call returns what /proc
//! confirmed: that is the evidence a fault records. All calls block for at most their deadline; make them
//! from a thread which may block.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::clock::{ClockPage, StartUp, Tracer, TracerError, preload_absolute_waits};
use crate::control::{BETWEEN_LOOKS, Control, ControlError};
use crate::host::Host;
use crate::name::HostName;
use crate::sys::child::prepare_node;
use crate::sys::pidfd::PidFd;
use crate::sys::procfs::{self, ThreadState};

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
        let mut starts = host.starts();
        *starts += 1;
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
        drop(starts);
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
        Control::begin("signal", &self.host, Duration::ZERO).send_all(signal)
    }

    /// Stops everything on the host with SIGSTOP, and returns when every thread was seen stopped.
    ///
    /// # Errors
    /// [`ControlError`]; some processes may be stopped even so.
    pub fn pause(&self, deadline: Duration) -> Result<Paused, ControlError> {
        let control = Control::begin("pause", &self.host, deadline);
        let (pids, threads) = control.signal_until(Signal::SIGSTOP, ThreadState::is_held)?;
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

    /// Returns the file that the process which was started executes, as /proc shows it.
    ///
    /// # Errors
    /// [`ControlError::System`] when /proc cannot be read, as when the process has ended.
    pub fn program(&self) -> Result<PathBuf, ControlError> {
        let control = Control::begin("look at", &self.host, Duration::ZERO);
        control.system(std::fs::read_link(format!("/proc/{}/exe", self.pid)))
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
