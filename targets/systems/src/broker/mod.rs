//! Our own log broker, which speaks the Kafka protocol: its launch and its clients.
//!
//! This module does not know the broker's code: it is a program with a command line and a protocol, as any
//! other.
//!
//! Every partition has a leader of its own. When the harness asks for *the* leader, to cut it off or to kill
//! it, it gets the leader of partition 0 of the first topic, in order of name, that a workload made: clients
//! write to it, and it has an epoch, so that of two nodes with different leaders the one with the newer epoch
//! is believed. Before there is a topic, it is the controller.

mod offer;
mod status;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use duress_arena::ProcessSpec;
use duress_history::{Delivery, NodeId, Promise};
use duress_settings::{Offer, Settings, SettingsError};
use serde::Deserialize;
use tokio::time::Instant;

use crate::client::Clients;
use crate::deployment::{Deployment, LaunchError, NodeStatus, NotReady, TimeOuts};
use crate::kafka::{
    Acks, ClientOptions, Committing, Idempotence, NewTopic, Processing, clients, create_topics,
};
use crate::place::Place;
use crate::replica::ReplicaCopy;
use crate::scenario::Scenario;
use crate::setup::{Keeps, Setup, Topic};
use crate::subject::Subject;
use crate::system::{Description, MissingSystem, System, USUAL_NODES};
use crate::topology::{NodeFiles, Topology, UnknownNode};

/// Our own log broker.
#[derive(Clone, Debug)]
pub struct Broker {
    subject: Subject,
    description: Description,
}

impl Broker {
    /// Returns the broker whose nodes the subcommand `broker` of `executable` runs. `offer` is that of a
    /// node; its clients have options besides.
    #[must_use]
    pub fn new(executable: PathBuf, mut offer: Offer) -> Self {
        let modes: Vec<String> = offer.modes.iter().map(|mode| mode.name.clone()).collect();
        offer.options.splice(0..0, offer::client_options(&modes));
        Self {
            // Kafka's port, and the one beside it.
            subject: Subject { executable, subcommand: "broker", client_port: 9092, peer_port: 9093 },
            description: Description {
                name: "broker".to_owned(),
                summary: "our replicated log broker, made to be broken (Kafka protocol: speaks to kcat and librdkafka)"
                    .to_owned(),
                offer,
                lacks: Vec::new(),
                switches: Vec::new(),
                vocabularies: vec!["log".to_owned(), "table".to_owned(), "stream".to_owned()],
                scenarios: Scenario::built_in(include_str!("scenarios.toml")),
                nodes: USUAL_NODES,
                durable: true,
            external: None,
            },
        }
    }
}

impl System for Broker {
    fn description(&self) -> &Description {
        &self.description
    }

    fn available(&self, programs: &BTreeMap<String, PathBuf>) -> Result<(), MissingSystem> {
        self.subject.available(programs)
    }

    fn deploy(&self, settings: &Settings, topology: &Topology) -> Result<Arc<dyn Deployment>, SettingsError> {
        let options = BrokerOptions {
            client: ClientOptions {
                acks: settings.word("acks")?,
                idempotence: settings.word("idempotent")?,
                retries: settings.whole("retries")?,
                committing: settings.word("commit")?,
                processing: settings.word("processing")?,
                session: settings.millis("member-session-ms")?,
            },
            min_insync: settings.whole("min-insync")?,
            replication: settings.whole("replication")?,
            unclean: settings.word("unclean")?,
            fsync: settings.word("fsync")?,
            session: settings.millis("session-ms")?,
            lag: settings.millis("lag-ms")?,
        };
        let (port, nodes) = (self.subject.client_port, topology.clone());
        let clients = clients(Arc::new(move |node: &NodeId| nodes.address(node, port)), options.client);
        Ok(Arc::new(BrokerCluster {
            subject: self.subject.clone(),
            settings: settings.clone(),
            topology: topology.clone(),
            options,
            clients,
            compacts: AtomicBool::new(false),
        }))
    }
}

