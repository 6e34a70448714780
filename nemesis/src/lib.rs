//! What goes wrong: the arena that a cluster lives in, and the faults that break it.
//!
//! In reading order:
//! - [`arena`]: hosts in namespaces, the packet switch between them, and their processes;
//! - [`family`]: the kinds of fault; [`spec`]: the fault mix, as the command line has it; [`partition`], [`packet`],
//!   [`clock_fault`], [`disk_fault`], [`selector`]: what its items say;
//! - [`fault`]: a fault as data; [`schedule`]: a mix expanded into timed faults, from a seed, within what the target
//!   promises to survive: [`loss`], [`clock_bound`];
//! - [`cluster`]: the processes of the system under test;
//! - [`links`]: everything in force on each link;
//! - [`nemesis`]: injects and heals faults; [`evidence`]: what it saw of them.
//!
//! Nothing here knows which system is under test, prints, or exits.

pub mod arena;
pub mod clock_bound;
pub mod clock_fault;
pub mod cluster;
pub mod disk_fault;
pub mod evidence;
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
mod sys;

pub use clock_bound::ClockBound;
pub use evidence::{Evidence, Proof};
pub use family::Family;
pub use fault::Fault;
pub use loss::LossLimit;
pub use schedule::ScheduledFault;
pub use spec::FaultSpec;
