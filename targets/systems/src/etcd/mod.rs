//! etcd: how it is launched and spoken to, through the JSON gateway on its client port.

mod answer;
mod client;
mod gateway;
mod launch;
mod status;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use duress_arena::ProcessSpec;
use duress_history::register::Register;
use duress_history::{NodeId, Promise};
use duress_settings::{Mode, Offer, OptionSpec, Settings, SettingsError, Values};
use tokio::time::Instant;

use crate::client::Clients;
use crate::deployment::{Deployment, LaunchError, NodeStatus, NotReady, TimeOuts};
use crate::place::Place;
use crate::system::{Description, MissingSystem, System};
use crate::topology::{NodeFiles, Topology, UnknownNode};

/// etcd, 3.4 or later.
#[derive(Clone, Debug)]
pub struct Etcd {
    description: Description,
}

impl Default for Etcd {
    fn default() -> Self {
        Self {
            description: Description {
                name: "etcd".to_owned(),
                summary: "etcd as installed on this machine, 3.4 or later (JSON gateway)".to_owned(),
                offer: offer(),
                vocabularies: vec!["register".to_owned()],
                scenarios: BTreeMap::new(),
            },
        }
    }
}

fn offer() -> Offer {
    Offer {
        modes: vec![Mode {
            name: "raft".to_owned(),
            summary: "consensus, a static cluster".to_owned(),
            promises:
                "linearizable; with read=serializable writes are, and reads may be stale; progress while a \
                       majority is connected"
                    .to_owned(),
        }],
        options: vec![OptionSpec {
            name: "read".to_owned(),
            values: Values::words(["linearizable", "serializable"]),
            default: "linearizable".to_owned(),
            summary: "whether a read asks the leader and its quorum, or is answered from the node's own copy"
                .to_owned(),
            modes: vec!["raft".to_owned()],
            drawn: Vec::new(),
        }],
        bugs: Vec::new(),
    }
}

impl System for Etcd {
    fn description(&self) -> &Description {
        &self.description
    }

    fn available(&self) -> Result<(), MissingSystem> {
        launch::find_program().map(|_| ())
    }

    fn deploy(&self, settings: &Settings, topology: &Topology) -> Result<Arc<dyn Deployment>, SettingsError> {
        let read_level = settings.word("read")?;
        let cluster = topology.clone();
        let clients = Clients::default().with::<Register>(move |seat| {
            let to = client_address(&cluster, &seat.node)?;
            Ok(Box::new(client::EtcdClient::new(seat, to, read_level)))
        });
        Ok(Arc::new(EtcdCluster { topology: topology.clone(), read_level, clients }))
    }
}

fn client_address(topology: &Topology, node: &NodeId) -> Result<SocketAddr, UnknownNode> {
    topology.address(node, launch::CLIENT_PORT)
}

/// A cluster of etcd.
struct EtcdCluster {
    topology: Topology,
    read_level: client::ReadLevel,
    clients: Clients,
}

#[async_trait]
impl Deployment for EtcdCluster {
    fn topology(&self) -> &Topology {
        &self.topology
    }

    fn promise(&self) -> Promise {
        match self.read_level {
            client::ReadLevel::Linearizable => Promise::LINEARIZABLE,
            client::ReadLevel::Serializable => Promise::STALE_READS,
        }
    }

    fn tolerates(&self) -> usize {
        self.topology.nodes.len().saturating_sub(1) / 2
    }

    fn time_outs(&self) -> TimeOuts {
        // Its default of one second, and up to as much again, drawn at random, before a node stands for election.
        TimeOuts { election: Duration::from_millis(1500), ..TimeOuts::default() }
    }

    fn process(&self, node: &NodeId, files: &NodeFiles) -> Result<ProcessSpec, LaunchError> {
        launch::process(&self.topology, self.topology.node(node)?, files)
    }

    async fn ready(&self, node: &NodeId, from: &dyn Place, deadline: Duration) -> Result<(), NotReady> {
        let (to, deadline) = (client_address(&self.topology, node)?, Instant::now() + deadline);
        let ready = status::ready(from, to, deadline).await;
        ready.map_err(|failure| NotReady::because(node, "a first linearizable read", failure))
    }

    async fn status(
        &self,
        node: &NodeId,
        from: &dyn Place,
        deadline: Duration,
    ) -> Result<NodeStatus, NotReady> {
        let (to, deadline) = (client_address(&self.topology, node)?, Instant::now() + deadline);
        let status = status::ask(from, to, deadline).await;
        status.map_err(|failure| NotReady::because(node, "asking for its status", failure))
    }

    fn clients(&self) -> &Clients {
        &self.clients
    }
}
