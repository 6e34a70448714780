//! A search for an order of snapshots and commits that explains every answer, as snapshot isolation allows.
//!
//! The dependencies give a partial order. A transaction is taken in two steps. It first reads the current
//! versions, and holds the objects that it is going to write. It then writes, as soon as no transaction has yet to read
//! the versions that it overwrites. Only the first step of a writer is a choice: the one due first is taken. If no step
//! can be taken, the last choice was wrong, and the next one is tried. States without a solution are remembered.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use rustc_hash::FxHashSet;

use super::explain::Shown;
use super::facts::Facts;
use super::graph::{Graph, Level, Node};
use super::order;
use super::visibility::Access;
use crate::witness::Op;

/// The number of steps examined, per existing step, before the search gives up.
const LOOKS_PER_STEP: u64 = 400;

/// The number of ready steps examined at a time: those due last do not matter yet.
const LOOKS_AT_ONCE: usize = 5_000;

/// The effect of a transaction on one object, with versions numbered over all objects.
#[derive(Clone, Copy)]
struct InObject {
    key: u32,
    found: Option<u32>,
    left: Option<u32>,
}

pub(super) struct Search {
    /// The first step that belongs to a joint.
    joints_from: Node,
    /// The successors of each step.
    starts: Vec<u32>,
    ends: Vec<Node>,
    /// The number of steps for which each still waits.
    waits: Vec<u32>,
    /// The latest time at which each is due: the earliest end of its transaction and of those that must come
    /// after it.
    due: Vec<u64>,
    /// The effects of transactions on objects, and where those of each begin.
    first_part: Vec<u32>,
    parts: Vec<InObject>,
    /// The present version of each object.
    current: Vec<u32>,
    /// Whether a transaction that has read and will write holds the object.
    held: Vec<bool>,
    /// The number of transactions that have yet to read each version.
    to_read: Vec<u32>,
    /// Whether each transaction takes part.
    taking: Vec<bool>,
    /// The ready steps: those that are not a choice, and those of writers.
    free: BTreeSet<(u64, Node)>,
    writers: BTreeSet<(u64, Node)>,
    taken: Vec<Taken>,
    state: u64,
    looks: u64,
}

/// A step of the present order.
struct Taken {
    step: Node,
    /// The previous versions of its objects, in the order of its parts.
    before: Box<[u32]>,
    /// The previous state.
    state: u64,
}

impl Search {
    /// Returns a search with `accesses` by transaction; `graph` and `level` give the partial order.
    pub(super) fn new<R: Shown>(
        facts: &Facts<'_, R>,
        accesses: &[Access],
        graph: &Graph,
        level: Level,
    ) -> Self {
        let edges = order::of_snapshots(facts, graph, level);
        let steps = 2 * graph.nodes();
        let (mut starts, mut waits) = (vec![0_u32; steps + 1], vec![0_u32; steps]);
        for (from, to) in &edges {
            starts[*from as usize + 1] += 1;
            waits[*to as usize] += 1;
        }
        add_up(&mut starts);
        let (mut next, mut ends) = (starts.clone(), vec![0; edges.len()]);
        for (from, to) in edges {
            let next = &mut next[from as usize];
            ends[*next as usize] = to;
            *next += 1;
        }
        let (count, keys) = (facts.operations.len(), facts.keys.len());
        let mut first_part = vec![0_u32; count + 1];
        for access in accesses {
            first_part[access.op as usize + 1] += 1;
        }
        add_up(&mut first_part);
        let of = |op: Op| first_part[op as usize] as usize..first_part[op as usize + 1] as usize;
        // The initial version of an object has the number of its key, and the versions of accesses come after
        // those. A version that was never left has a number of its own and never becomes current.
        let never = (keys + accesses.len()) as u32;
        let version = |key: u32, writer: Option<Op>| {
            let Some(writer) = writer else { return key };
            let mut written = of(writer).filter(|at| accesses[*at].key == key && accesses[*at].writes);
            written.next().map_or(never, |at| (keys + at) as u32)
        };
        let mut to_read = vec![0; never as usize + 1];
        let mut parts = Vec::with_capacity(accesses.len());
        for (at, access) in accesses.iter().enumerate() {
            let found = access.read.map(|writer| version(access.key, writer));
            if let Some(found) = found {
                to_read[found as usize] += 1;
            }
            parts.push(InObject { key: access.key, found, left: access.writes.then(|| (keys + at) as u32) });
        }
        let mut search = Self {
            joints_from: 2 * graph.joints_from,
            starts,
            ends,
            waits,
            due: Vec::new(),
            first_part,
            parts,
            current: (0..keys as u32).collect(),
            held: vec![false; keys],
            to_read,
            taking: (0..count as Op).map(|op| facts.takes_part(op)).collect(),
            free: BTreeSet::new(),
            writers: BTreeSet::new(),
            taken: Vec::with_capacity(2 * count),
            state: 0,
            looks: 0,
        };
        search.due = search.due(facts);
        search
    }

