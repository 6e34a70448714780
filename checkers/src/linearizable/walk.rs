//! The events of a problem in order, with a slot for each operation while it is open.

use super::call::{Duty, Effect};
use super::crashed::{Reduced, Required};

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

/// What is walked along.
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
        use std::cmp::Reverse;
        use std::collections::BinaryHeap;

        // A read that may have been answered before says nothing.
        let says = |call: &&Required| call.duty == Duty::Required || call.effect.produced().is_some();
        let required = || reduced.required.iter().filter(says);
        let mut calls: Vec<Placed> = required()
            .map(|call| Placed { effect: call.effect, duty: call.duty, slot: 0, invoke: 0, complete: 0 })
            .collect();
        let (events, ranks) = in_order(required());
        let mut free: BinaryHeap<Reverse<u32>> = BinaryHeap::new();
        let (mut slots, mut invoked) = (0, 0);
        for (at, event) in events.iter().enumerate() {
            match event.unpacked() {
                Event::Invoke(number) => {
                    let call = &mut calls[number as usize];
                    call.invoke = at as u32;
                    call.slot = free.pop().map_or_else(
                        || {
                            slots += 1;
                            slots - 1
                        },
                        |Reverse(slot)| slot,
                    );
                    invoked = at + 1;
                }
                Event::Return(number) => {
                    let call = &mut calls[number as usize];
                    call.complete = at as u32;
                    free.push(Reverse(call.slot));
                }
            }
        }
        // A crashed operation's rank is not one of these.
        let before = |position: u32| ranks.partition_point(|rank| 2 * rank + 1 < position) as u32;
        let invokes = |invokes: &[u32]| invokes.iter().map(|invoke| before(*invoke)).collect();
        let group_invokes = reduced.groups.iter().map(|group| invokes(&group.invokes)).collect();
        Self { calls, events, ranks, slots: slots as usize, group_invokes, invoked }
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// The event of number `at`.
    pub(super) fn event(&self, at: usize) -> Event {
        self.events[at].unpacked()
    }
}

/// The events of `required`, which are by invocation, in order of position, and their ranks.
fn in_order<'a>(required: impl Iterator<Item = &'a Required> + Clone) -> (Vec<Packed>, Vec<u32>) {
    // Invocations are in order already, and only completions are sorted. Those at one position are interchangeable, and
    // sorted by number only so that a run can be repeated exactly.
    let completed = |(number, call): (usize, &Required)| (call.deadline, number as u32);
    let mut completions: Vec<(u32, u32)> = required.clone().enumerate().map(completed).collect();
    completions.sort_unstable();
    let count = 2 * completions.len();
    let (mut events, mut ranks) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let mut push = |position: u32, packed: u32| {
        events.push(Packed(packed));
        // A deadline stands one below the doubled rank of its observer's completion: both halve to that rank.
        ranks.push(position / 2);
    };
    let mut completions = completions.into_iter().peekable();
    for (number, call) in required.enumerate() {
        while let Some((position, number)) = completions.next_if(|(position, _)| *position < call.invoke) {
            push(position, number << 1 | 1);
        }
        push(call.invoke, (number as u32) << 1);
    }
    completions.for_each(|(position, number)| push(position, number << 1 | 1));
    (events, ranks)
}

impl Packed {
    fn unpacked(self) -> Event {
        if self.0 & 1 == 0 { Event::Invoke(self.0 >> 1) } else { Event::Return(self.0 >> 1) }
    }
}
