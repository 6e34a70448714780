//! Control of everything that lives on a host: found, signalled, and observed until the effect is certain.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::host::Host;
use crate::name::HostName;
use crate::sys::pidfd::PidFd;
use crate::sys::procfs::{self, ThreadState};

/// The time to leave the processor to others between two looks at /proc, which cannot be waited on.
pub(super) const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

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

/// One attempt to bring all processes of a host into some state.
pub(super) struct Control<'a> {
    action: &'static str,
    host: &'a Host,
    began: Instant,
    deadline: Duration,
}

impl<'a> Control<'a> {
    pub(super) fn begin(action: &'static str, host: &'a Host, deadline: Duration) -> Self {
        Self { action, host, began: Instant::now(), deadline }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Returns the living processes on the host, each held so that its number cannot come to mean another
    /// one.
    pub(super) fn find_alive(&self) -> Result<Vec<(Pid, PidFd)>, ControlError> {
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

    /// Sends `signal` to every process on the host, without awaiting the effect; returns how many there are.
    pub(super) fn send_all(&self, signal: Signal) -> Result<usize, ControlError> {
        let targets = self.find_alive()?;
        for (_, target) in &targets {
            self.send(target, signal)?;
        }
        Ok(targets.len())
    }

    /// Whether every thread of every process on the host is held now.
    pub(super) fn is_held(&self) -> Result<bool, ControlError> {
        for pid in self.system(self.host.pids())? {
            let states = self.system(procfs::threads(pid))?;
            if !states.iter().all(|state| state.is_held() || *state == ThreadState::Dead) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn send(&self, target: &PidFd, signal: Signal) -> Result<(), ControlError> {
        match target.send(signal) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            sent => self.system(sent),
        }
    }

    /// Waits until every target has ended with all its threads.
    pub(super) fn await_end(&self, mut targets: Vec<(Pid, PidFd)>) -> Result<(), ControlError> {
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
    pub(super) fn await_exit(&self, child: &mut Child, pid: Pid) -> Result<ExitStatus, ControlError> {
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
    pub(super) fn signal_until(
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

    pub(super) fn system<T>(&self, result: io::Result<T>) -> Result<T, ControlError> {
        result.map_err(|source| ControlError::System {
            action: self.action,
            host: self.host.name().clone(),
            source,
        })
    }
}
