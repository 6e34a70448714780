//! The mode `primary`: one node takes all writes, the others copy them asynchronously.
//!
//! The first node by name is the primary; there is no failover. It acknowledges a write once it is durable on its own
//! disk. Replicas pull the ordered writes, make them durable and then visible, so the primary once had every
//! state that a replica has.
//!
//! - [`ledger`]: a node's state, its offset and its latest writes, in memory and on disk.
//! - [`message`]: the messages between nodes.
//! - [`writer`]: the task by which the primary executes writes.
//! - [`replica`]: the task by which a replica follows the primary.
//! - [`node`]: all of it together.

pub mod ledger;
pub mod message;
pub mod node;
pub mod replica;
pub mod writer;

pub use node::PrimaryNode;
