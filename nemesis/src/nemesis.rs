//! The nemesis: injects faults into a running cluster and heals them, with evidence of both.

mod clocks;
mod command_faults;
mod disks;
mod error;
mod members;
mod networks;
mod processes;
mod resources;
mod upgrades;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use duress_history::NodeId;
use duress_history::nemesis::{Evidence, LinkReturn, NodeProcesses, NodeProgram, Proof};

pub use self::error::NemesisError;

use self::clocks::MovedClock;
use self::disks::HealedDisk;
use self::members::Removed;
use self::resources::ThrottledNode;
use crate::clock_fault::ClockEffect;
use crate::cluster::{Cluster, Ending};
use crate::commands::FaultCommands;
use crate::disk_fault::{DiskEffect, TargetState};
use crate::fault::Fault;
use crate::links::Links;
use crate::loss::outside_the_largest_view;
use crate::membership::{Administrator, MemberChange};
use crate::packet::PacketEffect;
use crate::partition::{self, Cut, Link};
use crate::resource_fault::ResourceEffect;
use crate::role::{Role, RoleMap};
use crate::selector::Targets;
use crate::upgrade::Upgrade;
use duress_arena::clock::{ClockPage, Strobe};
use duress_arena::{ControlError, LinkCounters, NodeProcess, Pid, ProbeOutcome, Switch};

/// The time that a signal may take to affect every process of a node.
const SIGNAL_DEADLINE: Duration = Duration::from_secs(15);
/// The time that probes may take to arrive, or to be observed as dropped.
const PROBE_DEADLINE: Duration = Duration::from_millis(500);
/// The number of times a lost probe is sent again before a healed link counts as still cut.
const PROBE_ROUNDS: usize = 12;

/// A node that ended without being asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crash {
    /// The node.
    pub node: NodeId,
    /// The exit status of its process.
    pub status: ExitStatus,
    /// The fault that explains it: one that may end nodes and that had struck this node. `None` if the node
    /// ended without such a cause.
    pub because: Option<u32>,
    /// The moment at which the node can be started again.
    pub restart: Restart,
}

/// The moment at which a node that ended can be started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// At once.
    Now,
    /// As the fault that ended it is healed; healing starts it.
    WhenHealed,
}

/// The data that healing a fault in force needs.
#[derive(Debug)]
enum Active {
    /// The links, and how many packets each had dropped before.
    Partition { links: Vec<(Link, u64)> },
    /// The links, and their counters before it.
    Packet { effect: PacketEffect, links: Vec<(Link, LinkCounters)> },
    /// The nodes whose processes were ended.
    Down { nodes: Vec<NodeId> },
    /// The nodes paused, and the first process of each.
    Pause { nodes: Vec<(NodeId, Option<Pid>)> },
    /// The nodes whose clocks were moved, and the strobes that still move them.
    Clock { clocks: Vec<MovedClock> },
    /// The nodes whose disks were struck, and those of them that have ended because of it.
    Disk { effect: DiskEffect, nodes: Vec<NodeId>, ended: Vec<NodeId> },
    /// The nodes that have a share of the processor.
    Throttle { nodes: Vec<ThrottledNode> },
    /// The commands, the nodes that they strike, and whether those cannot serve meanwhile.
    Command { name: String, nodes: Vec<NodeId>, disables: bool },
    /// The nodes that were removed.
    Membership { change: MemberChange, nodes: Vec<NodeId> },
    /// The nodes that run another program.
    Upgrade { change: Upgrade, nodes: Vec<NodeProgram> },
}

/// A fault that was injected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injected {
    /// The evidence that it took hold.
    pub evidence: Evidence,
    /// The moment from which it was in force everywhere it strikes. The evidence was gathered afterwards.
    pub since: Instant,
    /// The nodes that it strikes, or the ends of the links that it strikes.
    pub nodes: Vec<NodeId>,
    /// The nodes among them that it disables.
    pub away: Vec<NodeId>,
}

/// A fault that was healed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Healed {
    /// The evidence of the healing.
    pub evidence: Evidence,
    /// The moment at which everything it had struck was healed.
    pub at: Instant,
    /// The nodes that it had struck, or the ends of its links. They may not serve again yet.
    pub nodes: Vec<NodeId>,
    /// The links that it had struck, with the behaviour of each after `at`.
    pub links: Vec<LinkReturn>,
}

