//! The nemesis: injects faults into a running cluster and heals them, with evidence for both.

mod strikes;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use duress_history::NodeId;

use crate::arena::clock::{ClockPage, ClockPageError, Strobe, StrobeError, TracerError};
use crate::arena::disk::DiskError;
use crate::arena::{ControlError, LinkCounters, NodeProcess, ProbeOutcome, Switch, SwitchError};
use crate::clock_fault::ClockEffect;
use crate::cluster::{Cluster, ClusterError, Crash};
use crate::disk_fault::DiskEffect;
use crate::evidence::{Evidence, NodeProcesses, Proof};
use crate::fault::Fault;
use crate::links::Links;
use crate::packet::PacketEffect;
use crate::partition::Link;

/// How long a signal may take to have its effect on every process of a node.
const SIGNAL_DEADLINE: Duration = Duration::from_secs(5);
/// How long probes may take to arrive, or be seen dropped.
const PROBE_DEADLINE: Duration = Duration::from_millis(500);
/// A lost probe is sent again this many times before a healed link counts as still cut.
const PROBE_ROUNDS: usize = 4;

/// A fault that could not be injected or healed. The run proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum NemesisError {
    /// The switch did not take the change.
    #[error("failed to change the network")]
    Switch(#[from] SwitchError),
    /// A node's processes did not obey.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A node's disk did not do what was asked.
    #[error("failed to {what} the disk of node {node}")]
    Disk {
        /// Which node.
        node: NodeId,
        /// What was tried.
        what: &'static str,
        /// Why.
        #[source]
        source: DiskError,
    },
    /// The node's disk is not one that can be broken.
    #[error("node {node} has no disk that can be broken: the plan puts its data elsewhere")]
    NoDisk {
        /// Which node.
        node: NodeId,
    },
    /// The node's clock is the machine's.
    #[error("node {node} has no clock of its own: the plan gives it none")]
    NoClock {
        /// Which node.
        node: NodeId,
    },
    /// A clock could not be set.
    #[error("failed to set the clock of node {node}")]
    Clock {
        /// Which node.
        node: NodeId,
        /// Why.
        #[source]
        source: ClockPageError,
    },
    /// A clock could not be made to swing, or to stop.
    #[error("failed to strobe the clock of node {node}")]
    Strobe {
        /// Which node.
        node: NodeId,
        /// Why.
        #[source]
        source: StrobeError,
    },
    /// Nodes cannot be asked for their time.
    #[error("failed to read the clock of node {node} as its processes see it")]
    ReadClock {
        /// Which node.
        node: NodeId,
        /// Why.
        #[source]
        source: TracerError,
    },
    /// It was done, and nothing shows that it took hold.
    #[error("the fault \"{fault}\" left no evidence: {evidence}")]
    NoEvidence {
        /// The fault.
        fault: String,
        /// What was seen.
        evidence: String,
    },
    /// A heal of something that is not in force.
    #[error("fault {id} is not in force")]
    NotActive {
        /// Its number in the schedule.
        id: u32,
    },
}

/// What a fault in force needs for its healing.
#[derive(Debug)]
enum Active {
    /// The links, and how many packets each had dropped before.
    Partition { links: Vec<(Link, u64)> },
    /// The links, and what they had counted before.
    Packet { effect: PacketEffect, links: Vec<(Link, LinkCounters)> },
    /// The nodes whose processes were ended.
    Down { nodes: Vec<NodeId> },
    /// The nodes paused.
    Pause { nodes: Vec<NodeId> },
    /// The nodes whose clocks were moved, and the strobes that move them still.
    Clock { clocks: Vec<(NodeId, Arc<ClockPage>, Option<Strobe>)> },
    /// The nodes whose disks were struck.
    Disk { effect: DiskEffect, nodes: Vec<NodeId> },
}

/// Owns the cluster's processes and the network's policies. Its calls block, each within a deadline.
#[derive(Debug)]
pub struct Nemesis {
    switch: Switch,
    cluster: Cluster,
    nodes: Vec<NodeId>,
    links: Links,
    active: BTreeMap<u32, (Fault, Active)>,
}

