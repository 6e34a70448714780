//! etcd: how it is launched and spoken to, through the JSON gateway on its client port.

mod answer;
mod bank_client;
mod client;
mod counter_client;
mod launch;
mod lock_client;
mod membership;
mod session;
mod set_client;
mod status;
mod txn_client;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use duress_arena::ProcessSpec;
use duress_history::bank::Bank;
use duress_history::counter::Counter;
use duress_history::fenced_mutex::FencedMutex;
use duress_history::register::Register;
use duress_history::set::Set;
use duress_history::txn::{Elements, Held, Txn};
use duress_history::{ConsistencyModel, NodeId, Promise};
use duress_settings::{Mode, Offer, OptionSpec, Settings, SettingsError, Values};
use tokio::time::Instant;

use crate::client::{Addresses, Clients};
use crate::deployment::{Deployment, LaunchError, NodeStatus, NotReady, TRANSACTIONS, TimeOuts};
use crate::membership::Membership;
use crate::place::Place;
use crate::replica::ReplicaCopy;
use crate::system::{Description, MissingSystem, System, USUAL_NODES, executable};
use crate::topology::{NodeFiles, Topology, UnknownNode};

pub(crate) use session::ReadLevel;

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
                lacks: Vec::new(),
                switches: Vec::new(),
                vocabularies: [
                    "register",
                    "set",
                    "counter",
                    "list-append",
                    "rw-register",
                    "bank",
                    "fenced-mutex",
                ]
                .map(str::to_owned)
                .to_vec(),
                scenarios: BTreeMap::new(),
                nodes: USUAL_NODES,
                durable: true,
                external: None,
            },
        }
    }
}

fn offer() -> Offer {
    Offer {
        modes: vec![Mode {
            name: "raft".to_owned(),
            summary: "consensus; nodes can be added and removed while it serves".to_owned(),
            promises:
                "linearizable and strict-serializable; with read=serializable, writes are linearizable and reads may be \
                 stale, and transactions are serializable; progress while a majority is connected"
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
        ..Offer::default()
    }
}

impl System for Etcd {
    fn description(&self) -> &Description {
        &self.description
    }

    fn available(&self, programs: &BTreeMap<String, PathBuf>) -> Result<(), MissingSystem> {
        match programs.get(&self.description.name) {
            Some(program) => executable(&self.description.name, program),
            None => launch::find_program().map(drop),
        }
    }

    fn deploy(&self, settings: &Settings, topology: &Topology) -> Result<Arc<dyn Deployment>, SettingsError> {
        let read_level = settings.word("read")?;
        let nodes = topology.clone();
        let clients = clients(Arc::new(move |node: &NodeId| client_address(&nodes, node)), read_level);
        let program = settings.programs.get(&self.description.name).cloned();
        Ok(Arc::new(EtcdCluster { program, topology: topology.clone(), read_level, clients }))
    }
}

/// Returns clients of every server that has etcd's JSON gateway.
pub(crate) fn clients(address: Addresses, read_level: ReadLevel) -> Clients {
    let [of_registers, of_sets, of_counters, of_banks, of_locks] = [0; 5].map(|_| Arc::clone(&address));
    let clients = Clients::default()
        .with::<Register>(move |seat| {
            let to = of_registers(&seat.node)?;
            Ok(Box::new(client::EtcdClient::new(seat, to, read_level)))
        })
        .with::<Set>(move |seat| {
            let to = of_sets(&seat.node)?;
            Ok(Box::new(set_client::SetClient::new(seat, to, read_level)))
        })
        .with::<Counter>(move |seat| {
            let to = of_counters(&seat.node)?;
            Ok(Box::new(counter_client::CounterClient::new(seat, to, read_level)))
        })
        .with::<Bank>(move |seat| {
            let to = of_banks(&seat.node)?;
            Ok(Box::new(bank_client::BankClient::new(seat, to, read_level)))
        })
        .with::<FencedMutex>(move |seat| {
            let to = of_locks(&seat.node)?;
            Ok(Box::new(lock_client::LockClient::new(seat, to)))
        });
    of_transactions::<Held>(of_transactions::<Elements>(clients, &address, read_level), &address, read_level)
}

fn of_transactions<R: txn_client::Stored>(
    clients: Clients,
    address: &Addresses,
    read_level: ReadLevel,
) -> Clients {
    let address = Arc::clone(address);
    clients.with::<Txn<R>>(move |seat| {
        let to = address(&seat.node)?;
        Ok(Box::new(txn_client::TxnClient::new(seat, to, read_level)))
    })
}

fn client_address(topology: &Topology, node: &NodeId) -> Result<SocketAddr, UnknownNode> {
    topology.address(node, launch::CLIENT_PORT)
}

/// A cluster of etcd.
struct EtcdCluster {
    /// The program to use instead of the one that would be found.
    program: Option<PathBuf>,
    topology: Topology,
    read_level: ReadLevel,
    clients: Clients,
}

impl EtcdCluster {
    fn program(&self) -> Result<PathBuf, MissingSystem> {
        self.program.clone().map_or_else(launch::find_program, Ok)
    }
}

#[async_trait]
impl Deployment for EtcdCluster {
    fn topology(&self) -> &Topology {
        &self.topology
    }

    fn promise(&self, workload: &str) -> Promise {
        match (self.read_level, TRANSACTIONS.contains(&workload)) {
            (ReadLevel::Linearizable, false) => Promise::LINEARIZABLE,
            (ReadLevel::Serializable, false) => Promise::STALE_READS,
            (ReadLevel::Linearizable, true) => Promise::STRICT_SERIALIZABLE,
            // A transaction that writes is compared with the latest revisions. One that only reads sees all its keys as
            // of one revision, perhaps an old one.
            (ReadLevel::Serializable, true) => Promise::Transactions(ConsistencyModel::Serializable),
        }
    }

    fn tolerates(&self) -> usize {
        self.topology.nodes.len().saturating_sub(1) / 2
    }

    fn membership(&self) -> Option<&dyn Membership> {
        Some(self)
    }

    fn time_outs(&self) -> TimeOuts {
        // Its default of one second, and up to as much again, drawn at random, before a node stands for election.
        TimeOuts { election: Duration::from_millis(1500), ..TimeOuts::default() }
    }

    fn process(&self, node: &NodeId, files: &NodeFiles) -> Result<ProcessSpec, LaunchError> {
        let program = self.program()?;
        let node = self.topology.node(node)?;
        Ok(launch::process(program, &self.topology, launch::Cluster::New, node, files))
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

    async fn copies(
        &self,
        node: &NodeId,
        from: &dyn Place,
        deadline: Duration,
    ) -> Result<Option<Vec<ReplicaCopy>>, NotReady> {
        let (to, deadline) = (client_address(&self.topology, node)?, Instant::now() + deadline);
        let copy = status::contents(from, to, deadline).await;
        copy.map(|copy| Some(vec![copy]))
            .map_err(|failure| NotReady::because(node, "reading its own copy", failure))
    }

    fn clients(&self) -> &Clients {
        &self.clients
    }
}
