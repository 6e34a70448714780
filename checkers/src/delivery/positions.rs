//! The position of each consumer, and its jumps.
//!
//! A consumer that assigned partitions to itself continues each of them from its position: after the last
//! message that it received, or at the offset of its `seek`, or at the beginning. So each poll must begin
//! where the last one ended, and within one poll every message follows the one before. Otherwise it is a
//! *jump*: from the next offset to another, which is lower or higher. A higher one alone proves nothing,
//! since offsets may be empty; it shows that this consumer found none of the offsets between.
//!
//! A consumer that never said how it consumes was set up before the history began. In a history without
//! subscriptions, it keeps its place from its first message on, as one that assigned does; it may have begun
//! anywhere.
//!
//! Consumers of a group receive and lose partitions at any moment, and then begin at the committed offset.
//! Only the messages of one poll are compared for them, as in Jepsen's analysis. As there, an assignment
//! keeps the place in the partitions that it shares with the one before.
//!
//! A *reading* is the way of one consumer from the beginning of a partition onwards. It proves not only which
//! messages are there, but also which are not.

use duress_history::log::{Log, LogMicro, Offset, Start};
use duress_history::pairs::Completion;
use duress_history::{Operation, Process};
use rustc_hash::FxHashMap;

use super::facts::{Facts, Op};
use super::promise::Gaps;
use crate::verdict::Role;

/// The cause of a consumer's position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// It went to the beginning with this operation.
    Beginning(Op),
    /// It went to an offset with this operation.
    Seek(Op),
    /// This operation gave it the message before.
    Record(Op),
}

impl Origin {
    pub(super) fn op(self) -> Op {
        match self {
            Self::Beginning(op) | Self::Seek(op) | Self::Record(op) => op,
        }
    }
}

/// A consumer at one offset received another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Jump {
    /// The next offset.
    pub(super) next: u64,
    /// The offset received instead.
    pub(super) to: u64,
    pub(super) origin: Origin,
    /// The operation that gave it.
    pub(super) by: Op,
    /// The assignments by which it came to its place and kept it; `None` if one operation received both, and
    /// for consumers that never assigned.
    pub(super) assigned: Option<Assignments>,
}

/// The assignment in force when a consumer came to its place, and the one in force when it read on: often the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Assignments {
    pub(super) before: Op,
    pub(super) now: Op,
}

impl Jump {
    /// Whether one operation gave both offsets.
    pub(super) fn is_within(&self) -> bool {
        self.origin == Origin::Record(self.by)
    }

    /// Returns every operation that takes part in it, with its role.
    pub(super) fn roles(&self) -> Vec<(Op, Role)> {
        let origin = match self.origin {
            Origin::Record(op) => (op, Role::Evidence),
            Origin::Beginning(op) | Origin::Seek(op) => (op, Role::Position),
        };
        let assigned = self.assigned.map(|assigned| [assigned.before, assigned.now]).into_iter().flatten();
        [(self.by, Role::Read), origin].into_iter().chain(assigned.map(|op| (op, Role::Position))).collect()
    }
}

/// The way of one consumer from the beginning of a partition.
#[derive(Debug)]
pub(super) struct Reading {
    /// The operation that went to the beginning.
    pub(super) start: Op,
    /// The first offset that it covers.
    pub(super) low: u64,
    /// The offset after the last message that it was given.
    pub(super) reached: u64,
    /// The operations that gave it messages of this partition.
    pub(super) ops: Vec<Op>,
}

/// Jumps and readings, by partition.
#[derive(Debug)]
pub(super) struct Positions {
    pub(super) jumps: Vec<Vec<Jump>>,
    pub(super) readings: Vec<Vec<Reading>>,
}

/// How a process consumes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// By an assignment of its own, or, without one, as it was set up before the history began.
    Assigned(Option<Op>),
    /// As a member of the group, or it is not known how.
    Other,
}

#[derive(Clone, Copy)]
struct Place {
    next: u64,
    origin: Origin,
    /// The assignment by which it is there.
    assigned: Option<Op>,
    reading: Option<usize>,
}

struct Consumer {
    mode: Mode,
    places: FxHashMap<u32, Place>,
}

/// Follows every consumer. Time O(messages read).
pub(super) fn follow(facts: &Facts<'_>, gaps: Gaps) -> Positions {
    let subscribes = |operation: &Operation<Log>| matches!(operation.action, Log::Subscribe(_));
    let at_first = if facts.operations.iter().any(subscribes) { Mode::Other } else { Mode::Assigned(None) };
    let mut walk = Walk {
        facts,
        gaps,
        at_first,
        consumers: FxHashMap::default(),
        found: Positions {
            jumps: facts.partitions.iter().map(|_| Vec::new()).collect(),
            readings: facts.partitions.iter().map(|_| Vec::new()).collect(),
        },
    };
    for (op, operation) in facts.operations.iter().enumerate() {
        // A failed operation left the consumer at its position; one of unknown outcome ended it.
        let Completion::Ok { answer, .. } = &operation.completion else { continue };
        walk.answered(op as Op, operation.process, answer);
    }
    walk.found
}

struct Walk<'a, 'b> {
    facts: &'a Facts<'b>,
    gaps: Gaps,
    /// How consumers consume that have not said it.
    at_first: Mode,
    consumers: FxHashMap<Process, Consumer>,
    found: Positions,
}

