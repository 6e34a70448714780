//! The configuration of one broker.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use duress_consensus::{NodeName, Peer};
use duress_settings::{Settings, SettingsError};

use crate::bug::Bug;
use crate::cluster::BrokerId;
use crate::topic_settings::Toggle;

/// When appended records are made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// Before they are acknowledged or served.
    Always,
    /// When this long has passed since the last time.
    Every(Duration),
    /// When the kernel writes them back.
    Never,
}

impl Fsync {
    fn read(settings: &Settings, name: &str) -> Result<Self, SettingsError> {
        match settings.option(name) {
            Some("always") => Ok(Self::Always),
            Some("never") => Ok(Self::Never),
            _ => settings.millis(name).map(Self::Every),
        }
    }
}

/// The options of the broker; the same on every broker, since brokers rely on each other's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The default number of replicas of a topic; never more than there are brokers.
    pub replication: u16,
    /// How many replicas, the leader included, must be in sync for a write with `acks=all`, where the topic does not
    /// say.
    pub min_insync: u16,
    /// Whether a replica that is not in sync may be elected when no other is there, where the topic does not say.
    pub unclean: Toggle,
    /// When records are made durable.
    pub fsync: Fsync,
    /// The default number of partitions of a topic.
    pub partitions: u16,
    /// Partitions of the topic that holds committed offsets.
    pub offsets_partitions: u16,
    /// Whether asking for a topic that does not exist makes it.
    pub auto_create: Toggle,
    /// How long a follower may be behind its leader before it is out of sync.
    pub lag_max: Duration,
    /// How long the controller waits for a broker's heartbeat before it fences the broker.
    pub session: Duration,
    /// How often the leader of the controllers sends heartbeats.
    pub heartbeat: Duration,
    /// The shortest silence after which a controller starts an election.
    pub election_min: Duration,
    /// The longest such silence.
    pub election_max: Duration,
    /// Size at which a segment is closed, bytes, where the topic does not say.
    pub segment_bytes: u64,
    /// How long records are kept, unless the topic overrides it; `None` keeps them for ever.
    pub retention: Option<Duration>,
    /// The size above which the oldest segments of a partition are removed, bytes, unless the topic overrides
    /// it; `None` lets it grow.
    pub retention_bytes: Option<u64>,
    /// How often the logs are cleaned of old records.
    pub cleanup_every: Duration,
    /// How long a group waits for its first members before partitions are assigned.
    pub rebalance_delay: Duration,
}

impl Options {
    fn read(settings: &Settings) -> Result<Self, SettingsError> {
        const UNLIMITED: &str = "-1";
        Ok(Self {
            replication: settings.whole("replication")?,
            min_insync: settings.whole("min-insync")?,
            unclean: settings.word("unclean")?,
            fsync: Fsync::read(settings, "fsync")?,
            partitions: settings.whole("partitions")?,
            offsets_partitions: settings.whole("offsets-partitions")?,
            auto_create: settings.word("auto-create")?,
            lag_max: settings.millis("lag-ms")?,
            session: settings.millis("session-ms")?,
            heartbeat: settings.millis("heartbeat-ms")?,
            election_min: settings.millis("election-min-ms")?,
            election_max: settings.millis("election-max-ms")?,
            segment_bytes: settings.whole("segment-bytes")?,
            retention: settings.whole_unless("retention-ms", UNLIMITED)?.map(Duration::from_millis),
            retention_bytes: settings.whole_unless("retention-bytes", UNLIMITED)?,
            cleanup_every: settings.millis("cleanup-ms")?,
            rebalance_delay: settings.millis("rebalance-delay-ms")?,
        })
    }
}

/// The configuration of one broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// This broker's name.
    pub node: NodeName,
    /// The address on which it listens for clients.
    pub listen: SocketAddr,
    /// The address that clients are to connect to.
    pub advertise: SocketAddr,
    /// The address on which it listens for the other brokers.
    pub peer_listen: SocketAddr,
    /// The other brokers, in any order.
    pub peers: Vec<Peer>,
    /// The folder of its data; made if missing.
    pub data: PathBuf,
    /// Its options.
    pub options: Options,
    /// The seeded bug, if any.
    pub bug: Option<Bug>,
}

impl Config {
    /// Returns a broker without peers, run with `settings`, whose clients connect to its listening address.
    ///
    /// # Errors
    /// The settings are not those of the [`offer`](crate::offer()), as when a plan was edited by hand.
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
            advertise: listen,
            peer_listen,
            peers: Vec::new(),
            data,
            options: Options::read(settings)?,
            bug: settings.bug()?,
        })
    }

    /// Whether this is the broker with that bug.
    pub fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// Returns the names of all brokers, this one included, in order.
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
    /// A name occurs twice, the election times are not above the heartbeat or not a range, or clients have
    /// no address to connect to.
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

    /// Returns the number by which the protocol knows a broker: its place in the order of names, from 1.
    pub fn broker_id(members: &[NodeName], name: &NodeName) -> BrokerId {
        let place = members.binary_search(name).expect("members are all brokers, in order");
        BrokerId(i32::try_from(place).expect("there are few brokers") + 1)
    }
}

/// A configuration that contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A name occurs twice.
    #[error("broker {0} is named twice")]
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
    #[error("clients cannot connect to {address}: give an address with --advertise ADDRESS:PORT")]
    Advertise {
        /// The address.
        address: SocketAddr,
    },
}

#[cfg(test)]
pub(crate) mod tests {
    use duress_settings::{Request, Values};

    use super::*;
    use crate::offer::offer;

    pub(crate) fn config(options: &[(&str, &str)], bug: Option<&str>) -> Config {
        let request = Request { bug: bug.map(str::to_owned), nodes: 1, ..Request::default() };
        let request = options.iter().fold(request, |request, (name, value)| request.with_option(name, value));
        let settings = offer().resolve("broker", &request, None).unwrap();
        let address = "127.0.0.1:0".parse().unwrap();
        Config::new("n1".parse().unwrap(), address, address, "data".into(), &settings).unwrap()
    }

    #[test]
    fn every_option_value_and_bug_of_the_offer_is_understood() {
        let plain = config(&[], None);
        plain.validate().unwrap();
        for option in &offer().options {
            assert!(option.values.accept(&option.default), "{}", option.name);
            let mut others = match &option.values {
                Values::Words(words) => words.clone(),
                Values::Whole { max, .. } => vec![max.to_string()],
                Values::WordsOrWhole { words, min, .. } => [words.clone(), vec![min.to_string()]].concat(),
            };
            others.retain(|other| *other != option.default);
            for other in others {
                let changed = config(&[(&option.name, &other)], None);
                assert_ne!(changed.options, plain.options, "{}={other} changes nothing", option.name);
            }
        }
        for bug in &offer().bugs {
            let known = config(&[], Some(&bug.name)).bug.unwrap();
            assert_eq!(format!("{known:?}").to_lowercase(), bug.name.replace('-', ""));
        }
    }

    #[test]
    fn options_have_their_units() {
        let options =
            config(&[("fsync", "250"), ("retention-ms", "-1"), ("retention-bytes", "5")], None).options;
        assert_eq!(options.fsync, Fsync::Every(Duration::from_millis(250)));
        assert_eq!((options.retention, options.retention_bytes), (None, Some(5)));
    }

    #[test]
    fn clients_need_one_address() {
        let any = "0.0.0.0:9092".parse().unwrap();
        let config = Config { advertise: any, ..config(&[], None) };
        assert!(matches!(config.validate(), Err(ConfigError::Advertise { .. })));
    }
}
