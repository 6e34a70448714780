//! How a system is launched and spoken to: one interface, one folder per system.
//!
//! In reading order:
//! - [`system`]: the interface behind which every target stands, [`topology`]: where its nodes are, and [`workload`]: what
//!   they have ready before clients begin;
//! - [`catalogue`]: what a system offers (modes, options, defects), and [`settings`]: what the user asked of it;
//! - [`outcome`]: what a client may say of an operation, and why each rule is sound;
//! - [`connect`]: where a client's connections come from;
//! - [`kafka`]: clients of whatever speaks the Kafka protocol;
//! - [`store`], [`broker`] and [`etcd`]: the systems, and [`registry`]: all of them by name.
//!
//! ```
//! use duress_targets::{Promise, Request, find};
//!
//! let store = find("store")?;
//! let settings = store.resolve(&Request { nodes: 5, ..Request::default() })?;
//! assert_eq!(settings.mode, "raft");
//! assert_eq!(store.promise(&settings), Promise::Linearizable);
//! assert_eq!(store.tolerates(&settings, 5), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod broker;
pub mod catalogue;
pub mod connect;
pub mod etcd;
pub mod kafka;
mod nearest;
pub mod outcome;
pub mod registry;
mod resp;
pub mod settings;
pub mod store;
pub mod system;
mod text;
pub mod topology;
pub mod workload;

pub use catalogue::{Allowed, BugSpec, Delivery, Findable, Mode, OptionSpec, Promise, Scenario, Values};
pub use connect::{Connect, OwnNetwork};
pub use nearest::nearest;
pub use outcome::{Action, Cause, CauseKind, Effect, Outcome, Reach, RequestError};
pub use registry::{UnknownSystem, find, systems};
pub use settings::{Request, Settings, SettingsError};
pub use system::{
    Client, ClientError, LaunchError, LedPartition, MissingSystem, NodeStatus, NotReady, Role, System,
};
pub use topology::{Node, Topology, UnknownNode};
pub use workload::{TABLE_TOPIC, WorkloadSetup};
