//! Evidence: what was seen of a fault while it was injected or healed.

use std::fmt;

use duress_history::NodeId;
use serde::{Deserialize, Serialize};

/// What was seen of one node's processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeProcesses {
    /// Which node.
    pub node: NodeId,
    /// How many processes were struck and seen in the expected state; 0 when the node had none left.
    pub processes: usize,
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
    /// Whether it proves that the fault took hold, or healed.
    #[must_use]
    pub fn proves(&self) -> Proof {
        let proven = match self {
            Self::Cut { links, probes_dropped } => *links > 0 && probes_dropped == links,
            Self::Joined { links, probes_arrived, still_cut, .. } => probes_arrived + still_cut == *links,
            Self::Killed { nodes } | Self::Paused { nodes } => nodes.iter().any(|node| node.processes > 0),
            Self::Started { .. } | Self::Resumed { .. } => true,
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
