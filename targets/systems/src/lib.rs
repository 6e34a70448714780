//! The deployment of systems and their clients: one interface, one folder per built-in system, and one for
//! all that a manifest describes.
//!
//! In reading order:
//! - [`system`]: a system and its offer, with the [`scenario`] that finds each of its seeded bugs;
//!   [`registry`]: systems by name;
//! - [`deployment`]: a system bound to its settings and its nodes, whose places are in [`topology`];
//!   [`setup`]: the needs of a workload before its clients begin;
//! - [`replica`]: a node's own copies; [`external`]: the faults of a cluster that already runs;
//! - [`client`]: clients by vocabulary; [`place`]: their location; [`outcome`]: the possible outcomes of an
//!   operation, and why each rule is sound;
//! - [`kafka`]: clients of every system that speaks the Kafka protocol;
//! - `postgres`: clients of SQL, for manifests;
//! - [`store`], [`broker`] and [`etcd`]: the systems that are known by name; [`manifest`]: those that a file describes, whose
//!   clients may be programs of the user's own; [`maelstrom`]: programs that speak Maelstrom's protocol.
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
//! assert_eq!(cluster.promise("register"), Promise::LINEARIZABLE);
//! assert_eq!(cluster.tolerates(), 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(clippy::print_stdout, clippy::print_stderr, clippy::exit)]

mod bank;
pub mod broker;
pub mod client;
pub mod deployment;
pub mod etcd;
mod exec;
pub mod external;
mod http;
pub mod kafka;
mod lock;
pub mod maelstrom;
pub mod manifest;
mod membership;
pub mod outcome;
pub mod place;
mod postgres;
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
pub use client::{Client, ClientError, ClientTraffic, Clients, Seat};
pub use deployment::{Deployment, LaunchError, LedPartition, NodeStatus, NotReady, Role, TimeOuts};
pub use etcd::Etcd;
pub use external::{ExternalCommands, ExternalFault, ExternalNode};
pub use maelstrom::Maelstrom;
pub use manifest::{Manifest, ManifestError, protocols_of};
pub use membership::Membership;
pub use outcome::{Action, Cause, CauseKind, Effect, Outcome, Reach, RequestError};
pub use place::{ClientProgram, OwnNetwork, Place};
pub use registry::{Systems, UnknownSystem};
pub use replica::ReplicaCopy;
pub use scenario::Scenario;
pub use setup::{Keeps, STREAM_INPUTS, STREAM_OUTPUTS, Setup, TABLE_TOPIC, Topic};
pub use store::Store;
pub use system::{Description, ManifestText, MissingSystem, System, USUAL_NODES};
pub use topology::{Node, NodeFiles, Topology, UnknownNode};
