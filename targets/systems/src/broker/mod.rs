//! Our own log broker, which speaks the Kafka protocol: how it is launched and spoken to.
//!
//! Nothing here knows the broker's code: it is a program with a command line and a protocol, as any other.
//!
//! Every partition has a leader of its own. Where the harness asks for *the* leader, to cut it off or to kill it, that is
//! the leader of partition 0 of the first topic, in order of name, that a workload made: it is one that clients write to,
//! and it has an epoch, so that of two nodes that take different ones for it the newer one is believed. Before there is
//! a topic, it is the controller.

mod offer;
mod status;

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use duress_arena::ProcessSpec;
use duress_history::NodeId;
use duress_history::log::Log;
use duress_history::table::Table;
use tokio::time::Instant;

use crate::catalogue::{Allowed, BugSpec, Delivery, Mode, OptionSpec, Promise};
use crate::connect::Connect;
use crate::kafka::{
    Acks, ClientOptions, Committing, Idempotence, LogClient, NewTopic, TableClient, create_topics,
};
use crate::settings::Settings;
use crate::system::{Client, ClientError, LaunchError, MissingSystem, NodeStatus, NotReady, System};
use crate::topology::{Topology, UnknownNode};
use crate::workload::{TABLE_TOPIC, WorkloadSetup};

/// Where a broker listens for clients: Kafka's port.
const CLIENT_PORT: u16 = 9092;
/// Where a broker listens for the other brokers.
const PEER_PORT: u16 = 9093;

/// Our own log broker.
#[derive(Clone, Copy, Debug)]
pub struct Broker;

#[async_trait]
impl System for Broker {
    fn name(&self) -> &'static str {
        "broker"
    }

    fn summary(&self) -> &'static str {
        "our replicated log broker, made to be broken (Kafka protocol: speaks to kcat and librdkafka)"
    }

    fn modes(&self) -> &'static [Mode] {
        &offer::MODES
    }

    fn options(&self) -> &'static [OptionSpec] {
        &offer::OPTIONS
    }

    fn bugs(&self) -> &'static [BugSpec] {
        &offer::BUGS
    }

    fn workloads(&self) -> &'static [&'static str] {
        &["log", "queue", "table"]
    }

    fn available(&self) -> Result<(), MissingSystem> {
        // It is a subcommand of the program that asks.
        Ok(())
    }

    fn promise(&self, settings: &Settings) -> Promise {
        let allowed = |allowed| if allowed { Allowed::Yes } else { Allowed::No };
        let is = |name, value| settings.option(name) == Some(value);
        // Whether a record, or a group's committed offset, may be gone although a quorum had acknowledged it.
        let forgetful = is("unclean", "on") || !is("fsync", "always");
        let lost = forgetful || !is("acks", "all");
        let sent_again = is("idempotent", "off") && !is("retries", "0");
        Promise::Messages {
            stored: Delivery::of(allowed(lost), allowed(sent_again)),
            consumed: Delivery::of(
                allowed(lost || is("commit", "before")),
                allowed(sent_again || forgetful || !is("commit", "before")),
            ),
        }
    }

    fn tolerates(&self, settings: &Settings, nodes: usize) -> usize {
        let number =
            |name, default| settings.option(name).and_then(|value| value.parse().ok()).unwrap_or(default);
        // A majority must agree on who leads what, and enough replicas of each partition must be there.
        let without_controllers = nodes.saturating_sub(1) / 2;
        let needed = if settings.option("acks") == Some("all") { number("min-insync", 1) } else { 1 };
        let spare = number("replication", 1).min(nodes).saturating_sub(needed);
        without_controllers.min(spare)
    }

    fn process(
        &self,
        settings: &Settings,
        topology: &Topology,
        node: &NodeId,
    ) -> Result<ProcessSpec, LaunchError> {
        let this = topology.node(node)?;
        let mut args: Vec<OsString> = vec![
            "broker".into(),
            "--node".into(),
            node.as_str().into(),
            "--listen".into(),
            at(this.address, CLIENT_PORT).to_string().into(),
            "--peer-listen".into(),
            at(this.address, PEER_PORT).to_string().into(),
        ];
        for peer in topology.nodes.iter().filter(|peer| peer.name != *node) {
            args.push("--peer".into());
            args.push(format!("{}={}", peer.name, at(peer.address, PEER_PORT)).into());
        }
        args.push("--data".into());
        args.push(this.data.clone().into());
        for (name, value) in
            settings.options.iter().filter(|(name, _)| !offer::CLIENT_OPTIONS.contains(&name.as_str()))
        {
            args.push("-o".into());
            args.push(format!("{name}={value}").into());
        }
        if let Some(bug) = &settings.bug {
            args.push("--bug".into());
            args.push(bug.into());
        }
        Ok(ProcessSpec {
            program: topology.executable.clone(),
            args,
            env: Vec::new(),
            cwd: None,
            stdout: this.stdout.clone(),
            stderr: this.stderr.clone(),
        })
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
            operation: "asking for metadata",
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
        status::ask(from, to, topology, deadline).await.map_err(|failure| NotReady {
            node: node.clone(),
            operation: "asking for metadata",
            cause: failure.cause,
        })
    }

    async fn prepare(
        &self,
        settings: &Settings,
        topology: &Topology,
        workload: &WorkloadSetup,
        from: &dyn Connect,
        deadline: Duration,
    ) -> Result<(), NotReady> {
        let topics = topics(settings, topology, workload);
        let brokers: Vec<SocketAddr> =
            topology.nodes.iter().map(|node| at(node.address, CLIENT_PORT)).collect();
        let made = create_topics(from, &brokers, &topics, Instant::now() + deadline).await;
        made.map_err(|failure| NotReady {
            node: topology.nodes[0].name.clone(),
            operation: "making the topics",
            cause: failure.cause,
        })
    }

    fn log_client(
        &self,
        settings: &Settings,
        topology: &Topology,
        node: &NodeId,
        from: Arc<dyn Connect>,
        timeout: Duration,
    ) -> Result<Box<dyn Client<Log>>, ClientError> {
        let to = client_address(topology, node)?;
        Ok(Box::new(LogClient::new(from, to, client_options(settings), timeout)))
    }

    fn table_client(
        &self,
        settings: &Settings,
        topology: &Topology,
        node: &NodeId,
        from: Arc<dyn Connect>,
        timeout: Duration,
    ) -> Result<Box<dyn Client<Table>>, ClientError> {
        let to = client_address(topology, node)?;
        Ok(Box::new(TableClient::new(from, to, client_options(settings), timeout)))
    }
}

