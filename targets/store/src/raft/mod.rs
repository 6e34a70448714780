//! The mode `raft`: one consensus group of all nodes, on openraft.
//!
//! - [`types`]: what the log holds.
//! - [`log_store`], [`state_machine`]: what openraft stores.
//! - [`message`], [`network`]: what nodes say to each other.
//! - [`formation`]: how pristine nodes become a cluster.
//! - [`proposer`], [`read_index`]: how a leader writes and reads.
//! - [`lease`]: how it reads without asking anybody.
//! - [`node`]: all of it together, and how any node serves by way of the leader.

pub mod formation;
pub mod lease;
pub mod log_store;
pub mod message;
pub mod network;
pub mod node;
pub mod proposer;
pub mod read_index;
pub mod state_machine;
pub mod types;

pub use node::RaftNode;
