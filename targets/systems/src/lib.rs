//! How a system is launched and spoken to: one interface, one folder per system.
//!
//! In reading order:
//! - [`system`]: the interface behind which every target stands, and [`topology`]: where its nodes are;
//! - [`catalogue`]: what a system offers (modes, options, defects), and [`settings`]: what the user asked of it;
//! - [`outcome`]: what a client may say of an operation, and why each rule is sound;
//! - [`connect`]: where a client's connections come from.

pub mod catalogue;
pub mod connect;
mod nearest;
pub mod outcome;
pub mod settings;
pub mod system;
pub mod topology;

pub use catalogue::{BugSpec, Findable, Mode, OptionSpec, Promise, Scenario, Values};
pub use connect::{Connect, OwnNetwork};
pub use outcome::{Cause, CauseKind, Outcome, Reach, RequestError};
pub use settings::{Request, Settings, SettingsError};
pub use system::{LaunchError, MissingSystem, NodeStatus, NotReady, RegisterClient, Role, System};
pub use topology::{Node, Topology, UnknownNode};