fn at(address: Ipv4Addr, port: u16) -> SocketAddr {
    SocketAddr::from((address, port))
}

fn client_address(topology: &Topology, node: &NodeId) -> Result<SocketAddr, UnknownNode> {
    Ok(at(topology.node(node)?.address, CLIENT_PORT))
}

fn client_options(settings: &Settings) -> ClientOptions {
    ClientOptions {
        acks: match settings.option("acks") {
            Some("0") => Acks::None,
            Some("1") => Acks::Leader,
            _ => Acks::All,
        },
        idempotence: match settings.option("idempotent") {
            Some("off") => Idempotence::Off,
            _ => Idempotence::On,
        },
        retries: settings.option("retries").and_then(|retries| retries.parse().ok()).unwrap_or(0),
        committing: match settings.option("commit") {
            Some("before") => Committing::Before,
            Some("manual") => Committing::Manual,
            _ => Committing::After,
        },
    }
}

/// The topics of `workload`. What they do not say, such as how many replicas must be in sync, the brokers were told.
fn topics(settings: &Settings, topology: &Topology, workload: &WorkloadSetup) -> Vec<NewTopic> {
    let replication: usize = settings.option("replication").and_then(|count| count.parse().ok()).unwrap_or(1);
    let replication = replication.min(topology.nodes.len()) as u16;
    let topic = |name: &str, partitions: u32, config: &[(&'static str, &str)]| NewTopic {
        name: name.to_owned(),
        partitions,
        replication,
        config: config.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
    };
    match workload {
        WorkloadSetup::Register => Vec::new(),
        WorkloadSetup::Log { topics, partitions } | WorkloadSetup::Queue { topics, partitions } => {
            topics.iter().map(|name| topic(name, *partitions, &[])).collect()
        }
        WorkloadSetup::Table { partitions } => vec![topic(TABLE_TOPIC, *partitions, &offer::TABLE_CONFIG)],
    }
}
