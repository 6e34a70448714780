//! What one node is told when it starts.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

pub use duress_consensus::{NodeName, Peer};

use crate::bug::Bug;

/// Whose copy answers a read in the mode `primary`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadFrom {
    /// The primary's: replicas forward reads to it.
    #[default]
    Primary,
    /// The copy of whichever node is asked.
    Any,
}

impl FromStr for ReadFrom {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "primary" => Ok(Self::Primary),
            "any" => Ok(Self::Any),
            _ => {
                Err(OptionError::Value { key: "read".into(), given: text.into(), expected: "primary or any" })
            }
        }
    }
}

/// How a node of the mode `raft` makes sure that what it reads is the latest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadBy {
    /// The leader has a quorum confirm it. Linearizable, whatever clocks do.
    #[default]
    Index,
    /// The leader relies on having been confirmed a moment ago, by its wall clock. Linearizable while that clock does
    /// not fall behind the others by more than a bound: see [`crate::raft::lease`].
    Lease,
    /// Not at all: each node answers from its own copy, however old.
    Local,
}

impl ReadBy {
    /// Every way.
    pub const ALL: [Self; 3] = [Self::Index, Self::Lease, Self::Local];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Lease => "lease",
            Self::Local => "local",
        }
    }
}

impl fmt::Display for ReadBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ReadBy {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|way| way.name() == text).ok_or_else(|| OptionError::Value {
            key: "reads".into(),
            given: text.into(),
            expected: "index, lease or local",
        })
    }
}

/// Options of the mode `raft`; the same on every node, since nodes rely on each other's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaftOptions {
    /// How often a leader sends heartbeats.
    pub heartbeat: Duration,
    /// The shortest silence after which a node stands for election. A leader's own lease, `election_max`, comes on
    /// top of it when the node has heard from a leader.
    pub election_min: Duration,
    /// The longest such silence.
    pub election_max: Duration,
    /// Entries after which a snapshot is taken and the log before it purged.
    pub snapshot_every: u64,
    /// How reads are made sure of.
    pub read_by: ReadBy,
    /// How long a leader relies on a quorum that followed it, from the sending of what the quorum acknowledged.
    /// For reads by lease.
    pub lease: Duration,
    /// How far the leader's wall clock may fall behind the other nodes' clocks during a lease without reads becoming
    /// stale. With `lease` at most `election_max`, before which nobody else is elected. For reads by lease.
    pub drift_bound: Duration,
}

impl Default for RaftOptions {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(300),
            election_max: Duration::from_millis(700),
            snapshot_every: 5_000,
            read_by: ReadBy::Index,
            lease: Duration::from_millis(400),
            drift_bound: Duration::from_millis(300),
        }
    }
}

/// Options of the mode `primary`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrimaryOptions {
    /// Whose copy answers reads.
    pub read: ReadFrom,
    /// How many of the latest writes the primary keeps for replicas that fall behind; one that falls behind further
    /// gets a full copy.
    pub log_keep: u64,
}

impl Default for PrimaryOptions {
    fn default() -> Self {
        Self { read: ReadFrom::Primary, log_keep: 20_000 }
    }
}

/// How the nodes replicate, with the options of that way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Consensus: every operation is linearizable, reads too unless asked otherwise; there is progress while a majority
    /// is connected.
    Raft(RaftOptions),
    /// The first node is the primary; the others copy its writes asynchronously. No failover.
    Primary(PrimaryOptions),
}

