//! Evidence that a node's clock is what it was set to, as the node's own processes see it.
//!
//! Two things are looked at, neither of which needs the program's cooperation: each process's vDSO must jump
//! into the node's clock segment, and a thread of each process reads the wall clock by that same path.
//!
//! What this cannot show is a program that makes the system call itself and never asks the vDSO: such a
//! process counts as patched, and its sample is right, while its own code sees the machine's time. No list of
//! such programs exists. Where a system tells its time through its own protocol (`TIME` in Redis, `now()` in
//! SQL), compare.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::page::{ClockPage, ClockSetting};
use super::protocol::TraceFault;
use super::tracer::{Tracer, TracerError};
use super::vdso::{self, VdsoError};

/// The wall clock of one process, compared with the machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenClock {
    /// The process.
    pub pid: i32,
    /// How far its clock was ahead of the machine's, in nanoseconds.
    pub delta_ns: i64,
    /// How far it should have been ahead at that moment, drift included.
    pub expected_ns: i64,
    /// Half the time between the two looks at the machine's clock: `delta_ns` is known no better.
    pub uncertainty_ns: i64,
}

impl SeenClock {
    /// Whether the process saw what it should, given the uncertainty of the reading and `tolerance_ns` more.
    #[must_use]
    pub fn agrees(&self, tolerance_ns: i64) -> bool {
        (self.delta_ns - self.expected_ns).abs() <= self.uncertainty_ns + tolerance_ns
    }
}

/// A process that does not follow the clock, or could not be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpatched {
    /// The process.
    pub pid: i32,
    /// Its name, as /proc/…/comm has it.
    pub program: String,
    /// What was found instead.
    pub why: String,
}

/// What was seen of one node's clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockEvidence {
    /// What was in force while the last of the processes was asked.
    pub asked: ClockSetting,
    /// The clock of every process that was running and could be asked.
    pub seen: Vec<SeenClock>,
    /// Processes whose vDSO leads to the node's clock; those of them that were paused are not in `seen`.
    pub patched_pids: Vec<i32>,
    /// Processes that do not follow it.
    pub unpatched: Vec<Unpatched>,
}

impl ClockEvidence {
    /// Looks at `pids`, the processes of the node that `page` belongs to. Processes that end meanwhile are
    /// left out.
    ///
    /// # Errors
    /// When the tracer is lost; anything that concerns one process is part of the evidence.
    pub fn gather(
        tracer: &Tracer,
        page: &ClockPage,
        pids: &[Pid],
        deadline: Duration,
    ) -> Result<Self, TracerError> {
        let until = Instant::now() + deadline;
        let mut evidence =
            Self { asked: page.setting(), seen: Vec::new(), patched_pids: Vec::new(), unpatched: Vec::new() };
        for pid in pids {
            let id = pid.as_raw();
            match inspect(id, page) {
                Inspection::Patched => {}
                Inspection::Gone => continue,
                Inspection::Unpatched(why) => {
                    evidence.not_following(id, why);
                    continue;
                }
            }
            // A strobe may step while the process is stopped and asked: which of the two settings it saw is not known.
            let (asked, sampled) = loop {
                let asked = page.setting();
                let left = until.saturating_duration_since(Instant::now());
                let sampled = tracer.sample(*pid, page, left);
                let is_settled = page.setting().generation == asked.generation;
                if is_settled || sampled.is_err() {
                    break (asked, sampled);
                }
            };
            match sampled {
                Ok(sample) => {
                    let middle_ns = sample.before_ns + (sample.after_ns - sample.before_ns) / 2;
                    evidence.asked = asked;
                    evidence.patched_pids.push(id);
                    evidence.seen.push(SeenClock {
                        pid: id,
                        delta_ns: sample.seen_ns - middle_ns,
                        expected_ns: asked.offset_at(middle_ns),
                        uncertainty_ns: (sample.after_ns - sample.before_ns + 1) / 2,
                    });
                }
                Err(TracerError::Sample { source: TraceFault::Ended, .. }) => {}
                Err(TracerError::Sample { source: TraceFault::Unpatched, .. }) => {
                    evidence.not_following(id, "it has left the clock by an exec".to_owned());
                }
                // Busy, paused or slow to stop: its vDSO has been seen, its time has not.
                Err(TracerError::Sample { .. }) => evidence.patched_pids.push(id),
                Err(error) => return Err(error),
            }
        }
        Ok(evidence)
    }

    /// Whether it proves that the setting is in force: every process follows the clock, at least one was
    /// asked, and all that were asked saw what they should, within `tolerance_ns` of what the reading allows.
    #[must_use]
    pub fn proves(&self, tolerance_ns: i64) -> bool {
        self.unpatched.is_empty()
            && !self.seen.is_empty()
            && self.seen.iter().all(|seen| seen.agrees(tolerance_ns))
    }

    fn not_following(&mut self, pid: i32, why: String) {
        // A process that ends while it is looked at lacks one thing after the other.
        if has_no_memory(pid) {
            return;
        }
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        self.unpatched.push(Unpatched { pid, program: name.trim_end().to_owned(), why });
    }
}

enum Inspection {
    Patched,
    Unpatched(String),
    Gone,
}

/// Looks whether a process's vDSO leads to `page`.
fn inspect(pid: i32, page: &ClockPage) -> Inspection {
    let segment = match vdso::segment_address(pid, page.id()) {
        Ok(Some(segment)) => segment,
        Ok(None) => return Inspection::Unpatched("its memory does not hold the clock's page".to_owned()),
        Err(error) if ended(&error) => return Inspection::Gone,
        Err(error) => return Inspection::Unpatched(format!("its memory map cannot be read: {error}")),
    };
    match vdso::is_patched(pid, segment) {
        Ok(true) => Inspection::Patched,
        Ok(false) => Inspection::Unpatched("its vdso does not lead to the clock's page".to_owned()),
        Err(VdsoError::Read { source, .. }) if ended(&source) => Inspection::Gone,
        Err(VdsoError::Read { what, source, .. }) => {
            Inspection::Unpatched(format!("cannot read {what}: {source}"))
        }
        Err(error) => Inspection::Unpatched(error.to_string()),
    }
}

fn ended(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH))
}

/// Whether the process is ending, or has ended and only waits to be collected.
fn has_no_memory(pid: i32) -> bool {
    fs::read(format!("/proc/{pid}/maps")).map_or_else(|error| ended(&error), |maps| maps.is_empty())
}
