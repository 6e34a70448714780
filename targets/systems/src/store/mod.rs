//! Our own key-value store, which speaks RESP: how it is launched and spoken to.

mod bank_client;
mod client;
mod counter_client;
mod job_client;
mod lock_client;
mod membership;
mod merged_set_client;
mod promotion;
mod quorums;
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
use duress_history::job::Job;
use duress_history::register::Register;
use duress_history::set::Set;
use duress_history::txn::{Elements, Held, Txn};
use duress_history::{ClockBound, ConsistencyModel, NodeId, Promise};
use duress_settings::{Offer, Settings, SettingsError};
use serde::Deserialize;
use tokio::time::Instant;

use self::promotion::Promotion;
use self::quorums::Quorums;
use crate::client::{Addresses, Clients};
use crate::deployment::{Deployment, LaunchError, NodeStatus, NotReady, TRANSACTIONS, TimeOuts};
use crate::membership::Membership;
use crate::place::Place;
use crate::replica::ReplicaCopy;
use crate::scenario::Scenario;
use crate::setup::Setup;
use crate::subject::Subject;
use crate::system::{Description, MissingSystem, System, USUAL_NODES};
use crate::topology::{NodeFiles, Topology, UnknownNode};

/// The vocabularies where acknowledged writes may be lost: of sets, counters and banks nothing could be promised. Jobs and locks need
/// a stronger promise of single keys, which `--promise` gives.
const LOSING: [&str; 5] = ["register", "list-append", "rw-register", "job", "fenced-mutex"];

/// Our own key-value store.
#[derive(Clone, Debug)]
pub struct Store {
    subject: Subject,
    description: Description,
    /// Of the mode `ring`.
    ring: Description,
    /// Of the mode `ring` where values are kept side by side.
    siblings: Description,
    /// Of the mode `primary` where acknowledged writes may be lost.
    losing: Description,
}

impl Store {
    /// Returns the store that the subcommand `store` of `executable` runs a node of, and that offers `offer`.
    #[must_use]
    pub fn new(executable: PathBuf, offer: Offer) -> Self {
        let description = Description {
            name: "store".to_owned(),
            summary: "our replicated key-value store, made to be broken (RESP: speaks to redis-cli)"
                .to_owned(),
            offer,
            lacks: Vec::new(),
            switches: Vec::new(),
            vocabularies: [
                "register",
                "set",
                "counter",
                "list-append",
                "rw-register",
                "bank",
                "job",
                "fenced-mutex",
            ]
            .map(str::to_owned)
            .to_vec(),
            scenarios: Scenario::built_in(include_str!("scenarios.toml")),
            nodes: USUAL_NODES,
            durable: true,
            external: None,
        };
        Self {
            // Redis's port, and one beside it.
            subject: Subject { executable, subcommand: "store", client_port: 6379, peer_port: 7379 },
            ring: Description {
                lacks: vec!["cas".to_owned()],
                vocabularies: ["register", "job", "set"].map(str::to_owned).to_vec(),
                ..description.clone()
            },
            siblings: Description { vocabularies: vec!["set".to_owned()], ..description.clone() },
            losing: Description { vocabularies: LOSING.map(str::to_owned).to_vec(), ..description.clone() },
            description,
        }
    }
}

impl System for Store {
    fn description(&self) -> &Description {
        &self.description
    }

    fn description_in(&self, settings: &Settings, nodes: usize) -> &Description {
        match settings.mode.as_str() {
            "ring" if Quorums::of(settings, nodes).is_ok_and(Quorums::keeps_siblings) => &self.siblings,
            "ring" => &self.ring,
            "primary" if Promotion::of(settings, nodes).is_ok_and(Promotion::loses_writes) => &self.losing,
            _ => &self.description,
        }
    }

    fn available(&self, programs: &BTreeMap<String, PathBuf>) -> Result<(), MissingSystem> {
        self.subject.available(programs)
    }

    fn deploy(&self, settings: &Settings, topology: &Topology) -> Result<Arc<dyn Deployment>, SettingsError> {
        let reads = match settings.mode.as_str() {
            "raft" => match settings.word("reads")? {
                RaftReads::Index => Reads::Latest,
                RaftReads::Lease => Reads::ByLease(ClockBound {
                    lease: settings.millis("lease_ms")?,
                    slack: settings.millis("drift_bound_ms")?,
                }),
                RaftReads::Local => Reads::OwnCopy { cut_off: CutOff::NoLeader },
            },
            "sharded" => Reads::Latest,
            "ring" => Reads::Quorums(Quorums::of(settings, topology.nodes.len())?),
            _ => Reads::Copies(Promotion::of(settings, topology.nodes.len())?),
        };
        let tolerates = match (settings.mode.as_str(), reads) {
            ("raft" | "sharded", _) => topology.nodes.len().saturating_sub(1) / 2,
            (_, Reads::Quorums(quorums)) => quorums.tolerates(),
            (_, Reads::Copies(promotion)) => promotion.tolerates(),
            _ => 0,
        };
        let port = self.subject.client_port;
        let nodes = topology.clone();
        let shards = if settings.mode == "sharded" { settings.whole("shards")? } else { 1 };
        let tag = if settings.mode == "sharded" { "{txn}" } else { "" };
        let address: Addresses = Arc::new(move |node: &NodeId| nodes.address(node, port));
        let clients = match reads {
            Reads::Quorums(quorums) => of_merged_sets(
                if quorums.keeps_siblings() { Clients::default() } else { clients_of_single_keys(&address) },
                address,
            ),
            Reads::Copies(promotion) if promotion.loses_writes() => {
                of_all_transactions(of_locks(clients_of_single_keys(&address), &address), &address, tag)
            }
            _ => clients(address, tag),
        };
        Ok(Arc::new(StoreCluster {
            subject: self.subject.clone(),
            settings: settings.clone(),
            topology: topology.clone(),
            reads,
            shards,
            tolerates,
            time_outs: time_outs(settings, reads)?,
            clients,
        }))
    }
}

