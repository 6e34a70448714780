//! The header of a record batch, format version 2 ("magic 2"), as it is on the wire and in a segment.
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 8 | base offset |
//! | 8 | 4 | length of everything after this field |
//! | 12 | 4 | leader epoch |
//! | 16 | 1 | magic, 2 |
//! | 17 | 4 | CRC-32C of everything from byte 21 to the end |
//! | 21 | 2 | attributes: bits 0-2 codec, 3 timestamp type, 4 transactional, 5 control, 6 delete horizon |
//! | 23 | 4 | last offset − base offset |
//! | 27 | 8 | base timestamp, ms (the delete horizon when bit 6 is set) |
//! | 35 | 8 | largest timestamp, ms |
//! | 43 | 8 | producer id, −1 for none |
//! | 51 | 2 | producer epoch |
//! | 53 | 4 | sequence number of the first record, −1 for none |
//! | 57 | 4 | number of records |
//! | 61 | | records, see [`record`](super::record) |
//!
//! The checksum leaves out the first 21 bytes so that a leader can set base offset and epoch without computing it
//! again. A reader of batches from disk therefore checks those two against the neighbouring batches.
//!
//! Source: the Kafka manual, "Message Format", section "Record Batch".

use bytes::{Buf, BufMut};

/// Bytes before the first record.
pub const HEADER_BYTES: usize = 61;
/// Bytes before and including the length field, which does not count them.
pub const PREFIX_BYTES: usize = 12;
/// The producer id of a batch without a producer.
pub const NO_PRODUCER: i64 = -1;

const EPOCH_AT: usize = 12;
const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
const CHECKED_FROM: usize = 21;
const MAGIC: i8 = 2;

const CODEC: i16 = 0b111;
const LOG_APPEND_TIME: i16 = 1 << 3;
/// The attribute of a batch that is part of a transaction.
pub(super) const TRANSACTIONAL: i16 = 1 << 4;
/// The attribute of a batch of markers.
pub(super) const CONTROL: i16 = 1 << 5;
const DELETE_HORIZON: i16 = 1 << 6;

/// Why some bytes are not a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchFault {
    /// The bytes end before the batch does.
    #[error("{have} bytes of a batch that has {need}")]
    Short {
        /// Bytes there are.
        have: usize,
        /// Bytes there should be.
        need: usize,
    },
    /// The length field is shorter than a header, or longer than any producer sends.
    #[error("batch length {0} is impossible")]
    Length(i32),
    /// A batch of another message format.
    #[error("message format {0}; only 2 is kept here")]
    Magic(i8),
    /// The content does not match its checksum.
    #[error("checksum {found:#010x}, but the header has {said:#010x}")]
    Checksum {
        /// The checksum in the header.
        said: u32,
        /// The checksum of the content.
        found: u32,
    },
    /// Counts or deltas contradict each other.
    #[error("record count {count} with last offset delta {last_delta}")]
    Count {
        /// Records the header counts.
        count: i32,
        /// Distance of the last offset from the first.
        last_delta: i32,
    },
    /// A record cannot be decoded.
    #[error("record {0} cannot be decoded")]
    Record(i32),
    /// A record has no key in a log that is compacted by key.
    #[error("record {0} has no key, in a topic that is compacted by key")]
    NoKey(i32),
    /// A compressed batch in a log that must read keys.
    #[error("compressed with codec {0}, in a topic that is compacted by key: keys must be readable")]
    Compressed(i16),
    /// Control records come from brokers, not from producers.
    #[error("a control batch from a producer")]
    Control,
    /// A part of a transaction that names no producer: nothing could end it.
    #[error("a transactional batch without a producer")]
    NoProducer,
    /// Bytes after the batch where one batch was expected.
    #[error("{0} bytes after the batch")]
    Trailing(usize),
    /// The base offset is not the end of the log.
    #[error("base offset {found}, but {expected} comes next")]
    Offset {
        /// The offset that comes next.
        expected: i64,
        /// The batch's base offset.
        found: i64,
    },
    /// The leader epoch went back.
    #[error("leader epoch {found} after {before}")]
    Epoch {
        /// The epoch of the batch before.
        before: i32,
        /// The batch's epoch.
        found: i32,
    },
}

/// The decoded header of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Bytes of the whole batch, header included.
    pub size: usize,
    /// The epoch of the leader that appended it.
    pub leader_epoch: i32,
    /// The checksum it carries.
    pub crc: u32,
    /// Codec and flags.
    pub attributes: i16,
    /// Last offset minus base offset.
    pub last_offset_delta: i32,
    /// The timestamp that those of the records are relative to, ms.
    pub base_timestamp: i64,
    /// Largest timestamp, ms; −1 when there is none.
    pub max_timestamp: i64,
    /// Producer id, or [`NO_PRODUCER`].
    pub producer_id: i64,
    /// Producer epoch.
    pub producer_epoch: i16,
    /// Sequence number of the first record.
    pub base_sequence: i32,
    /// Number of records; 0 in a batch kept by compaction only for its sequence number.
    pub record_count: i32,
}