impl Mode {
    /// The names of all modes.
    pub const NAMES: [&'static str; 2] = ["raft", "primary"];

    /// The name on the command line.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Raft(_) => "raft",
            Self::Primary(_) => "primary",
        }
    }

    /// Sets one option, written `key=value`.
    ///
    /// Mode `raft`: `heartbeat_ms`, `election_min_ms`, `election_max_ms`, `snapshot_every`, `reads` (`index`, `lease`
    /// or `local`), `lease_ms`, `drift_bound_ms`. Mode `primary`: `read` (`primary` or `any`), `log_keep`.
    ///
    /// # Errors
    /// The text has no `=`, this mode has no such option, or the option cannot have that value.
    pub fn set_option(&mut self, option: &str) -> Result<(), OptionError> {
        let (key, value) = option.split_once('=').ok_or_else(|| OptionError::Shape(option.into()))?;
        match self {
            Self::Raft(options) => match key {
                "heartbeat_ms" => options.heartbeat = Duration::from_millis(positive(key, value)?),
                "election_min_ms" => options.election_min = Duration::from_millis(positive(key, value)?),
                "election_max_ms" => options.election_max = Duration::from_millis(positive(key, value)?),
                "snapshot_every" => options.snapshot_every = positive(key, value)?,
                "reads" => options.read_by = value.parse()?,
                "lease_ms" => options.lease = Duration::from_millis(positive(key, value)?),
                "drift_bound_ms" => options.drift_bound = Duration::from_millis(positive(key, value)?),
                _ => {
                    return Err(OptionError::Key {
                        mode: "raft",
                        given: key.into(),
                        known: "heartbeat_ms, election_min_ms, election_max_ms, snapshot_every, reads, lease_ms, \
                                drift_bound_ms",
                    });
                }
            },
            Self::Primary(options) => match key {
                "read" => options.read = value.parse()?,
                "log_keep" => options.log_keep = positive(key, value)?,
                _ => {
                    return Err(OptionError::Key {
                        mode: "primary",
                        given: key.into(),
                        known: "read, log_keep",
                    });
                }
            },
        }
        Ok(())
    }
}

fn positive(key: &str, value: &str) -> Result<u64, OptionError> {
    let wrong =
        || OptionError::Value { key: key.into(), given: value.into(), expected: "a whole number above 0" };
    value.parse().ok().filter(|number| *number > 0).ok_or_else(wrong)
}

/// An option that cannot be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// There is no `=`.
    #[error("\"{0}\" is no option: write key=value")]
    Shape(String),
    /// The mode has no such option.
    #[error("the mode {mode} has no option \"{given}\"; it has {known}")]
    Key {
        /// The mode.
        mode: &'static str,
        /// The option asked for.
        given: String,
        /// The options there are.
        known: &'static str,
    },
    /// The option cannot have that value.
    #[error("the option {key} cannot be \"{given}\"; it takes {expected}")]
    Value {
        /// The option.
        key: String,
        /// The value asked for.
        given: String,
        /// The values it takes.
        expected: &'static str,
    },
}

/// A mode name nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown mode \"{given}\"; the modes are {}", Mode::NAMES.join(", "))]
pub struct ParseModeError {
    given: String,
}

impl FromStr for Mode {
    type Err = ParseModeError;

    /// Parses the name of a mode; its options are the default ones.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "raft" => Ok(Self::Raft(RaftOptions::default())),
            "primary" => Ok(Self::Primary(PrimaryOptions::default())),
            _ => Err(ParseModeError { given: name.into() }),
        }
    }
}

/// Everything one node is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// This node's name.
    pub node: NodeName,
    /// Where it listens for clients.
    pub listen: SocketAddr,
    /// Where it listens for its peers.
    pub peer_listen: SocketAddr,
    /// The other nodes, in any order.
    pub peers: Vec<Peer>,
    /// The folder of its data; made if missing.
    pub data: PathBuf,
    /// How the nodes replicate.
    pub mode: Mode,
    /// The seeded bug, if any.
    pub bug: Option<Bug>,
    /// How long a request may take before it is answered with an error.
    pub request_timeout: Duration,
}

impl Config {
    /// A node with no peers, in the mode `raft`, without a bug.
    pub fn new(node: NodeName, listen: SocketAddr, peer_listen: SocketAddr, data: PathBuf) -> Self {
        Self {
            node,
            listen,
            peer_listen,
            peers: Vec::new(),
            data,
            mode: Mode::Raft(RaftOptions::default()),
            bug: None,
            request_timeout: Duration::from_millis(1_500),
        }
    }

    /// Replaces the mode.
    #[must_use]
    pub fn with_mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Adds another node.
    #[must_use]
    pub fn with_peer(mut self, name: NodeName, address: SocketAddr) -> Self {
        self.peers.push(Peer { name, address });
        self
    }

    /// Switches a seeded bug on.
    #[must_use]
    pub fn with_bug(mut self, bug: Bug) -> Self {
        self.bug = Some(bug);
        self
    }

