//! The nodes that a fault disables while it is in force, and how many a target tolerates.

use std::collections::BTreeSet;

use duress_history::NodeId;
use serde::{Deserialize, Serialize};

use crate::disk_fault::{DiskEffect, TargetState};
use crate::fault::Fault;
use crate::partition::{Cut, Link};
use crate::selector::Targets;

/// How many nodes randomly drawn faults may disable at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossLimit {
    /// At most this many: the number that the target tolerates, or one if it tolerates none, since a
    /// requested fault must strike something.
    AtMost(usize),
    /// Any number: the user asked to go beyond.
    Beyond,
}

impl LossLimit {
    /// Returns the limit for a target that promises to survive the loss of `nodes` nodes.
    #[must_use]
    pub fn tolerated(nodes: usize) -> Self {
        Self::AtMost(nodes.max(1))
    }

    /// Returns the most of `nodes` nodes that may be disabled.
    pub(crate) fn most(self, nodes: usize) -> usize {
        match self {
            Self::AtMost(most) => most.min(nodes),
            Self::Beyond => nodes,
        }
    }
}

/// The nodes that faults disable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Loss {
    /// Those that are known beforehand.
    named: BTreeSet<NodeId>,
    /// How many more depend on who leads then.
    led: usize,
}

impl Loss {
    /// Returns the nodes among `nodes` that `fault` disables.
    ///
    /// A cut disables the nodes that cannot exchange packets with the node that has the most links left: a
    /// bridge disables none. Clock faults and slow or lossy links disable none either.
    pub(crate) fn of(fault: &Fault, nodes: &[NodeId]) -> Self {
        match fault {
            Fault::Partition { cut: Cut::Links(links), .. } => {
                Self { named: outside_the_largest_view(links, nodes), led: 0 }
            }
            Fault::Partition { cut: Cut::IsolateLeader { .. }, .. } => {
                Self { named: BTreeSet::new(), led: 1 }
            }
            Fault::Packet { .. } | Fault::Clock { .. } => Self::default(),
            Fault::Kill { targets } | Fault::Pause { targets } | Fault::Restart { targets } => {
                Self::of_targets(targets, nodes)
            }
            Fault::Disk { effect, targets } => {
                let away = effect.target_state() == TargetState::DeadNode
                    || effect.may_end_node()
                    || *effect == DiskEffect::LyingFsync;
                if away { Self::of_targets(targets, nodes) } else { Self::default() }
            }
        }
    }

    fn of_targets(targets: &Targets, nodes: &[NodeId]) -> Self {
        match targets {
            Targets::Nodes(named) => Self { named: named.iter().cloned().collect(), led: 0 },
            Targets::Leader { .. } | Targets::Follower { .. } => Self { named: BTreeSet::new(), led: 1 },
            Targets::Followers { .. } => Self { named: BTreeSet::new(), led: nodes.len().saturating_sub(1) },
        }
    }

    /// Whether no node is disabled.
    pub(crate) fn is_none(&self) -> bool {
        self.nodes() == 0
    }

    /// How many nodes, at the most.
    pub(crate) fn nodes(&self) -> usize {
        self.named.len() + self.led
    }

    /// Adds the nodes that `other` disables.
    pub(crate) fn add(&mut self, other: &Self) {
        self.named.extend(other.named.iter().cloned());
        self.led += other.led;
    }
}

/// Returns the nodes that cannot exchange packets, both ways, with the node that can with the most.
fn outside_the_largest_view(links: &[Link], nodes: &[NodeId]) -> BTreeSet<NodeId> {
    let cut: BTreeSet<(&NodeId, &NodeId)> = links.iter().map(|(from, to)| (from, to)).collect();
    let outside = |center: &NodeId| -> BTreeSet<NodeId> {
        let lost = |node: &&NodeId| cut.contains(&(center, *node)) || cut.contains(&(*node, center));
        nodes.iter().filter(lost).cloned().collect()
    };
    nodes.iter().map(outside).min_by_key(BTreeSet::len).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::partition::PartitionShape;

    fn names(count: usize) -> Vec<NodeId> {
        (1..=count).map(|at| NodeId::new(format!("n{at}"))).collect()
    }

    #[test]
    fn a_cut_takes_away_what_the_best_connected_node_cannot_reach() {
        let nodes = names(5);
        let lost = |shape: PartitionShape| {
            let cut = shape.cut(&nodes, &nodes, 5, &mut ChaCha8Rng::seed_from_u64(3));
            Loss::of(&Fault::Partition { shape, cut }, &nodes).nodes()
        };
        assert_eq!(lost(PartitionShape::One), 1);
        assert_eq!(lost(PartitionShape::Halves), 2);
        assert_eq!(lost(PartitionShape::MajoritiesRing), 2);
        assert_eq!(lost(PartitionShape::Bridge), 0);
        assert_eq!(lost(PartitionShape::IsolateLeader), 1);
    }

    #[test]
    fn losses_add_up_without_counting_a_node_twice() {
        let nodes = names(5);
        let kill = |names: &[&str]| {
            let targets = Targets::Nodes(names.iter().map(|name| NodeId::new(*name)).collect());
            Loss::of(&Fault::Kill { targets }, &nodes)
        };
        let mut loss = kill(&["n1", "n2"]);
        loss.add(&kill(&["n2", "n3"]));
        let targets = Targets::Leader { otherwise: NodeId::new("n1") };
        loss.add(&Loss::of(&Fault::Pause { targets }, &nodes));
        assert_eq!(loss.nodes(), 4);
    }
}
