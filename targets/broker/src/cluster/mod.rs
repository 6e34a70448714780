//! The controllers: all brokers, which agree by consensus on the state of the cluster.
//!
//! - [`state`]: the agreed state, and the rules by which it changes.
//! - [`message`]: requests between brokers.
//! - [`controller`]: this broker's part in the consensus, and its requests to the leader.
//! - [`session`]: how the leader notices that a broker is gone.
//! - [`membership`]: a broker registers and sends heartbeats.

pub mod controller;
pub mod membership;
pub mod message;
pub mod session;
pub mod state;

pub use controller::{Controller, ProposeError};
pub use state::{BrokerEpoch, BrokerId, ClusterState, TopicId};