/// The options of a cluster and of its clients that decide the promise, or that topics need.
#[derive(Clone, Copy, Debug)]
struct BrokerOptions {
    client: ClientOptions,
    min_insync: usize,
    replication: u16,
    unclean: Unclean,
    fsync: Fsync,
    /// How long a broker may be silent before others lead in its place.
    session: Duration,
    /// How long a follower may be behind before it is out of sync.
    lag: Duration,
}

impl BrokerOptions {
    /// Whether copies at the same place in the same epoch have the same content.
    fn is_comparable(&self, compacts: bool) -> bool {
        // A leader that lost unsynced records may give their offsets to other records, in the same epoch.
        let same_records = self.fsync == Fsync::Always;
        // One copy was compacted for the sake of a record that an unclean election then took away, and another was not yet.
        let same_tables = !compacts || self.unclean == Unclean::Off;
        same_records && same_tables
    }
}

/// The workload whose workers process messages.
const STREAM: &str = "stream";

/// Whether a replica that is not in sync may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Unclean {
    Off,
    On,
}

/// When messages are made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Fsync {
    Always,
    Never,
}

/// A cluster of brokers.
struct BrokerCluster {
    subject: Subject,
    settings: Settings,
    topology: Topology,
    options: BrokerOptions,
    clients: Clients,
    /// Whether a topic is compacted.
    compacts: AtomicBool,
}

impl BrokerCluster {
    fn address(&self, node: &NodeId) -> Result<SocketAddr, UnknownNode> {
        self.topology.address(node, self.subject.client_port)
    }

    /// Returns the topics of a workload. Settings that they leave out, such as how many replicas must be in
    /// sync, come from the brokers.
    fn topics(&self, setup: &Setup) -> Vec<NewTopic> {
        let nodes = u16::try_from(self.topology.nodes.len()).unwrap_or(u16::MAX);
        let config = |keeps| {
            let config: &[(&'static str, &str)] = match keeps {
                Keeps::Everything => &[],
                Keeps::Latest => &offer::TABLE_CONFIG,
            };
            config.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
        };
        let topic = |topic: &Topic| NewTopic {
            name: topic.name.clone(),
            partitions: topic.partitions,
            replication: self.options.replication.min(nodes),
            config: config(topic.keeps),
        };
        setup.topics.iter().map(topic).collect()
    }
}

#[async_trait]
impl Deployment for BrokerCluster {
    fn topology(&self) -> &Topology {
        &self.topology
    }

    fn promise(&self, workload: &str) -> Promise {
        let BrokerOptions { client, unclean, fsync, .. } = self.options;
        // Whether a record, or a group's committed offset, may be gone although a quorum had acknowledged it.
        let forgetful = unclean == Unclean::On || fsync == Fsync::Never;
        let lost = forgetful || client.acks != Acks::All;
        let sent_again = client.idempotence == Idempotence::Off && client.retries > 0;
        let before = client.committing == Committing::Before;
        if workload == STREAM {
            let repeated = sent_again || forgetful || client.processing == Processing::AtLeastOnce;
            let processed = Delivery::of(lost.into(), repeated.into());
            return Promise::Messages {
                stored: Delivery::of(lost.into(), sent_again.into()),
                consumed: processed,
            };
        }
        Promise::Messages {
            stored: Delivery::of(lost.into(), sent_again.into()),
            consumed: Delivery::of((lost || before).into(), (sent_again || forgetful || !before).into()),
        }
    }

    fn tolerates(&self) -> usize {
        let nodes = self.topology.nodes.len();
        // A majority must agree on who leads what, and enough replicas of each partition must be there.
        let without_controllers = nodes.saturating_sub(1) / 2;
        let needed = if self.options.client.acks == Acks::All { self.options.min_insync } else { 1 };
        let spare = usize::from(self.options.replication).min(nodes).saturating_sub(needed);
        without_controllers.min(spare)
    }

