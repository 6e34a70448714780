//! Crash states: what a disk may hold after a crash at some moment of what was done to it.
//!
//! A [`FaultDisk`](super::FaultDisk) that records keeps every operation in order, and the marks that its owner sets between
//! them. [`Recording::states`] goes through the moments at which a crash tells most, before each sync, at each mark and at
//! the end, and lists for each what the disk may hold: the least first, up to a bound. [`CrashState::build`] makes a folder
//! of one.
//!
//! The rules are those of a power loss of the disk itself with [`Semantics::Journal`](super::Semantics): changes of names and
//! of sizes survive up to some point of their order; each block that was written since its file was last synced survives
//! or not; a file that grew ends where a block does that survived, or where it was; what was written after a file was cut
//! survives only if the cut does. A block that was written several times is found as it was synced or as it was last.

mod image;
mod model;
mod recording;

pub use image::BuildError;
pub use model::{CrashState, Survivors};
pub(super) use recording::{DiskOperation, FileKind};
pub use recording::{Mark, Recording};