/// Returns clients of every server that speaks RESP and answers as the store does. `tag` comes before the keys of transactions and
/// of banks.
pub(crate) fn clients(address: Addresses, tag: &'static str) -> Clients {
    let [of_sets, of_counters, of_banks] = [0; 3].map(|_| Arc::clone(&address));
    let clients = of_locks(clients_of_single_keys(&address), &address)
        .with::<Set>(move |seat| {
            let to = of_sets(&seat.node)?;
            Ok(Box::new(set_client::SetClient::new(seat, to)))
        })
        .with::<Counter>(move |seat| {
            let to = of_counters(&seat.node)?;
            Ok(Box::new(counter_client::CounterClient::new(seat, to)))
        })
        .with::<Bank>(move |seat| {
            let to = of_banks(&seat.node)?;
            Ok(Box::new(bank_client::BankClient::new(seat, to, tag)))
        });
    of_all_transactions(clients, &address, tag)
}

fn of_all_transactions(clients: Clients, address: &Addresses, tag: &'static str) -> Clients {
    of_transactions::<Held>(of_transactions::<Elements>(clients, address, tag), address, tag)
}

fn of_locks(clients: Clients, address: &Addresses) -> Clients {
    let address = Arc::clone(address);
    clients.with::<FencedMutex>(move |seat| {
        let to = address(&seat.node)?;
        Ok(Box::new(lock_client::LockClient::new(seat, to)))
    })
}

fn of_merged_sets(clients: Clients, address: Addresses) -> Clients {
    clients.with::<Set>(move |seat| {
        let to = address(&seat.node)?;
        Ok(Box::new(merged_set_client::MergedSetClient::new(seat, to)))
    })
}

/// Returns the clients of registers and of jobs, whose every command is about keys that are each read or written alone.
fn clients_of_single_keys(address: &Addresses) -> Clients {
    let [of_registers, of_jobs] = [0; 2].map(|_| Arc::clone(address));
    let clients = Clients::default().with::<Register>(move |seat| {
        let to = of_registers(&seat.node)?;
        Ok(Box::new(client::StoreClient::new(seat, to)))
    });
    clients.with::<Job>(move |seat| {
        let to = of_jobs(&seat.node)?;
        Ok(Box::new(job_client::JobClient::new(seat, to)))
    })
}

fn of_transactions<R: txn_client::Commanded>(
    clients: Clients,
    address: &Addresses,
    tag: &'static str,
) -> Clients {
    let address = Arc::clone(address);
    clients.with::<Txn<R>>(move |seat| {
        let to = address(&seat.node)?;
        Ok(Box::new(txn_client::TxnClient::new(seat, to, tag)))
    })
}

/// The values of `reads`, an option of the mode `raft`.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum RaftReads {
    Index,
    Lease,
    Local,
}

/// The copy that answers a read.
#[derive(Clone, Copy, Debug)]
enum Reads {
    /// The latest value.
    Latest,
    /// The latest value, on an assumption about clocks: a run that breaks it should see it broken.
    ByLease(ClockBound),
    /// The copy of the requested node.
    OwnCopy {
        /// How the node reports that it is cut off.
        cut_off: CutOff,
    },
    /// The newest of the copies that a quorum of the key's owners holds.
    Quorums(Quorums),
    /// The primary's copy, or that of the requested node, by the options.
    Copies(Promotion),
}

impl Reads {
    /// Returns how a node reports that it is cut off, if its answers do not show it.
    fn cut_off(self) -> Option<CutOff> {
        match self {
            Self::OwnCopy { cut_off } => Some(cut_off),
            Self::Copies(promotion) if promotion.reads_any() => Some(CutOff::NoPrimary),
            Self::Latest | Self::ByLease(_) | Self::Quorums(_) | Self::Copies(_) => None,
        }
    }
}

/// How a node that answers reads from its own copy reports that it is cut off from the others.
#[derive(Clone, Copy, Debug)]
enum CutOff {
    /// It knows no leader.
    NoLeader,
    /// It has no connection to its primary.
    NoPrimary,
}

/// A cluster of the store.
struct StoreCluster {
    subject: Subject,
    settings: Settings,
    topology: Topology,
    reads: Reads,
    /// The number of shards; 1 in the modes that have none.
    shards: usize,
    tolerates: usize,
    time_outs: TimeOuts,
    clients: Clients,
}

