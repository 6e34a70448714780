//! The plan: a complete description of a run, resolved before anything starts.

pub mod range;

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fs, io};

use duress_arena::{HostSpec, PortKind};
use duress_history::{NodeId, Promise};
use duress_nemesis::{LossLimit, ScheduledFault};
use duress_settings::Settings;
use duress_targets::{ManifestText, Node, Topology};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::range::{RangeError, range};

/// The version of the format of `plan.json`.
pub const VERSION: u32 = 2;

/// The largest number of hosts of one kind in the arena's network.
pub const NODES_MAX: usize = 99;

/// A host of the arena.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedHost {
    /// Its name.
    pub name: NodeId,
    /// Its address; in an arena, of IPv4.
    pub address: IpAddr,
}

impl PlannedHost {
    /// Returns it as a host of an arena.
    ///
    /// # Panics
    /// When its address is of IPv6, which checking the plan excludes.
    #[must_use]
    pub fn in_arena(&self) -> HostSpec {
        let IpAddr::V4(address) = self.address else { panic!("{} is in an arena, with IPv6", self.name) };
        HostSpec { name: self.name.as_str().into(), address }
    }
}

/// The place of the nodes' data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum DataLocation {
    /// In memory, on a tmpfs of the arena's own. A killed process does not lose the page cache either, so
    /// tests do not become weaker, and nodes do not queue for one disk.
    #[default]
    Tmpfs,
    /// In the run's folder.
    Disk,
    /// On a faultable file system, which disk faults need. Its data is in memory.
    Breakable,
}

/// The source of the nodes' time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClockSource {
    /// The machine's.
    #[default]
    Machine,
    /// A clock for each node, which clock faults need. Reading it costs a system call.
    Own,
}

/// The packets to keep in `network.pcapng`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum CapturePlan {
    /// No packets.
    Off,
    /// The most recent packets that fit into a ring of 16 MiB, the first 256 bytes of each.
    #[default]
    Ring,
    /// All packets in full.
    Whole,
}

/// The world as nodes see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArenaPlan {
    /// The attachment of hosts to the switch.
    pub port: PortKind,
    /// The place of the nodes' data.
    pub data: DataLocation,
    /// The source of the nodes' time.
    #[serde(default)]
    pub clock: ClockSource,
    /// The packets to keep.
    #[serde(default)]
    pub capture: CapturePlan,
    /// The upper limit of TCP's retransmission time-out in every host, if this kernel supports one. Without
    /// it a connection may wait many seconds after a healed partition before it tries again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_rto_max_ms: Option<u64>,
}

/// The clients' workload: its name, and its options, which the workload interprets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedWorkload {
    /// The name on the command line.
    pub name: String,
    /// Its options, by field.
    #[serde(flatten)]
    pub options: Map<String, Value>,
}

