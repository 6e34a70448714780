//! The topics, a file for each.

pub mod cap;
pub mod computation;
pub mod delivery;
pub mod quorum;
pub mod replication;
pub mod sharding;
pub mod streams;