/// The owner of the cluster's processes and the network's policies. Its calls block, each within a deadline.
///
/// If the cluster already runs, it owns neither processes nor a network, and carries out the user's commands instead.
pub struct Nemesis {
    /// The network, unless the cluster already runs.
    switch: Option<Switch>,
    cluster: Cluster,
    /// The faults of a cluster that already runs.
    commands: Option<FaultCommands>,
    /// Changes the members of the cluster; `None` if its members are fixed.
    administrator: Option<Box<dyn Administrator>>,
    /// The nodes that are to be members again, and are perhaps not yet.
    joining: BTreeMap<NodeId, Removed>,
    nodes: Vec<NodeId>,
    links: Links,
    active: BTreeMap<u32, (Fault, Active)>,
    /// Recently healed disks.
    healed_disks: Vec<HealedDisk>,
    /// Nodes that ended by themselves and are not reported yet.
    crashes: Vec<Crash>,
    /// The nodes that the last healed fault had disabled.
    returned: Vec<NodeId>,
}

impl Nemesis {
    /// Takes over a cluster and its network. Random effects on the links are drawn from `seed`.
    #[must_use]
    pub fn new(switch: Switch, cluster: Cluster, seed: u64) -> Self {
        let nodes = cluster.nodes();
        Self { nodes, ..Self::idle(Some(switch), cluster, None, seed) }
    }

    /// Takes on a cluster that already runs, and which `commands` strike.
    #[must_use]
    pub fn of_commands(commands: FaultCommands) -> Self {
        Self::idle(None, Cluster::new([], None), Some(commands), 0)
    }

    /// Has `administrator` change the members of the cluster.
    #[must_use]
    pub fn administered_by(self, administrator: Box<dyn Administrator>) -> Self {
        Self { administrator: Some(administrator), ..self }
    }

    fn idle(switch: Option<Switch>, cluster: Cluster, commands: Option<FaultCommands>, seed: u64) -> Self {
        Self {
            switch,
            cluster,
            commands,
            administrator: None,
            joining: BTreeMap::new(),
            nodes: Vec::new(),
            links: Links::new(seed),
            active: BTreeMap::new(),
            healed_disks: Vec::new(),
            crashes: Vec::new(),
            returned: Vec::new(),
        }
    }

    /// Starts every node that is not running, all with the second program if one of them runs it, and has the cluster add those that
    /// healing could not.
    ///
    /// # Errors
    /// [`NemesisError::Cluster`], [`NemesisError::NotMembers`], [`NemesisError::NoEvidence`].
    pub fn start_nodes(&mut self) -> Result<(), NemesisError> {
        for node in self.nodes.clone() {
            self.cluster.start(&node)?;
        }
        self.finish_upgrade()?;
        self.settle_members()
    }

    /// Starts `node` unless it runs, as a supervisor would after the node ended by itself.
    ///
    /// # Errors
    /// [`NemesisError::Cluster`].
    pub fn start_node(&mut self, node: &NodeId) -> Result<(), NemesisError> {
        Ok(self.cluster.start(node)?)
    }