/// The description of a run. The same plan gives the same schedule and the same generated operations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// [`VERSION`].
    pub version: u32,
    /// The system under test.
    pub target: String,
    /// The manifest that describes it; absent for a built-in system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<ManifestText>,
    /// Its mode, options and seeded bug.
    pub settings: Settings,
    /// Its nodes.
    pub nodes: Vec<PlannedHost>,
    /// The client hosts; process p lives on host p modulo their number. None without an arena: all live on this machine.
    pub clients: Vec<PlannedHost>,
    /// The clients' workload.
    pub workload: PlannedWorkload,
    /// The number of concurrent processes.
    pub concurrency: usize,
    /// Operations per second over all processes; `None` for a closed loop.
    pub rate_hz: Option<f64>,
    /// The time for which clients run before the final reads, in milliseconds.
    pub time_limit_ms: u64,
    /// The time after which a client gives up on an operation, in milliseconds.
    pub operation_timeout_ms: u64,
    /// The time after which a third of the clients give up, in milliseconds, so that their requests wait at paused nodes.
    /// Absent if they do not differ from the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience_ms: Option<u64>,
    /// Whether a third of the clients move from node to node, if the workload allows it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub roaming: bool,
    /// The seed of every random decision.
    pub seed: u64,
    /// The fault mix that the schedule was expanded from.
    pub faults: String,
    /// Mean time between the starts of two faults, in milliseconds: the intensity of the run.
    pub fault_interval_ms: u64,
    /// The limit on the nodes that randomly drawn faults disable at once; absent without drawn faults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub losses: Option<LossLimit>,
    /// The promise that answers are checked against; the target's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promise: Option<Promise>,
    /// The least share of the time in which clients must be answered for the run to count, in percent; 0
    /// lifts the whole floor.
    #[serde(default = "default_floor", skip_serializing_if = "is_default_floor")]
    pub floor_percent: u8,
    /// The faults and their times.
    pub schedule: Vec<ScheduledFault>,
    /// Whether all nodes are killed at once and restarted after the last reads, and everything is read once
    /// more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub final_restart: bool,
    /// The prefix of this run's keys. Only a cluster that already runs needs one, since it still has the keys of earlier runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_prefix: Option<String>,
    /// The world as nodes see it; absent for a cluster that already runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arena: Option<ArenaPlan>,
}

/// The default floor, in percent.
pub const DEFAULT_FLOOR: u8 = 10;

