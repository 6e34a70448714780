//! What goes wrong: the faults that break a cluster in its arena, when they come, and the evidence of them.
//!
//! In reading order:
//! - [`family`]: the kinds of fault; [`spec`]: the fault mix, as the command line has it; [`partition`], [`packet`],
//!   [`clock_fault`], [`disk_fault`], [`selector`]: what its items say;
//! - [`variant`]: the table of the variants that each family has;
//! - [`fault`]: a fault as data; [`schedule`]: a mix expanded into timed faults, from a seed, within what the target
//!   promises to survive: [`loss`], [`clock_bound`];
//! - [`cluster`]: the processes of the system under test;
//! - [`links`]: everything in force on each link;
//! - [`nemesis`]: injects and heals faults, and gives [`Evidence`] of both.
//!
//! Nothing here knows which system is under test, prints, or exits.

#![deny(clippy::print_stdout, clippy::print_stderr, clippy::exit)]
#![deny(missing_docs)]

pub mod clock_bound;
pub mod clock_fault;
pub mod cluster;
pub mod disk_fault;
mod evidence;
pub mod family;
pub mod fault;
pub mod links;
pub mod loss;
pub mod nemesis;
pub mod packet;
pub mod partition;
mod quantity;
pub mod schedule;
pub mod selector;
pub mod spec;
pub mod variant;

pub use duress_history::nemesis::{Evidence, Proof};
pub use family::Family;
pub use fault::Fault;
pub use loss::LossLimit;
pub use schedule::ScheduledFault;
pub use spec::FaultSpec;
pub use variant::{Need, Variant, variants};
