//! State machines whose records are in an internal topic: what they have in common.

use crate::log::{Marker, OwnRecord};

/// Identifies a request that is answered later; the caller chooses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// Identifies what is to be appended. Later ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(pub(crate) u64);

/// One batch for an internal topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Records.
    Records(Vec<OwnRecord>),
    /// Records that are part of a transaction of the producer: an id and an epoch.
    Transactional(Vec<OwnRecord>, (i64, i16)),
    /// The end of a transaction.
    Marker(Marker),
}

/// Returns the partition that holds the state of `name`: by its hash as Java computes it, so that clients' tools find it
/// where they expect it.
pub fn partition_of(name: &str, partitions: i32) -> i32 {
    let hash =
        name.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    hash.checked_abs().unwrap_or(0) % partitions.max(1)
}
