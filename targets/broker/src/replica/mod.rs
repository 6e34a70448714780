//! This broker's copies of partitions.
//!
//! - [`handle`]: the handle on one copy: its requests, and its status.
//! - [`partition`]: one copy: a thread that owns its log and serves it by its role.
//! - [`rules`]: the rules for all copies of a broker.
//! - [`leading`]: a leader's view of its followers: which are in sync, and how far each is.
//! - [`checkpoint`]: the high watermark over restarts.
//! - [`manager`]: this broker's copies and their roles, as the controllers agreed.
//! - [`serving`]: records for followers. [`fetcher`]: records from leaders.
//! - [`error`]: errors of requests to a partition.

pub mod checkpoint;
pub mod error;
pub mod fetcher;
pub mod handle;
pub mod leading;
pub mod manager;
pub mod partition;
pub mod rules;
pub mod serving;

pub use error::PartitionError;
pub use handle::{Acks, Isolation, PartitionHandle, Role, Status, Written};
pub use manager::Replicas;
