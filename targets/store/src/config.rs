//! The configuration of one node.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use duress_consensus::{Beginning, NodeName, Peer};
use duress_settings::{Settings, SettingsError};
use serde::Deserialize;

use crate::bug::Bug;
#[cfg(doc)]
use crate::offer::offer;

/// The copy that answers a read in the mode `primary`. Serde's names are those of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadFrom {
    /// The primary's: replicas forward reads to it.
    Primary,
    /// The copy of the requested node.
    Any,
}

/// When the primary acknowledges a write, in the mode `primary`. Serde's names are those of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ack {
    /// Once it is on its own disk.
    Async,
    /// Once it is on the disk of one replica, too.
    Semi,
    /// Once it is on the disks of all replicas that are in contact; with failover, of a majority of the nodes at least.
    Sync,
}

/// Whether a replica is promoted when the primary is away, in the mode `primary`. Serde's names are those of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Failover {
    /// The first node is the primary.
    Off,
    /// A majority elects a replica.
    Auto,
}

/// The way in which a node of the mode `raft` makes sure that a read returns the latest value. Serde's names
/// are those of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadBy {
    /// A quorum confirms the leader for each read. Linearizable, whatever clocks do.
    Index,
    /// The leader relies on an earlier confirmation while a lease lasts, by its wall clock. Linearizable while that clock
    /// does not fall behind the others by more than a bound: see [`crate::raft::lease`].
    Lease,
    /// Not at all: each node answers from its own copy, however old.
    Local,
}

impl ReadBy {
    /// Returns the name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Lease => "lease",
            Self::Local => "local",
        }
    }
}

/// Options of the mode `raft`; the same on every node, since nodes rely on each other's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaftOptions {
    /// How often a leader sends heartbeats.
    pub heartbeat: Duration,
    /// The shortest silence after which a node starts an election. A leader's own lease, `election_max`,
    /// comes on top of it when the node has heard from a leader.
    pub election_min: Duration,
    /// The longest such silence.
    pub election_max: Duration,
    /// Entries after which a snapshot is taken and the log before it purged.
    pub snapshot_every: u64,
    /// How a node makes sure that a read is up to date.
    pub read_by: ReadBy,
    /// How long a leader relies on a quorum that followed it, counted from when it sent the heartbeats that the quorum
    /// acknowledged. For reads by lease.
    pub lease: Duration,
    /// How far the leader's wall clock may fall behind the other nodes' clocks during a lease without reads becoming
    /// stale. With `lease` at most `election_max`, before which no other leader is elected. For reads by lease.
    pub drift_bound: Duration,
}

/// Options of the mode `sharded`; the same on every node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardedOptions {
    /// The number of shards.
    pub shards: u8,
    /// How often slots are moved to another shard; `None`: only on request.
    pub rebalance_every: Option<Duration>,
    /// How many keys of moving slots are handed over in one entry of the log, at most.
    pub chunk_keys: usize,
    /// Options of each shard's group.
    pub raft: RaftOptions,
}

/// Options of the mode `primary`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrimaryOptions {
    /// The copy that answers reads.
    pub read: ReadFrom,
    /// How many of the latest writes the primary keeps for replicas that fall behind; a replica that falls behind further
    /// gets a full copy.
    pub log_keep: u64,
    /// When a write is acknowledged.
    pub ack: Ack,
    /// Whether replicas are promoted.
    pub failover: Failover,
    /// How often a primary says that it leads. This and the following for failover.
    pub heartbeat: Duration,
    /// The shortest silence after which a replica stands for election.
    pub election_min: Duration,
    /// The longest such silence, and the time after which a primary steps down that reaches no majority.
    pub election_max: Duration,
}

/// Whether a read repairs copies that are older than the one it returns, in the mode `ring`. Serde's names are those of the
/// command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadRepair {
    /// It returns once as many owners as a write needs have what it returns.
    Sync,
    /// It sends what it returns to the owners that lacked it, and does not wait for them.
    Async,
    /// Nothing.
    Off,
}

