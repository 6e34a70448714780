//! The mode `raft`: one consensus group of all nodes, on openraft.
//!
//! - [`types`]: the replicated state; [`message`]: requests forwarded to the leader.
//! - [`proposer`], [`read_index`]: how a leader writes and reads.
//! - [`lease`]: how it reads without asking other nodes.
//! - [`node`]: all of it together, and how any node serves clients through the leader.

pub mod lease;
pub mod message;
pub mod node;
pub mod proposer;
pub mod read_index;
pub mod types;

pub use node::RaftNode;