    /// The names of all nodes, this one included, in order.
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

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// A name occurs twice; the election times are not above the heartbeat or not a range; a lease could outlast the
    /// promise it relies on; the bug does not exist in this mode.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.members()?;
        if let Mode::Raft(options) = &self.mode
            && !(options.heartbeat < options.election_min && options.election_min < options.election_max)
        {
            return Err(ConfigError::Timing {
                heartbeat: options.heartbeat,
                election_min: options.election_min,
                election_max: options.election_max,
            });
        }
        if let Mode::Raft(options) = &self.mode
            && options.read_by == ReadBy::Lease
            && options.lease.saturating_add(options.drift_bound) > options.election_max
        {
            return Err(ConfigError::Lease {
                lease: options.lease,
                drift_bound: options.drift_bound,
                election_max: options.election_max,
            });
        }
        match (&self.mode, self.bug) {
            (Mode::Primary(_), Some(bug)) if bug != Bug::FsyncSkipped => {
                Err(ConfigError::Bug { bug, mode: self.mode.name() })
            }
            (Mode::Raft(RaftOptions { read_by: ReadBy::Local, .. }), Some(bug @ Bug::StaleLeaderRead)) => {
                Err(ConfigError::Bug { bug, mode: "raft with reads=local" })
            }
            _ => Ok(()),
        }
    }
}

/// A configuration that contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A node name occurs twice.
    #[error("the node {0} is named twice")]
    Duplicate(NodeName),
    /// The times of the mode `raft` are not in order.
    #[error(
        "heartbeat ({heartbeat:?}) must be below election_min ({election_min:?}), and that below election_max ({election_max:?})"
    )]
    Timing {
        /// Between heartbeats.
        heartbeat: Duration,
        /// Shortest silence.
        election_min: Duration,
        /// Longest silence.
        election_max: Duration,
    },
    /// A lease and its margin are longer than other nodes wait before they elect somebody.
    #[error(
        "lease ({lease:?}) and drift_bound ({drift_bound:?}) together must be at most election_max ({election_max:?}), before which nobody else is elected"
    )]
    Lease {
        /// How long a lease lasts.
        lease: Duration,
        /// The margin for clocks.
        drift_bound: Duration,
        /// How long nobody else is elected.
        election_max: Duration,
    },
    /// The bug is a defect of another mode.
    #[error("the bug {bug} does not exist in the mode {mode}")]
    Bug {
        /// The bug.
        bug: Bug,
        /// The mode.
        mode: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_list_what_is_accepted() {
        assert_eq!(
            "paxos".parse::<Mode>().unwrap_err().to_string(),
            "unknown mode \"paxos\"; the modes are raft, primary"
        );
        let bug = "none".parse::<Bug>().unwrap_err().to_string();
        assert!(Bug::ALL.iter().all(|known| bug.contains(known.name())), "{bug}");
        let mut mode: Mode = "primary".parse().unwrap();
        assert_eq!(
            mode.set_option("read=nearest").unwrap_err().to_string(),
            "the option read cannot be \"nearest\"; it takes primary or any"
        );
        assert_eq!(
            mode.set_option("quorum=3").unwrap_err().to_string(),
            "the mode primary has no option \"quorum\"; it has read, log_keep"
        );
        mode.set_option("read=any").unwrap();
        assert_eq!(mode, Mode::Primary(PrimaryOptions { read: ReadFrom::Any, ..Default::default() }));
    }

    #[test]
    fn a_lease_must_end_before_anybody_else_can_lead() {
        let address = "127.0.0.1:0".parse().unwrap();
        let config = |options: &[&str]| {
            let mut mode: Mode = "raft".parse().unwrap();
            options.iter().for_each(|option| mode.set_option(option).unwrap());
            Config::new("n1".parse().unwrap(), address, address, "data".into()).with_mode(mode)
        };
        config(&["reads=lease"]).validate().unwrap();
        assert_eq!(
            config(&["reads=lease", "lease_ms=401"]).validate().unwrap_err().to_string(),
            "lease (401ms) and drift_bound (300ms) together must be at most election_max (700ms), before which nobody \
             else is elected"
        );
        config(&["reads=index", "lease_ms=401"]).validate().unwrap();
        let error = config(&["reads=local"]).with_bug(Bug::StaleLeaderRead).validate().unwrap_err();
        assert_eq!(
            error.to_string(),
            "the bug stale-leader-read does not exist in the mode raft with reads=local"
        );
        assert_eq!(
            "raft".parse::<Mode>().unwrap().set_option("reads=any").unwrap_err().to_string(),
            "the option reads cannot be \"any\"; it takes index, lease or local"
        );
    }
}