impl Nemesis {
    /// Takes over a cluster and its network; chance on the links is drawn from `seed`.
    #[must_use]
    pub fn new(switch: Switch, cluster: Cluster, seed: u64) -> Self {
        let nodes = cluster.nodes();
        Self { switch, cluster, nodes, links: Links::new(seed), active: BTreeMap::new() }
    }

    /// Starts every node that does not run.
    ///
    /// # Errors
    /// [`NemesisError::Cluster`].
    pub fn start_nodes(&mut self) -> Result<(), NemesisError> {
        for node in self.nodes.clone() {
            self.cluster.start(&node)?;
        }
        Ok(())
    }

    /// Starts `node` unless it runs: one that ended by itself, as a supervisor would.
    ///
    /// # Errors
    /// [`NemesisError::Cluster`].
    pub fn start_node(&mut self, node: &NodeId) -> Result<(), NemesisError> {
        Ok(self.cluster.start(node)?)
    }

    /// Injects `fault` as number `id`; `leader` is the node that leads now, where the fault asks for it.
    ///
    /// # Errors
    /// [`NemesisError`]; the fault then counts as in force, so that healing undoes what was half done.
    pub fn inject(
        &mut self,
        id: u32,
        fault: &Fault,
        leader: Option<&NodeId>,
    ) -> Result<Evidence, NemesisError> {
        self.switch.mark(format!("fault {id} starts: {fault}"))?;
        let targets = |targets: &crate::selector::Targets| targets.resolve(&self.nodes, leader);
        let evidence = match fault {
            Fault::Partition { cut, .. } => {
                let links = cut.resolve(&self.nodes, leader);
                self.inject_partition(id, fault, links)?
            }
            Fault::Packet { effect, targets: chosen } => {
                let nodes = targets(chosen);
                self.inject_packet(id, fault, *effect, &nodes)?
            }
            Fault::Kill { targets: chosen } => {
                let nodes = targets(chosen);
                self.active.insert(id, (fault.clone(), Active::Down { nodes: nodes.clone() }));
                Evidence::Killed { nodes: self.kill(&nodes)? }
            }
            Fault::Restart { targets: chosen } => {
                let nodes = targets(chosen);
                self.active.insert(id, (fault.clone(), Active::Down { nodes: nodes.clone() }));
                Evidence::Ended { nodes: self.end(&nodes)? }
            }
            Fault::Pause { targets: chosen } => {
                let nodes = targets(chosen);
                self.active.insert(id, (fault.clone(), Active::Pause { nodes: nodes.clone() }));
                Evidence::Paused { nodes: self.pause(&nodes)? }
            }
            Fault::Clock { effect, targets: chosen } => {
                let nodes = targets(chosen);
                self.inject_clock(id, fault, *effect, &nodes)?
            }
            Fault::Disk { effect, targets: chosen } => {
                let nodes = targets(chosen);
                self.active
                    .insert(id, (fault.clone(), Active::Disk { effect: *effect, nodes: nodes.clone() }));
                Evidence::DiskStruck { nodes: self.strike_disks(*effect, &nodes)? }
            }
        };
        prove(fault, evidence)
    }

    /// Heals fault `id`.
    ///
    /// # Errors
    /// [`NemesisError`].
    pub fn heal(&mut self, id: u32) -> Result<Evidence, NemesisError> {
        let (fault, active) = self.active.remove(&id).ok_or(NemesisError::NotActive { id })?;
        self.switch.mark(format!("fault {id} is healed: {fault}"))?;
        let evidence = match active {
            Active::Partition { links } => self.heal_partition(&links)?,
            Active::Packet { effect, links } => self.heal_packet(id, effect, &links)?,
            Active::Down { nodes } => {
                self.start(&nodes)?;
                Evidence::Started { nodes }
            }
            Active::Pause { nodes } => Evidence::Resumed { nodes: self.resume(&nodes)? },
            Active::Clock { clocks } => self.heal_clock(clocks)?,
            Active::Disk { effect, nodes } => self.heal_disks(effect, nodes)?,
        };
        prove(&fault, evidence)
    }

