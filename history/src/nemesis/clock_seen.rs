//! Observations of a node's wall clock.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::node::NodeId;

/// How far a process's clock may be from the requested time, beyond the uncertainty of the reading, in
/// nanoseconds.
pub const CLOCK_TOLERANCE_NS: i64 = 2_000_000;

/// The setting of a node's wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockAsked {
    /// The machine's wall clock when this was put in force, in nanoseconds since 1970.
    pub since_ns: i64,
    /// How far the node's wall clock was ahead of the machine's then, in nanoseconds; negative when behind.
    pub offset_ns: i64,
    /// The gain, in nanoseconds a second.
    pub drift_ppb: i64,
}

/// The wall clock of one process, compared with the machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessClock {
    /// The process.
    pub pid: i32,
    /// How far its clock was ahead of the machine's, in nanoseconds.
    pub delta_ns: i64,
    /// How far it should have been ahead at that moment, drift included.
    pub expected_ns: i64,
    /// Half the time between the two looks at the machine's clock: `delta_ns` is known no better.
    pub uncertainty_ns: i64,
}

/// A process that does not follow its node's clock, or could not be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnpatchedProcess {
    /// The process.
    pub pid: i32,
    /// Its name, from the kernel.
    pub program: String,
    /// What was found instead of the patch.
    pub why: String,
}

/// Observations of one node's clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockSeen {
    /// The setting in force when the last of the processes was sampled.
    pub asked: ClockAsked,
    /// The clock of every process that was running and could be asked.
    pub seen: Vec<ProcessClock>,
    /// Processes that follow the node's clock; those of them that were paused are not in `seen`.
    pub patched_pids: Vec<i32>,
    /// Processes that do not follow it.
    pub unpatched: Vec<UnpatchedProcess>,
}

impl ClockSeen {
    /// Whether the evidence proves that the setting is in force: every process follows the clock, at least
    /// one was sampled, and every sample was the expected time, within [`CLOCK_TOLERANCE_NS`] of the
    /// reading's uncertainty.
    #[must_use]
    pub fn proves(&self) -> bool {
        let agrees = |seen: &ProcessClock| {
            (seen.delta_ns - seen.expected_ns).abs() <= seen.uncertainty_ns + CLOCK_TOLERANCE_NS
        };
        self.unpatched.is_empty() && !self.seen.is_empty() && self.seen.iter().all(agrees)
    }
}

/// Observations of one node's clock, with the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeClock {
    /// The node.
    pub node: NodeId,
    /// The clock as its processes see it.
    pub clock: ClockSeen,
    /// Whether another fault keeps the node down or paused: then it cannot be sampled, and any process
    /// started there follows the clock as it is set.
    #[serde(default)]
    pub away: bool,
    /// How many steps a strobing clock made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// How far ahead it was just before it was set right, in nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached_ns: Option<i64>,
}

impl NodeClock {
    /// Whether a process of the node could be asked.
    #[must_use]
    pub fn was_asked(&self) -> bool {
        !self.clock.seen.is_empty() || !self.clock.unpatched.is_empty()
    }

    /// Whether the node shows what its clock was set to, or cannot be asked because it is away.
    #[must_use]
    pub fn agrees(&self) -> bool {
        if self.was_asked() { self.clock.proves() } else { self.away }
    }

    /// Whether its clock is set to the machine's.
    #[must_use]
    pub fn is_set_right(&self) -> bool {
        self.clock.asked.offset_ns == 0 && self.clock.asked.drift_ppb == 0
    }
}

impl fmt::Display for NodeClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.clock.seen.first() {
            Some(seen) => write!(f, "{} {:+.3} s", self.node, seen.delta_ns as f64 / 1e9)?,
            None if self.away => write!(f, "{} is away and could not be asked", self.node)?,
            None => write!(f, "{} could not be asked", self.node)?,
        }
        if let Some(steps) = self.steps {
            write!(f, " after {steps} steps")?;
        }
        if let Some(reached) = self.reached_ns {
            write!(f, " (from {:+.3} s)", reached as f64 / 1e9)?;
        }
        for unpatched in &self.clock.unpatched {
            write!(
                f,
                " (process {} \"{}\" does not follow: {})",
                unpatched.pid, unpatched.program, unpatched.why
            )?;
        }
        Ok(())
    }
}
