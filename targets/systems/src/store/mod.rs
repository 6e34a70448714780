//! Our own key-value store, which speaks RESP: how it is launched and spoken to.
//!
//! Nothing here knows the store's code: it is a program with a command line and a protocol, as any other.

mod client;
mod offer;
mod status;

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use duress_arena::ProcessSpec;
use duress_history::register::Register;
use duress_history::{ClockBound, NodeId};
use tokio::time::Instant;

use crate::catalogue::{BugSpec, Mode, OptionSpec, Promise};
use crate::connect::Connect;
use crate::settings::Settings;
use crate::system::{Client, ClientError, LaunchError, MissingSystem, NodeStatus, NotReady, System};
use crate::topology::{Topology, UnknownNode};

/// Where a node listens for clients: Redis's port.
const CLIENT_PORT: u16 = 6379;
/// Where a node listens for its peers.
const PEER_PORT: u16 = 7379;

/// Our own key-value store.
#[derive(Clone, Copy, Debug)]
pub struct Store;

#[async_trait]
impl System for Store {
    fn name(&self) -> &'static str {
        "store"
    }

    fn summary(&self) -> &'static str {
        "our replicated key-value store, made to be broken (RESP: speaks to redis-cli)"
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
        &["register"]
    }

    fn available(&self) -> Result<(), MissingSystem> {
        // It is a subcommand of the program that asks.
        Ok(())
    }

    fn promise(&self, settings: &Settings) -> Promise {
        match (settings.option("read"), settings.option("reads")) {
            (Some("any"), _) | (_, Some("local")) => Promise::StaleReads,
            // With reads by lease too, on an assumption about clocks: a run that breaks it should see it broken.
            _ => Promise::Linearizable,
        }
    }

    fn tolerates(&self, settings: &Settings, nodes: usize) -> usize {
        match settings.mode.as_str() {
            "raft" => nodes.saturating_sub(1) / 2,
            // Without failover nothing is written while the primary is away.
            _ => 0,
        }
    }

    fn clock_bound(&self, settings: &Settings) -> Option<ClockBound> {
        let milliseconds = |option| settings.option(option)?.parse().ok().map(Duration::from_millis);
        match settings.option("reads") {
            Some("lease") => {
                Some(ClockBound { lease: milliseconds("lease_ms")?, slack: milliseconds("drift_bound_ms")? })
            }
            _ => None,
        }
    }

    fn process(
        &self,
        settings: &Settings,
        topology: &Topology,
        node: &NodeId,
    ) -> Result<ProcessSpec, LaunchError> {
        let this = topology.node(node)?;
        let mut args: Vec<OsString> = vec![
            "store".into(),
            "--mode".into(),
            settings.mode.as_str().into(),
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
        for (name, value) in &settings.options {
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
        settings: &Settings,
        topology: &Topology,
        node: &NodeId,
        from: &dyn Connect,
        deadline: Duration,
    ) -> Result<(), NotReady> {
        let (to, deadline) = (client_address(topology, node)?, Instant::now() + deadline);
        status::ready(from, to, settings, deadline).await.map_err(|failure| NotReady {
            node: node.clone(),
            operation: "a probe by GET",
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
            operation: "INFO",
            cause: failure.cause,
        })
    }

    fn register_client(
        &self,
        _: &Settings,
        topology: &Topology,
        node: &NodeId,
        from: Arc<dyn Connect>,
        timeout: Duration,
    ) -> Result<Box<dyn Client<Register>>, ClientError> {
        Ok(Box::new(client::StoreClient::new(from, client_address(topology, node)?, timeout)))
    }
}

fn at(address: Ipv4Addr, port: u16) -> SocketAddr {
    SocketAddr::from((address, port))
}

fn client_address(topology: &Topology, node: &NodeId) -> Result<SocketAddr, UnknownNode> {
    Ok(at(topology.node(node)?.address, CLIENT_PORT))
}
