//! The faults that break a cluster in its arena, their schedule, and the evidence of them.
//!
//! In reading order:
//! - [`Family`]: the kinds of fault; [`variants`]: the table of their variants;
//! - [`FaultSpec`]: an item of the fault mix of the command line; [`PartitionShape`], [`packet`],
//!   [`clock_fault`], [`disk_fault`], [`resource_fault`], [`membership`], [`selector`], [`trigger`]: its parts; [`Role`],
//!   [`RoleMap`]: the roles of nodes; [`Story`]: faults that belong together;
//! - [`Fault`]: a fault as data; [`schedule`]: a mix expanded into timed faults, from a seed, within the
//!   tolerance of the target: [`LossLimit`], [`clock_bound`];
//! - [`cluster`]: the processes of the system under test; [`commands`]: the faults of one that already runs;
//! - [`nemesis`]: injects and heals faults, and returns [`Evidence`] of both.
//!
//! This crate does not know which system is under test; it never prints or exits.

#![deny(clippy::print_stdout, clippy::print_stderr, clippy::exit)]
#![deny(missing_docs)]

pub mod clock_bound;
pub mod clock_fault;
pub mod cluster;
pub mod commands;
pub mod disk_fault;
pub mod membership;
pub mod nemesis;
pub mod packet;
pub mod resource_fault;
pub mod schedule;
pub mod selector;
pub mod trigger;
pub mod upgrade;

mod evidence;
mod family;
mod fault;
mod links;
mod loss;
mod partition;
mod quantity;
mod role;
mod spec;
mod story;
mod variant;

pub use duress_history::nemesis::{Evidence, Proof};
pub use family::Family;
pub use fault::Fault;
pub use loss::LossLimit;
pub use partition::{Cut, Link, PartitionShape};
pub use role::{Role, RoleMap};
pub use schedule::{ScheduledFault, Trigger};
pub use spec::{FaultSpec, FaultSpecError, Wanted};
pub use story::Story;
pub use variant::{Need, Variant, variants};
