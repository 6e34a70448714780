//! The Kafka protocol: what clients ask and how they are answered.
//!
//! - [`versions`]: which requests are served, and in which versions.
//! - [`connection`]: one client: frames, headers, dispatch.
//! - [`metadata`], [`topics`], [`describe`]: what there is, and what it was told.
//! - [`produce`], [`fetch`], [`offsets`]: records.
//! - [`groups`], [`group_offsets`]: consumer groups and how far they have come.
//! - [`producer_id`]: numbers for producers.
//! - [`names`]: which names topics may have.

pub mod connection;
pub mod describe;
pub mod fetch;
pub mod group_offsets;
pub mod groups;
pub mod metadata;
pub mod names;
pub mod offsets;
pub mod produce;
pub mod producer_id;
pub mod topics;
pub mod versions;
