//! Speaks to a cluster as an operator would: is a node ready, who leads.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use duress_history::{NodeId, Payload, Process, traffic};
use duress_targets::{Client, ClientTraffic, Deployment, NodeFiles, NotReady, Place, Role, Seat, Setup};
use tokio::time::{Instant, sleep};

/// One question to a node takes at most this long.
const ATTEMPT: Duration = Duration::from_millis(1000);
/// The pause before a node that was not ready is asked again.
const RETRY: Duration = Duration::from_millis(25);
/// The leader is searched for at most this long before a fault that strikes it.
const LEADER_DEADLINE: Duration = Duration::from_millis(400);

/// A running cluster, and the place of its clients.
pub struct ClusterAccess {
    /// The cluster.
    pub deployment: Arc<dyn Deployment>,
    /// The nodes that clients speak to.
    pub serving: Vec<NodeId>,
    /// The files of each node.
    pub files: BTreeMap<NodeId, NodeFiles>,
    /// A place that no fault touches.
    pub operator: Arc<dyn Place>,
    /// The places that clients live in; at least one.
    pub clients: Vec<Arc<dyn Place>>,
    /// The folder for what client programs write to their standard error, by process slot.
    pub client_logs: PathBuf,
    /// The folder for the temporary files of client programs.
    pub scratch: PathBuf,
}

impl ClusterAccess {
    /// Returns the nodes, in their planned order.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeId> {
        self.deployment.topology().nodes.iter().map(|node| node.name.clone()).collect()
    }

    /// Asks `node` until it takes part in the cluster.
    ///
    /// # Errors
    /// The last [`NotReady`], after `deadline`.
    pub async fn await_ready(&self, node: &NodeId, deadline: Duration) -> Result<(), NotReady> {
        let end = Instant::now() + deadline;
        loop {
            let operator = self.operator.as_ref();
            match self.deployment.ready(node, operator, ATTEMPT).await {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() >= end => return Err(error),
                Err(_) => sleep(RETRY).await,
            }
        }
    }

    /// Returns the node that claims to lead, in the highest term, or that most others name.
    pub async fn leader(&self) -> Option<NodeId> {
        let operator = self.operator.as_ref();
        let asked = self
            .deployment
            .topology()
            .nodes
            .iter()
            .map(|node| self.deployment.status(&node.name, operator, LEADER_DEADLINE));
        let mut best: Option<(u64, NodeId)> = None;
        for (node, status) in
            self.deployment.topology().nodes.iter().zip(futures_util::future::join_all(asked).await)
        {
            let Ok(status) = status else { continue };
            let term = status.term.unwrap_or(0);
            let claimed = match status.role {
                Role::Leader => Some(node.name.clone()),
                _ => status.leader,
            };
            if let Some(leader) = claimed
                && best.as_ref().is_none_or(|(highest, _)| term > *highest)
            {
                best = Some((term, leader));
            }
        }
        best.map(|(_, leader)| leader)
    }

    /// Returns the node that the process slot `slot` speaks to.
    #[must_use]
    pub fn node_of_slot(&self, slot: usize) -> &NodeId {
        &self.serving[slot % self.serving.len()]
    }

    /// Has the system prepare the workload's resources, within `deadline`.
    ///
    /// # Errors
    /// [`NotReady`], as soon as it is known that waiting does not help.
    pub async fn prepare(&self, setup: &Setup, deadline: Duration) -> Result<(), NotReady> {
        self.deployment.prepare(setup, self.operator.as_ref(), deadline).await
    }

    /// Returns a fresh client of `node` for the process slot `slot` and its present `process`, which gives up on an operation
    /// after `timeout`.
    ///
    /// # Panics
    /// When the system has no clients of this vocabulary, which checking the plan excludes.
    #[must_use]
    pub fn client<A: Payload + Sync + 'static>(
        &self,
        slot: usize,
        node: &NodeId,
        process: Process,
        timeout: Duration,
    ) -> Box<dyn Client<A>> {
        let seat = Seat {
            node: node.clone(),
            place: Arc::clone(&self.clients[slot % self.clients.len()]),
            timeout,
            stderr: Some(self.client_logs.join(format!("{slot}.log"))),
            scratch: Some(self.scratch.clone()),
            traffic: Some(ClientTraffic { process, file: self.client_logs.join(traffic::FILE) }),
        };
        self.deployment
            .clients()
            .client(seat)
            .expect("the node is one of the topology's, and the system has clients of the plan's workload")
    }
}
