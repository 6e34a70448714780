//! The mode `sharded`: the keys are partitioned over shards, and each shard is a consensus group of all nodes.
//!
//! - [`slots`]: the 16384 hash slots of Redis Cluster, and sets of them.
//! - [`moves`]: a move of slots from one shard to another, step by step; its steps are commands of the shards' logs.
//! - [`shard`]: the replicated state of a shard: its keys, the slots that it holds, and its part of a move.
//! - [`directory`]: which shard has which slot, as shard 0 keeps it beside its keys.
//! - [`routed`]: the parts of a request that go to different shards, and their results put together.
//! - [`router`]: how any node has the shards answer a request.
//! - [`mover`]: the task that carries out moves, at the leader of shard 0.
//! - [`node`]: all of it together.
//! - [`cluster`]: the answers to `CLUSTER`.

pub mod cluster;
pub mod directory;
pub mod mover;
pub mod moves;
pub mod node;
pub mod routed;
pub mod router;
pub mod shard;
pub mod slots;

pub use node::ShardedNode;
