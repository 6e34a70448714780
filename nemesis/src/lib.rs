//! What goes wrong: the arena that a cluster lives in, and the faults that break it.
//!
//! In reading order:
//! - [`arena`]: hosts in namespaces, the packet switch between them, and their processes;
//! - [`fault`], [`partition`], [`selector`]: faults as data; [`schedule`]: a fault mix expanded from a seed;
//! - [`cluster`]: the processes of the system under test;
//! - [`nemesis`]: injects and heals faults; [`evidence`]: what it saw of them.
//!
//! Nothing here knows which system is under test, prints, or exits.

pub mod arena;
pub mod cluster;
pub mod evidence;
pub mod fault;
pub mod nemesis;
pub mod partition;
pub mod schedule;
pub mod selector;
mod sys;

pub use evidence::{Evidence, Proof};
pub use fault::{Family, Fault, FaultSpec};
pub use schedule::ScheduledFault;
