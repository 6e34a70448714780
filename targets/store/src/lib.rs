//! A replicated key-value store that speaks RESP: a system under test.
//!
//! It is a real program, with durable storage and the protocol of Redis, and it knows nothing of the faults that will
//! be injected. In reading order:
//!
//! - `offer`: the modes, options and bugs that a user can choose from.
//! - `config`: the configuration of one node: its name, addresses, peers, data folder, [`Mode`] and perhaps a bug.
//! - `serve`: runs one node until it is asked to stop.
//! - `command`: the commands and queries; `key_values`: the state they act on.
//! - `outcome`: the contract of errors: which requests certainly had no effect, and which may have had one.
//! - `resp`: clients' connections; `node`: the node that serves them, whatever its mode.
//! - `wall_clock`: the time of day.
//! - `raft`: the mode `raft`, consensus; its log, its links and the durable disk are [`duress_consensus`].
//! - `primary`: the mode `primary`, a primary and its replicas.
//! - `sharded`: the mode `sharded`, partitioned keys.
//! - `ring`: the mode `ring`, consistent hashing with quorums.
//! - `bug`: the seeded bugs, each off by default; `early_reads`: one of them, which both modes have.
//!
//! ```no_run
//! use duress_settings::Request;
//! use duress_store::{Config, offer, serve};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let request = Request { mode: Some("raft".into()), nodes: 3, ..Request::default() };
//! let settings = offer().resolve("store", &request, None)?;
//! let (clients, peers) = ("127.0.0.1:6379".parse()?, "127.0.0.1:7379".parse()?);
//! let mut config = Config::new("n1".parse()?, clients, peers, "data/n1".into(), &settings)?;
//! config.peers = vec!["n2=127.0.0.1:7380".parse()?, "n3=127.0.0.1:7381".parse()?];
//! serve(config).await?;
//! # Ok(())
//! # }
//! ```

#![deny(clippy::print_stdout, clippy::print_stderr, clippy::exit)]

mod bug;
mod command;
mod config;
mod early_reads;
mod key_values;
mod node;
mod offer;
mod outcome;
mod primary;
mod raft;
mod resp;
mod ring;
mod serve;
mod sharded;
mod wall_clock;

pub use bug::Bug;
pub use config::{
    Ack, Beginning, Config, Conflict, Failover, Mode, NodeName, Peer, ReadBy, ReadFrom, ReadRepair,
};
pub use offer::offer;
pub use ring::placement::{Member, Ring, place};
pub use serve::{ServeError, serve, serve_until, serve_with_clock};
pub use wall_clock::{SystemClock, WallClock};