    /// Injects `fault` as number `id` at the moment `due`, or at once if that has passed, with the given
    /// `roles`. The nemesis itself adds the nodes that returned last.
    ///
    /// # Errors
    /// [`NemesisError`]; the fault then counts as in force, so that healing undoes a partial injection.
    pub fn inject(
        &mut self,
        id: u32,
        fault: &Fault,
        roles: &RoleMap,
        due: Instant,
    ) -> Result<Injected, NemesisError> {
        self.sweep()?;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        match (&self.switch, fault) {
            (Some(switch), _) => switch.announce(format!("fault {id} starts: {fault}"))?,
            (None, Fault::Command { .. }) => {}
            (None, _) => return Err(NemesisError::NoArena),
        }
        let taken = self.down();
        let mut roles = roles.clone();
        for node in &self.returned {
            roles.give(Role::new(Role::RETURNED), node.clone());
        }
        let targets = |targets: &Targets| targets.resolve(&roles, &taken);
        // Faults of links and disks can also strike a node that is down, if no other node is left.
        let of_any = |targets: &Targets| match targets.resolve(&roles, &taken) {
            none if none.is_empty() => targets.resolve(&roles, &[]),
            some => some,
        };
        let down = |nodes: &[NodeId]| (fault.clone(), Active::Down { nodes: nodes.to_vec() });
        let (evidence, since) = match fault {
            Fault::Partition { shape, cut } => {
                let links = match cut {
                    Cut::Links(links) => links.clone(),
                    Cut::Isolate(chosen) => partition::isolation(&of_any(chosen), &self.nodes),
                };
                self.inject_partition(id, fault, shape, links)?
            }
            Fault::Packet { effect, targets: chosen } => {
                let hosts = of_any(chosen);
                self.inject_packet(id, fault, *effect, &hosts)?
            }
            Fault::Kill { targets: chosen } => {
                let nodes = targets(chosen);
                self.active.insert(id, down(&nodes));
                let (nodes, since) = self.kill(&nodes)?;
                (Evidence::Killed { nodes }, since)
            }
            Fault::Restart { targets: chosen } => {
                let nodes = targets(chosen);
                self.active.insert(id, down(&nodes));
                let (nodes, since) = self.end(&nodes)?;
                (Evidence::Ended { nodes }, since)
            }
            Fault::Pause { targets: chosen } => {
                let nodes = targets(chosen);
                self.refuse_stopped(&nodes, |active| matches!(active, Active::Throttle { .. }))?;
                let paused = self.pids(&nodes)?;
                self.active.insert(id, (fault.clone(), Active::Pause { nodes: paused }));
                let (nodes, since) = self.pause(&nodes)?;
                (Evidence::Paused { nodes }, since)
            }
            Fault::Clock { effect, targets: chosen } => {
                let nodes = targets(chosen);
                self.refuse_stopped(&nodes, |active| matches!(active, Active::Throttle { .. }))?;
                self.inject_clock(id, fault, *effect, &nodes)?
            }
            Fault::Disk { effect, targets: chosen } => {
                let nodes = match effect.target_state() {
                    TargetState::DeadNode => targets(chosen),
                    TargetState::LiveNode => of_any(chosen),
                };
                let active = Active::Disk { effect: *effect, nodes: nodes.clone(), ended: Vec::new() };
                self.active.insert(id, (fault.clone(), active));
                self.strike_disks(*effect, &nodes)?
            }
            Fault::Resources { effect: ResourceEffect::Cpu { percent }, targets: chosen } => {
                let nodes = targets(chosen);
                self.throttle(id, fault, *percent, &nodes)?
            }
            Fault::Membership { change, targets: chosen } => {
                // A node that is still to be added cannot be removed.
                let taken: Vec<NodeId> = taken.iter().chain(self.joining.keys()).cloned().collect();
                let nodes = chosen.resolve(&roles, &taken);
                self.inject_membership(id, fault, *change, &nodes)?
            }
            Fault::Upgrade { change, targets: chosen } => {
                // A node is upgraded once, and a system may have programs that are not to be replaced.
                let is_done = |node: &&NodeId| self.cluster.next_program(node).is_none();
                let taken: Vec<NodeId> =
                    taken.iter().chain(self.nodes.iter().filter(is_done)).cloned().collect();
                let nodes = chosen.resolve(&roles, &taken);
                self.inject_upgrade(id, fault, *change, &nodes)?
            }
            Fault::Command { name, disables, targets: chosen } => {
                let nodes = targets(chosen);
                let active = Active::Command { name: name.clone(), nodes, disables: *disables };
                self.inject_command(id, fault, active)?
            }
        };
        self.release_disks();
        let of = |nodes: fn(&Self, &Active) -> Vec<NodeId>| {
            self.active.get(&id).map(|(_, active)| nodes(self, active)).unwrap_or_default()
        };
        let (nodes, away) = (of(Self::touched), of(Self::away));
        Ok(Injected { evidence: prove(fault, evidence)?, since, nodes, away })
    }

