//! This broker's copies of partitions.
//!
//! - [`handle`]: the way to one copy: what it may be asked, and what it says of itself.
//! - [`partition`]: one copy: a thread that owns its log and decides by its role what may be done to it.
//! - [`leading`]: what a leader knows of its followers: who is in sync, and how far everybody is.
//! - [`checkpoint`]: the high watermark over restarts.
//! - [`manager`]: which copies this broker has, and in which role, by what the controllers agreed on.
//! - [`serving`]: records for followers. [`fetcher`]: records from leaders.
//! - [`fault`]: why a request to a partition is refused.

pub mod checkpoint;
pub mod fault;
pub mod fetcher;
pub mod handle;
pub mod leading;
pub mod manager;
pub mod partition;
pub mod serving;

pub use fault::Fault;
pub use handle::{Acks, PartitionHandle, Role, Status, Written};
pub use manager::Replicas;
