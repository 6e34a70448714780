//! How a system is deployed and spoken to: one interface, one folder per built-in system.
//!
//! In reading order:
//! - [`system`]: what a system is and offers, with the [`scenario`] that finds each of its seeded bugs;
//!   [`registry`]: systems by name;
//! - [`deployment`]: a system bound to its settings and its nodes, whose places are in [`topology`]; [`setup`]: what a
//!   workload needs before its clients begin;
//! - [`replica`]: what a node holds by itself;
//! - [`client`]: clients by vocabulary; [`place`]: where they live; [`outcome`]: what a client may say of an operation, and
//!   why each rule is sound;
//! - [`kafka`]: clients of every system that speaks the Kafka protocol;
//! - [`store`], [`broker`] and [`etcd`]: the systems.
//!
//! ```
//! use duress_history::Promise;
//! use duress_settings::Request;
//! use duress_targets::{Etcd, Node, System, Topology};
//!
//! let etcd = Etcd::default();
//! let settings = etcd.resolve(&Request { nodes: 1, ..Request::default() })?;
//! let node = Node { name: duress_history::NodeId::new("n1"), address: [10, 77, 0, 1].into() };
//! let cluster = etcd.deploy(&settings, &Topology { nodes: vec![node] })?;
//! assert_eq!(cluster.promise(), Promise::LINEARIZABLE);
//! assert_eq!(cluster.tolerates(), 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(clippy::print_stdout, clippy::print_stderr, clippy::exit)]

pub mod broker;
pub mod client;
pub mod deployment;
pub mod etcd;
pub mod kafka;
pub mod outcome;
pub mod place;
pub mod registry;
pub mod replica;
mod resp;
pub mod scenario;
pub mod setup;
pub mod store;
mod subject;
pub mod system;
mod text;
pub mod topology;

pub use broker::Broker;
pub use client::{Client, ClientError, Clients, Seat};
pub use deployment::{Deployment, LaunchError, LedPartition, NodeStatus, NotReady, Role};
pub use etcd::Etcd;
pub use outcome::{Action, Cause, CauseKind, Effect, Outcome, Reach, RequestError};
pub use place::{ClientProgram, OwnNetwork, Place};
pub use registry::{Systems, UnknownSystem};
pub use replica::ReplicaCopy;
pub use scenario::Scenario;
pub use setup::{Keeps, Setup, TABLE_TOPIC, Topic};
pub use store::Store;
pub use system::{Description, MissingSystem, System};
pub use topology::{Node, NodeFiles, Topology, UnknownNode};