    /// Heals fault `id`.
    ///
    /// # Errors
    /// [`NemesisError`].
    pub fn heal(&mut self, id: u32) -> Result<Healed, NemesisError> {
        // Nodes found ended now ended while the fault was in force.
        self.sweep()?;
        let (fault, active) = self.active.remove(&id).ok_or(NemesisError::NotActive { id })?;
        if let Some(switch) = &self.switch {
            switch.mark(format!("fault {id} is healed: {fault}"))?;
        }
        let (nodes, away) = (self.touched(&active), self.away(&active));
        if !away.is_empty() {
            self.returned = away;
        }
        let (evidence, at, links) = match active {
            Active::Partition { links } => self.heal_partition(id, &fault, &links)?,
            Active::Packet { effect, links } => self.heal_packet(id, effect, &links)?,
            Active::Down { nodes } => {
                let nodes = self.start(&nodes)?;
                (Evidence::Started { nodes }, Instant::now(), Vec::new())
            }
            Active::Pause { nodes } => {
                (Evidence::Resumed { nodes: self.resume(&nodes)? }, Instant::now(), Vec::new())
            }
            Active::Clock { clocks } => {
                let (evidence, at) = self.heal_clock(clocks)?;
                (evidence, at, Vec::new())
            }
            Active::Disk { effect, nodes, ended } => {
                (self.heal_disks(id, effect, nodes, ended)?, Instant::now(), Vec::new())
            }
            Active::Throttle { nodes } => (self.unthrottle(nodes)?, Instant::now(), Vec::new()),
            Active::Membership { change, nodes } => {
                let removed = Removed { fault: id, renewed: false };
                self.joining.extend(nodes.iter().map(|node| (node.clone(), removed)));
                (self.heal_membership(change, &nodes)?, Instant::now(), Vec::new())
            }
            Active::Upgrade { change, nodes } => {
                (self.heal_upgrade(change, nodes)?, Instant::now(), Vec::new())
            }
            Active::Command { ref name, ref nodes, .. } => match self.heal_command(id, name, nodes) {
                Ok(evidence) if evidence.proves() != Proof::Missing => (evidence, Instant::now(), Vec::new()),
                failed => {
                    // The cluster does not end with the run: healing is tried again at the end.
                    self.active.insert(id, (fault.clone(), active));
                    (failed?, Instant::now(), Vec::new())
                }
            },
        };
        let evidence = prove(&fault, evidence)?;
        let nodes = match &evidence {
            // Other faults keep them away, and `start_nodes` awaits them.
            Evidence::Added(_) if evidence.proves() != Proof::Proven => Vec::new(),
            _ => nodes,
        };
        Ok(Healed { evidence, at, nodes, links })
    }

    /// Returns the nodes that a fault strikes, or the ends of the links that it strikes.
    fn touched(&self, active: &Active) -> Vec<NodeId> {
        let ends = |links: &mut dyn Iterator<Item = &Link>| {
            let ends: BTreeSet<&NodeId> = links.flat_map(|(from, to)| [from, to]).collect();
            self.nodes.iter().filter(|node| ends.contains(node)).cloned().collect()
        };
        match active {
            Active::Partition { links } => ends(&mut links.iter().map(|(link, _)| link)),
            Active::Packet { links, .. } => ends(&mut links.iter().map(|(link, _)| link)),
            Active::Down { nodes }
            | Active::Disk { nodes, .. }
            | Active::Command { nodes, .. }
            | Active::Membership { nodes, .. } => nodes.clone(),
            Active::Pause { nodes } => nodes.iter().map(|(node, _)| node.clone()).collect(),
            Active::Clock { clocks } => clocks.iter().map(|clock| clock.node.clone()).collect(),
            Active::Throttle { nodes } => nodes.iter().map(|one| one.node.clone()).collect(),
            Active::Upgrade { nodes, .. } => nodes.iter().map(|one| one.node.clone()).collect(),
        }
    }

