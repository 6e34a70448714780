//! The mode `ring`: consistent hashing with copies, without a leader.
//!
//! Each key has `n` owners: the next nodes clockwise from its place on a ring of hashes. Any node coordinates any request. A
//! write asks owners for the highest version of its key, gives the new value a higher one, and is acknowledged once `w`
//! owners have it on disk; a read asks `r` owners and returns the value of the highest version. With `r + w > n` they meet in
//! an owner. With `read_repair=sync` a read does not return before `w` owners have what it returns, so that no later read
//! returns less: the register of Attiya, Bar-Noy and Dolev ("Sharing memory robustly in message-passing systems", J. ACM
//! 1995), for several writers as Lynch and Shvartsman have it ("Robust emulation of shared memory using dynamic
//! quorum-acknowledged broadcasts", FTCS 1997). The rest is as in "Dynamo: Amazon's highly available key-value store" (SOSP
//! 2007). A deleted key keeps a tombstone for ever.
//!
//! So it is with `conflict=lww`: of two writes of a key the higher version wins. With `conflict=siblings` no versions are asked for.
//! One owner executes a write on its copy, in place of what the client says it has seen, and the copy that this makes goes to the
//! others, each of which merges it with its own. Writes that had not seen each other leave values side by side.
//!
//! - [`placement`]: the owners of a key.
//! - [`version`]: versions of keys, none of which is given out twice.
//! - [`vector`] and [`siblings`]: version vectors, and the values of a key that were written without knowledge of each other.
//! - [`versioned`]: a copy of a key, and what becomes of two of them.
//! - [`copies`]: a node's copies and hints, in memory and on disk.
//! - [`message`]: the messages between nodes.
//! - [`quorum`]: asks the owners of a key, or stands-in, until enough have answered.
//! - [`coordinator`]: clients' reads and writes.
//! - [`merkle`]: digests of keys and stamps, from which two nodes find what differs between them.
//! - [`upkeep`]: the tasks by which copies converge: repair, hinted hand-off, and anti-entropy.
//! - [`activity`]: counters of all this, for `INFO`.
//! - [`node`]: all of it together.

pub mod activity;
pub mod coordinator;
pub mod copies;
pub mod merkle;
pub mod message;
pub mod node;
pub mod placement;
pub mod quorum;
pub mod siblings;
pub mod upkeep;
pub mod vector;
pub mod version;
pub mod versioned;

pub use node::RingNode;
