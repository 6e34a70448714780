//! The events of a problem in order, with a slot for each operation while it is open.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::call::{Duty, Effect};
use super::crashed::{Position, Reduced, Required};

/// An operation, with its place in the walk.
pub(super) struct Placed {
    pub(super) effect: Effect,
    pub(super) duty: Duty,
    /// The lowest one that was free when it was invoked.
    pub(super) slot: u32,
    /// Its invocation and its deadline, as numbers of events.
    pub(super) invoke: u32,
    pub(super) complete: u32,
}

/// An event of an operation.
#[derive(Clone, Copy)]
pub(super) enum Event {
    Invoke(u32),
    Return(u32),
}

/// An [`Event`] in one word.
#[derive(Clone, Copy)]
struct Packed(u32);

/// The sequence of events to walk.
pub(super) struct Walk {
    pub(super) calls: Vec<Placed>,
    events: Vec<Packed>,
    /// The rank of each event, for the report.
    pub(super) ranks: Vec<u32>,
    pub(super) slots: usize,
    /// By group of crashed operations: how many events come before each invocation.
    pub(super) group_invokes: Vec<Vec<u32>>,
    /// From this event on there are only completions.
    pub(super) invoked: usize,
}

impl Walk {
    pub(super) fn new(reduced: &Reduced) -> Self {
        // A read that may return an earlier value proves nothing.
        let says = |call: &&Required| call.duty == Duty::Required || call.effect.produced().is_some();
        let count = reduced.required.len();
        let mut walk = Self {
            calls: Vec::with_capacity(count),
            events: Vec::with_capacity(2 * count),
            ranks: Vec::with_capacity(2 * count),
            slots: 0,
            group_invokes: Vec::new(),
            invoked: 0,
        };
        // The deadlines of open operations. Those at one position are interchangeable, and ordered by number only so that a
        // run can be repeated exactly.
        let mut open: BinaryHeap<Reverse<(Position, u32)>> = BinaryHeap::new();
        let mut free: BinaryHeap<Reverse<u32>> = BinaryHeap::new();
        for call in reduced.required.iter().filter(says) {
            while let Some(Reverse((deadline, number))) = open.peek().copied()
                && deadline < call.invoke
            {
                open.pop();
                free.push(Reverse(walk.complete(number, deadline)));
            }
            let number = walk.calls.len() as u32;
            let slot = free.pop().map_or_else(
                || {
                    walk.slots += 1;
                    walk.slots as u32 - 1
                },
                |Reverse(slot)| slot,
            );
            let invoke = walk.push(Event::Invoke(number), call.invoke);
            walk.calls.push(Placed { effect: call.effect, duty: call.duty, slot, invoke, complete: 0 });
            open.push(Reverse((call.deadline, number)));
        }
        walk.invoked = walk.events.len();
        while let Some(Reverse((deadline, number))) = open.pop() {
            walk.complete(number, deadline);
        }
        // A crashed operation's rank is not one of these.
        let before = |position: u32| walk.ranks.partition_point(|rank| 2 * rank + 1 < position) as u32;
        let invokes = |invokes: &[u32]| invokes.iter().map(|invoke| before(*invoke)).collect();
        walk.group_invokes = reduced.groups.iter().map(|group| invokes(&group.invokes)).collect();
        walk
    }

    /// Appends the completion of call `number`; returns its slot.
    fn complete(&mut self, number: u32, deadline: Position) -> u32 {
        let complete = self.push(Event::Return(number), deadline);
        let call = &mut self.calls[number as usize];
        call.complete = complete;
        call.slot
    }

    /// Appends an event; returns its number.
    fn push(&mut self, event: Event, position: Position) -> u32 {
        self.events.push(match event {
            Event::Invoke(number) => Packed(number << 1),
            Event::Return(number) => Packed(number << 1 | 1),
        });
        // A deadline is one below the doubled rank of its observer's completion: both halve to that rank.
        self.ranks.push(position / 2);
        (self.events.len() - 1) as u32
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// Returns the event of number `at`.
    pub(super) fn event(&self, at: usize) -> Event {
        self.events[at].unpacked()
    }
}

impl Packed {
    fn unpacked(self) -> Event {
        if self.0 & 1 == 0 { Event::Invoke(self.0 >> 1) } else { Event::Return(self.0 >> 1) }
    }
}
