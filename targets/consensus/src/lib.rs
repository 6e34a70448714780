//! Consensus for our subjects: a durable log and state machine under openraft, and links between nodes.
//!
//! A subject brings its own state ([`state_machine::State`]), its own messages beside those of the consensus, and its
//! own rules for proposals and reads. In reading order:
//!
//! - [`name`]: the names of nodes, and where they listen for each other.
//! - [`peer`]: nodes' connections to each other; [`message`]: requests and answers.
//! - [`disk`]: durable group commit.
//! - [`types`](mod@types): the entries of the log.
//! - [`log_store`]: the log and the vote; [`state_machine`]: the state and its snapshots.
//! - [`network`]: consensus messages over the links; [`formation`]: how pristine nodes become a cluster.
//! - [`failure`]: a consensus that has stopped by itself; [`signals`]: SIGTERM and SIGINT.

#![deny(clippy::print_stdout, clippy::print_stderr, clippy::exit)]

pub mod disk;
pub mod failure;
pub mod formation;
pub mod log_store;
pub mod message;
pub mod name;
pub mod network;
pub mod peer;
pub mod signals;
pub mod state_machine;
pub mod types;

pub use name::{NodeName, ParseNodeNameError, ParsePeerError, Peer};