/// How the mode `ring` resolves two writes of a key that had not seen each other. Serde's names are those of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Conflict {
    /// The last write wins: that of the higher version.
    Lww,
    /// Both values are kept, until a write replaces them that has seen both.
    Siblings,
}

/// The values of an option that is on or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Switch {
    On,
    Off,
}

/// Options of the mode `ring`; the same on every node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingOptions {
    /// The points of each node on the ring.
    pub vnodes: u64,
    /// How many nodes own a key; all, if there are fewer.
    pub n: usize,
    /// How many owners a read asks.
    pub r: usize,
    /// How many owners have a write on disk when it is acknowledged.
    pub w: usize,
    /// How a read repairs older copies.
    pub read_repair: ReadRepair,
    /// Whether other nodes stand in for owners that cannot be reached.
    pub sloppy: bool,
    /// How two writes that had not seen each other are resolved.
    pub conflict: Conflict,
    /// The time between two comparisons of a node's copies with those of the other owners.
    pub anti_entropy: Duration,
}

/// How the nodes replicate, with the options of that way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Consensus: every operation is linearizable, reads too unless asked otherwise; there is progress while a majority
    /// is connected.
    Raft(RaftOptions),
    /// One node is the primary, the others copy its writes; with failover a replica takes over from it.
    Primary(PrimaryOptions),
    /// The keys are partitioned over shards, each a consensus group of all nodes; keys move between shards. Linearizable, and
    /// there is progress while a majority is connected.
    Sharded(ShardedOptions),
    /// Consistent hashing with copies, without a leader: every node takes requests, quorums of a key's owners answer them.
    Ring(RingOptions),
}

impl Mode {
    /// Returns the name on the command line.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Raft(_) => "raft",
            Self::Primary(_) => "primary",
            Self::Sharded(_) => "sharded",
            Self::Ring(_) => "ring",
        }
    }

    /// Returns what nodes must have in common to understand each other's messages and data: the mode, and the kind of copies that
    /// are not the usual ones.
    pub fn kind(&self) -> String {
        match self {
            Self::Ring(RingOptions { conflict: Conflict::Siblings, .. }) => {
                format!("{} siblings", self.name())
            }
            _ => self.name().to_owned(),
        }
    }

    /// Returns the heartbeat and the shortest and the longest time before an election, if it has elections.
    fn timing(&self) -> Option<[Duration; 3]> {
        match self {
            Self::Primary(options) => Some([options.heartbeat, options.election_min, options.election_max]),
            _ => self.raft().map(|options| [options.heartbeat, options.election_min, options.election_max]),
        }
    }

    /// Returns the options of its consensus, if it has one.
    fn raft(&self) -> Option<&RaftOptions> {
        match self {
            Self::Raft(options) | Self::Sharded(ShardedOptions { raft: options, .. }) => Some(options),
            Self::Primary(_) | Self::Ring(_) => None,
        }
    }

    fn read(settings: &Settings) -> Result<Self, SettingsError> {
        match settings.mode.as_str() {
            "raft" => Ok(Self::Raft(RaftOptions {
                heartbeat: settings.millis("heartbeat_ms")?,
                election_min: settings.millis("election_min_ms")?,
                election_max: settings.millis("election_max_ms")?,
                snapshot_every: settings.whole("snapshot_every")?,
                read_by: settings.word("reads")?,
                lease: settings.millis("lease_ms")?,
                drift_bound: settings.millis("drift_bound_ms")?,
            })),
            "primary" => Ok(Self::Primary(PrimaryOptions {
                read: settings.word("read")?,
                log_keep: settings.whole("log_keep")?,
                ack: settings.word("ack")?,
                failover: settings.word("failover")?,
                heartbeat: settings.millis("heartbeat_ms")?,
                election_min: settings.millis("election_min_ms")?,
                election_max: settings.millis("election_max_ms")?,
            })),
            "sharded" => Ok(Self::Sharded(ShardedOptions {
                shards: settings.whole("shards")?,
                rebalance_every: Some(settings.millis("rebalance_every_ms")?)
                    .filter(|every| !every.is_zero()),
                chunk_keys: settings.whole("chunk_keys")?,
                raft: RaftOptions {
                    heartbeat: settings.millis("heartbeat_ms")?,
                    election_min: settings.millis("election_min_ms")?,
                    election_max: settings.millis("election_max_ms")?,
                    snapshot_every: settings.whole("snapshot_every")?,
                    read_by: ReadBy::Index,
                    lease: Duration::ZERO,
                    drift_bound: Duration::ZERO,
                },
            })),
            "ring" => Ok(Self::Ring(RingOptions {
                vnodes: settings.whole("vnodes")?,
                n: settings.whole("n")?,
                r: settings.whole("r")?,
                w: settings.whole("w")?,
                read_repair: settings.word("read_repair")?,
                sloppy: settings.word::<Switch>("sloppy")? == Switch::On,
                conflict: settings.word("conflict")?,
                anti_entropy: settings.millis("anti_entropy_ms")?,
            })),
            other => Err(SettingsError::Unreadable { option: "--mode".into(), given: other.into() }),
        }
    }
}

