//! The replicated state of a shard: its keys, the slots that it holds, and its part of a move.
//!
//! Whether the shard serves a key is decided where a command has its place in the order, and where a query is answered, by nothing
//! but this state. The mode `raft` is one shard that holds everything.

use std::collections::BTreeSet;

use bytes::Bytes;
use duress_consensus::State;
use serde::{Deserialize, Serialize};

use super::directory::{Directory, first_slots};
use super::moves::{Chunk, Move, MoveStep, Progress};
use super::routed::Routed;
use super::slots::{SlotSet, slot_of};
use crate::bug::Bug;
use crate::command::{Answer, Command, Query, Reply};
use crate::key_values::{FORMAT, KeyValues};
use crate::outcome::NotExecuted;

/// The limit of a chunk, beside that of its keys: it is one entry of a log.
const CHUNK_BYTES: usize = 256 << 10;

/// The state of a shard.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// The keys and their values.
    pub values: KeyValues,
    /// The slots that it holds; `None`: everything, for ever.
    slots: Option<Slots>,
    /// The directory, if this is shard 0.
    directory: Option<Directory>,
}

/// The slots that a shard holds, and its part of a move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Slots {
    held: SlotSet,
    /// The number of the last move that it has or had a part in.
    latest: u64,
    part: Option<Part>,
    /// How far its order of writes is ahead of its log. Versions of keys are positions in that order, and go with the keys: what
    /// is written here later must have greater ones, or a watched key that changed could look as if it had not.
    lead: u64,
    /// The position of the last command.
    position: u64,
    received: Received,
    /// The seeded bug. It is part of the state, so that all copies execute a step alike.
    bug: Option<Bug>,
}

/// The part of a shard in a move that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Part {
    /// It gives these slots away.
    Source(Move),
    /// It gets these slots; the keys up to `after` are here.
    Destination { plan: Move, after: Option<Bytes> },
}

/// What a shard has received in moves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// Moves that are complete.
    pub moves: u64,
    /// Their slots.
    pub slots: u64,
    /// Keys.
    pub keys: u64,
    /// The bytes of the keys and of their values.
    pub bytes: u64,
}

impl Shard {
    /// Returns one of several shards, before the first move.
    pub fn of(shard: u8, shards: u8, bug: Option<Bug>) -> Self {
        let slots = Slots {
            held: first_slots(shard, shards),
            latest: 0,
            part: None,
            lead: 0,
            position: 0,
            received: Received::default(),
            bug,
        };
        let directory = (shard == 0).then(|| Directory::new(shards));
        Self { values: KeyValues::default(), slots: Some(slots), directory }
    }

    /// Returns the directory, if this is shard 0.
    pub fn directory(&self) -> Option<&Directory> {
        self.directory.as_ref()
    }

    /// Returns what it has received in moves.
    pub fn received(&self) -> Received {
        self.slots.as_ref().map_or_else(Received::default, |slots| slots.received)
    }

    /// Answers a query, or refuses it.
    pub fn answer(&self, query: &Query) -> Answer {
        match (query, &self.slots) {
            (Query::HandOver { number, after, keys }, Some(slots)) => match &slots.part {
                Some(Part::Source(plan)) if plan.number == *number => {
                    Answer::HandedOver(Box::new(self.chunk(plan, slots.position, after.as_ref(), *keys)))
                }
                _ => Answer::Failed(NotExecuted::SlotElsewhere.into()),
            },
            (query, Some(slots)) if !slots.serves(query) => Answer::Failed(NotExecuted::SlotElsewhere.into()),
            (query, _) => self.values.answer(query),
        }
    }

    /// Returns the keys of a move that come after `after`.
    fn chunk(&self, plan: &Move, position: u64, after: Option<&Bytes>, keys: usize) -> Chunk {
        let mut rest = self
            .values
            .iter()
            .filter(|(key, _)| after.is_none_or(|after| *key > after) && plan.slots.contains(slot_of(key)))
            .peekable();
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while entries.len() < keys
            && bytes < CHUNK_BYTES
            && let Some((key, entry)) = rest.next()
        {
            bytes += key.len() + entry.value.size();
            entries.push((key.clone(), entry.clone()));
        }
        Chunk { plan: plan.clone(), after: after.cloned(), entries, last: rest.peek().is_none(), position }
    }

