//! The arena: hosts on one machine, with a network, processes, clocks and disks that can be broken, made of
//! ordinary Linux parts and without root.
//!
//! In reading order:
//! - [`isolate`]: one call at program start, so that nothing outlives the program;
//! - [`capabilities`]: what this machine allows, found by trying;
//! - [`Arena`]: the hosts and the network between them; [`Host`]: a network namespace with one address, in
//!   which processes run and from which connections are made;
//! - [`NodeProcess`]: starts, kills, pauses and resumes everything that runs on a host, and confirms the
//!   effect; [`Throttle`]: lets all of it run for a share of the time only;
//! - [`Switch`]: the network between the hosts, one [`LinkPolicy`] for each directed pair; [`Capture`]: every
//!   packet and its outcome, as pcapng;
//! - [`clock`]: a wall clock for each host, moved while its unmodified programs run;
//! - [`disk`]: a folder that can lose unsynced data, fail, fill up and rot; [`mount_tmpfs`]: one in memory.
//!
//! This crate does not know what runs on the hosts, why it is broken, or what is recorded of it; it never
//! prints or exits. Every call that waits has a deadline. An arena lives inside the namespaces that
//! [`isolate`] makes.
//!
//! The program `examples/two_hosts.rs` cuts a link and moves a clock:
//!
//! ```no_run
#![doc = include_str!("../examples/two_hosts.rs")]
//! ```

#![deny(missing_docs)]
#![deny(clippy::print_stdout, clippy::print_stderr, clippy::exit)]

pub mod capabilities;
pub mod clock;
pub mod disk;

mod arena;
mod control;
mod host;
mod isolation;
mod name;
mod port;
mod process;
mod storage;
mod switch;
mod sys;
mod throttle;

pub use arena::{Arena, ArenaError, ArenaSpec, HostSpec};
pub use control::ControlError;
pub use host::Host;
pub use isolation::{IsolationError, NamespaceKind, Role, isolate};
pub use name::HostName;
pub use nix::sys::signal::Signal;
pub use nix::unistd::Pid;
pub use port::PortKind;
pub use process::{
    Alive, Killed, NodeProcess, Paused, ProcessSpec, ProcessState, Resumed, SpawnError, Terminated, User,
};
pub use storage::{TmpfsError, mount_tmpfs};
pub use switch::{
    Capture, CaptureError, CaptureSpec, CaptureSummary, Corrupt, Damage, Extent, LinkCounters, LinkPolicy,
    Passage, Probability, ProbabilityError, ProbeOutcome, Reorder, RunStart, Switch, SwitchError, Train,
    TrainSeen,
};
pub use sys::child::{die_with_parent, kill_group};
pub use sys::wall_clock::machine_wall_ns;
pub use throttle::{Throttle, ThrottleAccount, ThrottleError};

/// The README, whose example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
