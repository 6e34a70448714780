//! A replicated log broker that speaks the Kafka protocol: a subject made to be broken.
//!
//! It is a real program, with durable storage and a protocol any Kafka client speaks, and it knows nothing of what will
//! be done to it. In reading order:
//!
//! - [`offer`](mod@offer): the options and bugs that a user can choose from.
//! - [`config`]: the configuration of one broker: its name, addresses, peers, data folder, [`Options`] and perhaps a [`Bug`].
//! - [`serve`](mod@serve): runs one broker until it is asked to stop.
//! - [`cluster`]: what the brokers agree on, by consensus: who is there, who leads what, who is in sync.
//! - [`replica`]: copies of partitions: leading, following, acknowledging.
//! - [`log`]: the log of one partition on disk.
//! - [`group`]: consumer groups and their committed offsets; [`coordination`]: their coordinator at work.
//! - [`wire`]: clients' requests; [`broker`]: what they are served by.
//! - [`topic_settings`]: what a topic was told when it was made.
//! - [`bug`]: the seeded defects, each off unless asked for.
//!
//! ```no_run
//! use duress_broker::{Config, offer, serve};
//! use duress_settings::Request;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let request = Request { nodes: 3, ..Request::default() }.with_option("min-insync", "2");
//! let settings = offer().resolve("broker", &request, None)?;
//! let (clients, peers) = ("127.0.0.1:9092".parse()?, "127.0.0.1:9192".parse()?);
//! let mut config = Config::new("n1".parse()?, clients, peers, "data/n1".into(), &settings)?;
//! config.peers = vec!["n2=127.0.0.1:9193".parse()?, "n3=127.0.0.1:9194".parse()?];
//! serve(config).await?;
//! # Ok(())
//! # }
//! ```

#![deny(clippy::print_stdout, clippy::print_stderr, clippy::exit)]

pub mod broker;
pub mod bug;
pub mod cluster;
pub mod config;
pub mod coordination;
pub mod group;
pub mod log;
pub mod offer;
pub mod replica;
pub mod serve;
pub mod topic_settings;
pub mod wire;

pub use bug::Bug;
pub use config::{Config, ConfigError, NodeName, Options, Peer};
pub use offer::offer;
pub use serve::{ServeError, serve, serve_until};