/// The configuration of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// This node's name.
    pub node: NodeName,
    /// The address on which it listens for clients.
    pub listen: SocketAddr,
    /// The address on which it listens for its peers.
    pub peer_listen: SocketAddr,
    /// The other nodes, in any order.
    pub peers: Vec<Peer>,
    /// The folder of its data; made if missing.
    pub data: PathBuf,
    /// How it begins if the folder is empty, in the mode `raft`.
    pub beginning: Beginning,
    /// How the nodes replicate.
    pub mode: Mode,
    /// The seeded bug, if any.
    pub bug: Option<Bug>,
    /// How long a request may take before it is answered with an error.
    pub request_timeout: Duration,
}

impl Config {
    /// Returns a node without peers, run as `settings` say.
    ///
    /// # Errors
    /// The settings are not those of a mode of [`offer`], as when a plan was edited by hand.
    pub fn new(
        node: NodeName,
        listen: SocketAddr,
        peer_listen: SocketAddr,
        data: PathBuf,
        settings: &Settings,
    ) -> Result<Self, SettingsError> {
        Ok(Self {
            node,
            listen,
            peer_listen,
            peers: Vec::new(),
            data,
            beginning: Beginning::Founds,
            mode: Mode::read(settings)?,
            bug: settings.bug()?,
            request_timeout: Duration::from_millis(1_500),
        })
    }

    /// Returns the names of all nodes, this one included, in order.
    ///
    /// # Errors
    /// A name occurs twice.
    pub fn members(&self) -> Result<Vec<NodeName>, ConfigError> {
        let mut names: Vec<NodeName> = self.peers.iter().map(|peer| peer.name.clone()).collect();
        names.push(self.node.clone());
        names.sort();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(ConfigError::Duplicate(pair[0].clone())),
            None => Ok(names),
        }
    }

    /// Checks the rules that the types do not express.
    ///
    /// # Errors
    /// A name occurs twice; the node is to join later, in a mode whose nodes never change; the election times are not above the heartbeat or not a range; a lease could outlast the
    /// time without elections that it relies on; a quorum is larger than the number of copies; the bug does not apply to these options.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.members()?;
        if self.beginning == Beginning::Joins && !matches!(self.mode, Mode::Raft(_)) {
            return Err(ConfigError::Joins(self.mode.name()));
        }
        if let Some([heartbeat, election_min, election_max]) = self.mode.timing()
            && !(heartbeat < election_min && election_min < election_max)
        {
            return Err(ConfigError::Timing { heartbeat, election_min, election_max });
        }
        if let Some(options) = self.mode.raft()
            && options.read_by == ReadBy::Lease
            && options.lease.saturating_add(options.drift_bound) > options.election_max
        {
            return Err(ConfigError::Lease {
                lease: options.lease,
                drift_bound: options.drift_bound,
                election_max: options.election_max,
            });
        }
        if let Mode::Ring(options) = &self.mode
            && options.r.max(options.w) > options.n
        {
            return Err(ConfigError::Quorum { r: options.r, w: options.w, n: options.n });
        }
        Ok(())
    }
}

