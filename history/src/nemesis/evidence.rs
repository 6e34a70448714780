//! Evidence: the observations of a fault while it was injected or healed.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::clock_seen::NodeClock;
use super::command_seen::CommandSeen;
use super::disk_seen::NodeDisk;
use super::members_seen::MembersSeen;
use super::packet_seen::{PacketsSeen, Touches};
use super::process_seen::{NodeProcesses, NodeResumed};
use super::program_seen::NodeProgram;
use super::share_seen::NodeShare;
use crate::node::NodeId;

/// The observations, recorded with the fault in the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "seen", rename_all = "kebab-case")]
pub enum Evidence {
    /// Links were cut: on each of them a probe was sent and dropped.
    Cut {
        /// The number of directed links.
        links: usize,
        /// The number of probes that the switch dropped; without all of them, there is no evidence.
        probes_dropped: usize,
    },
    /// Links are cut and open in turn: on each of them one probe was dropped and another crossed it.
    Flapping {
        /// The number of directed links.
        links: usize,
        /// The number of them that another partition cuts all the time, so that they cannot be observed.
        #[serde(default)]
        cut: usize,
        /// The number of links on which a probe was dropped; without all of them, there is no evidence.
        seen_cut: usize,
        /// The number of links that a probe crossed; without all of them, there is no evidence.
        seen_open: usize,
        /// The time from one cut to the next, in milliseconds.
        period_ms: u64,
    },
    /// Links forward again: a probe crossed each of them.
    Joined {
        /// The number of directed links.
        links: usize,
        /// The number of probes that arrived.
        probes_arrived: usize,
        /// Links that another partition still cuts.
        still_cut: usize,
        /// Packets of the target and the clients that were dropped on these links while the cut lasted.
        packets_dropped: u64,
    },
    /// Links affect packets: probes met the effect, as their far ends show.
    Shaped {
        /// The number of directed links.
        links: usize,
        /// The number of them that a partition cuts, so that their effect cannot be observed.
        #[serde(default)]
        cut: usize,
        /// The packets that it affects; earlier versions did not keep them.
        #[serde(default = "every")]
        touches: Touches,
        /// The results of probes on the links that are not cut; earlier versions did not probe.
        #[serde(default)]
        probes: PacketsSeen,
    },
    /// Links are open again, or only have the effects of other faults: a probe crossed each of them that is
    /// not cut.
    Unshaped {
        /// The number of directed links.
        links: usize,
        /// The number of probes that arrived.
        probes_arrived: usize,
        /// Links that a partition cuts.
        still_cut: usize,
        /// Packets that met the effect while it was in force.
        packets_met: u64,
        /// The results of probes afterwards on the links whose packets no other fault affects.
        #[serde(default)]
        after: PacketsSeen,
    },
    /// Wall clocks follow their setting, as the nodes' own processes read them.
    ClockSet {
        /// The observations of each node.
        nodes: Vec<NodeClock>,
    },
    /// Wall clocks agree with the machine's again.
    ClockReset {
        /// The observations of each node.
        nodes: Vec<NodeClock>,
    },
    /// Disks fail.
    DiskStruck {
        /// The observations of each node.
        nodes: Vec<NodeDisk>,
    },
    /// Disks are sound again.
    DiskHealed {
        /// The observations of each node.
        nodes: Vec<NodeDisk>,
        /// The nodes started again, and how many processes each has.
        started: Vec<NodeProcesses>,
    },
    /// Processes ended when they were asked to.
    Ended {
        /// The ended processes.
        nodes: Vec<NodeProcesses>,
    },
    /// Processes are gone.
    Killed {
        /// The killed processes.
        nodes: Vec<NodeProcesses>,
    },
    /// Processes run again.
    Started {
        /// The nodes started, and how many processes each has.
        nodes: Vec<NodeProcesses>,
    },
    /// Every thread is in state T, or in D with the signal to stop before it.
    Paused {
        /// The paused processes.
        nodes: Vec<NodeProcesses>,
    },
    /// No thread is in state T, and the stopped processes have been active since.
    Resumed {
        /// The resumed processes.
        nodes: Vec<NodeResumed>,
    },
    /// Processes have the processor for a share of the time: every thread was stopped for the rest of it.
    Throttled {
        /// The share of each node.
        nodes: Vec<NodeShare>,
    },
    /// Processes have the whole processor again: held a last time, they have been active since.
    Unthrottled {
        /// The share of each node while the fault was in force.
        nodes: Vec<NodeShare>,
        /// The resumed processes.
        resumed: Vec<NodeResumed>,
    },
    /// Nodes run other programs than before.
    Programs {
        /// The programs of each node.
        nodes: Vec<NodeProgram>,
    },
    /// Members were removed: the cluster listed them before, and does not any more.
    Removed(MembersSeen),
    /// Members were added: the cluster lists them with a vote, and they answer requests.
    Added(MembersSeen),
    /// The fault's own command says that it is in force, and said before that it was not.
    Commanded {
        /// Its answers about each node.
        nodes: Vec<CommandSeen>,
    },
    /// The fault's own command says that it is not in force any more.
    Withdrawn {
        /// Its answers about each node.
        nodes: Vec<CommandSeen>,
    },
}

