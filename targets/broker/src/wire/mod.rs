//! The Kafka protocol: the requests of clients, and their answers.
//!
//! - [`versions`]: which requests are served, and in which versions.
//! - [`connection`]: one client: frames, headers, dispatch.
//! - [`metadata`], [`topics`], [`describe`]: brokers, topics and their settings.
//! - [`produce`], [`fetch`], [`offsets`]: records.
//! - [`groups`], [`group_offsets`]: consumer groups and their committed offsets.
//! - [`transactions`]: producer ids, and transactions.
//! - [`names`]: valid names of topics.

pub mod connection;
pub mod describe;
pub mod fetch;
pub mod group_offsets;
pub mod groups;
pub mod metadata;
pub mod names;
pub mod offsets;
pub mod produce;
pub mod topics;
pub mod transactions;
pub mod versions;
