//! Evidence: what was seen of a fault while it was injected or healed.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::clock_seen::ClockSeen;
use super::disk_seen::DiskSeen;
use crate::node::NodeId;

/// What was seen of one node's processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeProcesses {
    /// Which node.
    pub node: NodeId,
    /// How many processes were struck and seen in the expected state; 0 when the node had none left.
    pub processes: usize,
}

/// What was seen of one node's clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeClock {
    /// Which node.
    pub node: NodeId,
    /// What its processes see.
    pub clock: ClockSeen,
    /// How many steps a strobing clock made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// How far ahead it was just before it was set right, in nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached_ns: Option<i64>,
}

/// What was seen of one node's disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDisk {
    /// Which node.
    pub node: NodeId,
    /// How many of its processes were killed for it.
    pub processes: usize,
    /// What was seen of the disk, fault by fault.
    pub disk: Vec<DiskSeen>,
}

/// What was seen, written beside the fault in the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "seen", rename_all = "kebab-case")]
pub enum Evidence {
    /// Links were cut: on each of them a probe was sent and dropped.
    Cut {
        /// How many directed links.
        links: usize,
        /// How many probes the switch dropped; all of them, or there is no evidence.
        probes_dropped: usize,
    },
    /// Links are cut and open by turns: a probe was dropped on each of them, and another crossed it.
    Flapping {
        /// How many directed links.
        links: usize,
        /// On how many a probe was dropped; all of them, or there is no evidence.
        seen_cut: usize,
        /// How many a probe crossed; all of them, or there is no evidence.
        seen_open: usize,
        /// How long it takes from one cut to the next, in milliseconds.
        period_ms: u64,
    },
    /// Links forward again: a probe crossed each of them.
    Joined {
        /// How many directed links.
        links: usize,
        /// How many probes arrived.
        probes_arrived: usize,
        /// Links that another partition still cuts.
        still_cut: usize,
        /// Packets of the target and the clients that were dropped on these links while the cut lasted.
        packets_dropped: u64,
    },
    /// Links do something to packets: the policy is in force.
    Shaped {
        /// How many directed links.
        links: usize,
        /// How many probes crossed them under it.
        probes_arrived: usize,
        /// How long the median of those took, in microseconds.
        probe_us: u64,
    },
    /// Links are open again, or do what other faults want: a probe crossed each of them that is not cut.
    Unshaped {
        /// How many directed links.
        links: usize,
        /// How many probes arrived.
        probes_arrived: usize,
        /// Links that a partition cuts.
        still_cut: usize,
        /// Packets that met the effect while it was in force.
        packets_met: u64,
    },
    /// Wall clocks show what was asked, as the nodes' own processes read them.
    ClockSet {
        /// What was seen.
        nodes: Vec<NodeClock>,
    },
    /// Wall clocks agree with the machine's again.
    ClockReset {
        /// What was seen; of a node that is down or paused nothing, and what is started there follows the clock as it is.
        nodes: Vec<NodeClock>,
    },
    /// Disks were struck.
    DiskStruck {
        /// What was seen.
        nodes: Vec<NodeDisk>,
    },
    /// Disks are sound again.
    DiskHealed {
        /// What was seen.
        nodes: Vec<NodeDisk>,
        /// The nodes started again.
        started: Vec<NodeId>,
    },
    /// Processes ended when they were asked to.
    Ended {
        /// What ended.
        nodes: Vec<NodeProcesses>,
    },
    /// Processes are gone.
    Killed {
        /// What was killed.
        nodes: Vec<NodeProcesses>,
    },
    /// Processes run again.
    Started {
        /// The nodes started.
        nodes: Vec<NodeId>,
    },
    /// Every thread is in state T.
    Paused {
        /// What was paused.
        nodes: Vec<NodeProcesses>,
    },
    /// No thread is in state T.
    Resumed {
        /// What was resumed; no processes where the node was killed meanwhile.
        nodes: Vec<NodeProcesses>,
    },
}

