//! The controllers: what the brokers agree on, by consensus among all of them.
//!
//! - [`state`]: what is agreed on, and the rules by which it changes.
//! - [`message`]: what brokers ask each other.
//! - [`controller`]: this broker's part in the consensus, and the way to its leader.
//! - [`session`]: how the leader notices that a broker is gone.
//! - [`membership`]: how a broker becomes part of the cluster and stays it.

pub mod controller;
pub mod membership;
pub mod message;
pub mod session;
pub mod state;

pub use controller::{Controller, ProposeError, StartError};
pub use state::{BrokerEpoch, BrokerId, ClusterState, TopicId};
