//! The mode `raft`: one consensus group of all nodes, on openraft.
//!
//! - [`types`]: what the log holds and what it does to the state; [`message`]: what nodes forward to the leader.
//! - [`proposer`], [`read_index`]: how a leader writes and reads.
//! - [`lease`]: how it reads without asking anybody.
//! - [`node`]: all of it together, and how any node serves by way of the leader.

pub mod lease;
pub mod message;
pub mod node;
pub mod proposer;
pub mod read_index;
pub mod types;

pub use node::RaftNode;
