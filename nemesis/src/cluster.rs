//! The cluster under test: the processes of its nodes, each in its host.

use std::collections::BTreeMap;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use duress_history::NodeId;

use crate::arena::{Host, NodeProcess, ControlError, ProcessSpec, SpawnError};

/// A node of the cluster: where it lives, how it is started, and whether it runs.
#[derive(Debug)]
struct Member {
    host: Arc<Host>,
    spec: ProcessSpec,
    process: Option<NodeProcess>,
}

/// A node that ended without being asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crash {
    /// Which node.
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
        /// Which node.
        node: NodeId,
        /// Why.
        #[source]
        source: SpawnError,
    },
    /// The system does not tell whether a node runs.
    #[error("failed to look after node {node}")]
    Watch {
        /// Which node.
        node: NodeId,
        /// Why.
        #[source]
        source: ControlError,
    },
    /// A signal had no effect.
    #[error("failed to {what} node {node}")]
    Signal {
        /// Which node.
        node: NodeId,
        /// What was tried.
        what: &'static str,
        /// Why.
        #[source]
        source: ControlError,
    },
}

/// The nodes of a cluster and their processes. One owner; its calls block, each within a deadline.
#[derive(Debug, Default)]
pub struct Cluster {
    members: BTreeMap<NodeId, Member>,
}

impl Cluster {
    /// A cluster of nodes that do not run yet, each with its host and its command.
    #[must_use]
    pub fn new(members: impl IntoIterator<Item = (Arc<Host>, ProcessSpec)>) -> Self {
        let members = members
            .into_iter()
            .map(|(host, spec)| (host.name().clone(), Member { host, spec, process: None }))
            .collect();
        Self { members }
    }

    /// The nodes, in order of name.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeId> {
        self.members.keys().cloned().collect()
    }

    /// The nodes whose processes run or are paused, in order of name.
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
        let member = self.member(node)?;
        if member.process.is_none() {
            let process = member
                .host
                .spawn(&member.spec)
                .map_err(|source| ClusterError::Start { node: node.clone(), source })?;
            member.process = Some(process);
        }
        Ok(())
    }

    /// The process of `node`, if it runs.
    pub(crate) fn process(&mut self, node: &NodeId) -> Result<Option<&mut NodeProcess>, ClusterError> {
        Ok(self.member(node)?.process.as_mut())
    }

    /// Forgets the process of `node`, which is gone.
    pub(crate) fn forget(&mut self, node: &NodeId) {
        if let Some(member) = self.members.get_mut(node) {
            member.process = None;
        }
    }

    /// The nodes whose first process ended by itself since the last call; they count as not running from now on.
    ///
    /// # Errors
    /// [`ClusterError::Watch`].
    pub fn crashes(&mut self) -> Result<Vec<Crash>, ClusterError> {
        let mut crashes = Vec::new();
        for (node, member) in &mut self.members {
            let Some(process) = &mut member.process else { continue };
            let ended = process
                .try_wait()
                .map_err(|source| ClusterError::Watch { node: node.clone(), source })?;
            if let Some(status) = ended {
                member.process = None;
                crashes.push(Crash { node: node.clone(), status });
            }
        }
        Ok(crashes)
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

    fn member(&mut self, node: &NodeId) -> Result<&mut Member, ClusterError> {
        self.members.get_mut(node).ok_or_else(|| ClusterError::UnknownNode { node: node.clone() })
    }
}
