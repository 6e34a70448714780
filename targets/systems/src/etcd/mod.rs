//! etcd: how it is launched and spoken to, through the JSON gateway on its client port.

mod answer;
mod client;
mod gateway;
mod launch;
mod status;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use duress_arena::ProcessSpec;
use duress_history::NodeId;
use duress_history::register::Register;
use tokio::time::Instant;

use crate::catalogue::{BugSpec, Mode, OptionSpec, Promise, Values};
use crate::connect::Connect;
use crate::settings::Settings;
use crate::system::{Client, ClientError, LaunchError, MissingSystem, NodeStatus, NotReady, System};
use crate::topology::{Topology, UnknownNode};

/// etcd, 3.4 or later.
#[derive(Clone, Copy, Debug)]
pub struct Etcd;

static MODES: [Mode; 1] = [Mode {
    name: "raft",
    summary: "consensus, a static cluster",
    promises: "linearizable; with read=serializable writes are, and reads may be stale; progress while a majority is \
               connected",
    promise: Promise::Linearizable,
}];

static OPTIONS: [OptionSpec; 1] = [OptionSpec {
    name: "read",
    values: Values::Words(&["linearizable", "serializable"]),
    default: "linearizable",
    summary: "whether a read asks the leader and its quorum, or is answered from the node's own copy",
    modes: &["raft"],
}];

#[async_trait]
impl System for Etcd {
    fn name(&self) -> &'static str {
        "etcd"
    }

    fn summary(&self) -> &'static str {
        "etcd as installed on this machine, 3.4 or later (JSON gateway)"
    }

    fn modes(&self) -> &'static [Mode] {
        &MODES
    }

    fn options(&self) -> &'static [OptionSpec] {
        &OPTIONS
    }

    fn bugs(&self) -> &'static [BugSpec] {
        &[]
    }

    fn workloads(&self) -> &'static [&'static str] {
        &["register"]
    }

    fn available(&self) -> Result<(), MissingSystem> {
        launch::find_program().map(|_| ())
    }

    fn promise(&self, settings: &Settings) -> Promise {
        match client::ReadLevel::of(settings) {
            client::ReadLevel::Linearizable => Promise::Linearizable,
            client::ReadLevel::Serializable => Promise::StaleReads,
        }
    }

    fn tolerates(&self, _: &Settings, nodes: usize) -> usize {
        nodes.saturating_sub(1) / 2
    }

    fn process(&self, _: &Settings, topology: &Topology, node: &NodeId) -> Result<ProcessSpec, LaunchError> {
        launch::process(topology, topology.node(node)?)
    }

    async fn ready(
        &self,
        _: &Settings,
        topology: &Topology,
        node: &NodeId,
        from: &dyn Connect,
        deadline: Duration,
    ) -> Result<(), NotReady> {
        let (to, deadline) = (client_address(topology, node)?, Instant::now() + deadline);
        status::ready(from, to, deadline).await.map_err(|failure| NotReady {
            node: node.clone(),
            operation: "a first linearizable read",
            cause: failure.cause,
        })
    }

    async fn status(
        &self,
        _: &Settings,
        topology: &Topology,
        node: &NodeId,
        from: &dyn Connect,
        deadline: Duration,
    ) -> Result<NodeStatus, NotReady> {
        let (to, deadline) = (client_address(topology, node)?, Instant::now() + deadline);
        status::ask(from, to, deadline).await.map_err(|failure| NotReady {
            node: node.clone(),
            operation: "asking for its status",
            cause: failure.cause,
        })
    }

    fn register_client(
        &self,
        settings: &Settings,
        topology: &Topology,
        node: &NodeId,
        from: Arc<dyn Connect>,
        timeout: Duration,
    ) -> Result<Box<dyn Client<Register>>, ClientError> {
        let to = client_address(topology, node)?;
        Ok(Box::new(client::EtcdClient::new(from, to, client::ReadLevel::of(settings), timeout)))
    }
}

fn client_address(topology: &Topology, node: &NodeId) -> Result<SocketAddr, UnknownNode> {
    Ok(SocketAddr::from((topology.node(node)?.address, launch::CLIENT_PORT)))
}
