//! Speaks to a cluster as an operator would: is a node ready, who leads.

use std::sync::Arc;
use std::time::Duration;

use duress_arena::Host;
use duress_history::NodeId;
use duress_history::log::Log;
use duress_history::register::Register;
use duress_history::table::Table;
use duress_targets::{Client, ClientError, NotReady, Role, Settings, System, Topology, WorkloadSetup};
use tokio::time::{Instant, sleep};

/// One question to a node takes at most this long.
const ATTEMPT: Duration = Duration::from_millis(1000);
/// A node that was not ready is asked again after this.
const RETRY: Duration = Duration::from_millis(25);
/// The leader is searched for at most this long before a fault that strikes it.
const LEADER_DEADLINE: Duration = Duration::from_millis(400);

/// A running cluster, and the place from which it is spoken to.
pub struct ClusterAccess {
    /// The system under test.
    pub system: &'static dyn System,
    /// Its settings.
    pub settings: Settings,
    /// Its nodes.
    pub topology: Topology,
    /// A host that no fault touches.
    pub operator: Arc<Host>,
    /// The hosts that clients live on.
    pub clients: Vec<Arc<Host>>,
    /// When a client gives up on an operation.
    pub operation_timeout: Duration,
}

impl ClusterAccess {
    /// The nodes, in their planned order.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeId> {
        self.topology.nodes.iter().map(|node| node.name.clone()).collect()
    }

    /// Asks `node` until it takes part in the cluster.
    ///
    /// # Errors
    /// The last [`NotReady`], after `deadline`.
    pub async fn await_ready(&self, node: &NodeId, deadline: Duration) -> Result<(), NotReady> {
        let end = Instant::now() + deadline;
        loop {
            let operator = self.operator.as_ref();
            match self.system.ready(&self.settings, &self.topology, node, operator, ATTEMPT).await {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() >= end => return Err(error),
                Err(_) => sleep(RETRY).await,
            }
        }
    }

    /// The node that says that it leads, in the highest term, or that most others name.
    pub async fn leader(&self) -> Option<NodeId> {
        let operator = self.operator.as_ref();
        let asked = self.topology.nodes.iter().map(|node| {
            self.system.status(&self.settings, &self.topology, &node.name, operator, LEADER_DEADLINE)
        });
        let mut best: Option<(u64, NodeId)> = None;
        for (node, status) in self.topology.nodes.iter().zip(futures_util::future::join_all(asked).await) {
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

    /// The node that the process slot `slot` speaks to.
    #[must_use]
    pub fn node_of_slot(&self, slot: usize) -> &NodeId {
        &self.topology.nodes[slot % self.topology.nodes.len()].name
    }

    /// Has the system make what `workload` needs, trying again until `deadline`.
    ///
    /// # Errors
    /// The last [`NotReady`].
    pub async fn prepare(&self, workload: &WorkloadSetup, deadline: Duration) -> Result<(), NotReady> {
        let end = Instant::now() + deadline;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let operator = self.operator.as_ref();
            match self.system.prepare(&self.settings, &self.topology, workload, operator, left).await {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() >= end => return Err(error),
                Err(_) => sleep(RETRY).await,
            }
        }
    }

    /// A fresh client of registers for the process slot `slot`. The system has the workload: the plan was held against it.
    #[must_use]
    pub fn register_client(&self, slot: usize) -> Box<dyn Client<Register>> {
        self.client(slot, |system, settings, topology, node, host, timeout| {
            system.register_client(settings, topology, node, host, timeout)
        })
    }

    /// A fresh client of logs, likewise.
    #[must_use]
    pub fn log_client(&self, slot: usize) -> Box<dyn Client<Log>> {
        self.client(slot, |system, settings, topology, node, host, timeout| {
            system.log_client(settings, topology, node, host, timeout)
        })
    }

    /// A fresh client of tables, likewise.
    #[must_use]
    pub fn table_client(&self, slot: usize) -> Box<dyn Client<Table>> {
        self.client(slot, |system, settings, topology, node, host, timeout| {
            system.table_client(settings, topology, node, host, timeout)
        })
    }

    fn client<A>(
        &self,
        slot: usize,
        make: impl FnOnce(
            &dyn System,
            &Settings,
            &Topology,
            &NodeId,
            Arc<Host>,
            Duration,
        ) -> Result<Box<dyn Client<A>>, ClientError>,
    ) -> Box<dyn Client<A>> {
        let host = Arc::clone(&self.clients[slot % self.clients.len()]);
        let node = self.node_of_slot(slot);
        make(self.system, &self.settings, &self.topology, node, host, self.operation_timeout)
            .expect("the slot's node is one of the topology's, and the system has the plan's workload")
    }
}
