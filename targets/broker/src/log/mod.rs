//! The log of one partition: record batches, kept on disk exactly as they are on the wire.
//!
//! [`PartitionLog`] has one owner, and its calls block. It lives in a folder of its own:
//!
//! | file | content |
//! |---|---|
//! | `00000000000000000042.log` | a [segment](segment): the batches from offset 42 on |
//! | `00000000000000000042.index` | of a closed segment: its size, last offset, and sparse [index](index) by offset and time |
//! | `00000000000000000042.producers` | the state of [producers](producers) and [transactions] before offset 42 |
//! | `checkpoint` | log start offset and [leader epochs](epochs) |
//! | `FROM-TO.swap` | a compacted segment that takes the place of those from FROM to before TO, see [`compaction`] |
//!
//! Only the segments are authoritative; everything else can be made again from them and has a checksum, so that an
//! incomplete file is simply not used. [Opening](recovery) checks every segment that is not known to be on the device, batch
//! by batch, and cuts a torn tail; reading checks every batch that it hands out.
//!
//! # Durability
//!
//! An append is in the file, not on the device. [`PartitionLog::persist`] makes it as durable as
//! [`FsyncPolicy`] says. A leader calls it before it acknowledges, and a follower before it fetches the next offset,
//! because the leader counts that fetch as an acknowledgement. Truncations and
//! the files beside the segments are always synced.
//!
//! # Offsets
//!
//! Offsets are `i64` and leader epochs `i32`, as the protocol has them; both count from 0.

mod batch;
mod compaction;
mod config;
mod epochs;
mod error;
mod files;
mod index;
mod partition_log;
mod producers;
mod record;
mod recovery;
mod retention;
mod segment;
mod transactions;
mod walk;

pub use batch::{BatchFault, BatchHeader, HEADER_BYTES, NO_PRODUCER};
pub use compaction::Compaction;
pub use config::{
    Cleanup, CompactionKeeps, Durability, FollowerProducers, FsyncPolicy, LogConfig, ProducersOnOpen,
    SequenceCheck, TornTail,
};
pub use epochs::{EpochEnd, EpochStart};
pub use error::{AppendError, LogError};
pub use files::FileError;
pub use partition_log::{Appended, Novelty, PartitionLog};
pub use producers::{BATCHES_REMEMBERED, ProducerState, SequenceFault, SequencedBatch};
pub use record::{OwnRecord, RecordView, build_batch, build_transactional, records};
pub use recovery::{Cut, Recovery};
pub use segment::TimedOffset;
pub use transactions::{Aborted, Marker, Outcome};
