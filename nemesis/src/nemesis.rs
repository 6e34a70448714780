//! The nemesis: injects faults into a running cluster and heals them, with evidence for both.

use std::collections::BTreeMap;
use std::time::Duration;

use duress_history::NodeId;

use crate::arena::{LinkPolicy, NodeProcess, ProbeOutcome, ControlError, Switch, SwitchError};
use crate::cluster::{Cluster, ClusterError, Crash};
use crate::evidence::{Evidence, NodeProcesses, Proof};
use crate::fault::Fault;
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
    /// The nodes killed.
    Kill { nodes: Vec<NodeId> },
    /// The nodes paused.
    Pause { nodes: Vec<NodeId> },
}

/// Owns the cluster's processes and the network's policies. Its calls block, each within a deadline.
#[derive(Debug)]
pub struct Nemesis {
    switch: Switch,
    cluster: Cluster,
    nodes: Vec<NodeId>,
    /// How many partitions in force cut each link: it forwards again when the last one heals.
    cuts: BTreeMap<Link, u32>,
    active: BTreeMap<u32, (Fault, Active)>,
}

impl Nemesis {
    /// Takes over a cluster and its network.
    #[must_use]
    pub fn new(switch: Switch, cluster: Cluster) -> Self {
        let nodes = cluster.nodes();
        Self { switch, cluster, nodes, cuts: BTreeMap::new(), active: BTreeMap::new() }
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
        let evidence = match fault {
            Fault::Partition { cut, .. } => {
                let links = cut.resolve(&self.nodes, leader);
                let mut counted = Vec::with_capacity(links.len());
                for (from, to) in &links {
                    let dropped = self.dropped(from, to)?;
                    counted.push(((from.clone(), to.clone()), dropped));
                }
                self.active.insert(id, (fault.clone(), Active::Partition { links: counted }));
                self.cut(&links)?
            }
            Fault::Kill { targets } => {
                let nodes = targets.resolve(&self.nodes, leader);
                self.active.insert(id, (fault.clone(), Active::Kill { nodes: nodes.clone() }));
                self.kill(&nodes)?
            }
            Fault::Pause { targets } => {
                let nodes = targets.resolve(&self.nodes, leader);
                self.active.insert(id, (fault.clone(), Active::Pause { nodes: nodes.clone() }));
                self.pause(&nodes)?
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
        let evidence = match active {
            Active::Partition { links } => self.join(&links)?,
            Active::Kill { nodes } => {
                for node in &nodes {
                    self.cluster.start(node)?;
                }
                Evidence::Started { nodes }
            }
            Active::Pause { nodes } => self.resume(&nodes)?,
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

    /// Ends every process of the cluster.
    ///
    /// # Errors
    /// [`NemesisError::Cluster`].
    pub fn teardown(mut self) -> Result<(), NemesisError> {
        Ok(self.cluster.kill_all(SIGNAL_DEADLINE)?)
    }

    fn cut(&mut self, links: &[Link]) -> Result<Evidence, NemesisError> {
        let changes = links.iter().map(|(a, b)| (a.clone(), b.clone(), LinkPolicy::CUT)).collect();
        for link in links {
            *self.cuts.entry(link.clone()).or_default() += 1;
        }
        self.switch.apply(changes)?;
        let probes = self.switch.probe(links, PROBE_DEADLINE)?;
        let probes_dropped = probes.iter().filter(|probe| probe.outcome == ProbeOutcome::Dropped).count();
        Ok(Evidence::Cut { links: links.len(), probes_dropped })
    }

    fn join(&mut self, links: &[(Link, u64)]) -> Result<Evidence, NemesisError> {
        let mut joined = Vec::new();
        let mut packets_dropped = 0;
        for (link, before) in links {
            packets_dropped += self.dropped(&link.0, &link.1)?.saturating_sub(*before);
            match self.cuts.get_mut(link) {
                Some(count) if *count > 1 => *count -= 1,
                _ => {
                    self.cuts.remove(link);
                    joined.push(link.clone());
                }
            }
        }
        let changes = joined.iter().map(|(a, b)| (a.clone(), b.clone(), LinkPolicy::OPEN)).collect();
        self.switch.apply(changes)?;
        let mut lost = joined.clone();
        for _ in 0..PROBE_ROUNDS {
            if lost.is_empty() {
                break;
            }
            // A probe is a datagram: under load one may be lost without a cut, so the lost ones are sent again.
            let probes = self.switch.probe(&lost, PROBE_DEADLINE)?;
            lost = probes
                .into_iter()
                .filter(|probe| !matches!(probe.outcome, ProbeOutcome::Arrived(_)))
                .map(|probe| (probe.from, probe.to))
                .collect();
        }
        Ok(Evidence::Joined {
            links: links.len(),
            probes_arrived: joined.len() - lost.len(),
            still_cut: links.len() - joined.len(),
            packets_dropped,
        })
    }

    /// Packets of the target and the clients that the link's policy has dropped so far: all but our own probes.
    fn dropped(&self, from: &NodeId, to: &NodeId) -> Result<u64, SwitchError> {
        let counters = self.switch.counters(from, to)?;
        Ok(counters.dropped_packets.saturating_sub(counters.dropped_probes))
    }

    fn kill(&mut self, nodes: &[NodeId]) -> Result<Evidence, NemesisError> {
        let seen = self.strike(nodes, "kill", |process| Ok(process.kill(SIGNAL_DEADLINE)?.pids))?;
        for node in nodes {
            self.cluster.forget(node);
        }
        Ok(Evidence::Killed { nodes: seen })
    }

    fn pause(&mut self, nodes: &[NodeId]) -> Result<Evidence, NemesisError> {
        let nodes = self.strike(nodes, "pause", |process| Ok(process.pause(SIGNAL_DEADLINE)?.pids))?;
        Ok(Evidence::Paused { nodes })
    }

    fn resume(&mut self, nodes: &[NodeId]) -> Result<Evidence, NemesisError> {
        let nodes = self.strike(nodes, "resume", |process| Ok(process.resume(SIGNAL_DEADLINE)?.pids))?;
        Ok(Evidence::Resumed { nodes })
    }

    /// Does `act` to each of `nodes` that runs; `act` tells how many processes it struck.
    fn strike(
        &mut self,
        nodes: &[NodeId],
        what: &'static str,
        act: impl Fn(&mut NodeProcess) -> Result<usize, ControlError>,
    ) -> Result<Vec<NodeProcesses>, NemesisError> {
        let mut seen = Vec::with_capacity(nodes.len());
        for node in nodes {
            let processes = match self.cluster.process(node)? {
                Some(process) => act(process)
                    .map_err(|source| ClusterError::Signal { node: node.clone(), what, source })?,
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
