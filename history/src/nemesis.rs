//! The nemesis's actions: typed, with one form on the wire, which is written and read only here.
//!
//! On the wire an event of the nemesis has an `f`, a `value` and perhaps an `error`:
//!
//! | `f` | `value` | meaning |
//! |---|---|---|
//! | `start-<family>` | `fault`, `what`, `leader`, `event` | a fault is about to be injected |
//! | the same | also `evidence`, `away`, `since_us`, `late_us`, `summary` | it is in force |
//! | the same, with `error` | as the first | it could not be injected |
//! | `skip-<family>`, with `error` | `fault`, `what` | it was not injected: its event did not come, or it was too late |
//! | `stop-<family>` | `fault`, `what` | it is about to be healed |
//! | the same | also `evidence`, `summary` | it is healed |
//! | the same, with `error` | as the first | it could not be healed |
//! | `leader` | `node`, `before`, `term` | a new leader was observed |
//! | `recovery` | a [`Recovery`] | the return of nodes and links after a heal |
//! | `crash` | `node`, `status`, `fault` | a node ended by itself |
//! | `compared` | a [`Comparison`] | the copies of every node |
//! | `recovered` | `after_ms`, `not_serving` | the end of the faults: every node was awaited |
//!
//! Any other record, such as another harness's nemesis writes, is [`NemesisAct::Foreign`], and never an
//! error. `summary` is the evidence in words, for a reader of the file; it is never read back.

mod clock_seen;
mod command_seen;
mod comparison;
mod disk_seen;
mod evidence;
mod members_seen;
mod packet_seen;
mod process_seen;
mod program_seen;
mod recovery;
mod share_seen;
mod wire;

use std::fmt;

use serde_json::Value;

pub use clock_seen::{CLOCK_TOLERANCE_NS, ClockAsked, ClockSeen, NodeClock, ProcessClock, UnpatchedProcess};
pub use command_seen::CommandSeen;
pub use comparison::{Agreement, ComparedObject, Comparison, CopySeen, Difference, Occasion};
pub use disk_seen::{CutFile, DiskProbe, DiskSeen, FlippedBit, LastingFault, NodeDisk, Undone};
pub use evidence::{Evidence, Proof};
pub use members_seen::{Comeback, ListedMember, MembersSeen};
pub use packet_seen::{PacketsSeen, Touches};
pub use process_seen::{NodeProcesses, NodeResumed};
pub use program_seen::NodeProgram;
pub use recovery::{LinkReturn, NodeReturn, Recovery, Return, Unjudged};
pub use share_seen::NodeShare;

use crate::node::NodeId;

/// An event of the nemesis.
#[derive(Clone, Debug, PartialEq)]
pub struct NemesisEvent {
    /// Position in the history.
    pub index: u64,
    /// Nanoseconds since the run began.
    pub time: u64,
    /// The action.
    pub act: NemesisAct,
}

/// The fault that an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultName {
    /// Its number in the schedule.
    pub id: u32,
    /// Its family: `partition`, `kill`, …
    pub family: String,
    /// The fault, in words.
    pub what: String,
}

/// Something that the nemesis did.
#[derive(Clone, Debug, PartialEq)]
pub enum NemesisAct {
    /// A fault is about to be injected.
    Starting {
        /// Which.
        fault: FaultName,
        /// The node that leads, if known.
        leader: Option<NodeId>,
        /// The event that it waited for, as it was observed.
        event: Option<String>,
    },
    /// A fault was not injected: its event did not come, or the machine was too late.
    Skipped {
        /// Which.
        fault: FaultName,
        /// The reason.
        why: String,
    },
    /// A fault is in force.
    Started {
        /// Which.
        fault: FaultName,
        /// The node that led, if known.
        leader: Option<NodeId>,
        /// The nodes that it disables.
        away: Vec<NodeId>,
        /// The moment from which it is in force, in microseconds since the run began. The evidence was
        /// complete later.
        since_us: u64,
        /// The delay relative to the plan, in microseconds.
        late_us: u64,
        /// The evidence.
        evidence: Evidence,
    },
    /// A fault could not be injected.
    StartFailed {
        /// Which.
        fault: FaultName,
        /// The node that led, if known.
        leader: Option<NodeId>,
        /// Why.
        error: String,
    },
    /// A fault is about to be healed.
    Stopping {
        /// Which.
        fault: FaultName,
    },
    /// A fault is healed.
    Stopped {
        /// Which.
        fault: FaultName,
        /// The evidence.
        evidence: Evidence,
    },
    /// A fault could not be healed.
    StopFailed {
        /// Which.
        fault: FaultName,
        /// Why.
        error: String,
    },
    /// A new leader was observed.
    Led {
        /// The new leader.
        node: NodeId,
        /// The previous leader, if one was observed.
        before: Option<NodeId>,
        /// The term, epoch or view in which it leads, if it reports one.
        term: Option<u64>,
    },
    /// The return of nodes and links after a heal.
    Recovered(Recovery),
    /// A node ended by itself.
    NodeEnded {
        /// The node.
        node: NodeId,
        /// How, in the system's words.
        status: String,
        /// The fault that explains it, if one does.
        fault: Option<u32>,
    },
    /// All faults are healed, the nodes that were down were started, and every node was awaited.
    Settled {
        /// The duration of the recovery, in milliseconds.
        after_ms: u64,
        /// The nodes that did not serve in the end.
        not_serving: Vec<NodeId>,
    },
    /// The nodes' copies were compared.
    Compared(Comparison),
    /// An action of another harness's nemesis, in its own form.
    Foreign {
        /// The action.
        f: Value,
        /// The particulars.
        value: Value,
        /// The error.
        error: Option<String>,
    },
}