    fn step(&mut self, index: u64, step: MoveStep) -> Progress {
        let Some(slots) = &mut self.slots else { return Progress::Over };
        match step {
            MoveStep::Freeze(plan) => slots.freeze(plan),
            MoveStep::Receive(chunk) => slots.receive(&mut self.values, index, *chunk),
            MoveStep::Drop { number } => slots.drop(&mut self.values, number),
            other => self.directory.as_mut().map_or(Progress::Over, |directory| directory.step(other)),
        }
    }
}

impl Slots {
    /// Whether it serves all keys and slots that a request names.
    fn serves(&self, request: &impl Routed) -> bool {
        let is_frozen = |slot: u16| match &self.part {
            // The bug `old-owner-serves`: the slots are served for as long as they are here.
            Some(Part::Source(plan)) => self.bug != Some(Bug::OldOwnerServes) && plan.slots.contains(slot),
            _ => false,
        };
        request.slots().all(|slot| self.held.contains(slot) && !is_frozen(slot))
    }

    fn freeze(&mut self, plan: Move) -> Progress {
        if plan.number > self.latest {
            self.latest = plan.number;
            self.part = Some(Part::Source(plan));
            return Progress::Done;
        }
        match &self.part {
            Some(Part::Source(present)) if present.number == plan.number => Progress::Done,
            _ => Progress::Over,
        }
    }

    fn receive(&mut self, values: &mut KeyValues, index: u64, chunk: Chunk) -> Progress {
        let Chunk { plan, after, entries, last, position } = chunk;
        if plan.number > self.latest {
            self.latest = plan.number;
            if self.bug == Some(Bug::ServedBeforeArrival) {
                self.held.add(&plan.slots);
            }
            self.part = Some(Part::Destination { plan: plan.clone(), after: None });
        } else if plan.number == self.latest && self.part.is_none() {
            return Progress::Done;
        }
        let Some(Part::Destination { plan: present, after: expected }) = &mut self.part else {
            return Progress::Over;
        };
        if present.number != plan.number {
            return Progress::Over;
        }
        if *expected != after {
            return Progress::Expects(expected.clone());
        }
        self.lead = self.lead.max((position + 1).saturating_sub(index));
        self.received.keys += entries.len() as u64;
        for (key, entry) in entries {
            self.received.bytes += (key.len() + entry.value.size()) as u64;
            *expected = Some(key.clone());
            values.put(key, Some(entry));
        }
        if !last {
            return Progress::Expects(expected.clone());
        }
        self.held.add(&plan.slots);
        self.part = None;
        self.received.moves += 1;
        self.received.slots += plan.slots.len();
        Progress::Done
    }

    fn drop(&mut self, values: &mut KeyValues, number: u64) -> Progress {
        match &self.part {
            Some(Part::Source(plan)) if plan.number == number => {
                self.held.remove(&plan.slots);
                let gone: BTreeSet<Bytes> = values
                    .iter()
                    .filter(|(key, _)| plan.slots.contains(slot_of(key)))
                    .map(|(key, _)| key.clone())
                    .collect();
                // The bug: nothing reads them any more, as long as the slots are elsewhere.
                if self.bug != Some(Bug::DroppedKeysStay) {
                    gone.into_iter().for_each(|key| values.put(key, None));
                }
                self.part = None;
                Progress::Done
            }
            _ if number <= self.latest => Progress::Done,
            _ => Progress::Over,
        }
    }
}

impl State for Shard {
    type Command = Command;
    type Reply = Reply;
    const FORMAT: u32 = FORMAT;

    fn apply(&mut self, index: u64, command: Command) -> Reply {
        let command = match command {
            Command::Move(step) => return Reply::Moved(self.step(index, step)),
            command => command,
        };
        let Some(slots) = &mut self.slots else { return self.values.apply(index, &command).0 };
        if !slots.serves(&command) {
            return Reply::Failed(NotExecuted::SlotElsewhere.into());
        }
        slots.position = index + slots.lead;
        self.values.apply(slots.position, &command).0
    }
}