    fn after(&self, step: Node) -> Range<usize> {
        self.starts[step as usize] as usize..self.starts[step as usize + 1] as usize
    }

    /// Returns the transaction of a step.
    fn op(step: Node) -> Op {
        step / 2
    }

    /// Whether it is the step in which a transaction reads; in the other one it writes.
    fn reads(step: Node) -> bool {
        step.is_multiple_of(2)
    }

    /// Returns when each step is due.
    fn due<R: Shown>(&self, facts: &Facts<'_, R>) -> Vec<u64> {
        let steps = self.waits.len();
        let mut waits = self.waits.clone();
        let mut sorted: Vec<Node> = Vec::with_capacity(steps);
        sorted.extend((0..steps as Node).filter(|step| waits[*step as usize] == 0));
        let mut at = 0;
        while at < sorted.len() {
            for after in self.after(sorted[at]) {
                let wait = &mut waits[self.ends[after] as usize];
                *wait -= 1;
                if *wait == 0 {
                    sorted.push(self.ends[after]);
                }
            }
            at += 1;
        }
        let end = |step: Node| if step < self.joints_from { facts.end(Self::op(step)) } else { None };
        let mut due: Vec<u64> = (0..steps as Node).map(|step| end(step).unwrap_or(u64::MAX)).collect();
        for step in sorted.into_iter().rev() {
            let earliest = self.after(step).map(|after| due[self.ends[after] as usize]).min();
            due[step as usize] = due[step as usize].min(earliest.unwrap_or(u64::MAX));
        }
        due
    }

    fn parts(&self, step: Node) -> Range<usize> {
        let op = Self::op(step) as usize;
        self.first_part[op] as usize..self.first_part[op + 1] as usize
    }

    /// Returns whether an order was found.
    pub(super) fn finds(mut self, interrupt: &AtomicBool) -> bool {
        let transactions = self.taking.iter().filter(|takes_part| **takes_part).count();
        let all = 2 * transactions;
        let looks_max = LOOKS_PER_STEP * (all as u64 + 1_000);
        let first: Vec<Node> =
            (0..self.waits.len() as Node).filter(|step| self.waits[*step as usize] == 0).collect();
        for step in first {
            self.release(step);
        }
        let mut dead: FxHashSet<u64> = FxHashSet::default();
        // The last step tried in this state, not to be tried again.
        let mut tried: Option<(u64, Node)> = None;
        while self.taken.len() < all {
            if self.looks > looks_max || interrupt.load(Ordering::Relaxed) {
                return false;
            }
            let next = if tried.is_none() && dead.contains(&self.state) { None } else { self.next(tried) };
            if let Some(step) = next {
                self.take(step);
                tried = None;
                continue;
            }
            dead.insert(self.state);
            // Return to the last choice.
            loop {
                let Some(step) = self.undo() else { return false };
                if self.is_choice(step) {
                    tried = Some((self.due[step as usize], step));
                    break;
                }
                dead.insert(self.state);
            }
        }
        true
    }

    /// Returns a step that can be taken: one that is not a choice if there is one, otherwise the next writer
    /// after `tried`.
    fn next(&mut self, tried: Option<(u64, Node)>) -> Option<Node> {
        let (mut looks, mut next) = (0, None);
        if tried.is_none() {
            for (_, step) in self.free.iter().take(LOOKS_AT_ONCE) {
                looks += 1;
                if self.can_be_taken(*step) {
                    next = Some(*step);
                    break;
                }
            }
        }
        if next.is_none() {
            let from = tried.map_or((0, 0), |(due, step)| (due, step + 1));
            for (_, step) in self.writers.range(from..).take(LOOKS_AT_ONCE) {
                looks += 1;
                if self.can_be_taken(*step) {
                    next = Some(*step);
                    break;
                }
            }
        }
        self.looks += looks;
        next
    }

