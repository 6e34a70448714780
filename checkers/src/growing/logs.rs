//! The log of a broker while its history grows.
//!
//! Of the anomalies of [`crate::delivery`] it shows those that are certain at once:
//! - a message that was never sent, or whose send failed, is read;
//! - answers disagree about the message at an offset: those of polls, or of a poll and an acknowledgement, or of two
//!   acknowledgements;
//! - a message is read at two offsets;
//! - a consumer is given an offset again, or one before its place;
//! - a consumer passes an offset by at which a message was acknowledged, or is read by another consumer.
//!
//! The whole check finds what only the end of a history can show: messages that no consumer read, and the order of sends.
//!
//! A reader may come back to any message at any time. So the latest messages of each partition are remembered, and those
//! before them are not looked at any more.

use std::collections::BTreeMap;

use duress_history::log::{Log, LogMicro, Offset, Start};
use duress_history::{Allowed, Delivery, Event, OpType, Process, Scalar};
use rustc_hash::FxHashMap;

use super::{Break, Growing, SoFar};

/// So many offsets of a partition are remembered.
const KEPT_MAX: usize = 1 << 16;
/// So many jumps of consumers of a partition are remembered.
const JUMPS_MAX: usize = 1 << 8;

/// Partitions, their producers and their consumers, held to a promise.
pub struct Logs {
    promise: Delivery,
    /// `None` for those that are not followed any further.
    partitions: FxHashMap<Scalar, Option<Partition>>,
    /// Operations that were not answered yet.
    open: FxHashMap<Process, Log>,
    /// The places of consumers that assigned partitions to themselves.
    consumers: FxHashMap<Process, FxHashMap<Scalar, Place>>,
    so_far: SoFar,
}

#[derive(Default)]
struct Partition {
    /// The messages that were sent and did not fail, with the offset at which each was read.
    sent: FxHashMap<Scalar, Option<u64>>,
    offsets: BTreeMap<u64, Held>,
    /// The least offset that is remembered.
    floor: u64,
    jumps: Vec<Jump>,
}

/// The message at an offset, by what polls and acknowledgements say.
#[derive(Default)]
struct Held {
    read: Option<Scalar>,
    acknowledged: Option<Scalar>,
}

/// The operation of this index gave a consumer nothing at the offsets from `next` up to and without `to`.
struct Jump {
    next: u64,
    to: u64,
    by: u64,
}

/// The offset at which a consumer reads next.
#[derive(Clone, Copy)]
struct Place {
    next: u64,
    /// The operation that gave it the message before; `None` at the beginning.
    by: Option<u64>,
}

impl Logs {
    /// Holds partitions to `promise`. Messages are never removed from them.
    #[must_use]
    pub fn new(promise: Delivery) -> Self {
        let (partitions, open, consumers) = Default::default();
        Self { promise, partitions, open, consumers, so_far: SoFar::default() }
    }

    /// Does `what` to the partition `key`, if it is followed.
    fn on(
        &mut self,
        key: &Scalar,
        what: impl FnOnce(&mut Partition, Delivery) -> Result<(), Break>,
    ) -> Result<(), Break> {
        if !self.partitions.contains_key(key) {
            self.partitions.insert(key.clone(), Some(Partition::default()));
        }
        let Some(Some(partition)) = self.partitions.get_mut(key) else { return Ok(()) };
        let done = what(partition, self.promise);
        if done == Err(Break::Beyond) {
            self.partitions.insert(key.clone(), None);
            self.so_far.left += 1;
            return Ok(());
        }
        done
    }

    fn ended(&mut self, event: &Event<Log>) -> Result<(), Break> {
        let asked = self.open.remove(&event.process);
        match (event.op_type, asked) {
            (OpType::Ok, _) => self.answered(event),
            (OpType::Fail, Some(asked)) => asked.micros().iter().try_for_each(|micro| match micro {
                LogMicro::Send { key, value, .. } => {
                    self.on(key, |partition, _| match partition.sent.remove(value) {
                        Some(Some(_)) => Err(Break::Anomaly),
                        _ => Ok(()),
                    })
                }
                LogMicro::Poll(_) => Ok(()),
            }),
            _ => Ok(()),
        }
    }

    fn answered(&mut self, event: &Event<Log>) -> Result<(), Break> {
        match &event.action {
            Log::Assign { keys, from } => {
                let before = self.consumers.remove(&event.process).unwrap_or_default();
                let place = |key: &Scalar| match from {
                    Start::Beginning => Some(Place { next: 0, by: None }),
                    // A place that it only sought is forgotten.
                    Start::Position => before.get(key).copied().filter(|place| place.by.is_some()),
                };
                let places = keys.iter().filter_map(|key| Some((key.clone(), place(key)?))).collect();
                self.consumers.insert(event.process, places);
            }
            Log::Subscribe(_) => _ = self.consumers.remove(&event.process),
            Log::Seek(offsets) => {
                if let Some(places) = self.consumers.get_mut(&event.process) {
                    for (key, Offset(offset)) in offsets {
                        match offset {
                            0 => _ = places.insert(key.clone(), Place { next: 0, by: None }),
                            _ => _ = places.remove(key),
                        }
                    }
                }
            }
            Log::Send(micros) | Log::Poll(micros) | Log::Txn(micros) => {
                for micro in micros {
                    match micro {
                        LogMicro::Send { key, value, offset: Some(Offset(offset)) } => {
                            self.on(key, |partition, promise| {
                                partition.acknowledged(*offset, value, promise)
                            })?;
                        }
                        LogMicro::Send { .. } | LogMicro::Poll(None) => {}
                        LogMicro::Poll(Some(polled)) => {
                            for (key, messages) in polled {
                                self.polled(event, key, messages)?;
                            }
                        }
                    }
                }
            }
            Log::Commit(_) | Log::Committed(_) | Log::EndOffsets(_) | Log::Crash => {}
        }
        Ok(())
    }