    /// Returns the nodes that a fault disables: their processes have ended or stopped, or they are cut off.
    fn away(&self, active: &Active) -> Vec<NodeId> {
        match active {
            Active::Down { nodes } | Active::Membership { nodes, .. } => nodes.clone(),
            Active::Pause { nodes } => nodes.iter().map(|(node, _)| node.clone()).collect(),
            Active::Disk { effect, nodes, .. } if effect.target_state() == TargetState::DeadNode => {
                nodes.clone()
            }
            Active::Disk { ended, .. } => ended.clone(),
            Active::Partition { links } => {
                let links: Vec<Link> = links.iter().map(|(link, _)| link.clone()).collect();
                outside_the_largest_view(&links, &self.nodes).into_iter().collect()
            }
            Active::Command { nodes, disables: true, .. } => nodes.clone(),
            // A node with a share of the processor still serves, if slowly: no other has to take over. One with another program
            // runs again.
            Active::Throttle { .. }
            | Active::Upgrade { .. }
            | Active::Packet { .. }
            | Active::Clock { .. }
            | Active::Command { .. } => Vec::new(),
        }
    }

    /// Returns the nodes without running processes: a fault in force has ended or stopped them, or they ended
    /// by themselves.
    fn down(&self) -> Vec<NodeId> {
        let stops = |active: &&Active| !matches!(active, Active::Partition { .. });
        let taken = self.active.values().map(|(_, active)| active).filter(stops);
        let taken = taken.flat_map(|active| match active {
            // Whatever it does to its nodes, another command may undo it.
            Active::Command { nodes, .. } => nodes.clone(),
            Active::Throttle { .. } | Active::Upgrade { .. } => self.touched(active),
            _ => self.away(active),
        });
        let mut down: Vec<NodeId> = taken.collect();
        let running = self.cluster.running();
        down.extend(self.nodes.iter().filter(|node| !running.contains(node)).cloned());
        down
    }

    /// Returns the numbers of the faults in force.
    #[must_use]
    pub fn in_force(&self) -> Vec<u32> {
        self.active.keys().copied().collect()
    }

    /// Returns the nodes whose processes run or are paused.
    #[must_use]
    pub fn running(&self) -> Vec<NodeId> {
        self.cluster.running()
    }

    /// Returns the nodes that ended by themselves since the last call. Healing restarts the nodes that a
    /// fault in force has ended; the caller starts the others.
    ///
    /// # Errors
    /// [`NemesisError::Cluster`] when the system does not answer.
    pub fn crashes(&mut self) -> Result<Vec<Crash>, NemesisError> {
        self.sweep()?;
        Ok(std::mem::take(&mut self.crashes))
    }

    /// Records the nodes that have ended by themselves, with the faults that explain it.
    fn sweep(&mut self) -> Result<(), NemesisError> {
        for Ending { node, status } in self.cluster.ended()? {
            if let Some(fault) = self.removed_by(&node) {
                self.crashes.push(Crash { node, status, because: Some(fault), restart: Restart::WhenHealed });
                continue;
            }
            let because = self.explains(&node);
            let active = because.and_then(|fault| self.active.get_mut(&fault));
            let restart = match active {
                Some((_, Active::Disk { ended, .. })) => {
                    ended.push(node.clone());
                    Restart::WhenHealed
                }
                _ => Restart::Now,
            };
            self.crashes.push(Crash { node, status, because, restart });
        }
        self.healed_disks.retain(|after| !after.is_over());
        Ok(())
    }

    /// Returns the network.
    fn switch(&self) -> Result<&Switch, NemesisError> {
        self.switch.as_ref().ok_or(NemesisError::NoArena)
    }

    /// Ends every process of the cluster, and unmounts the disks. Heals what is in force on a cluster that goes on running.
    ///
    /// # Errors
    /// The first [`NemesisError`]; later steps are attempted all the same.
    pub fn teardown(mut self) -> Result<(), NemesisError> {
        self.heal_commands()?;
        let mut ended: Result<(), NemesisError> = self.cluster.kill_all(SIGNAL_DEADLINE).map_err(Into::into);
        for disk in self.cluster.take_disks() {
            let node = NodeId::new(disk.mount_point().display().to_string());
            let closed = disk.close().map_err(|source| NemesisError::Disk { node, what: "unmount", source });
            ended = ended.and(closed);
        }
        ended
    }
}

fn prove(fault: &Fault, evidence: Evidence) -> Result<Evidence, NemesisError> {
    match evidence.proves() {
        // Another fault hides the effect; the evidence records that.
        Proof::Proven | Proof::Masked => Ok(evidence),
        Proof::Missing => {
            Err(NemesisError::NoEvidence { fault: fault.to_string(), evidence: evidence.to_string() })
        }
    }
}
