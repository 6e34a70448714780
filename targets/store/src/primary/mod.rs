//! The mode `primary`: one node takes all writes, the others copy them.
//!
//! Without failover the first node by name is the primary. With it, a replica is promoted when a majority has lost the
//! primary. The primary acknowledges a write once it is durable on its own disk and on as many others as `ack` says.
//! Replicas pull the ordered writes, make them durable and then visible, so the primary once had every
//! state that a replica has. A node whose last writes are not the primary's throws everything away and takes a full copy.
//!
//! Where every majority that elects a primary has each acknowledged write, no such write is lost
//! ([`rules::Rules::survives_failover`]). Nor is one that was read: a read waits until all that it has seen is settled, and until
//! a majority has confirmed the primary. Elsewhere neither is waited for, as it would not help.
//!
//! - [`epochs`]: which primary wrote which of the writes.
//! - [`ledger`]: a node's state, its offset and its latest writes, in memory and on disk.
//! - [`rules`]: how many copies a write needs; [`acks`]: how many it has.
//! - [`election`]: which node may be promoted; [`elector`]: the task that decides it.
//! - [`message`]: the messages between nodes.
//! - [`writer`]: the task by which the primary executes writes.
//! - [`herald`]: the task by which it says that it leads.
//! - [`replica`]: the task by which a replica follows the primary.
//! - [`node`]: all of it together.

pub mod acks;
pub mod election;
pub mod elector;
pub mod epochs;
pub mod herald;
pub mod ledger;
pub mod message;
pub mod node;
pub mod replica;
pub mod rules;
pub mod writer;

pub use node::PrimaryNode;
