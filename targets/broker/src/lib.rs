//! A replicated log broker that speaks the Kafka protocol: a subject made to be broken.
//!
//! It is a real program, with durable storage and the protocol of Kafka, and it knows nothing of the faults that will be
//! injected. In reading order:
//!
//! - `offer`: the options and bugs that a user can choose from.
//! - `config`: the configuration of one broker: its name, addresses, peers, data folder, [`Options`] and perhaps a bug.
//! - `serve`: runs one broker until it is asked to stop.
//! - `cluster`: the state that the brokers agree on by consensus: live brokers, topics, leaders, in-sync sets.
//! - `replica`: copies of partitions: leading, following, acknowledging.
//! - [`log`]: the log of one partition on disk.
//! - [`group`]: consumer groups and their committed offsets; [`transaction`]: transactions of producers; `coordination`: the
//!   tasks that run their coordinators.
//! - `wire`: clients' requests; `broker`: the broker that serves them.
//! - `topic_settings`: the settings of a topic.
//! - `bug`: the seeded bugs, each off by default.
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

mod broker;
mod bug;
mod cluster;
mod config;
mod coordination;
pub mod group;
mod internal;
pub mod log;
mod offer;
mod replica;
mod serve;
mod topic_settings;
pub mod transaction;
mod wire;

pub use bug::Bug;
pub use config::{Config, ConfigError, NodeName, Options, Peer};
pub use offer::offer;
pub use serve::{ServeError, serve, serve_until};