impl Evidence {
    /// The nodes that it speaks of; none where it speaks of links.
    #[must_use]
    pub fn nodes(&self) -> Vec<&NodeId> {
        match self {
            Self::Cut { .. }
            | Self::Flapping { .. }
            | Self::Joined { .. }
            | Self::Shaped { .. }
            | Self::Unshaped { .. } => Vec::new(),
            Self::ClockSet { nodes } | Self::ClockReset { nodes } => {
                nodes.iter().map(|node| &node.node).collect()
            }
            Self::DiskStruck { nodes } | Self::DiskHealed { nodes, .. } => {
                nodes.iter().map(|node| &node.node).collect()
            }
            Self::Started { nodes } => nodes.iter().collect(),
            Self::Ended { nodes }
            | Self::Killed { nodes }
            | Self::Paused { nodes }
            | Self::Resumed { nodes } => nodes.iter().map(|node| &node.node).collect(),
        }
    }

    /// Whether it proves that the fault took hold, or healed.
    #[must_use]
    pub fn proves(&self) -> Proof {
        let proven = match self {
            Self::Cut { links, probes_dropped } => *links > 0 && probes_dropped == links,
            Self::Flapping { links, seen_cut, seen_open, .. } => {
                *links > 0 && seen_cut == links && seen_open == links
            }
            Self::Joined { links, probes_arrived, still_cut, .. } => probes_arrived + still_cut == *links,
            Self::Killed { nodes } | Self::Paused { nodes } | Self::Ended { nodes } => {
                nodes.iter().any(|node| node.processes > 0)
            }
            Self::Started { .. } | Self::Resumed { .. } => true,
            Self::Shaped { links, .. } => *links > 0,
            Self::Unshaped { links, probes_arrived, still_cut, packets_met } => {
                probes_arrived + still_cut == *links && *packets_met > 0
            }
            // A node that is down or paused cannot be asked; one of them must have answered, and none otherwise.
            Self::ClockSet { nodes } => {
                nodes.iter().any(NodeClock::was_asked) && nodes.iter().all(NodeClock::agrees)
            }
            Self::ClockReset { nodes } => {
                let right =
                    |node: &NodeClock| node.clock.asked.offset_ns == 0 && node.clock.asked.drift_ppb == 0;
                nodes.iter().all(|node| right(node) && node.agrees())
            }
            Self::DiskStruck { nodes } => nodes.iter().any(NodeDisk::was_struck),
            // The disk itself answers with an error when healing has no effect, or nothing has met the fault.
            Self::DiskHealed { nodes, .. } => !nodes.is_empty(),
        };
        if proven { Proof::Proven } else { Proof::Missing }
    }
}

/// Whether evidence suffices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It does.
    Proven,
    /// It does not: the run proves nothing.
    Missing,
}

impl NodeClock {
    /// Whether a process of the node could be asked.
    fn was_asked(&self) -> bool {
        !self.clock.seen.is_empty() || !self.clock.unpatched.is_empty()
    }

    /// Whether the node shows what its clock was set to, if it could be asked.
    fn agrees(&self) -> bool {
        !self.was_asked() || self.clock.proves()
    }
}

impl NodeDisk {
    /// Whether what was seen shows that the disk, or its node, was struck.
    ///
    /// A power loss takes two things at once: the processes, and what was not durable. Of a node that had made
    /// everything durable nothing can be undone, and the loss of its power is seen by its processes alone: it is the
    /// same event, and what the disk held is what it must hold. Only a node that did not run and lost nothing was not
    /// struck.
    fn was_struck(&self) -> bool {
        let shows = |evidence: &DiskSeen| match evidence {
            DiskSeen::Undone(undone) => {
                self.processes > 0 || undone.bytes > 0 || undone.metadata_operations > 0
            }
            // The disk itself answers with an error when a fault does not show.
            DiskSeen::Touched { .. } => true,
            DiskSeen::Flipped { bits } => !bits.is_empty(),
            DiskSeen::Cut { files } => !files.is_empty(),
        };
        !self.disk.is_empty() && self.disk.iter().all(shows)
    }
}

