//! The cluster under test: the processes of its nodes, each in its host.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use duress_history::NodeId;

use duress_arena::clock::{ClockPage, Tracer};
use duress_arena::disk::FaultDisk;
use duress_arena::{ControlError, Host, NodeProcess, ProcessSpec, SpawnError};

/// A node of the cluster: where it lives, and how it is started.
#[derive(Debug)]
pub struct Member {
    /// The host it lives on.
    pub host: Arc<Host>,
    /// Its command.
    pub spec: ProcessSpec,
    /// Its clock, if it has one of its own.
    pub clock: Option<Arc<ClockPage>>,
    /// Its disk, if it has one that can be broken.
    pub disk: Option<FaultDisk>,
    /// The file of the second program that it can be started with, without links.
    pub upgrade: Option<PathBuf>,
}

/// A node and whether it runs.
#[derive(Debug)]
struct Placed {
    member: Member,
    edition: Edition,
    process: Option<NodeProcess>,
}

/// The program of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edition {
    First,
    Second,
}

/// A node that ended without being asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The node.
    pub node: NodeId,
    /// How its process ended.
    pub status: ExitStatus,
}

/// Something could not be done to a node's processes.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The cluster has no such node.
    #[error("the cluster has no node {node}")]
    UnknownNode {
        /// The name.
        node: NodeId,
    },
    /// The node could not be started.
    #[error("failed to start node {node}")]
    Start {
        /// The node.
        node: NodeId,
        /// Why.
        #[source]
        source: SpawnError,
    },
    /// The system did not answer whether a node runs.
    #[error("failed to look after node {node}")]
    Watch {
        /// The node.
        node: NodeId,
        /// Why.
        #[source]
        source: ControlError,
    },
    /// A signal had no effect.
    #[error("failed to {what} node {node}")]
    Signal {
        /// The node.
        node: NodeId,
        /// The attempted operation.
        what: &'static str,
        /// Why.
        #[source]
        source: ControlError,
    },
}

/// The nodes of a cluster and their processes. One owner; its calls block, each within a deadline.
#[derive(Debug)]
pub struct Cluster {
    members: BTreeMap<NodeId, Placed>,
    tracer: Option<Tracer>,
}

impl Cluster {
    /// Returns a cluster of nodes that do not run yet. With a tracer, nodes that have a clock follow it.
    #[must_use]
    pub fn new(members: impl IntoIterator<Item = Member>, tracer: Option<Tracer>) -> Self {
        let placed = |member: Member| {
            (NodeId::new(member.host.name()), Placed { member, edition: Edition::First, process: None })
        };
        Self { members: members.into_iter().map(placed).collect(), tracer }
    }

    /// Returns the nodes, in order of name.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeId> {
        self.members.keys().cloned().collect()
    }

    /// Returns the nodes whose processes run or are paused, in order of name.
    #[must_use]
    pub fn running(&self) -> Vec<NodeId> {
        let running = self.members.iter().filter(|(_, member)| member.process.is_some());
        running.map(|(node, _)| node.clone()).collect()
    }

    /// Starts `node` unless it runs.
    ///
    /// # Errors
    /// [`ClusterError::Start`].
    pub fn start(&mut self, node: &NodeId) -> Result<(), ClusterError> {
        let placed =
            self.members.get_mut(node).ok_or_else(|| ClusterError::UnknownNode { node: node.clone() })?;
        if placed.process.is_none() {
            let Member { host, spec, clock, upgrade, .. } = &placed.member;
            let mut spec = spec.clone();
            if let (Edition::Second, Some(program)) = (placed.edition, upgrade) {
                spec.program.clone_from(program);
            }
            let started = match (&self.tracer, clock) {
                (Some(tracer), Some(page)) => host.spawn_with_clock(&spec, tracer, page),
                _ => host.spawn(&spec),
            };
            placed.process =
                Some(started.map_err(|source| ClusterError::Start { node: node.clone(), source })?);
        }
        Ok(())
    }

    /// Returns the process of `node`, if it runs.
    pub(crate) fn process(&mut self, node: &NodeId) -> Result<Option<&mut NodeProcess>, ClusterError> {
        Ok(self.placed(node)?.process.as_mut())
    }

    /// Has `node` start by this command from now on.
    pub(crate) fn starts_by(&mut self, node: &NodeId, spec: ProcessSpec) -> Result<(), ClusterError> {
        self.placed(node)?.member.spec = spec;
        Ok(())
    }

    /// Has `node` start with this program from now on.
    pub(crate) fn takes(&mut self, node: &NodeId, edition: Edition) -> Result<(), ClusterError> {
        self.placed(node)?.edition = edition;
        Ok(())
    }

    /// Whether `node` starts with its second program.
    pub(crate) fn is_upgraded(&self, node: &NodeId) -> bool {
        self.members.get(node).is_some_and(|placed| placed.edition == Edition::Second)
    }

    /// Returns the second program of `node`, if it has one and does not start with it yet.
    pub(crate) fn next_program(&self, node: &NodeId) -> Option<&PathBuf> {
        let placed = self.members.get(node).filter(|placed| placed.edition == Edition::First)?;
        placed.member.upgrade.as_ref()
    }

    /// Forgets the process of `node`, which is gone.
    pub(crate) fn forget(&mut self, node: &NodeId) {
        if let Some(member) = self.members.get_mut(node) {
            member.process = None;
        }
    }

    /// Returns the nodes whose first process ended by itself since the last call; they count as not running
    /// from now on.
    ///
    /// # Errors
    /// [`ClusterError::Watch`].
    pub fn ended(&mut self) -> Result<Vec<Ending>, ClusterError> {
        let mut endings = Vec::new();
        for (node, member) in &mut self.members {
            let Some(process) = &mut member.process else { continue };
            let ended =
                process.try_wait().map_err(|source| ClusterError::Watch { node: node.clone(), source })?;
            if let Some(status) = ended {
                member.process = None;
                endings.push(Ending { node: node.clone(), status });
            }
        }
        Ok(endings)
    }

    /// Kills everything that runs. Tries every node, and reports the first failure.
    ///
    /// # Errors
    /// [`ClusterError::Signal`].
    pub fn kill_all(&mut self, deadline: Duration) -> Result<(), ClusterError> {
        let mut first = Ok(());
        for (node, member) in &mut self.members {
            if let Some(mut process) = member.process.take()
                && let Err(source) = process.kill(deadline)
                && first.is_ok()
            {
                first = Err(ClusterError::Signal { node: node.clone(), what: "kill", source });
            }
        }
        first
    }

    /// Returns the tracer, and the clock of `node` with its host, where both are there.
    pub(crate) fn clock(&self, node: &NodeId) -> Option<(&Tracer, &Arc<ClockPage>, &Arc<Host>)> {
        let member = &self.members.get(node)?.member;
        Some((self.tracer.as_ref()?, member.clock.as_ref()?, &member.host))
    }

    /// Returns the disk of `node`, where it has one that can be broken.
    pub(crate) fn disk(&self, node: &NodeId) -> Option<&FaultDisk> {
        self.members.get(node)?.member.disk.as_ref()
    }

    /// Takes the disks out, to be closed.
    pub(crate) fn take_disks(&mut self) -> Vec<FaultDisk> {
        self.members.values_mut().filter_map(|placed| placed.member.disk.take()).collect()
    }

    fn placed(&mut self, node: &NodeId) -> Result<&mut Placed, ClusterError> {
        self.members.get_mut(node).ok_or_else(|| ClusterError::UnknownNode { node: node.clone() })
    }
}
