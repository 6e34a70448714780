//! The log of one partition: record batches, kept on disk exactly as they are on the wire.
//!
//! [`PartitionLog`] has one owner, and its calls block. It lives in a folder of its own:
//!
//! | file | what it is |
//! |---|---|
//! | `00000000000000000042.log` | a [segment](segment): the batches from offset 42 on |
//! | `00000000000000000042.index` | of a closed segment: its size, last offset, and sparse [index](index) by offset and time |
//! | `00000000000000000042.producers` | what was known of [producers](producers) before offset 42 |
//! | `checkpoint` | log start offset and [leader epochs](epochs) |
//! | `FROM-TO.swap` | a compacted segment that takes the place of those from FROM to before TO, see [`compaction`] |
//!
//! Only segments are the truth; everything else can be made again from them and is checksummed, so that a file that is
//! not whole is merely not used. [Opening](recovery) checks every segment that is not known to be on the device, batch
//! by batch, and cuts a torn tail; reading checks every batch that it hands out.
//!
//! # What is durable when
//!
//! An append is in the file, not on the device. [`PartitionLog::persist`] makes it as durable as
//! [`FsyncPolicy`] says and is called before anybody is told: by a leader before it acknowledges, by a follower before
//! it asks for the next offset, because that question is what the leader counts as an acknowledgement. Truncations and
//! the files beside the segments are always synced.
//!
//! # Offsets
//!
//! Offsets are `i64` and leader epochs `i32`, as the protocol has them; both count from 0.

mod batch;
mod compaction;
mod disk;
mod epochs;
mod error;
mod index;
mod options;
mod partition_log;
mod producers;
mod record;
mod recovery;
mod retention;
mod segment;
mod walk;

pub use batch::{BatchFault, BatchHeader, HEADER_BYTES, NO_PRODUCER};
pub use compaction::Compaction;
pub use disk::DiskError;
pub use epochs::{EpochEnd, EpochStart};
pub use error::{AppendError, LogError};
pub use options::{
    Cleanup, CompactionKeeps, Durability, FollowerProducers, FsyncPolicy, LogOptions, SequenceCheck, TornTail,
};
pub use partition_log::{Appended, Novelty, PartitionLog};
pub use producers::{BATCHES_REMEMBERED, ProducerState, SequenceFault, SequencedBatch};
pub use record::{OwnRecord, RecordView, build_batch, records};
pub use recovery::{Cut, Recovery};
pub use segment::TimedOffset;