    fn can_be_taken(&self, step: Node) -> bool {
        let reads = Self::reads(step);
        self.parts[self.parts(step)].iter().all(|part| {
            let current = self.current[part.key as usize];
            let finds_it = part.found == Some(current);
            let others = self.to_read[current as usize] - u32::from(reads && finds_it);
            let can_read = part.found.is_none() || finds_it;
            let can_hold = part.left.is_none() || !self.held[part.key as usize];
            let can_write = part.left.is_none() || others == 0;
            if reads { can_read && can_hold } else { can_write }
        })
    }

    /// Returns whether it matters when the step is taken.
    fn is_choice(&self, step: Node) -> bool {
        Self::reads(step) && self.parts[self.parts(step)].iter().any(|part| part.left.is_some())
    }

    /// Returns the set in which a ready step waits.
    fn waiting(&mut self, step: Node) -> &mut BTreeSet<(u64, Node)> {
        if self.is_choice(step) { &mut self.writers } else { &mut self.free }
    }

    /// Makes `step` ready, since no other step comes before it any more.
    fn release(&mut self, step: Node) {
        let mut released = vec![step];
        while let Some(step) = released.pop() {
            if step < self.joints_from {
                if self.taking[Self::op(step) as usize] {
                    let due = self.due[step as usize];
                    self.waiting(step).insert((due, step));
                }
                continue;
            }
            self.pass(step, &mut released);
        }
    }

    /// Lets the successors of `step` stop waiting for it, and adds those that become ready to `released`.
    fn pass(&mut self, step: Node, released: &mut Vec<Node>) {
        for after in self.after(step) {
            let end = self.ends[after];
            self.waits[end as usize] -= 1;
            if self.waits[end as usize] == 0 {
                released.push(end);
            }
        }
    }

    /// Makes the successors of `step` wait for it again.
    fn bind(&mut self, step: Node) {
        let mut bound = vec![step];
        while let Some(step) = bound.pop() {
            for after in self.after(step) {
                let end = self.ends[after];
                self.waits[end as usize] += 1;
                if self.waits[end as usize] > 1 {
                    continue;
                }
                if end < self.joints_from {
                    let due = self.due[end as usize];
                    self.waiting(end).remove(&(due, end));
                } else {
                    bound.push(end);
                }
            }
        }
    }

    fn take(&mut self, step: Node) {
        let state = self.state;
        let due = self.due[step as usize];
        self.waiting(step).remove(&(due, step));
        let reads = Self::reads(step);
        let before =
            self.parts[self.parts(step)].iter().map(|part| self.current[part.key as usize]).collect();
        for at in self.parts(step) {
            let InObject { key, found, left } = self.parts[at];
            if let (Some(found), true) = (found, reads) {
                self.to_read[found as usize] -= 1;
            }
            if let Some(left) = left {
                self.held[key as usize] = reads;
                if !reads {
                    let current = &mut self.current[key as usize];
                    self.state ^= mixed(u64::from(*current) << 1 | 1) ^ mixed(u64::from(left) << 1 | 1);
                    *current = left;
                }
            }
        }
        self.state ^= mixed(u64::from(step) << 1);
        let mut released = Vec::new();
        self.pass(step, &mut released);
        for step in released {
            self.release(step);
        }
        self.taken.push(Taken { step, before, state });
    }

    /// Undoes the last step.
    fn undo(&mut self) -> Option<Node> {
        let Taken { step, before, state } = self.taken.pop()?;
        self.bind(step);
        let reads = Self::reads(step);
        for (at, before) in self.parts(step).zip(before) {
            let InObject { key, found, left } = self.parts[at];
            if let (Some(found), true) = (found, reads) {
                self.to_read[found as usize] += 1;
            }
            if left.is_some() {
                self.held[key as usize] = !reads;
            }
            self.current[key as usize] = before;
        }
        let due = self.due[step as usize];
        self.waiting(step).insert((due, step));
        self.state = state;
        Some(step)
    }
}

/// Replaces each number by the sum of the numbers up to it.
fn add_up(numbers: &mut [u32]) {
    for at in 1..numbers.len() {
        numbers[at] += numbers[at - 1];
    }
}

/// Returns a hash whose values do not cancel each other out (splitmix64).
pub(super) fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