impl fmt::Display for NodeClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.clock.seen.first() {
            Some(seen) => write!(f, "{} {:+.3} s", self.node, seen.delta_ns as f64 / 1e9)?,
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

impl fmt::Display for NodeDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.node)?;
        if self.processes > 0 {
            f.write_str(" processes gone,")?;
        }
        if self.disk.is_empty() {
            f.write_str(" disk sound")?;
        }
        for (at, evidence) in self.disk.iter().enumerate() {
            f.write_str(if at == 0 { " " } else { ", " })?;
            match evidence {
                DiskSeen::Undone(undone) if undone.bytes == 0 && undone.metadata_operations == 0 => {
                    f.write_str("everything was durable and nothing is undone")?;
                }
                DiskSeen::Undone(undone) => write!(
                    f,
                    "{} bytes in {} files and {} metadata operations undone",
                    undone.bytes, undone.files, undone.metadata_operations
                )?,
                DiskSeen::Touched { operations, delayed, .. } if delayed.is_zero() => {
                    write!(f, "{operations} operations met the fault")?;
                }
                DiskSeen::Touched { operations, delayed, .. } => {
                    write!(f, "{operations} operations delayed by {:.1} s in all", delayed.as_secs_f64())?;
                }
                DiskSeen::Flipped { bits } => write!(f, "{} bits flipped", bits.len())?,
                DiskSeen::Cut { files } => write!(f, "{} files cut short", files.len())?,
            }
        }
        Ok(())
    }
}

fn list(nodes: &[NodeProcesses]) -> String {
    let one = |node: &NodeProcesses| match node.processes {
        0 => format!("{} (had none)", node.node),
        1 => node.node.to_string(),
        more => format!("{} ({more} processes)", node.node),
    };
    nodes.iter().map(one).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut { links, probes_dropped } => {
                write!(f, "{probes_dropped} of {links} probes dropped on the cut links")
            }
            Self::Flapping { links, seen_cut, seen_open, period_ms } => write!(
                f,
                "on {links} links, cut and open every {period_ms} ms: probes were dropped on {seen_cut} and crossed {seen_open}"
            ),
            Self::Joined { links, probes_arrived, still_cut, packets_dropped } => {
                write!(
                    f,
                    "{probes_arrived} of {links} probes arrived; {packets_dropped} packets had been dropped"
                )?;
                if *still_cut > 0 {
                    write!(f, "; {still_cut} links still cut by another partition")?;
                }
                Ok(())
            }
            Self::Shaped { links, probes_arrived, probe_us } => {
                let millis = *probe_us as f64 / 1000.0;
                write!(
                    f,
                    "in force on {links} links; {probes_arrived} probes crossed, the median in {millis:.1} ms"
                )
            }
            Self::Unshaped { links, probes_arrived, still_cut, packets_met } => {
                write!(f, "{packets_met} packets had met it; {probes_arrived} of {links} probes arrived")?;
                if *still_cut > 0 {
                    write!(f, "; {still_cut} links are cut by a partition")?;
                }
                Ok(())
            }
            Self::ClockSet { nodes } | Self::ClockReset { nodes } => {
                let told: Vec<String> = nodes.iter().map(NodeClock::to_string).collect();
                write!(f, "wall clocks as the nodes read them: {}", told.join(", "))
            }
            Self::DiskStruck { nodes } => {
                let told: Vec<String> = nodes.iter().map(NodeDisk::to_string).collect();
                f.write_str(&told.join("; "))
            }
            Self::DiskHealed { nodes, started } => {
                let told: Vec<String> = nodes.iter().map(NodeDisk::to_string).collect();
                f.write_str(&told.join("; "))?;
                if !started.is_empty() {
                    let started: Vec<&str> = started.iter().map(NodeId::as_str).collect();
                    write!(f, "; started again: {}", started.join(", "))?;
                }
                Ok(())
            }
            Self::Ended { nodes } => write!(f, "ended as asked: {}", list(nodes)),
            Self::Killed { nodes } => write!(f, "processes gone: {}", list(nodes)),
            Self::Started { nodes } => {
                let nodes: Vec<&str> = nodes.iter().map(NodeId::as_str).collect();
                write!(f, "started again: {}", nodes.join(", "))
            }
            Self::Paused { nodes } => write!(f, "every thread stopped (state T): {}", list(nodes)),
            Self::Resumed { nodes } => write!(f, "running again: {}", list(nodes)),
        }
    }
}
