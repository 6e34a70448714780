//! The arena as a whole: its hosts, and the switch between them.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use crate::host::Host;
use crate::name::HostName;
use crate::port::{self, PortKind};
use crate::switch::{self, Switch, SwitchError};

/// Everything an arena is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArenaSpec {
    /// The hosts: the nodes of the system under test and the clients alike. Names and addresses are unique.
    pub hosts: Vec<HostSpec>,
    /// How hosts are attached to the switch.
    pub port: PortKind,
    /// An upper bound for TCP's retransmission time-out on every host, where the kernel has the setting: without
    /// it a connection that was cut for long takes as long again to notice that the network has healed.
    pub tcp_rto_max: Option<Duration>,
}

/// One host of the arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSpec {
    /// The host's name.
    pub name: HostName,
    /// The host's address. All hosts share one /24.
    pub address: Ipv4Addr,
}

/// Why an arena could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArenaError {
    /// Two hosts have the same name or address, or the addresses are not of one /24.
    #[error("host {host} at {address}: {problem}")]
    Spec {
        /// The host that does not fit.
        host: HostName,
        /// Its address.
        address: Ipv4Addr,
        /// Why it does not fit with the others.
        problem: &'static str,
    },
    /// A host's namespace, interface or settings could not be made.
    #[error("cannot {action} for host {host}")]
    Host {
        /// The host.
        host: HostName,
        /// The operation that failed.
        action: &'static str,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// The switch could not be started.
    #[error("cannot start the switch")]
    Switch(#[from] SwitchError),
}

/// Hosts and the network between them. Dropping it stops the switch; processes on the hosts are not touched.
#[derive(Debug)]
pub struct Arena {
    hosts: BTreeMap<HostName, Arc<Host>>,
    switch: Switch,
    engine: switch::Engine,
}

impl Arena {
    /// Builds the hosts and starts the switch, with every link open.
    ///
    /// # Errors
    /// [`ArenaError`] when the specification contradicts itself or the machine refuses a part.
    pub fn build(spec: &ArenaSpec) -> Result<Self, ArenaError> {
        check(spec)?;
        let workshop = port::Workshop::open(spec.port).map_err(|source| ArenaError::Host {
            host: HostName::from("switch"),
            action: "make a network namespace",
            source,
        })?;
        let mut hosts = BTreeMap::new();
        let mut ports = Vec::new();
        for host_spec in &spec.hosts {
            let (host, port) = Host::build(host_spec, &workshop, spec.tcp_rto_max)?;
            let host = Arc::new(host);
            hosts.insert(host_spec.name.clone(), Arc::clone(&host));
            ports.push((host, port));
        }
        let (switch, engine) = switch::start(ports)?;
        Ok(Self { hosts, switch, engine })
    }

    /// Returns the host called `name`.
    #[must_use]
    pub fn host(&self, name: &str) -> Option<&Arc<Host>> {
        self.hosts.get(name)
    }

    /// Returns every host, by name.
    pub fn hosts(&self) -> impl Iterator<Item = &Arc<Host>> {
        self.hosts.values()
    }

    /// Returns the network between the hosts.
    #[must_use]
    pub fn switch(&self) -> &Switch {
        &self.switch
    }

    /// Stops the switch and waits until it has stopped.
    ///
    /// # Errors
    /// The error that made the switch stop before, if it had.
    pub fn close(self) -> Result<(), SwitchError> {
        self.engine.stop()
    }
}

fn check(spec: &ArenaSpec) -> Result<(), ArenaError> {
    for (position, host) in spec.hosts.iter().enumerate() {
        let problem = |problem| ArenaError::Spec { host: host.name.clone(), address: host.address, problem };
        if spec.hosts[0].address.octets()[..3] != host.address.octets()[..3] {
            return Err(problem("all hosts must be in one /24"));
        }
        if matches!(host.address.octets()[3], 0 | 255) {
            return Err(problem("the address is the subnet's own or its broadcast address"));
        }
        for earlier in &spec.hosts[..position] {
            if earlier.name == host.name {
                return Err(problem("the name is taken"));
            }
            if earlier.address == host.address {
                return Err(problem("the address is taken"));
            }
        }
    }
    Ok(())
}
