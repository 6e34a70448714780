//! The return of nodes and links after a fault was healed, and its duration.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::node::NodeId;

/// The return of the nodes and links that a fault had touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    /// The fault's number in the schedule.
    pub fault: u32,
    /// When it was healed, in microseconds since the run began: all times below count from then.
    pub healed_us: u64,
    /// How long a node or link may take to answer, in milliseconds.
    pub bound_ms: u64,
    /// The nodes.
    pub nodes: Vec<NodeReturn>,
    /// The directed links; empty if the fault touched no links.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<LinkReturn>,
}

/// The return of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReturn {
    /// The node.
    pub node: NodeId,
    /// Whether and when it served again.
    #[serde(flatten)]
    pub came: Return,
}

/// The return of one directed link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkReturn {
    /// The sending host.
    pub from: NodeId,
    /// The receiving host.
    pub to: NodeId,
    /// Whether and when a probe crossed it again.
    #[serde(flatten)]
    pub came: Return,
}

/// Whether something answered again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "came", rename_all = "kebab-case")]
pub enum Return {
    /// It answered.
    Back {
        /// How long after the heal, in milliseconds.
        after_ms: u64,
    },
    /// It did not answer within the bound, and only the healed fault had kept it from that.
    Silent {
        /// How long after the heal it was still silent, in milliseconds.
        waited_ms: u64,
        /// Its last error or status.
        why: String,
    },
    /// It had not answered by then, which proves nothing.
    NotJudged {
        /// How long after the heal it was still silent, in milliseconds.
        waited_ms: u64,
        /// The reason why that proves nothing.
        because: Unjudged,
    },
}

/// The reason why a silence after a heal proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "kebab-case")]
pub enum Unjudged {
    /// Another fault kept the node or the link away, or struck it again before it had answered.
    Fault {
        /// Its number in the schedule.
        fault: u32,
    },
    /// Until the end, faults or their damage kept more nodes away than the system tolerates.
    TooFewNodes,
    /// A fault had damaged, for good, data that the node's disk had promised to keep.
    Damaged {
        /// Its number in the schedule.
        fault: u32,
    },
    /// The node ended by itself meanwhile, which the run reports by itself.
    Ended,
    /// The run was left before the time was up.
    RunLeft,
}

impl Recovery {
    /// Returns every awaited node and link, by its name, with its return: nodes first.
    pub fn returns(&self) -> impl Iterator<Item = (String, &Return)> {
        let nodes = self.nodes.iter().map(|node| (node.node.to_string(), &node.came));
        let links = self.links.iter().map(|link| (format!("{} to {}", link.from, link.to), &link.came));
        nodes.chain(links)
    }
}

impl fmt::Display for Recovery {
    /// Formats each node; and the links that were slowest to answer, or did not.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes = self.nodes.iter().map(|node| format!("{} {}", node.node, node.came));
        let silent = self.links.iter().filter(|link| !matches!(link.came, Return::Back { .. }));
        let silent = silent.map(|link| format!("link {} to {} {}", link.from, link.to, link.came));
        let back = self.links.iter().filter_map(|link| match link.came {
            Return::Back { after_ms } => Some(after_ms),
            _ => None,
        });
        // Whole milliseconds have passed: it was in the one after.
        let slowest =
            back.clone().max().map(|slowest| format!("{} links within {} ms", back.count(), slowest + 1));
        let all: Vec<String> = nodes.chain(slowest).chain(silent).collect();
        if all.is_empty() { f.write_str("no node or link was awaited") } else { f.write_str(&all.join(", ")) }
    }
}

impl fmt::Display for Return {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Back { after_ms } => write!(f, "after {after_ms} ms"),
            Self::Silent { waited_ms, why } => write!(f, "NOT within {waited_ms} ms ({why})"),
            Self::NotJudged { waited_ms, because } => {
                write!(f, "not within {waited_ms} ms, not judged: {because}")
            }
        }
    }
}

impl fmt::Display for Unjudged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault { fault } => write!(f, "fault {fault} struck it"),
            Self::Damaged { fault } => write!(f, "fault {fault} damaged its disk for good"),
            Self::TooFewNodes => f.write_str("faults kept more nodes away than the system tolerates"),
            Self::Ended => f.write_str("the node ended by itself meanwhile"),
            Self::RunLeft => f.write_str("the run was left before its time was up"),
        }
    }
}
