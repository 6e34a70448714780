//! What one broker is told when it starts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use duress_consensus::{NodeName, Peer};

use crate::bug::Bug;
use crate::cluster::BrokerId;
use crate::topic_settings::Switch;

/// When appended records are made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// Before anybody is told that they are there.
    Always,
    /// When this long has passed since the last time.
    Every(Duration),
    /// When the kernel likes.
    Never,
}

/// What an operator can choose; the same on every broker, since brokers rely on each other's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Replicas of a topic that does not say how many; never more than there are brokers.
    pub replication: u16,
    /// How many replicas, the leader included, must be in sync for a write with `acks=all`, where the topic does not
    /// say.
    pub min_insync: u16,
    /// Whether a replica that is not in sync may be elected when no other is there, where the topic does not say.
    pub unclean: Switch,
    /// When records are made durable.
    pub fsync: Fsync,
    /// Partitions of a topic that does not say how many.
    pub partitions: u16,
    /// Partitions of the topic that holds committed offsets.
    pub offsets_partitions: u16,
    /// Whether asking for a topic that does not exist makes it.
    pub auto_create: Switch,
    /// How long a follower may be behind its leader before it is taken for out of sync.
    pub lag_max: Duration,
    /// How long the controller waits for a broker's heartbeat before it takes the broker for gone.
    pub session: Duration,
    /// How often the leader of the controllers sends heartbeats.
    pub heartbeat: Duration,
    /// The shortest silence after which a controller stands for election.
    pub election_min: Duration,
    /// The longest such silence.
    pub election_max: Duration,
    /// Size at which a segment is closed, bytes, where the topic does not say.
    pub segment_bytes: u64,
    /// How long records are kept, where the topic does not say; none keeps them for ever.
    pub retention: Option<Duration>,
    /// How large a partition may grow before its oldest segments go, bytes, where the topic does not say; none lets it
    /// grow.
    pub retention_bytes: Option<u64>,
    /// How often logs are looked at for what may go.
    pub cleanup_every: Duration,
    /// How long a group waits for its first members before they are assigned anything.
    pub rebalance_delay: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            replication: 3,
            min_insync: 1,
            unclean: Switch::Off,
            fsync: Fsync::Always,
            partitions: 1,
            offsets_partitions: 3,
            auto_create: Switch::On,
            lag_max: Duration::from_millis(2_000),
            session: Duration::from_millis(1_000),
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(300),
            election_max: Duration::from_millis(700),
            segment_bytes: 64 << 20,
            retention: Some(Duration::from_secs(7 * 24 * 3600)),
            retention_bytes: None,
            cleanup_every: Duration::from_secs(5),
            rebalance_delay: Duration::from_millis(300),
        }
    }
}

impl Options {
    /// The names of all options.
    pub const NAMES: &'static str = "replication, min-insync, unclean, fsync, partitions, offsets-partitions, \
                                     auto-create, lag-ms, session-ms, heartbeat-ms, election-min-ms, \
                                     election-max-ms, segment-bytes, retention-ms, retention-bytes, cleanup-ms, \
                                     rebalance-delay-ms";

    /// Sets one option, written `key=value`.
    ///
    /// # Errors
    /// The text has no `=`, there is no such option, or the option cannot have that value.
    pub fn set(&mut self, option: &str) -> Result<(), OptionError> {
        let (key, value) = option.split_once('=').ok_or_else(|| OptionError::Shape(option.into()))?;
        let given = Given { key, value };
        match key {
            "replication" => self.replication = given.count()?,
            "min-insync" => self.min_insync = given.count()?,
            "unclean" => self.unclean = given.switch()?,
            "fsync" => self.fsync = given.fsync()?,
            "partitions" => self.partitions = given.count()?,
            "offsets-partitions" => self.offsets_partitions = given.count()?,
            "auto-create" => self.auto_create = given.switch()?,
            "lag-ms" => self.lag_max = given.millis()?,
            "session-ms" => self.session = given.millis()?,
            "heartbeat-ms" => self.heartbeat = given.millis()?,
            "election-min-ms" => self.election_min = given.millis()?,
            "election-max-ms" => self.election_max = given.millis()?,
            "segment-bytes" => self.segment_bytes = given.positive()?,
            "retention-ms" => self.retention = given.unless_unlimited()?.map(Duration::from_millis),
            "retention-bytes" => self.retention_bytes = given.unless_unlimited()?,
            "cleanup-ms" => self.cleanup_every = given.millis()?,
            "rebalance-delay-ms" => self.rebalance_delay = given.millis()?,
            _ => return Err(OptionError::Key { given: key.into() }),
        }
        Ok(())
    }
}

/// One option as it was given.
struct Given<'a> {
    key: &'a str,
    value: &'a str,
}

