//! Sequence numbers of producers: which batches have been appended already.
//!
//! A producer numbers its records. For each producer id, the log remembers the epoch and the last five batches (as many
//! as a client may have in flight). A batch that is already in the log is answered with its old offsets, so that a retry
//! makes no duplicate; a batch that leaves a gap is refused, so that nothing is reordered. Source: Kafka improvement
//! proposals 98, and 360 for producers that the log has forgotten: any first number is accepted.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::batch::{BatchHeader, advance_sequence};

/// As many batches as a producer may have in flight.
pub const BATCHES_REMEMBERED: usize = 5;

/// Why a numbered batch is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SequenceFault {
    /// Numbers are missing before it.
    #[error("producer {producer_id}: sequence {found}, but {expected} comes next")]
    OutOfOrder {
        /// The producer.
        producer_id: i64,
        /// The number that comes next.
        expected: i32,
        /// The batch's first number.
        found: i32,
    },
    /// A producer with the same id and a later epoch has already appended.
    #[error("producer {producer_id}: epoch {found} after {current}")]
    Fenced {
        /// The producer.
        producer_id: i64,
        /// The epoch in force.
        current: i16,
        /// The batch's epoch.
        found: i16,
    },
}

/// One batch of a producer and its offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequencedBatch {
    /// Number of its first record.
    pub first_sequence: i32,
    /// Number of its last record.
    pub last_sequence: i32,
    /// Offset of its first record.
    pub base_offset: i64,
    /// Offset of its last record.
    pub last_offset: i64,
    /// Its largest timestamp, ms.
    pub timestamp: i64,
}

/// The state of one producer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerState {
    /// Its epoch.
    pub epoch: i16,
    /// Its last batches of that epoch, oldest first; at least one, at most [`BATCHES_REMEMBERED`].
    pub batches: VecDeque<SequencedBatch>,
}

/// The decision on a numbered batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// Append it.
    New,
    /// It is already in the log.
    Duplicate(SequencedBatch),
}

/// All producers of one log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Producers {
    states: BTreeMap<i64, ProducerState>,
}

impl Producers {
    /// Checks a batch that is to be appended.
    pub(super) fn admit(&self, header: &BatchHeader) -> Result<Admission, SequenceFault> {
        let Some(state) = self.states.get(&header.producer_id) else {
            return Ok(Admission::New);
        };
        let (producer_id, found) = (header.producer_id, header.base_sequence);
        if header.producer_epoch < state.epoch {
            let (current, found) = (state.epoch, header.producer_epoch);
            return Err(SequenceFault::Fenced { producer_id, current, found });
        }
        if header.producer_epoch > state.epoch {
            return match found {
                0 => Ok(Admission::New),
                _ => Err(SequenceFault::OutOfOrder { producer_id, expected: 0, found }),
            };
        }
        let repeated = state.batches.iter().find(|batch| {
            batch.first_sequence == header.base_sequence && batch.last_sequence == header.last_sequence()
        });
        if let Some(batch) = repeated {
            return Ok(Admission::Duplicate(*batch));
        }
        let last = state.batches.back().map_or(-1, |batch| batch.last_sequence);
        let expected = advance_sequence(last, 1);
        if found == expected {
            Ok(Admission::New)
        } else {
            Err(SequenceFault::OutOfOrder { producer_id, expected, found })
        }
    }

    /// Records a batch that has been appended.
    pub(super) fn note(&mut self, header: &BatchHeader) {
        if !header.is_sequenced() {
            return;
        }
        let fresh = || ProducerState { epoch: header.producer_epoch, batches: VecDeque::new() };
        let state = self.states.entry(header.producer_id).or_insert_with(fresh);
        if state.epoch != header.producer_epoch {
            *state = fresh();
        }
        if state.batches.len() == BATCHES_REMEMBERED {
            state.batches.pop_front();
        }
        state.batches.push_back(SequencedBatch {
            first_sequence: header.base_sequence,
            last_sequence: header.last_sequence(),
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            timestamp: header.max_timestamp,
        });
    }

    /// Forgets batches before `log_start_offset`, and producers without any batch left.
    ///
    /// Batch by batch, so that a log that is opened again, whose segments may still hold batches before its
    /// start, knows as much as one that stayed open: the old numbers of a producer that restarted must not
    /// count against it.
    pub(super) fn forget_before(&mut self, log_start_offset: i64) {
        self.states.retain(|_, state| {
            state.batches.retain(|batch| batch.last_offset >= log_start_offset);
            !state.batches.is_empty()
        });
    }

    /// Offset of the last record of each producer's last batch.
    pub(super) fn last_offsets(&self) -> BTreeMap<i64, i64> {
        let last = |state: &ProducerState| state.batches.back().map(|batch| batch.last_offset);
        self.states.iter().filter_map(|(id, state)| Some((*id, last(state)?))).collect()
    }

    /// Returns all states by producer id.
    pub(super) fn states(&self) -> &BTreeMap<i64, ProducerState> {
        &self.states
    }
}