    /// The numbers of the faults in force.
    #[must_use]
    pub fn in_force(&self) -> Vec<u32> {
        self.active.keys().copied().collect()
    }

    /// The nodes whose processes run or are paused.
    #[must_use]
    pub fn running(&self) -> Vec<NodeId> {
        self.cluster.running()
    }

    /// The nodes that ended by themselves since the last call.
    ///
    /// # Errors
    /// [`NemesisError::Cluster`] when the system does not tell.
    pub fn crashes(&mut self) -> Result<Vec<Crash>, NemesisError> {
        Ok(self.cluster.crashes()?)
    }

    /// Ends every process of the cluster, and unmounts the disks.
    ///
    /// # Errors
    /// The first [`NemesisError`]; everything is tried.
    pub fn teardown(mut self) -> Result<(), NemesisError> {
        let mut ended: Result<(), NemesisError> = self.cluster.kill_all(SIGNAL_DEADLINE).map_err(Into::into);
        for disk in self.cluster.take_disks() {
            let node = NodeId::new(disk.mount_point().display().to_string());
            let closed = disk.close().map_err(|source| NemesisError::Disk { node, what: "unmount", source });
            ended = ended.and(closed);
        }
        ended
    }

    fn start(&mut self, nodes: &[NodeId]) -> Result<(), NemesisError> {
        for node in nodes {
            self.cluster.start(node)?;
        }
        Ok(())
    }

    fn kill(&mut self, nodes: &[NodeId]) -> Result<Vec<NodeProcesses>, NemesisError> {
        let seen = self.each(nodes, "kill", |process| Ok(process.kill(SIGNAL_DEADLINE)?.pids))?;
        for node in nodes {
            self.cluster.forget(node);
        }
        Ok(seen)
    }

    /// Ends nodes with SIGTERM; what does not end in time is killed, and told as such by its number of processes.
    fn end(&mut self, nodes: &[NodeId]) -> Result<Vec<NodeProcesses>, NemesisError> {
        let seen = self.each(nodes, "end", |process| {
            let ended = process.terminate(SIGNAL_DEADLINE)?;
            let left = if ended.left > 0 { process.kill(SIGNAL_DEADLINE)?.pids } else { 0 };
            Ok(1 + left)
        })?;
        for node in nodes {
            self.cluster.forget(node);
        }
        Ok(seen)
    }

    fn pause(&mut self, nodes: &[NodeId]) -> Result<Vec<NodeProcesses>, NemesisError> {
        self.each(nodes, "pause", |process| Ok(process.pause(SIGNAL_DEADLINE)?.pids))
    }

    fn resume(&mut self, nodes: &[NodeId]) -> Result<Vec<NodeProcesses>, NemesisError> {
        self.each(nodes, "resume", |process| Ok(process.resume(SIGNAL_DEADLINE)?.pids))
    }

    /// Does `act` to each of `nodes` that runs; `act` tells how many processes it struck.
    fn each(
        &mut self,
        nodes: &[NodeId],
        what: &'static str,
        act: impl Fn(&mut NodeProcess) -> Result<usize, ControlError>,
    ) -> Result<Vec<NodeProcesses>, NemesisError> {
        let mut seen = Vec::with_capacity(nodes.len());
        for node in nodes {
            let processes = match self.cluster.process(node)? {
                Some(process) => act(process).map_err(|source| ClusterError::Signal {
                    node: node.clone(),
                    what,
                    source,
                })?,
                None => 0,
            };
            seen.push(NodeProcesses { node: node.clone(), processes });
        }
        Ok(seen)
    }
}

fn prove(fault: &Fault, evidence: Evidence) -> Result<Evidence, NemesisError> {
    match evidence.proves() {
        Proof::Proven => Ok(evidence),
        Proof::Missing => {
            Err(NemesisError::NoEvidence { fault: fault.to_string(), evidence: evidence.to_string() })
        }
    }
}