/// A configuration that contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A node name occurs twice.
    #[error("node {0} is named twice")]
    Duplicate(NodeName),
    /// Nodes of this mode cannot join later.
    #[error("--join is for the mode raft: in the mode {0} the nodes never change")]
    Joins(&'static str),
    /// The times of elections are not in order.
    #[error(
        "heartbeat_ms ({heartbeat:?}) must be below election_min_ms ({election_min:?}), and that below election_max_ms ({election_max:?})"
    )]
    Timing {
        /// Between heartbeats.
        heartbeat: Duration,
        /// Shortest silence.
        election_min: Duration,
        /// Longest silence.
        election_max: Duration,
    },
    /// A lease and its margin are longer than the other nodes wait before they elect a leader.
    #[error(
        "lease_ms ({lease:?}) and drift_bound_ms ({drift_bound:?}) together must be at most election_max_ms ({election_max:?}): no other leader is elected for that long"
    )]
    Lease {
        /// How long a lease lasts.
        lease: Duration,
        /// The margin for clocks.
        drift_bound: Duration,
        /// How long no other leader is elected.
        election_max: Duration,
    },
    /// A quorum of the mode `ring` is larger than the number of copies.
    #[error("r ({r}) and w ({w}) must be at most n ({n}), the number of copies of a key")]
    Quorum {
        /// The read quorum.
        r: usize,
        /// The write quorum.
        w: usize,
        /// The number of copies.
        n: usize,
    },
}

#[cfg(test)]
mod tests {
    use duress_settings::{Request, Values};

    use super::*;
    use crate::offer::offer;

    fn config(mode: &str, options: &[(&str, &str)], bug: Option<&str>) -> Config {
        let request =
            Request { mode: Some(mode.into()), bug: bug.map(str::to_owned), nodes: 5, ..Request::default() };
        let request = options.iter().fold(request, |request, (name, value)| request.with_option(name, value));
        let settings = offer().resolve("store", &request, None).unwrap();
        let address = "127.0.0.1:0".parse().unwrap();
        Config::new("n1".parse().unwrap(), address, address, "data".into(), &settings).unwrap()
    }

    #[test]
    fn every_mode_option_value_and_bug_of_the_offer_is_understood() {
        for mode in &offer().modes {
            let plain = config(&mode.name, &[], None);
            assert_eq!(plain.mode.name(), mode.name);
            plain.validate().unwrap();
            for option in offer().options_of(&mode.name) {
                assert!(option.values.accept(&option.default), "{}", option.name);
                let others: Vec<String> = match &option.values {
                    Values::Words(words) => {
                        words.iter().filter(|word| **word != option.default).cloned().collect()
                    }
                    Values::Whole { max, .. } => vec![max.to_string()],
                    Values::WordsOrWhole { .. } => unreachable!("the store has no such option"),
                };
                for other in others {
                    let changed = config(&mode.name, &[(&option.name, &other)], None);
                    assert_ne!(changed.mode, plain.mode, "{}={other} changes nothing", option.name);
                }
            }
            for bug in offer().bugs.iter().filter(|bug| bug.modes.contains(&mode.name)) {
                let config = config(&mode.name, &[], Some(&bug.name));
                assert_eq!(format!("{:?}", config.bug.unwrap()).to_lowercase(), bug.name.replace('-', ""));
            }
        }
        assert!(
            offer().options.iter().all(|option| offer().modes.iter().any(|m| option.modes.contains(&m.name)))
        );
    }

    #[test]
    fn a_lease_must_end_before_another_node_can_lead() {
        config("raft", &[("reads", "lease")], None).validate().unwrap();
        assert_eq!(
            config("raft", &[("reads", "lease"), ("lease_ms", "401")], None)
                .validate()
                .unwrap_err()
                .to_string(),
            "lease_ms (401ms) and drift_bound_ms (300ms) together must be at most election_max_ms (700ms): no other \
             leader is elected for that long"
        );
        config("raft", &[("reads", "index"), ("lease_ms", "401")], None).validate().unwrap();
    }
}
