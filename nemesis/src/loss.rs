//! The number of nodes that faults disable while they are in force, and the number that a target tolerates.

use std::collections::BTreeSet;

use duress_history::NodeId;
use serde::{Deserialize, Serialize};

use crate::disk_fault::{DiskEffect, TargetState};
use crate::fault::Fault;
use crate::partition::{Cut, Link};

/// The limit on the nodes that randomly drawn faults disable at once.
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

/// Returns the largest number of `nodes` that the fault disables.
///
/// A cut disables the nodes that cannot exchange packets with the best connected node, so a bridge disables
/// none. Clock faults and packet faults disable none either.
pub(crate) fn lost(fault: &Fault, nodes: &[NodeId]) -> usize {
    let targets = fault.targets().map_or(0, |targets| targets.count().min(nodes.len()));
    match fault {
        Fault::Partition { cut: Cut::Links(links), .. } => outside_the_largest_view(links, nodes).len(),
        // The smaller side counts as disabled.
        Fault::Partition { cut: Cut::Isolate(_), .. } => targets.min(nodes.len() - targets),
        Fault::Packet { .. } | Fault::Clock { .. } | Fault::Command { disables: false, .. } => 0,
        // A node with a share of the processor may be as good as stopped.
        Fault::Kill { .. }
        | Fault::Pause { .. }
        | Fault::Restart { .. }
        | Fault::Resources { .. }
        | Fault::Membership { .. }
        | Fault::Upgrade { .. }
        | Fault::Command { disables: true, .. } => targets,
        Fault::Disk { effect, .. } => {
            let away = effect.target_state() == TargetState::DeadNode
                || effect.may_end_node()
                || *effect == DiskEffect::LyingFsync;
            if away { targets } else { 0 }
        }
    }
}

/// Returns the nodes that cannot exchange packets in both directions with the best connected node.
pub(crate) fn outside_the_largest_view(links: &[Link], nodes: &[NodeId]) -> BTreeSet<NodeId> {
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
    use crate::resource_fault::ResourceEffect;
    use crate::selector::Targets;

    fn names(count: usize) -> Vec<NodeId> {
        (1..=count).map(|at| NodeId::new(format!("n{at}"))).collect()
    }

    #[test]
    fn a_cut_takes_away_what_the_best_connected_node_cannot_reach() {
        let nodes = names(5);
        let lost = |shape: PartitionShape| {
            let cut = shape.cut(&nodes, &[NodeId::new("c1")], 5, &mut ChaCha8Rng::seed_from_u64(3));
            lost(&Fault::Partition { shape, cut }, &nodes)
        };
        assert_eq!(lost(PartitionShape::One), 1);
        assert_eq!(lost(PartitionShape::Halves), 2);
        assert_eq!(lost(PartitionShape::MajoritiesRing), 2);
        assert_eq!(lost(PartitionShape::Bridge), 0);
        assert_eq!(lost(PartitionShape::IsolateLeader), 1);
        assert_eq!(lost(PartitionShape::LeaderInMinority), 2);
        assert_eq!(lost(PartitionShape::Clients), 0);
    }

    #[test]
    fn a_node_with_a_share_of_the_processor_counts_as_stopped() {
        let effect = ResourceEffect::Cpu { percent: 10 };
        assert_eq!(lost(&Fault::Resources { effect, targets: Targets::Nodes(names(2)) }, &names(3)), 2);
    }

    #[test]
    fn a_slow_disk_takes_no_node_away_and_one_without_power_does() {
        let nodes = names(3);
        let of = |effect| lost(&Fault::Disk { effect, targets: Targets::Nodes(names(2)) }, &nodes);
        assert_eq!(of(DiskEffect::PowerLoss), 2);
        assert_eq!(of(DiskEffect::Eio), 2);
        assert_eq!(of(DiskEffect::SlowFsync(std::time::Duration::from_millis(20))), 0);
    }
}
