//! A disk that can fail: a node's data folder on a file system of our own, which can lose what was not
//! synced.
//!
//! Unmodified programs use it as any file system, memory-mapped files included. What they write goes straight
//! to a backing folder; what it replaces is kept in an undo log until an fsync makes it durable. Losing the
//! power undoes the log. Since nothing that is tested depends on the machine's own disk, an fsync need not
//! wait for it.
//!
//! - [`DiskOptions`]: the disk's behaviour without faults; [`Semantics`]: what an fsync makes durable;
//! - [`FaultDisk`]: a mounted disk, whose faults are injected and healed;
//! - [`DiskFault`]: its faults; [`DiskEvidence`]: their evidence;
//! - [`crash`]: the states that a crash may leave, at any moment of a recording.
//!
//! Departures from a real disk: the undo log has no time limit, while a kernel writes back by itself within
//! half a minute; fdatasync commits as fsync does; syncfs(2) and sync(2) make nothing durable, since the
//! kernel does not pass them on to a FUSE file system; times of files are not undone. The log is in memory:
//! it grows with the durable bytes that are overwritten or cut off between two fsyncs, not with appended
//! bytes.
//!
//! Every file a node has open, and every directory it has looked into, is held open here too: many nodes with
//! many files need a higher limit on open files (`ulimit -n`) in the program that serves them.

mod active;
mod activity;
mod apart;
mod at_rest;
mod contents;
pub mod crash;
mod deferred;
mod device;
mod error;
mod fault;
mod file_log;
mod filesystem;
mod journal;
mod mounted;
mod names;
mod options;
mod power_loss;
mod probe;
mod state;
mod tree;

pub use activity::{Activity, Counted};
pub use device::MountError;
pub use error::DiskError;
pub use fault::{
    CutFile, DiskEvidence, DiskFault, FilePattern, FlippedBit, IoKind, Keep, Lasting, ProbeSeen, Trigger,
    Undone,
};
pub use mounted::FaultDisk;
pub use options::{DiskOptions, RealFsync, Semantics};