impl Walk<'_, '_> {
    fn answered(&mut self, op: Op, process: Process, answer: &Log) {
        match answer {
            Log::Assign { keys, from } => {
                let consumer = consumer(&mut self.consumers, process, self.at_first);
                let before = std::mem::take(&mut consumer.places);
                let kept = matches!(consumer.mode, Mode::Assigned(Some(_)));
                consumer.mode = Mode::Assigned(Some(op));
                for partition in keys.iter().filter_map(|key| self.facts.partition(key)) {
                    match (from, before.get(&partition)) {
                        (Start::Beginning, _) => {
                            let place = beginning(&mut self.found.readings[partition as usize], op, Some(op));
                            consumer.places.insert(partition, place);
                        }
                        // It continues after its last message: a position that was only sought is forgotten.
                        (Start::Position, Some(place))
                            if kept && matches!(place.origin, Origin::Record(_)) =>
                        {
                            consumer.places.insert(partition, *place);
                        }
                        // It received nothing here, or has lost its place: it may begin anywhere.
                        (Start::Position, _) => {}
                    }
                }
            }
            Log::Subscribe(_) => {
                let consumer = consumer(&mut self.consumers, process, self.at_first);
                consumer.mode = Mode::Other;
                consumer.places.clear();
            }
            Log::Seek(offsets) => {
                let consumer = consumer(&mut self.consumers, process, self.at_first);
                let Mode::Assigned(assigned) = consumer.mode else { return };
                for (key, Offset(offset)) in offsets {
                    let Some(partition) = self.facts.partition(key) else { continue };
                    let place = match offset {
                        0 => beginning(&mut self.found.readings[partition as usize], op, assigned),
                        _ => Place { next: *offset, origin: Origin::Seek(op), assigned, reading: None },
                    };
                    consumer.places.insert(partition, place);
                }
            }
            Log::Send(micros) | Log::Poll(micros) | Log::Txn(micros) => {
                for micro in micros {
                    let LogMicro::Poll(Some(polled)) = micro else { continue };
                    for (key, messages) in polled {
                        if let Some(partition) = self.facts.partition(key) {
                            self.polled(op, process, partition, messages);
                        }
                    }
                }
            }
            Log::Commit(_) | Log::Committed(_) | Log::EndOffsets(_) | Log::Crash => {}
        }
    }

    /// One poll of `op` gave `messages` of one partition.
    fn polled(
        &mut self,
        op: Op,
        process: Process,
        partition: u32,
        messages: &[(Offset, duress_history::Scalar)],
    ) {
        let (Some((Offset(first), _)), Some((Offset(last), _))) = (messages.first(), messages.last()) else {
            return;
        };
        let consumer = consumer(&mut self.consumers, process, self.at_first);
        let jumps = &mut self.found.jumps[partition as usize];
        let assigned = match consumer.mode {
            Mode::Assigned(op) => Some(op),
            Mode::Other => None,
        };
        let mut place = assigned.and_then(|_| consumer.places.get(&partition).copied());
        if let Some(stood) = &mut place
            && stood.next != *first
        {
            // If the oldest messages are removed, the beginning is anywhere, and may overtake a consumer that
            // lags behind.
            if self.gaps != Gaps::Never
                && *first > stood.next
                && let Some(reading) = stood.reading
            {
                self.found.readings[partition as usize][reading].low = *first;
            }
            let unknown = self.gaps != Gaps::Never && matches!(stood.origin, Origin::Beginning(_));
            if !unknown {
                let within = stood.origin == Origin::Record(op);
                let kept = assigned.flatten().filter(|_| !within);
                let kept = kept.map(|now| Assignments { before: stood.assigned.unwrap_or(now), now });
                jumps.push(Jump {
                    next: stood.next,
                    to: *first,
                    origin: stood.origin,
                    by: op,
                    assigned: kept,
                });
            }
        }
        let mut falls = place.is_some_and(|stood| *first < stood.next);
        for pair in messages.windows(2) {
            let (Offset(one), Offset(other)) = (pair[0].0, pair[1].0);
            let next = one.saturating_add(1);
            falls |= other < next;
            if other != next {
                jumps.push(Jump { next, to: other, origin: Origin::Record(op), by: op, assigned: None });
            }
        }
        let Some(assigned) = assigned else { return };
        let mut reading = place.and_then(|place| place.reading);
        if let Some(at) = reading {
            let reads = &mut self.found.readings[partition as usize][at];
            reads.reached = last.saturating_add(1);
            if reads.ops.last() != Some(&op) {
                reads.ops.push(op);
            }
        }
        // A consumer that was sent back is no longer a scan from the beginning.
        if falls {
            reading = None;
        }
        let place = Place { next: last.saturating_add(1), origin: Origin::Record(op), assigned, reading };
        consumer.places.insert(partition, place);
    }
}

fn consumer(consumers: &mut FxHashMap<Process, Consumer>, process: Process, at_first: Mode) -> &mut Consumer {
    consumers.entry(process).or_insert_with(|| Consumer { mode: at_first, places: FxHashMap::default() })
}

fn beginning(readings: &mut Vec<Reading>, op: Op, assigned: Option<Op>) -> Place {
    readings.push(Reading { start: op, low: 0, reached: 0, ops: Vec::new() });
    Place { next: 0, origin: Origin::Beginning(op), assigned, reading: Some(readings.len() - 1) }
}
