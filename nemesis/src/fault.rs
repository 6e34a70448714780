//! A fault as a plan contains it, with everything decided that can be decided before the run.

use std::fmt;

use duress_history::NodeId;
use serde::{Deserialize, Serialize};

use crate::clock_fault::ClockEffect;
use crate::disk_fault::{DiskEffect, TargetState};
use crate::family::Family;
use crate::membership::MemberChange;
use crate::packet::PacketEffect;
use crate::partition::{Cut, PartitionShape};
use crate::resource_fault::ResourceEffect;
use crate::role::Role;
use crate::selector::{Relation, Targets};
use crate::upgrade::Upgrade;
use crate::variant::Kind;

/// A fault of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Fault {
    /// Cuts links.
    Partition {
        /// The choice of the cut links.
        shape: PartitionShape,
        /// The cut links.
        cut: Cut,
    },
    /// Changes what links do to packets.
    Packet {
        /// The effect on packets.
        effect: PacketEffect,
        /// The nodes whose links to all other nodes are affected, both ways.
        targets: Targets,
    },
    /// Kills nodes; healing starts them again.
    Kill {
        /// The nodes.
        targets: Targets,
    },
    /// Pauses nodes; healing resumes them.
    Pause {
        /// The nodes.
        targets: Targets,
    },
    /// Asks nodes to end; healing starts them again.
    Restart {
        /// The nodes.
        targets: Targets,
    },
    /// Moves wall clocks; healing sets them right.
    Clock {
        /// The movement of the clocks.
        effect: ClockEffect,
        /// The nodes whose clocks move.
        targets: Targets,
    },
    /// Makes disks fail.
    Disk {
        /// The effect on the disks.
        effect: DiskEffect,
        /// The nodes whose disks fail.
        targets: Targets,
    },
    /// Takes resources of the machine away from nodes.
    Resources {
        /// The effect on the nodes.
        effect: ResourceEffect,
        /// The nodes.
        targets: Targets,
    },
    /// Removes members of the cluster; healing adds them again.
    Membership {
        /// How they are removed.
        change: MemberChange,
        /// The nodes.
        targets: Targets,
    },
    /// Ends nodes, and starts them with another program.
    Upgrade {
        /// How long they run it.
        change: Upgrade,
        /// The nodes.
        targets: Targets,
    },
    /// Strikes nodes of a cluster that already runs, by the user's own commands.
    Command {
        /// The name that the manifest gives it.
        name: String,
        /// Whether a node that it strikes cannot serve meanwhile.
        disables: bool,
        /// The nodes.
        targets: Targets,
    },
}

impl Fault {
    /// Returns its family.
    #[must_use]
    pub fn family(&self) -> Family {
        match self {
            Self::Partition { .. } => Family::Partition,
            Self::Packet { .. } => Family::Packet,
            Self::Kill { .. } => Family::Kill,
            Self::Pause { .. } => Family::Pause,
            Self::Restart { .. } => Family::Restart,
            Self::Clock { .. } => Family::Clock,
            Self::Disk { .. } => Family::Disk,
            Self::Resources { .. } => Family::Resources,
            Self::Membership { .. } => Family::Membership,
            Self::Upgrade { .. } => Family::Upgrade,
            Self::Command { .. } => Family::Command,
        }
    }

