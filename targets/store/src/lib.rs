//! A replicated key-value store that speaks RESP: a system under test.
//!
//! It is a real program, with durable storage and a protocol any Redis client speaks, and it knows nothing
//! of what will be done to it. In reading order:
//!
//! - [`config`]: what one node is told: its name, addresses, peers, data folder, [`Mode`] and perhaps a [`Bug`].
//! - [`serve`](mod@serve): runs one node until it is asked to stop.
//! - [`command`]: the commands and queries, and the state they act on.
//! - [`outcome`]: the contract of errors: what certainly did not happen, and what may have.
//! - [`resp`]: clients' connections; [`node`]: what they are served by.
//! - [`wall_clock`]: the time of day.
//! - [`raft`]: the mode `raft`, consensus; its log, its links and the durable disk are [`duress_consensus`].
//! - [`primary`]: the mode `primary`, asynchronous replication.
//! - [`bug`]: the seeded defects, each off unless asked for.
//!
//! ```no_run
//! use duress_store::{Config, Mode};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::new("n1".parse()?, "127.0.0.1:6379".parse()?, "127.0.0.1:7379".parse()?, "data/n1".into())
//!     .with_mode("raft".parse::<Mode>()?)
//!     .with_peer("n2".parse()?, "127.0.0.1:7380".parse()?)
//!     .with_peer("n3".parse()?, "127.0.0.1:7381".parse()?);
//! duress_store::serve(config).await?;
//! # Ok(())
//! # }
//! ```

pub mod bug;
pub mod command;
pub mod config;
pub mod node;
pub mod outcome;
pub mod primary;
pub mod raft;
pub mod resp;
pub mod serve;
pub mod wall_clock;

pub use bug::Bug;
pub use config::{Config, Mode, NodeName, Peer, ReadBy, ReadFrom};
pub use serve::{ServeError, serve, serve_until, serve_with_clock};
pub use wall_clock::{SystemClock, WallClock};