fn default_floor() -> u8 {
    DEFAULT_FLOOR
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_default_floor(percent: &u8) -> bool {
    *percent == DEFAULT_FLOOR
}

/// A plan that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The file cannot be read.
    #[error("cannot read the plan {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The file is not a plan.
    #[error("{} is not a plan of this version of duress", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
    /// Another version of the format.
    #[error(
        "{} is of version {version} of the format, and this duress reads version {VERSION}: take the duress that wrote it",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// A value is out of range.
    #[error(transparent)]
    Range(#[from] RangeError),
}

/// The part of a plan that every version of the format has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl Plan {
    /// Reads a plan, given its file or the run's folder.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn load(path: &Path) -> Result<Self, PlanError> {
        let file = if path.is_dir() { path.join("plan.json") } else { path.to_owned() };
        let text =
            fs::read_to_string(&file).map_err(|source| PlanError::Read { path: file.clone(), source })?;
        let parse = |source| PlanError::Parse { path: file.clone(), source };
        let Versioned { version } = serde_json::from_str(&text).map_err(parse)?;
        if version != VERSION {
            return Err(PlanError::Version { path: file, version });
        }
        let plan: Self = serde_json::from_str(&text).map_err(parse)?;
        plan.validate()?;
        Ok(plan)
    }

    /// Returns the text of `plan.json`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a plan has only keys that are text");
        text.push('\n');
        text
    }

    /// Checks the ranges of all values except the options of the workload, which the workload checks.
    ///
    /// # Errors
    /// [`RangeError`] naming the first value that is out of range.
    pub fn validate(&self) -> Result<(), RangeError> {
        range("version", &self.version, self.version == VERSION, "this duress writes version 2")?;
        let nodes = self.nodes.len();
        range("nodes", &nodes, (1..=NODES_MAX).contains(&nodes), "a cluster has 1 to 99 nodes")?;
        let clients = self.clients.len();
        let least = usize::from(self.arena.is_some());
        range("clients", &clients, (least..=NODES_MAX).contains(&clients), "there are 1 to 99 client hosts")?;
        let concurrency = self.concurrency;
        range("concurrency", &concurrency, (1..=10_000).contains(&concurrency), "1 to 10000 processes")?;
        let timeout = self.operation_timeout_ms;
        range("operation time-out", &timeout, (1..=600_000).contains(&timeout), "1 ms to 10 minutes")?;
        let patience = self.patience_ms.unwrap_or(timeout);
        range("patience", &patience, (timeout..=600_000).contains(&patience), "the time-out to 10 minutes")?;
        let limit = self.time_limit_ms;
        range("time limit", &limit, (100..=86_400_000).contains(&limit), "100 ms to one day")?;
        let floor = self.floor_percent;
        range("floor", &floor, floor <= 100, "0 to 100 percent")?;
        if let Some(rate) = self.rate_hz {
            range("rate", &rate, (0.001..=1e6).contains(&rate), "0.001 to 1000000 operations a second")?;
        }
        for fault in &self.schedule {
            let inside = fault.start_ms < fault.stop_ms && fault.stop_ms <= limit;
            range(
                "stop_ms of a fault",
                &fault.stop_ms,
                inside,
                "after its start_ms and within the time limit",
            )?;
            let known = fault.fault.named_hosts().iter().all(|name| self.has_host(name));
            range("fault", &fault.fault, known, "it names only hosts of the plan")?;
        }
        let hosts = || self.nodes.iter().chain(&self.clients);
        for host in hosts() {
            // Nodes that already run may share an address.
            let same_address = |other: &PlannedHost| self.arena.is_some() && other.address == host.address;
            let same = hosts().filter(|other| other.name == host.name || same_address(other));
            range("hosts", &host.name, same.count() == 1, "names and addresses of hosts are unique")?;
            let possible = self.arena.is_none() || host.address.is_ipv4();
            range("hosts", &host.address, possible, "hosts of an arena have IPv4 addresses")?;
        }
        Ok(())
    }

    fn has_host(&self, name: &NodeId) -> bool {
        self.nodes.iter().chain(&self.clients).any(|host| host.name == *name)
    }

    /// Returns how long clients run before the final reads.
    #[must_use]
    pub fn time_limit(&self) -> Duration {
        Duration::from_millis(self.time_limit_ms)
    }

    /// Returns when a client gives up on an operation.
    #[must_use]
    pub fn operation_timeout(&self) -> Duration {
        Duration::from_millis(self.operation_timeout_ms)
    }

    /// Returns when a patient client gives up on an operation.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.patience_ms.map_or(self.operation_timeout(), Duration::from_millis)
    }

    /// Returns the nodes, as their system sees them.
    #[must_use]
    pub fn topology(&self) -> Topology {
        let node = |host: &PlannedHost| Node { name: host.name.clone(), address: host.address };
        Topology { nodes: self.nodes.iter().map(node).collect() }
    }

    /// Returns the names of the nodes.
    #[must_use]
    pub fn node_names(&self) -> Vec<NodeId> {
        self.nodes.iter().map(|host| host.name.clone()).collect()
    }

    /// Returns the name of its runs: the target and its mode, and the bug if there is one.
    #[must_use]
    pub fn name(&self) -> String {
        let bug = self.settings.bug.as_ref().map(|bug| format!("-{bug}")).unwrap_or_default();
        format!("{}-{}{bug}", self.target, self.settings.mode)
    }
}

/// Returns a prefix for the names of keys that no earlier run has.
#[must_use]
pub fn fresh_key_prefix() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (mut left, mut digits) = (since.as_micros(), Vec::new());
    while left > 0 {
        digits.push(char::from_digit((left % 36) as u32, 36).unwrap_or('0'));
        left /= 36;
    }
    // A letter first: a name that begins with a digit is a number to some.
    let digits: String = digits.into_iter().rev().collect();
    format!("x{digits}-")
}

/// Hosts named `prefix1`, `prefix2`, … with consecutive addresses after `10.77.0.base`.
#[must_use]
pub fn hosts(prefix: &str, count: usize, base: u8) -> Vec<PlannedHost> {
    (1..=count.min(NODES_MAX))
        .map(|number| PlannedHost {
            name: NodeId::new(format!("{prefix}{number}")),
            // At most NODES_MAX hosts from a base of at most 100 stay below 200.
            address: Ipv4Addr::new(10, 77, 0, base + u8::try_from(number).unwrap_or(u8::MAX)).into(),
        })
        .collect()
}