    /// Returns the name of its variant in the table; `None` for families whose variants only choose nodes,
    /// since the nodes are chosen already, and for commands, whose variants a manifest names.
    #[must_use]
    pub fn variant(&self) -> Option<&'static str> {
        match self {
            Self::Partition { shape, .. } => Some(shape.name()),
            Self::Packet { effect, .. } => Some(effect.name()),
            Self::Clock { effect, .. } => Some(effect.name()),
            Self::Disk { effect, .. } => Some(effect.name()),
            Self::Resources { effect, .. } => Some(effect.name()),
            Self::Membership { change, .. } => Some(change.name()),
            Self::Upgrade { change, .. } => Some(change.name()),
            Self::Kill { .. } | Self::Pause { .. } | Self::Restart { .. } | Self::Command { .. } => None,
        }
    }

    /// Returns the nodes it strikes or cuts off; `None` for a partition given as links.
    #[must_use]
    pub fn targets(&self) -> Option<&Targets> {
        match self {
            Self::Partition { cut: Cut::Links(_), .. } => None,
            Self::Partition { cut: Cut::Isolate(targets), .. }
            | Self::Packet { targets, .. }
            | Self::Kill { targets }
            | Self::Pause { targets }
            | Self::Restart { targets }
            | Self::Clock { targets, .. }
            | Self::Disk { targets, .. }
            | Self::Resources { targets, .. }
            | Self::Membership { targets, .. }
            | Self::Upgrade { targets, .. }
            | Self::Command { targets, .. } => Some(targets),
        }
    }

    /// Returns the same fault aimed at the node that has `role`, if it strikes a single node chosen when it
    /// starts; otherwise an unchanged copy.
    #[must_use]
    pub fn aimed_at(&self, role: &Role) -> Self {
        let mut aimed = self.clone();
        if let Some(Targets::Chosen(choice)) = aimed.targets_mut()
            && choice.count == 1
        {
            choice.role = Relation::Has(role.clone());
        }
        aimed
    }

    fn targets_mut(&mut self) -> Option<&mut Targets> {
        match self {
            Self::Partition { cut: Cut::Links(_), .. } => None,
            Self::Partition { cut: Cut::Isolate(targets), .. }
            | Self::Packet { targets, .. }
            | Self::Kill { targets }
            | Self::Pause { targets }
            | Self::Restart { targets }
            | Self::Clock { targets, .. }
            | Self::Disk { targets, .. }
            | Self::Resources { targets, .. }
            | Self::Membership { targets, .. }
            | Self::Upgrade { targets, .. }
            | Self::Command { targets, .. } => Some(targets),
        }
    }

    /// Returns the role that must be known before it can be injected.
    #[must_use]
    pub fn role(&self) -> Option<&Role> {
        self.targets().and_then(Targets::role)
    }

    /// Returns every host that it names.
    #[must_use]
    pub fn named_hosts(&self) -> Vec<NodeId> {
        match self {
            Self::Partition { cut: Cut::Links(links), .. } => {
                links.iter().flat_map(|(from, to)| [from.clone(), to.clone()]).collect()
            }
            other => other.targets().map(|targets| targets.named().to_vec()).unwrap_or_default(),
        }
    }

    /// Returns whether it needs running nodes, either to end or stop their processes or to read observations
    /// from them.
    #[must_use]
    pub fn needs_live_nodes(&self) -> bool {
        match self {
            Self::Partition { .. } | Self::Packet { .. } => false,
            Self::Kill { .. }
            | Self::Pause { .. }
            | Self::Restart { .. }
            | Self::Clock { .. }
            | Self::Resources { .. }
            | Self::Upgrade { .. } => true,
            // One command at a time has a node: another may undo what it did.
            Self::Command { .. } => true,
            // A node can be removed once.
            Self::Membership { .. } => true,
            Self::Disk { effect, .. } => {
                effect.target_state() == TargetState::DeadNode || *effect == DiskEffect::LyingFsync
            }
        }
    }

    /// Returns whether its only effect is to stop the nodes it strikes, so that links, clocks and other
    /// nodes' disks stay unchanged.
    #[must_use]
    pub fn only_stops(&self) -> bool {
        match self {
            Self::Kill { .. } | Self::Pause { .. } | Self::Restart { .. } | Self::Upgrade { .. } => true,
            Self::Disk { effect, .. } => effect.target_state() == TargetState::DeadNode,
            // A command may do more than stop the node, and a slow leader holds up the others.
            Self::Partition { .. }
            | Self::Packet { .. }
            | Self::Clock { .. }
            | Self::Resources { .. }
            | Self::Command { .. } => false,
            // The others agree on it, and elect another leader if they have to.
            Self::Membership { .. } => false,
        }
    }

    /// Returns whether a disk loses data that it has acknowledged, so that its node may legitimately refuse
    /// to serve afterwards.
    #[must_use]
    pub fn damages(&self) -> bool {
        match self {
            Self::Disk { effect, .. } => match effect {
                DiskEffect::LyingFsync | DiskEffect::Bitflip | DiskEffect::Truncate => true,
                DiskEffect::PowerLoss
                | DiskEffect::Torn
                | DiskEffect::SlowFsync(_)
                | DiskEffect::Eio
                | DiskEffect::Enospc => false,
            },
            _ => false,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Partition { shape, cut } => write!(f, "partition {shape}: {cut}"),
            Self::Packet { effect, targets } => write!(f, "packet {effect} on the links of {targets}"),
            Self::Kill { targets } => write!(f, "kill {targets}"),
            Self::Pause { targets } => write!(f, "pause {targets}"),
            Self::Restart { targets } => write!(f, "restart {targets}"),
            Self::Clock { effect, targets } => write!(f, "clock {effect} on {targets}"),
            Self::Disk { effect, targets } => write!(f, "disk {effect} on {targets}"),
            Self::Resources { effect, targets } => write!(f, "resources {effect} on {targets}"),
            Self::Membership { change, targets } => write!(f, "membership {change} of {targets}"),
            Self::Upgrade { change, targets } => write!(f, "upgrade {change} of {targets}"),
            Self::Command { name, targets, .. } => write!(f, "command {name} on {targets}"),
        }
    }
}