/// The time-outs of a cluster with these settings: an election takes a silence of a length drawn between two options, and
/// then votes that others, who relied on the leader as well, refuse at first.
fn time_outs(settings: &Settings, reads: Reads) -> Result<TimeOuts, SettingsError> {
    let lease = match reads {
        Reads::ByLease(bound) => Some(bound.lease),
        Reads::Latest | Reads::OwnCopy { .. } | Reads::Quorums(_) | Reads::Copies(_) => None,
    };
    let has_elections = match reads {
        Reads::Copies(promotion) => promotion.has_elections(),
        _ => matches!(settings.mode.as_str(), "raft" | "sharded"),
    };
    match settings.mode.as_str() {
        _ if has_elections => {
            let election = settings.millis("election_min_ms")? + settings.millis("election_max_ms")?;
            Ok(TimeOuts { election: election * 6 / 5, lease, ..TimeOuts::default() })
        }
        "ring" => Ok(Quorums::time_outs()),
        _ => Ok(TimeOuts::default()),
    }
}

impl StoreCluster {
    /// The read that shows that a node serves: of one key, or of every shard.
    fn probe(&self) -> &'static [&'static [u8]] {
        if self.settings.mode == "sharded" { &[b"DBSIZE"] } else { &[b"GET", status::PROBE_KEY] }
    }

    fn address(&self, node: &NodeId) -> Result<SocketAddr, UnknownNode> {
        self.topology.address(node, self.subject.client_port)
    }
}

#[async_trait]
impl Deployment for StoreCluster {
    fn topology(&self) -> &Topology {
        &self.topology
    }

    fn promise(&self, workload: &str) -> Promise {
        match (self.reads, TRANSACTIONS.contains(&workload)) {
            // All its clients are about single keys.
            (Reads::Quorums(quorums), _) => quorums.promise(workload),
            (Reads::Copies(promotion), _) => promotion.promise(workload),
            (Reads::Latest | Reads::ByLease(_), false) => Promise::LINEARIZABLE,
            (Reads::OwnCopy { .. }, false) => Promise::STALE_READS,
            (Reads::Latest | Reads::ByLease(_), true) => Promise::STRICT_SERIALIZABLE,
            // A transaction that only reads sees a prefix of all transactions that write, perhaps an old one.
            (Reads::OwnCopy { .. }, true) => Promise::Transactions(ConsistencyModel::Serializable),
        }
    }

    fn tolerates(&self) -> usize {
        self.tolerates
    }

    fn time_outs(&self) -> TimeOuts {
        self.time_outs
    }

    fn clock_bound(&self) -> Option<ClockBound> {
        match self.reads {
            Reads::ByLease(bound) => Some(bound),
            Reads::Latest | Reads::OwnCopy { .. } | Reads::Quorums(_) | Reads::Copies(_) => None,
        }
    }

    fn roles(&self, _: &Setup) -> Vec<String> {
        // Shard 0's leader is the one that the status calls the leader.
        (1..self.shards).map(status::leader_of).collect()
    }

    fn reports_leader(&self) -> bool {
        !matches!(self.reads, Reads::Quorums(_))
    }

    fn converges(&self) -> bool {
        matches!(self.reads, Reads::Quorums(_))
    }

    fn membership(&self) -> Option<&dyn Membership> {
        (self.settings.mode == "raft").then_some(self)
    }

    fn process(&self, node: &NodeId, files: &NodeFiles) -> Result<ProcessSpec, LaunchError> {
        Ok(self.subject.process(&self.settings, |_| true, &self.topology, node, files)?)
    }

    async fn ready(&self, node: &NodeId, from: &dyn Place, deadline: Duration) -> Result<(), NotReady> {
        let (to, deadline) = (self.address(node)?, Instant::now() + deadline);
        let ready = status::ready(from, to, self.probe(), self.reads.cut_off(), deadline).await;
        ready.map_err(|failure| NotReady::because(node, "a probe by a read", failure))
    }

    async fn status(
        &self,
        node: &NodeId,
        from: &dyn Place,
        deadline: Duration,
    ) -> Result<NodeStatus, NotReady> {
        let (to, deadline) = (self.address(node)?, Instant::now() + deadline);
        status::ask(from, to, deadline).await.map_err(|failure| NotReady::because(node, "INFO", failure))
    }

    async fn copies(
        &self,
        node: &NodeId,
        from: &dyn Place,
        deadline: Duration,
    ) -> Result<Option<Vec<ReplicaCopy>>, NotReady> {
        let (to, deadline) = (self.address(node)?, Instant::now() + deadline);
        let copies = match self.reads {
            Reads::Quorums(_) => status::copies(from, to, deadline).await,
            Reads::Latest | Reads::ByLease(_) | Reads::OwnCopy { .. } | Reads::Copies(_) => {
                status::contents(from, to, self.shards, deadline).await
            }
        };
        copies.map(Some).map_err(|failure| NotReady::because(node, "DEBUG CONTENTS", failure))
    }

    fn clients(&self) -> &Clients {
        &self.clients
    }
}
