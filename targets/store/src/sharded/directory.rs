//! Which shard has which slot, as shard 0 keeps it beside its keys.
//!
//! Nodes route by their own copy of it, which may be old: it says where to ask, and never who may answer.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::moves::{Move, MoveStep, Progress};
use super::slots::{SLOTS, SlotSet};

/// The directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directory {
    /// The slots of each shard.
    shards: Vec<SlotSet>,
    /// The number of the last move that began.
    begun: u64,
    /// The move that is under way.
    moving: Option<Moving>,
    /// The addresses on which nodes listen for clients, by the numbers of the nodes.
    addresses: BTreeMap<u64, SocketAddr>,
}

/// A move that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moving {
    /// The move.
    pub plan: Move,
    /// Whether the directory names the destination already.
    pub flipped: bool,
}

/// Returns the slots that a shard has in the beginning: a range, about as long as each other shard's.
pub fn first_slots(shard: u8, shards: u8) -> SlotSet {
    let bound = |shard: u8| (u32::from(shard) * u32::from(SLOTS) / u32::from(shards)) as u16;
    (bound(shard)..bound(shard + 1)).collect()
}

impl Directory {
    /// Returns the directory before the first move.
    pub fn new(shards: u8) -> Self {
        Self {
            shards: (0..shards).map(|shard| first_slots(shard, shards)).collect(),
            begun: 0,
            moving: None,
            addresses: BTreeMap::new(),
        }
    }

    /// Returns the shard that has a slot.
    pub fn owner(&self, slot: u16) -> u8 {
        // Every slot is in one set: a move takes it out of one and adds it to another.
        self.shards.iter().position(|slots| slots.contains(slot)).unwrap_or(0) as u8
    }

    /// Returns the slots of each shard.
    pub fn shards(&self) -> &[SlotSet] {
        &self.shards
    }

    /// Returns the move that is under way.
    pub fn moving(&self) -> Option<&Moving> {
        self.moving.as_ref()
    }

    /// Returns the number of the last move that began.
    pub fn begun(&self) -> u64 {
        self.begun
    }

    /// Returns the addresses on which nodes listen for clients, by the numbers of the nodes.
    pub fn addresses(&self) -> &BTreeMap<u64, SocketAddr> {
        &self.addresses
    }

    /// Returns the next move, which brings those of `slots` that one shard has to the shard `to`; `None` if `to` has all of
    /// them. If several other shards have some, it is the first shard's turn.
    pub fn plan(&self, slots: &SlotSet, to: u8) -> Option<Move> {
        let from = slots.iter().map(|slot| self.owner(slot)).find(|owner| *owner != to)?;
        let slots = slots.iter().filter(|slot| self.owner(*slot) == from).collect();
        Some(Move { number: self.begun + 1, from, to, slots })
    }

    /// Executes a step; one that is not the directory's is over.
    pub fn step(&mut self, step: MoveStep) -> Progress {
        match (step, &mut self.moving) {
            (MoveStep::Begin(plan), None)
                if plan.number == self.begun + 1
                    && [plan.from, plan.to].iter().all(|shard| usize::from(*shard) < self.shards.len()) =>
            {
                self.begun = plan.number;
                self.moving = Some(Moving { plan, flipped: false });
            }
            (MoveStep::Flip { number }, Some(moving)) if moving.plan.number == number => {
                self.shards[usize::from(moving.plan.from)].remove(&moving.plan.slots);
                self.shards[usize::from(moving.plan.to)].add(&moving.plan.slots);
                moving.flipped = true;
            }
            (MoveStep::End { number }, Some(moving)) if moving.plan.number == number && moving.flipped => {
                self.moving = None;
            }
            (MoveStep::Announce { node, address }, _) => _ = self.addresses.insert(node, address),
            _ => return Progress::Over,
        }
        Progress::Done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_one_owner() {
        for shards in 1..=16 {
            let directory = Directory::new(shards);
            assert_eq!(directory.shards.iter().map(SlotSet::len).sum::<u64>(), u64::from(SLOTS));
            assert_eq!((directory.owner(0), directory.owner(SLOTS - 1)), (0, shards - 1));
        }
    }

    #[test]
    fn moves_come_one_after_the_other() {
        let mut directory = Directory::new(2);
        let first = directory.plan(&(8_000..8_400).collect(), 1).unwrap();
        assert_eq!((first.number, first.from, first.slots.ranges()), (1, 0, vec![8_000..=8_191]));
        let begin = |plan: &Move| MoveStep::Begin(plan.clone());
        assert_eq!(directory.step(begin(&first)), Progress::Done);
        let second = directory.plan(&(0..10).collect(), 1).unwrap();
        assert_eq!(directory.step(begin(&second)), Progress::Over, "the first is under way");
        assert_eq!(directory.step(MoveStep::End { number: 1 }), Progress::Over, "it has not flipped");
        assert_eq!(directory.step(MoveStep::Flip { number: 1 }), Progress::Done);
        assert_eq!((directory.owner(7_999), directory.owner(8_000)), (0, 1));
        assert_eq!(directory.step(MoveStep::End { number: 1 }), Progress::Done);
        assert_eq!(directory.step(MoveStep::Flip { number: 1 }), Progress::Over, "a late repetition");
        assert_eq!(directory.step(begin(&first)), Progress::Over, "another late repetition");
        assert_eq!(directory.step(begin(&second)), Progress::Done);
        assert_eq!(directory.plan(&(8_000..SLOTS).collect(), 1), None, "they are there");
    }
}