    fn time_outs(&self) -> TimeOuts {
        let BrokerOptions { session, lag, client, .. } = self.options;
        // The controller looks for sessions that are over a few times in each.
        TimeOuts { election: session * 5 / 4, session: Some(lag), lease: None, client: Some(client.session) }
    }

    fn roles(&self, setup: &Setup) -> Vec<String> {
        let partitions = setup
            .topics
            .iter()
            .flat_map(|topic| (0..topic.partitions).map(|partition| format!("{}-{partition}", topic.name)));
        let own = [status::CONTROLLER, status::COORDINATOR].map(str::to_owned);
        own.into_iter().chain(partitions).collect()
    }

    fn process(&self, node: &NodeId, files: &NodeFiles) -> Result<ProcessSpec, LaunchError> {
        let takes = |name: &str| !offer::is_of_clients(name);
        Ok(self.subject.process(&self.settings, takes, &self.topology, node, files)?)
    }

    async fn ready(&self, node: &NodeId, from: &dyn Place, deadline: Duration) -> Result<(), NotReady> {
        let (to, deadline) = (self.address(node)?, Instant::now() + deadline);
        let ready = status::ready(from, to, deadline).await;
        ready.map_err(|failure| NotReady::because(node, "asking for metadata", failure))
    }

    async fn status(
        &self,
        node: &NodeId,
        from: &dyn Place,
        deadline: Duration,
    ) -> Result<NodeStatus, NotReady> {
        let (to, deadline) = (self.address(node)?, Instant::now() + deadline);
        let status = status::ask(from, to, &self.topology, deadline).await;
        status.map_err(|failure| NotReady::because(node, "asking for metadata", failure))
    }

    async fn prepare(&self, setup: &Setup, from: &dyn Place, deadline: Duration) -> Result<(), NotReady> {
        let compacts = setup.topics.iter().any(|topic| topic.keeps == Keeps::Latest);
        self.compacts.store(compacts, Ordering::Relaxed);
        let topics = self.topics(setup);
        let port = self.subject.client_port;
        let brokers: Vec<SocketAddr> = self.topology.nodes.iter().map(|node| node.at(port)).collect();
        let made = create_topics(from, &brokers, &topics, Instant::now() + deadline).await;
        made.map_err(|failure| NotReady::because(&self.topology.nodes[0].name, "making the topics", failure))
    }

    async fn copies(
        &self,
        node: &NodeId,
        from: &dyn Place,
        deadline: Duration,
    ) -> Result<Option<Vec<ReplicaCopy>>, NotReady> {
        if !self.options.is_comparable(self.compacts.load(Ordering::Relaxed)) {
            return Ok(None);
        }
        let (to, deadline) = (self.address(node)?, Instant::now() + deadline);
        let held = status::held(from, to, deadline).await;
        held.map(Some).map_err(|failure| NotReady::because(node, "reading its own copies", failure))
    }

    fn clients(&self) -> &Clients {
        &self.clients
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_compared_where_they_must_be_equal() {
        let options = |unclean, fsync| BrokerOptions {
            client: ClientOptions {
                acks: Acks::All,
                idempotence: Idempotence::On,
                retries: 3,
                committing: Committing::After,
                processing: Processing::ExactlyOnce,
                session: Duration::from_secs(6),
            },
            min_insync: 2,
            replication: 3,
            unclean,
            fsync,
            session: Duration::from_secs(1),
            lag: Duration::from_secs(1),
        };
        for (unclean, fsync, compacts, comparable) in [
            (Unclean::Off, Fsync::Always, true, true),
            (Unclean::On, Fsync::Always, false, true),
            (Unclean::On, Fsync::Always, true, false),
            (Unclean::Off, Fsync::Never, false, false),
        ] {
            let what = format!("{unclean:?}, fsync {fsync:?}, compacts {compacts}");
            assert_eq!(options(unclean, fsync).is_comparable(compacts), comparable, "{what}");
        }
    }
}
