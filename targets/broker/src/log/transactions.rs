//! Transactions in one partition: which are open, which were aborted, and the markers that end them.
//!
//! A producer's transactional batches are in the log like any other; a *marker* behind them, a control record that the
//! transaction's coordinator has written, says whether they count. Readers of committed records read up to the
//! *last stable offset*, before the first record whose fate is open, and leave out the records of transactions in the
//! list of aborted ones. A transaction is settled once its marker is committed; until then another leader may not have it.
//!
//! Every transaction of a producer has a number, which its markers carry behind what Kafka writes there. A marker that is
//! sent again, however late, is recognised by it and cannot end a later transaction of the same producer and epoch.
//!
//! Source: Kafka improvement proposal 98.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::batch::BatchHeader;
use super::producers::SequenceFault;
use super::record::{OwnRecord, build_marker, records};

const MARKER_VERSION: i16 = 0;
const ABORT: i16 = 0;
const COMMIT: i16 = 1;

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// None of it counts.
    Abort,
    /// All of it counts.
    Commit,
}

/// The end of a transaction in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The producer.
    pub producer_id: i64,
    /// Its epoch; batches of earlier ones are refused from now on.
    pub producer_epoch: i16,
    /// The transaction, counted by producer id.
    pub number: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// The leader epoch of the coordinator.
    pub coordinator_epoch: i32,
}

impl Marker {
    /// Returns a control batch with this marker, to be placed when it is appended.
    pub(super) fn batch(&self, now_ms: i64) -> Bytes {
        let mut key = BytesMut::new();
        key.put_i16(MARKER_VERSION);
        key.put_i16(match self.outcome {
            Outcome::Abort => ABORT,
            Outcome::Commit => COMMIT,
        });
        let mut value = BytesMut::new();
        value.put_i16(MARKER_VERSION);
        value.put_i32(self.coordinator_epoch);
        // Behind the fields that Kafka defines: readers ignore what follows them.
        value.put_u64(self.number);
        let record = OwnRecord { key: Some(key.freeze()), value: Some(value.freeze()) };
        build_marker(&record, now_ms, (self.producer_id, self.producer_epoch))
    }

    /// Reads the marker in a whole control batch; `None` if it holds another kind of control record.
    pub fn read(header: &BatchHeader, batch: &[u8]) -> Option<Self> {
        if !header.is_control() {
            return None;
        }
        let record = records(header, batch).next()?.ok()?;
        let (mut key, mut value) = (record.key?, record.value?);
        key.try_get_i16().ok()?;
        let outcome = match key.try_get_i16().ok()? {
            ABORT => Outcome::Abort,
            COMMIT => Outcome::Commit,
            _ => return None,
        };
        value.try_get_i16().ok()?;
        Some(Self {
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            coordinator_epoch: value.try_get_i32().ok()?,
            number: value.try_get_u64().unwrap_or(0),
            outcome,
        })
    }
}

/// An aborted transaction in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aborted {
    /// The producer.
    pub producer_id: i64,
    /// The offset of its first record.
    pub first_offset: i64,
    /// The offset of its marker.
    pub marker_offset: i64,
}

/// The last marker of a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct LastMarker {
    epoch: i16,
    number: u64,
    offset: i64,
}

/// The transactions of one log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Transactions {
    /// The first offset of each producer's open transaction.
    open: BTreeMap<i64, i64>,
    /// Transactions whose markers may not be committed: first offset and the marker's.
    ended: Vec<(i64, i64)>,
    /// In order of their markers.
    aborted: Vec<Aborted>,
    last_markers: BTreeMap<i64, LastMarker>,
}

impl Transactions {
    /// Checks that no later epoch of the batch's producer has ended a transaction here.
    pub(super) fn fence(&self, header: &BatchHeader) -> Result<(), SequenceFault> {
        match self.last_markers.get(&header.producer_id) {
            Some(last) if header.producer_epoch < last.epoch => Err(SequenceFault::Fenced {
                producer_id: header.producer_id,
                current: last.epoch,
                found: header.producer_epoch,
            }),
            _ => Ok(()),
        }
    }

    /// Returns the offset of this marker, or of one of a later transaction, if it is in the log.
    pub(super) fn offset_of(&self, marker: &Marker) -> Option<i64> {
        let last = self.last_markers.get(&marker.producer_id)?;
        (last.number >= marker.number).then_some(last.offset)
    }

    /// Records a batch that has been appended, and the marker in it if it is a control batch.
    pub(super) fn note(&mut self, header: &BatchHeader, marker: Option<Marker>) {
        match marker {
            Some(marker) => self.end(&marker, header.base_offset),
            None if header.is_transactional() && !header.is_control() => {
                self.open.entry(header.producer_id).or_insert(header.base_offset);
            }
            None => {}
        }
    }

    fn end(&mut self, marker: &Marker, offset: i64) {
        let Marker { producer_id, producer_epoch: epoch, number, .. } = *marker;
        self.last_markers.insert(producer_id, LastMarker { epoch, number, offset });
        let Some(first_offset) = self.open.remove(&producer_id) else { return };
        self.ended.push((first_offset, offset));
        if marker.outcome == Outcome::Abort {
            self.aborted.push(Aborted { producer_id, first_offset, marker_offset: offset });
        }
    }

    /// Returns the offset before which the fate of every record is settled.
    pub(super) fn last_stable_offset(&self, high_watermark: i64) -> i64 {
        let unsettled = self.ended.iter().filter(|(_, marker)| *marker >= high_watermark);
        let firsts = self.open.values().chain(unsettled.map(|(first, _)| first));
        firsts.copied().min().unwrap_or(high_watermark).min(high_watermark)
    }

    /// Forgets which transactions were settled by a marker below the high watermark.
    pub(super) fn settle(&mut self, high_watermark: i64) {
        self.ended.retain(|(_, marker)| *marker >= high_watermark);
    }

    /// Returns the aborted transactions with records or markers from `from` up to and without `to`.
    pub(super) fn aborted(&self, from: i64, to: i64) -> impl Iterator<Item = Aborted> {
        let begin = self.aborted.partition_point(|aborted| aborted.marker_offset < from);
        self.aborted[begin..].iter().filter(move |aborted| aborted.first_offset < to).copied()
    }

    /// Whether a batch belongs to an aborted transaction.
    pub(super) fn is_aborted(&self, header: &BatchHeader) -> bool {
        header.is_transactional()
            && self
                .aborted(header.base_offset, header.next_offset())
                .any(|aborted| aborted.producer_id == header.producer_id)
    }

    /// Forgets what ended before `log_start_offset`.
    pub(super) fn forget_before(&mut self, log_start_offset: i64) {
        self.aborted.retain(|aborted| aborted.marker_offset >= log_start_offset);
        self.last_markers.retain(|_, last| last.offset >= log_start_offset);
    }
}