impl BatchHeader {
    /// Decodes the header at the beginning of `bytes`, which may end before the batch does.
    ///
    /// # Errors
    /// Fewer bytes than a header, an impossible length, or another format.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchFault> {
        if bytes.len() < HEADER_BYTES {
            return Err(BatchFault::Short { have: bytes.len(), need: HEADER_BYTES });
        }
        let mut rest = bytes;
        let base_offset = rest.get_i64();
        let length = rest.get_i32();
        let leader_epoch = rest.get_i32();
        let magic = rest.get_i8();
        // The length comes first: it gives the end of the batch with another magic too.
        let size = usize::try_from(length)
            .ok()
            .map(|length| length + PREFIX_BYTES)
            .filter(|size| *size >= HEADER_BYTES)
            .ok_or(BatchFault::Length(length))?;
        if magic != MAGIC {
            return Err(BatchFault::Magic(magic));
        }
        let header = Self {
            base_offset,
            size,
            leader_epoch,
            crc: rest.get_u32(),
            attributes: rest.get_i16(),
            last_offset_delta: rest.get_i32(),
            base_timestamp: rest.get_i64(),
            max_timestamp: rest.get_i64(),
            producer_id: rest.get_i64(),
            producer_epoch: rest.get_i16(),
            base_sequence: rest.get_i32(),
            record_count: rest.get_i32(),
        };
        let (count, last_delta) = (header.record_count, header.last_offset_delta);
        // `count` may be smaller than the span of offsets: compaction leaves gaps.
        if base_offset < 0 || last_delta < 0 || count < 0 || i64::from(count) > i64::from(last_delta) + 1 {
            return Err(BatchFault::Count { count, last_delta });
        }
        Ok(header)
    }

    /// Decodes the header at the beginning of `bytes` and checks that the whole batch is there and matches its
    /// checksum.
    ///
    /// # Errors
    /// The batch is incomplete or invalid.
    pub fn verify(bytes: &[u8]) -> Result<Self, BatchFault> {
        let header = Self::parse(bytes)?;
        let whole =
            bytes.get(..header.size).ok_or(BatchFault::Short { have: bytes.len(), need: header.size })?;
        let found = checksum(whole);
        if found != header.crc {
            return Err(BatchFault::Checksum { said: header.crc, found });
        }
        Ok(header)
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    /// Offset that comes after this batch.
    pub fn next_offset(&self) -> i64 {
        self.last_offset() + 1
    }

    /// Whether the batch comes from a producer that numbers its batches.
    pub fn is_sequenced(&self) -> bool {
        self.producer_id != NO_PRODUCER && self.base_sequence >= 0
    }

    /// Sequence number of the last record. Numbers begin again at 0 after `i32::MAX`.
    pub fn last_sequence(&self) -> i32 {
        advance_sequence(self.base_sequence, self.last_offset_delta)
    }

    /// Returns the codec the records are compressed with; 0 for none.
    pub fn codec(&self) -> i16 {
        self.attributes & CODEC
    }

    /// Whether it is part of a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// Whether it holds markers of transactions instead of a producer's records.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// When tombstones in this batch may be forgotten, ms, if compaction has set that.
    pub fn delete_horizon_ms(&self) -> Option<i64> {
        (self.attributes & DELETE_HORIZON != 0).then_some(self.base_timestamp)
    }

    /// Returns the timestamp of a record with this delta, ms.
    pub fn record_timestamp(&self, delta: i64) -> i64 {
        if self.attributes & LOG_APPEND_TIME != 0 {
            self.max_timestamp
        } else {
            self.base_timestamp.saturating_add(delta)
        }
    }

    /// Sets when tombstones in this batch may be forgotten. Timestamps of records are relative to it from then on.
    pub(super) fn set_delete_horizon_ms(&mut self, horizon_ms: i64) {
        self.attributes |= DELETE_HORIZON;
        self.base_timestamp = horizon_ms;
    }

    /// Encodes a batch of this header and these records. Size and checksum are computed, not taken from `self`.
    pub(super) fn encode(&self, records: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + records.len());
        bytes.put_i64(self.base_offset);
        let length = HEADER_BYTES + records.len() - PREFIX_BYTES;
        bytes.put_i32(i32::try_from(length).expect("a rewritten batch is no larger than the length field"));
        bytes.put_i32(self.leader_epoch);
        bytes.put_i8(MAGIC);
        bytes.put_u32(0);
        bytes.put_i16(self.attributes);
        bytes.put_i32(self.last_offset_delta);
        bytes.put_i64(self.base_timestamp);
        bytes.put_i64(self.max_timestamp);
        bytes.put_i64(self.producer_id);
        bytes.put_i16(self.producer_epoch);
        bytes.put_i32(self.base_sequence);
        bytes.put_i32(self.record_count);
        bytes.put_slice(records);
        let crc = checksum(&bytes);
        bytes[CRC_AT..CHECKED_FROM].copy_from_slice(&crc.to_be_bytes());
        bytes
    }
}

/// Gives a batch its place in the log: base offset and leader epoch, neither of which the checksum covers.
///
/// # Panics
/// `batch` is shorter than a header: the caller has parsed it.
pub(super) fn place(batch: &mut [u8], base_offset: i64, leader_epoch: i32) {
    batch[..8].copy_from_slice(&base_offset.to_be_bytes());
    batch[EPOCH_AT..MAGIC_AT].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// `sequence` moved on by `by` records; numbers begin again at 0 after `i32::MAX`.
pub(super) fn advance_sequence(sequence: i32, by: i32) -> i32 {
    let sum = i64::from(sequence) + i64::from(by);
    i32::try_from(sum % (i64::from(i32::MAX) + 1)).expect("the remainder fits")
}

fn checksum(batch: &[u8]) -> u32 {
    crc32c::crc32c(&batch[CHECKED_FROM..])
}