impl Evidence {
    /// Returns the nodes that the evidence is about; none if it is about links.
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
            Self::Ended { nodes }
            | Self::Killed { nodes }
            | Self::Started { nodes }
            | Self::Paused { nodes } => nodes.iter().map(|node| &node.node).collect(),
            Self::Resumed { nodes } => nodes.iter().map(|node| &node.node).collect(),
            Self::Throttled { nodes } | Self::Unthrottled { nodes, .. } => {
                nodes.iter().map(|node| &node.node).collect()
            }
            Self::Commanded { nodes } | Self::Withdrawn { nodes } => {
                nodes.iter().map(|node| &node.node).collect()
            }
            Self::Programs { nodes } => nodes.iter().map(|node| &node.node).collect(),
            Self::Removed(seen) | Self::Added(seen) => seen.nodes.iter().collect(),
        }
    }

    /// Returns the nodes that were started.
    #[must_use]
    pub fn started(&self) -> Vec<NodeId> {
        match self {
            Self::Started { nodes } | Self::DiskHealed { started: nodes, .. } => {
                nodes.iter().map(|node| node.node.clone()).collect()
            }
            Self::Added(seen) => seen.started.clone(),
            _ => Vec::new(),
        }
    }

    /// Returns whether it proves that the fault took hold, or healed.
    #[must_use]
    pub fn proves(&self) -> Proof {
        if self.is_masked() {
            return Proof::Masked;
        }
        let proven = match self {
            Self::Cut { links, probes_dropped } => *links > 0 && probes_dropped == links,
            Self::Flapping { links, cut, seen_cut, seen_open, .. } => {
                *links > 0 && seen_cut + cut == *links && seen_open + cut == *links
            }
            Self::Joined { links, probes_arrived, still_cut, .. } => probes_arrived + still_cut == *links,
            Self::Killed { nodes } | Self::Paused { nodes } | Self::Ended { nodes } => {
                nodes.iter().any(|node| node.processes > 0)
            }
            Self::Started { nodes } => live(nodes) && !nodes.is_empty(),
            Self::Resumed { nodes } => !nodes.is_empty() && nodes.iter().all(NodeResumed::goes_on),
            Self::Throttled { nodes } => shares(nodes),
            Self::Unthrottled { nodes, resumed } => shares(nodes) && resumed.iter().all(NodeResumed::goes_on),
            Self::Shaped { links, cut, touches, probes } => {
                let met = match touches {
                    Touches::Every => probes.met == probes.links,
                    Touches::Some => true,
                };
                met && probes.met > 0 && probes.links + cut == *links
            }
            Self::Unshaped { links, probes_arrived, still_cut, packets_met, after } => {
                probes_arrived + still_cut == *links && *packets_met > 0 && after.met == 0
            }
            // A node that is down cannot be asked; at least one must have answered, unless all are down.
            Self::ClockSet { nodes } => {
                nodes.iter().any(NodeClock::was_asked) && nodes.iter().all(NodeClock::agrees)
            }
            Self::ClockReset { nodes } => {
                !nodes.is_empty() && nodes.iter().all(|node| node.is_set_right() && node.agrees())
            }
            // A lasting fault shows on every disk; a power loss only strikes nodes that had power.
            Self::DiskStruck { nodes } => {
                let shows = |node: &NodeDisk| !node.has_lasting() || node.was_struck();
                nodes.iter().any(NodeDisk::was_struck) && nodes.iter().all(shows)
            }
            Self::DiskHealed { nodes, started } => {
                !nodes.is_empty() && nodes.iter().all(NodeDisk::is_sound) && live(started)
            }
            Self::Programs { nodes } => nodes.iter().all(NodeProgram::is_changed),
            Self::Removed(seen) => seen.are_removed(),
            Self::Added(seen) => seen.are_added(),
            // A command that says the same whatever happens is no evidence.
            Self::Commanded { nodes } => nodes.iter().all(|node| !node.before && node.after),
            Self::Withdrawn { nodes } => nodes.iter().all(|node| !node.after),
        };
        if proven { Proof::Proven } else { Proof::Missing }
    }

    /// Returns whether other faults hide everything that could have been observed.
    fn is_masked(&self) -> bool {
        match self {
            Self::Joined { links, still_cut, .. } | Self::Unshaped { links, still_cut, .. } => {
                *links > 0 && still_cut == links
            }
            Self::Shaped { links, cut, .. } | Self::Flapping { links, cut, .. } => *links > 0 && cut == links,
            // Other faults had taken every node that it could have struck.
            Self::Killed { nodes }
            | Self::Paused { nodes }
            | Self::Ended { nodes }
            | Self::Started { nodes } => nodes.is_empty(),
            Self::Resumed { nodes } => nodes.is_empty(),
            Self::Throttled { nodes } | Self::Unthrottled { nodes, .. } => nodes.is_empty(),
            // Every node that it could have struck runs it already.
            Self::Programs { nodes } => nodes.is_empty(),
            Self::Commanded { nodes } | Self::Withdrawn { nodes } => nodes.is_empty(),
            // The others may have had no quorum meanwhile, or were not reached.
            Self::Removed(seen) => {
                seen.nodes.is_empty() || !seen.hindered_by.is_empty() && !seen.are_removed()
            }
            Self::Added(seen) => seen.nodes.is_empty() || !seen.hindered_by.is_empty() && !seen.are_added(),
            Self::DiskStruck { nodes } | Self::DiskHealed { nodes, .. } => nodes.is_empty(),
            Self::ClockSet { nodes } => nodes.is_empty(),
            Self::ClockReset { nodes } => {
                let unseen = |node: &NodeClock| node.is_set_right() && node.away && !node.was_asked();
                nodes.iter().all(unseen)
            }
            _ => false,
        }
    }
}