impl NemesisAct {
    /// Returns the number of the fault that it is about, if it is about one.
    #[must_use]
    pub fn fault(&self) -> Option<u32> {
        match self {
            Self::Starting { fault, .. }
            | Self::Skipped { fault, .. }
            | Self::Started { fault, .. }
            | Self::StartFailed { fault, .. }
            | Self::Stopping { fault }
            | Self::Stopped { fault, .. }
            | Self::StopFailed { fault, .. } => Some(fault.id),
            Self::Recovered(recovery) => Some(recovery.fault),
            Self::NodeEnded { fault, .. } => *fault,
            Self::Led { .. } | Self::Settled { .. } | Self::Compared(_) | Self::Foreign { .. } => None,
        }
    }
}

impl fmt::Display for NemesisAct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let led = |leader: &Option<NodeId>| match leader {
            Some(leader) => format!(" (the leader is {leader})"),
            None => String::new(),
        };
        match self {
            Self::Starting { fault, leader, event } => {
                write!(f, "starts {fault}{}", led(leader))?;
                event.as_ref().map_or(Ok(()), |event| write!(f, " at {event}"))
            }
            Self::Skipped { fault, why } => write!(f, "did not start {fault}: {why}"),
            Self::Led { node, before, term } => {
                write!(f, "{node} leads")?;
                term.map_or(Ok(()), |term| write!(f, " in term {term}"))?;
                before.as_ref().map_or(Ok(()), |before| write!(f, ", after {before}"))
            }
            Self::Started { fault, evidence, .. } => write!(f, "started {fault}: {evidence}"),
            Self::StartFailed { fault, error, .. } => write!(f, "failed to start {fault}: {error}"),
            Self::Stopping { fault } => write!(f, "heals {fault}"),
            Self::Stopped { fault, evidence } => write!(f, "healed {fault}: {evidence}"),
            Self::StopFailed { fault, error } => write!(f, "failed to heal {fault}: {error}"),
            Self::Recovered(recovery) => write!(f, "after the heal of fault {}: {recovery}", recovery.fault),
            Self::NodeEnded { node, status, fault } => {
                write!(f, "node {node} ended by itself: {status}")?;
                fault.map_or(Ok(()), |fault| write!(f, ", as it may under fault {fault}"))
            }
            Self::Settled { after_ms, not_serving } if not_serving.is_empty() => {
                write!(f, "every node served {after_ms} ms after all faults were healed")
            }
            Self::Settled { after_ms, not_serving } => {
                let nodes: Vec<&str> = not_serving.iter().map(NodeId::as_str).collect();
                write!(f, "{after_ms} ms after all faults were healed, {} did not serve", nodes.join(", "))
            }
            Self::Compared(comparison) => write!(f, "compared copies: {comparison}"),
            Self::Foreign { f: name, value, error } => {
                let name = name.as_str().map_or_else(|| name.to_string(), str::to_owned);
                f.write_str(&name)?;
                if !value.is_null() {
                    write!(f, " {value}")?;
                }
                error.as_ref().map_or(Ok(()), |error| write!(f, ": {error}"))
            }
        }
    }
}

impl fmt::Display for FaultName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fault {} ({})", self.id, self.what)
    }
}
