//! Crash states: the states in which a crash, at some moment of a recording, may leave a disk.
//!
//! A [`FaultDisk`](super::FaultDisk) records every operation in order, with marks that its owner sets between them.
//! [`Recording::states`] goes through the most telling moments of a crash, before each sync, at each acknowledgement and at
//! the end, and lists the states that a crash then may leave, up to a bound. [`CrashState::build`] makes the files of one.
//!
//! The rules are those of a power loss of the disk itself with [`Semantics::Journal`](super::Semantics): changes of names and
//! of sizes survive up to some point of their order; each block that was written since its file was last synced survives
//! or not; a file that grew ends with a block that survived, or where it ended before; data written after a file was cut
//! survives only if the cut does. A block that was written several times is as it was synced, or as it was written last.

mod image;
mod model;
mod recording;

pub use image::BuildError;
pub use model::{CrashState, Survivors};
pub(super) use recording::{FileKind, RecordedOperation};
pub use recording::{Mark, Recording, Requests};