fn every() -> Touches {
    Touches::Every
}

/// Returns whether nodes had no more of the processor than their shares, as far as they had processes; at least one did.
fn shares(nodes: &[NodeShare]) -> bool {
    nodes.iter().any(|node| node.holds >= NodeShare::HOLDS_MIN) && nodes.iter().all(NodeShare::is_kept)
}

/// Returns whether each of the nodes has a process.
fn live(nodes: &[NodeProcesses]) -> bool {
    nodes.iter().all(|node| node.processes > 0)
}

/// The weight of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The evidence suffices.
    Proven,
    /// Other faults hide everything that could have been observed: a partition cut every link, the node's
    /// processes had ended, or no node was left to strike. This is not a failure, but proves nothing either.
    Masked,
    /// The evidence does not suffice: the run proves nothing.
    Missing,
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut { links, probes_dropped } => {
                write!(f, "{probes_dropped} of {links} probes dropped on the cut links")
            }
            Self::Flapping { links, cut, seen_cut, seen_open, period_ms } => {
                write!(
                    f,
                    "on {links} links, cut and open every {period_ms} ms: probes were dropped on {seen_cut} and crossed {seen_open}"
                )?;
                if *cut > 0 {
                    write!(f, "; {cut} links are cut by another partition")?;
                }
                Ok(())
            }
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
            Self::Shaped { links, cut, probes, .. } => {
                write!(f, "probes met it on {} of {links} links: {probes}", probes.met)?;
                if *cut > 0 {
                    write!(f, "; {cut} links are cut by a partition")?;
                }
                Ok(())
            }
            Self::Unshaped { links, probes_arrived, still_cut, packets_met, after } => {
                write!(f, "{packets_met} packets had met it; {probes_arrived} of {links} probes arrived")?;
                if *still_cut > 0 {
                    write!(f, "; {still_cut} links are cut by a partition")?;
                }
                if after.met > 0 {
                    write!(f, "; on {} links probes STILL MEET it: {after}", after.met)?;
                }
                Ok(())
            }
            Self::ClockSet { nodes } | Self::ClockReset { nodes } => {
                write!(f, "wall clocks as the nodes read them: {}", list(nodes))
            }
            Self::DiskStruck { nodes } => f.write_str(&list(nodes)),
            Self::DiskHealed { nodes, started } => {
                f.write_str(&list(nodes))?;
                if started.is_empty() { Ok(()) } else { write!(f, "; started again: {}", list(started)) }
            }
            Self::Ended { nodes } => write!(f, "ended as asked: {}", list(nodes)),
            Self::Killed { nodes } => write!(f, "processes gone: {}", list(nodes)),
            Self::Started { nodes } => write!(f, "processes live again: {}", list(nodes)),
            Self::Paused { nodes } => write!(f, "every thread stopped (state T or D): {}", list(nodes)),
            Self::Resumed { nodes } => write!(f, "running again: {}", list(nodes)),
            Self::Throttled { nodes } => f.write_str(&list(nodes)),
            Self::Unthrottled { nodes, resumed } => {
                write!(f, "{}; running again: {}", list(nodes), list(resumed))
            }
            Self::Programs { nodes } if nodes.is_empty() => f.write_str("no node was left to change"),
            Self::Programs { nodes } => f.write_str(&list(nodes)),
            Self::Removed(seen) | Self::Added(seen) => write!(f, "{seen}"),
            Self::Commanded { nodes } | Self::Withdrawn { nodes } => {
                write!(f, "its own command says of {}", list(nodes))
            }
        }
    }
}
