//! A replicated log broker that speaks the Kafka protocol: a subject made to be broken.
//!
//! It is a real program, with durable storage and a protocol any Kafka client speaks, and it knows nothing of what will
//! be done to it. In reading order:
//!
//! - [`config`]: what one broker is told: its name, addresses, peers, data folder, [`Options`] and perhaps a [`Bug`].
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
//! use duress_broker::Config;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let mut config =
//!     Config::new("n1".parse()?, "127.0.0.1:9092".parse()?, "127.0.0.1:9192".parse()?, "data/n1".into());
//! config.peers = vec!["n2=127.0.0.1:9193".parse()?, "n3=127.0.0.1:9194".parse()?];
//! config.options.set("min-insync=2")?;
//! duress_broker::serve(config).await?;
//! # Ok(())
//! # }
//! ```

pub mod broker;
pub mod bug;
pub mod cluster;
pub mod config;
pub mod coordination;
pub mod group;
pub mod log;
pub mod replica;
pub mod serve;
pub mod topic_settings;
pub mod wire;

pub use bug::Bug;
pub use config::{Config, ConfigError, NodeName, OptionError, Options, Peer};
pub use serve::{ServeError, serve, serve_until};