impl Given<'_> {
    fn wrong(&self, expected: &'static str) -> OptionError {
        OptionError::Value { key: self.key.into(), given: self.value.into(), expected }
    }

    fn positive(&self) -> Result<u64, OptionError> {
        let number = self.value.parse().ok().filter(|number| *number > 0);
        number.ok_or_else(|| self.wrong("a whole number above 0"))
    }

    fn count(&self) -> Result<u16, OptionError> {
        let number = self.value.parse().ok().filter(|number| (1..=1_000).contains(number));
        number.ok_or_else(|| self.wrong("a whole number from 1 to 1000"))
    }

    fn millis(&self) -> Result<Duration, OptionError> {
        self.positive().map(Duration::from_millis)
    }

    fn unless_unlimited(&self) -> Result<Option<u64>, OptionError> {
        if self.value == "-1" {
            return Ok(None);
        }
        self.positive().map(Some).map_err(|_| self.wrong("a whole number above 0, or -1 for no limit"))
    }

    fn switch(&self) -> Result<Switch, OptionError> {
        match self.value {
            "on" => Ok(Switch::On),
            "off" => Ok(Switch::Off),
            _ => Err(self.wrong("on or off")),
        }
    }

    fn fsync(&self) -> Result<Fsync, OptionError> {
        match self.value {
            "always" => Ok(Fsync::Always),
            "never" => Ok(Fsync::Never),
            millis => {
                let every = millis.parse().ok().filter(|every| *every > 0);
                every
                    .map(|every| Fsync::Every(Duration::from_millis(every)))
                    .ok_or_else(|| self.wrong("always, never or a number of milliseconds"))
            }
        }
    }
}

/// An option that cannot be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// There is no `=`.
    #[error("\"{0}\" is no option: write key=value")]
    Shape(String),
    /// There is no such option.
    #[error("the broker has no option \"{given}\"; it has {}", Options::NAMES)]
    Key {
        /// The option asked for.
        given: String,
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

/// Everything one broker is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// This broker's name.
    pub node: NodeName,
    /// Where it listens for clients.
    pub listen: SocketAddr,
    /// Where clients are told to connect.
    pub advertise: SocketAddr,
    /// Where it listens for the other brokers.
    pub peer_listen: SocketAddr,
    /// The other brokers, in any order.
    pub peers: Vec<Peer>,
    /// The folder of its data; made if missing.
    pub data: PathBuf,
    /// What the operator chose.
    pub options: Options,
    /// The seeded bug, if any.
    pub bug: Option<Bug>,
}

impl Config {
    /// A broker with no peers and the default options, without a bug, whose clients connect where it listens.
    pub fn new(node: NodeName, listen: SocketAddr, peer_listen: SocketAddr, data: PathBuf) -> Self {
        Self {
            node,
            listen,
            advertise: listen,
            peer_listen,
            peers: Vec::new(),
            data,
            options: Options::default(),
            bug: None,
        }
    }

    /// Whether this is the broker with that bug.
    pub fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// The names of all brokers, this one included, in order.
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
    /// A name occurs twice, the election times are not above the heartbeat or not a range, or clients are told to
    /// connect nowhere.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.members()?;
        let Options { heartbeat, election_min, election_max, .. } = self.options;
        if !(heartbeat < election_min && election_min < election_max) {
            return Err(ConfigError::Timing { heartbeat, election_min, election_max });
        }
        if self.advertise.ip().is_unspecified() {
            return Err(ConfigError::Advertise { address: self.advertise });
        }
        Ok(())
    }

    /// The number by which the protocol knows a broker: its place in the order of names, from 1.
    pub fn broker_id(members: &[NodeName], name: &NodeName) -> BrokerId {
        let place = members.binary_search(name).expect("members are all brokers, in order");
        BrokerId(i32::try_from(place).expect("there are few brokers") + 1)
    }
}

/// A configuration that contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A name occurs twice.
    #[error("the broker {0} is named twice")]
    Duplicate(NodeName),
    /// The times of the controllers are not in order.
    #[error(
        "heartbeat-ms ({heartbeat:?}) must be below election-min-ms ({election_min:?}), and that below election-max-ms ({election_max:?})"
    )]
    Timing {
        /// Between heartbeats.
        heartbeat: Duration,
        /// Shortest silence.
        election_min: Duration,
        /// Longest silence.
        election_max: Duration,
    },
    /// Clients cannot connect to every address at once.
    #[error("clients cannot be told to connect to {address}; say where with --advertise ADDRESS:PORT")]
    Advertise {
        /// Where they would be told to.
        address: SocketAddr,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_say_what_they_take() {
        let mut options = Options::default();
        for option in ["min-insync=2", "unclean=on", "fsync=never", "retention-ms=-1", "session-ms=900"] {
            options.set(option).unwrap();
        }
        assert_eq!((options.min_insync, options.unclean, options.fsync), (2, Switch::On, Fsync::Never));
        assert_eq!((options.retention, options.session), (None, Duration::from_millis(900)));
        options.set("fsync=250").unwrap();
        assert_eq!(options.fsync, Fsync::Every(Duration::from_millis(250)));
        for (wrong, says) in [
            ("unclean=maybe", "the option unclean cannot be \"maybe\"; it takes on or off"),
            ("acks=all", "the broker has no option \"acks\"; it has replication, min-insync"),
            ("fsync", "\"fsync\" is no option: write key=value"),
        ] {
            let error = options.set(wrong).unwrap_err().to_string();
            assert!(error.starts_with(says), "{error}");
        }
    }

    #[test]
    fn every_option_that_is_named_exists() {
        for name in Options::NAMES.split(", ") {
            let error = Options::default().set(&format!("{name}=?")).unwrap_err();
            assert!(matches!(error, OptionError::Value { .. }), "{name}: {error}");
        }
    }

    #[test]
    fn clients_need_one_address() {
        let any = "0.0.0.0:9092".parse().unwrap();
        let config = Config::new("n1".parse().unwrap(), any, any, "data".into());
        assert!(matches!(config.validate(), Err(ConfigError::Advertise { .. })));
    }
}