    /// A poll gave `messages` of one partition.
    fn polled(
        &mut self,
        event: &Event<Log>,
        key: &Scalar,
        messages: &[(Offset, Scalar)],
    ) -> Result<(), Break> {
        let (by, Some((Offset(last), _))) = (event.index, messages.last()) else { return Ok(()) };
        let places = self.consumers.get_mut(&event.process);
        let place = places.and_then(|places| {
            places.insert(key.clone(), Place { next: last.saturating_add(1), by: Some(by) })
        });
        self.on(key, |partition, promise| {
            let mut place = place;
            for (Offset(offset), value) in messages {
                if let Some(Place { next, by: before }) = place {
                    // If the promise allows messages to vanish after they were read, a broker sends consumers back to
                    // the new end.
                    let stays = before == Some(by) || promise.unsettled_reads == Allowed::No;
                    if *offset < next && stays {
                        return Err(Break::Anomaly);
                    }
                    if *offset > next {
                        partition.jumped(Jump { next, to: *offset, by }, promise)?;
                    }
                }
                place = Some(Place { next: offset.saturating_add(1), by: Some(by) });
                partition.read(*offset, value, by, promise)?;
            }
            Ok(())
        })
    }
}

impl Growing<Log> for Logs {
    fn take(&mut self, event: &Event<Log>) {
        if self.so_far.anomaly.is_some() {
            return;
        }
        let taken = if event.op_type == OpType::Invoke {
            self.open.insert(event.process, event.action.clone());
            event.action.micros().iter().try_for_each(|micro| match micro {
                LogMicro::Send { key, value, .. } => {
                    self.on(key, |partition, _| match partition.sent.insert(value.clone(), None) {
                        // A message that was sent twice says nothing about either.
                        Some(_) => Err(Break::Beyond),
                        None => Ok(()),
                    })
                }
                LogMicro::Poll(_) => Ok(()),
            })
        } else {
            self.so_far.operations += 1;
            self.ended(event)
        };
        if taken.is_err() {
            self.so_far.anomaly = Some(event.index);
        }
    }

    fn so_far(&self) -> SoFar {
        self.so_far
    }
}

/// An anomaly, unless one of `allowed` is.
fn breaks(allowed: &[Allowed]) -> Result<(), Break> {
    if allowed.contains(&Allowed::Yes) { Ok(()) } else { Err(Break::Anomaly) }
}

impl Partition {
    /// A send was acknowledged: `value` is at `offset`.
    fn acknowledged(&mut self, offset: u64, value: &Scalar, promise: Delivery) -> Result<(), Break> {
        if offset < self.floor {
            return Ok(());
        }
        let Delivery { loss, repetition, unsettled_reads, .. } = promise;
        let held = self.offsets.entry(offset).or_default();
        if held.acknowledged.replace(value.clone()).is_some() {
            breaks(&[loss, unsettled_reads])?;
        }
        match &held.read {
            Some(read) if read != value => breaks(&[loss, unsettled_reads])?,
            Some(_) => {}
            None => {
                if self.jumps.iter().any(|jump| jump.passes(offset)) {
                    breaks(&[loss])?;
                }
                if self.sent.get(value).is_some_and(|read| read.is_some_and(|at| at != offset)) {
                    breaks(&[repetition, unsettled_reads])?;
                }
            }
        }
        self.forget();
        Ok(())
    }

    /// A poll, of the operation `by`, gave `value` at `offset`.
    fn read(&mut self, offset: u64, value: &Scalar, by: u64, promise: Delivery) -> Result<(), Break> {
        if offset < self.floor {
            return Ok(());
        }
        let Delivery { loss, repetition, unsettled_reads, .. } = promise;
        let Some(read) = self.sent.get_mut(value) else {
            // It was never sent, or was read before at an offset that is forgotten.
            return if self.floor > 0 { breaks(&[repetition]) } else { Err(Break::Anomaly) };
        };
        if read.replace(offset).is_some_and(|before| before != offset) {
            breaks(&[repetition])?;
        }
        let held = self.offsets.entry(offset).or_default();
        if held.acknowledged.as_ref().is_some_and(|acknowledged| acknowledged != value) {
            breaks(&[loss, unsettled_reads])?;
        }
        if held.read.as_ref().is_some_and(|before| before != value)
            || self.jumps.iter().any(|jump| jump.passes(offset) && jump.by != by)
        {
            breaks(&[unsettled_reads])?;
        }
        held.read.get_or_insert_with(|| value.clone());
        self.forget();
        Ok(())
    }

    /// A consumer passed offsets by.
    fn jumped(&mut self, jump: Jump, promise: Delivery) -> Result<(), Break> {
        for held in self.offsets.range(jump.next..jump.to).map(|(_, held)| held) {
            match (&held.read, &held.acknowledged) {
                (Some(_), _) => breaks(&[promise.unsettled_reads])?,
                (None, Some(_)) => breaks(&[promise.loss])?,
                (None, None) => {}
            }
        }
        if self.jumps.len() == JUMPS_MAX {
            self.jumps.remove(0);
        }
        self.jumps.push(jump);
        Ok(())
    }

    /// Forgets the oldest message, if there are too many.
    fn forget(&mut self) {
        if self.offsets.len() > KEPT_MAX
            && let Some((offset, held)) = self.offsets.pop_first()
        {
            for value in held.read.iter().chain(&held.acknowledged) {
                self.sent.remove(value);
            }
            self.floor = offset + 1;
        }
    }
}

impl Jump {
    fn passes(&self, offset: u64) -> bool {
        (self.next..self.to).contains(&offset)
    }
}
