//! An order of all transactions that explains every answer, looked for: what makes a verdict on registers valid.
//!
//! The dependencies say what must come before what. Of the transactions that may come next, one is taken that reads what is there
//! now and writes over nothing that others are still to read: one that only reads at once, since that is never wrong, and
//! otherwise the one that is due first. Where none can be taken, the last choice between writers was wrong, and the next one is
//! tried. States that led nowhere are remembered.
//!
//! An order in which the transactions could have happened one after the other, in real time, keeps every model. If there is none,
//! and less is promised, one is looked for that keeps only the order of processes, or only dependencies of data. And for models that
//! do not demand one order, the versions of each register are put into some order that agrees with what is known: then every
//! dependency is known, and whether there is a cycle that the promise forbids.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use duress_history::txn::{Elements, Held};
use rayon::prelude::*;
use rustc_hash::FxHashSet;

use super::cycle::Component;
use super::explain::Shown;
use super::facts::Facts;
use super::graph::{Dependency, Graph, Level, Node, Part};
use super::list;
use super::model::ConsistencyModel as Model;
use super::register::{INITIAL, Versions};
use crate::verdict::Reason;
use crate::witness::Op;

/// So many transactions are looked at, for each that there is, before the search gives up.
const LOOKS_PER_NODE: u64 = 400;

/// Whether no order was found that the promise allows: why the verdict is unknown.
pub(super) fn undecided(
    facts: &Facts<'_, Held>,
    versions: &[Versions<'_>],
    graph: &Graph,
    promise: Model,
    interrupt: &AtomicBool,
) -> Option<Reason> {
    // For these, writes may be in any order that agrees with the dependencies, of which there is one if they have no cycle.
    let needs_none = [Model::Causal, Model::StrongReadCommitted];
    if needs_none.into_iter().any(|model| model.implies(promise)) {
        return None;
    }
    let lowest = level(promise);
    let mut levels = vec![Level::RealTime, lowest];
    levels.dedup();
    if levels.iter().any(|level| Search::new(facts, versions, graph, *level).finds(interrupt)) {
        return None;
    }
    if !promise.implies(Model::RepeatableRead) {
        let places = places(facts, graph, lowest);
        let part = |(key, versions): (usize, &Versions<'_>)| versions.ordered(facts, key as u32, &places);
        let parts: Vec<Part> = versions.par_iter().enumerate().map(part).collect();
        let mut ordered = Graph::of_time(facts);
        for part in parts {
            ordered.add(part);
        }
        if is_kept(facts, &ordered, promise) {
            return None;
        }
    }
    if interrupt.load(Ordering::Relaxed) {
        return Some(Reason::Interrupted { key: None, explored: 0 });
    }
    Some(Reason::NotExamined {
        what: format!(
            "no cycle of what is known refutes {promise}, and no order of the transactions was found that explains every answer"
        ),
    })
}

/// A transaction's part in one register, by numbers over all registers.
#[derive(Clone, Copy)]
struct InRegister {
    key: u32,
    found: Option<u32>,
    left: Option<u32>,
}

struct Search<'s, 'a> {
    facts: &'s Facts<'a, Held>,
    /// Edges by the node that they leave.
    starts: Vec<u32>,
    ends: Vec<Node>,
    /// How many nodes each still waits for.
    waits: Vec<u32>,
    /// When each is due, at the latest: when it, or what must come after it, had ended.
    due: Vec<u64>,
    /// Parts of transactions in registers.
    first_part: Vec<u32>,
    parts: Vec<InRegister>,
    /// The version that each register has, by numbers over all registers.
    current: Vec<u32>,
    /// How many transactions are still to read each version.
    to_read: Vec<u32>,
    /// Transactions that wait for nothing.
    ready: BTreeSet<(u64, Op)>,
    taken: Vec<Taken>,
    state: u64,
    looks: u64,
}

/// A transaction that was taken.
struct Taken {
    op: Op,
    /// What its registers had before, in the order of its parts.
    before: Vec<u32>,
    /// Other writers that could have been taken instead and were not tried yet; none where there was no choice.
    others: Vec<Op>,
    /// The state before.
    state: u64,
}

impl<'s, 'a> Search<'s, 'a> {
    fn new(facts: &'s Facts<'a, Held>, versions: &[Versions<'_>], graph: &Graph, level: Level) -> Self {
        let nodes = graph.nodes();
        let allowed = || graph.edges.iter().filter(|edge| edge.level <= level);
        let (mut starts, mut waits) = (vec![0_u32; nodes + 1], vec![0_u32; nodes]);
        for edge in allowed() {
            starts[edge.from as usize + 1] += 1;
            waits[edge.to as usize] += 1;
        }
        for node in 0..nodes {
            starts[node + 1] += starts[node];
        }
        let mut next = starts.clone();
        let mut ends = vec![0; starts[nodes] as usize];
        for edge in allowed() {
            ends[next[edge.from as usize] as usize] = edge.to;
            next[edge.from as usize] += 1;
        }
        let count = facts.operations.len();
        let (mut first_part, mut offsets) = (vec![0_u32; count + 1], Vec::with_capacity(versions.len()));
        let mut total = 0;
        for versions in versions {
            offsets.push(total);
            total += versions.versions.len() as u32;
            for touch in &versions.touches {
                first_part[touch.op as usize + 1] += 1;
            }
        }
        for op in 0..count {
            first_part[op + 1] += first_part[op];
        }
        let (mut place, mut to_read) = (first_part.clone(), vec![0; total as usize]);
        let mut parts = vec![InRegister { key: 0, found: None, left: None }; first_part[count] as usize];
        for (key, (versions, offset)) in versions.iter().zip(&offsets).enumerate() {
            let number = |version: usize| offset + version as u32;
            for touch in &versions.touches {
                let at = &mut place[touch.op as usize];
                let (found, left) = (touch.found.map(number), touch.left.map(number));
                parts[*at as usize] = InRegister { key: key as u32, found, left };
                *at += 1;
                if let (Some(found), true) = (found, facts.takes_part(touch.op)) {
                    to_read[found as usize] += 1;
                }
            }
        }
        let mut search = Self {
            facts,
            starts,
            ends,
            waits,
            due: Vec::new(),
            first_part,
            parts,
            current: offsets.iter().map(|offset| offset + INITIAL as u32).collect(),
            to_read,
            ready: BTreeSet::new(),
            taken: Vec::with_capacity(count),
            state: 0,
            looks: 0,
        };
        search.due = search.due();
        search
    }

    fn after(&self, node: Node) -> std::ops::Range<usize> {
        self.starts[node as usize] as usize..self.starts[node as usize + 1] as usize
    }

    /// When each node is due.
    fn due(&self) -> Vec<u64> {
        let (nodes, ops) = (self.waits.len(), self.facts.operations.len());
        let mut waits = self.waits.clone();
        let mut sorted: Vec<Node> = (0..nodes as Node).filter(|node| waits[*node as usize] == 0).collect();
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
        let end = |node: usize| if node < ops { self.facts.end(node as Op) } else { None };
        let mut due: Vec<u64> = (0..nodes).map(|node| end(node).unwrap_or(u64::MAX)).collect();
        for node in sorted.into_iter().rev() {
            let earliest = self.after(node).map(|after| due[self.ends[after] as usize]).min();
            due[node as usize] = due[node as usize].min(earliest.unwrap_or(u64::MAX));
        }
        due
    }

    fn parts(&self, op: Op) -> &[InRegister] {
        &self.parts[self.first_part[op as usize] as usize..self.first_part[op as usize + 1] as usize]
    }

    /// Whether there is an order.
    fn finds(mut self, interrupt: &AtomicBool) -> bool {
        let all = self.facts.taking().count();
        let looks_max = LOOKS_PER_NODE * (all as u64 + 1_000);
        let free: Vec<Node> =
            (0..self.waits.len() as Node).filter(|node| self.waits[*node as usize] == 0).collect();
        for node in free {
            self.free(node);
        }
        let mut dead: FxHashSet<u64> = FxHashSet::default();
        while self.taken.len() < all {
            if self.looks > looks_max || interrupt.load(Ordering::Relaxed) {
                return false;
            }
            let mut can = if dead.contains(&self.state) { Vec::new() } else { self.can_be_taken() };
            if let Some(op) = can.pop() {
                self.take(op, can);
                continue;
            }
            dead.insert(self.state);
            // Back to the last choice.
            loop {
                let Some(mut last) = self.undo() else { return false };
                if let Some(other) = last.others.pop() {
                    self.take(other, last.others);
                    break;
                }
                dead.insert(self.state);
            }
        }
        true
    }

    /// A transaction that can be taken without a choice; or those between which there is one, the best last.
    fn can_be_taken(&mut self) -> Vec<Op> {
        let mut writers = Vec::new();
        let mut looks = 0;
        for (_, op) in &self.ready {
            looks += 1;
            // Of many that wait for nothing, those that are due last do not matter yet.
            if looks > 5_000 {
                break;
            }
            let parts = self.parts(*op);
            let can = |part: &InRegister| {
                let current = self.current[part.key as usize];
                let reads = part.found == Some(current);
                let others = self.to_read[current as usize] - u32::from(reads);
                (part.found.is_none() || reads) && (part.left.is_none() || others == 0)
            };
            if parts.iter().all(can) {
                if parts.iter().all(|part| part.left.is_none()) {
                    self.looks += looks;
                    return vec![*op];
                }
                writers.push(*op);
            }
        }
        self.looks += looks;
        writers.reverse();
        writers
    }

    /// Nothing comes before `node` any more.
    fn free(&mut self, node: Node) {
        let mut free = vec![node];
        while let Some(node) = free.pop() {
            if (node as usize) < self.facts.operations.len() {
                if self.facts.takes_part(node) {
                    self.ready.insert((self.due[node as usize], node));
                }
                continue;
            }
            self.pass(node, &mut free);
        }
    }

    /// What comes after `node` need not wait for it any more; what waits for nothing then is added to `free`.
    fn pass(&mut self, node: Node, free: &mut Vec<Node>) {
        for after in self.after(node) {
            let end = self.ends[after];
            self.waits[end as usize] -= 1;
            if self.waits[end as usize] == 0 {
                free.push(end);
            }
        }
    }

    /// What comes after `node` waits for it again.
    fn bind(&mut self, node: Node) {
        let mut bound = vec![node];
        while let Some(node) = bound.pop() {
            for after in self.after(node) {
                let end = self.ends[after];
                self.waits[end as usize] += 1;
                if self.waits[end as usize] > 1 {
                    continue;
                }
                if (end as usize) < self.facts.operations.len() {
                    self.ready.remove(&(self.due[end as usize], end));
                } else {
                    bound.push(end);
                }
            }
        }
    }

    fn take(&mut self, op: Op, others: Vec<Op>) {
        let state = self.state;
        self.ready.remove(&(self.due[op as usize], op));
        let range = self.first_part[op as usize] as usize..self.first_part[op as usize + 1] as usize;
        let mut before = Vec::with_capacity(range.len());
        for at in range {
            let part = self.parts[at];
            let current = &mut self.current[part.key as usize];
            before.push(*current);
            if let Some(found) = part.found {
                self.to_read[found as usize] -= 1;
            }
            if let Some(left) = part.left {
                self.state ^= mixed(u64::from(*current) << 1 | 1) ^ mixed(u64::from(left) << 1 | 1);
                *current = left;
            }
        }
        self.state ^= mixed(u64::from(op) << 1);
        let mut free = Vec::new();
        self.pass(op, &mut free);
        for node in free {
            self.free(node);
        }
        self.taken.push(Taken { op, before, others, state });
    }

    fn undo(&mut self) -> Option<Taken> {
        let taken = self.taken.pop()?;
        self.bind(taken.op);
        let first = self.first_part[taken.op as usize] as usize;
        for (at, before) in taken.before.iter().enumerate() {
            let part = self.parts[first + at];
            self.current[part.key as usize] = *before;
            if let Some(found) = part.found {
                self.to_read[found as usize] += 1;
            }
        }
        self.ready.insert((self.due[taken.op as usize], taken.op));
        self.state = taken.state;
        Some(taken)
    }
}

/// Numbers that do not cancel each other out (splitmix64).
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Whether the promise is kept where these are all dependencies.
fn is_kept<R: Shown + Sync>(facts: &Facts<'_, R>, graph: &Graph, promise: Model) -> bool {
    graph.components(facts).into_par_iter().all(|edges| {
        let cycles = Component::new(edges, graph.joints_from).cycles();
        cycles.iter().all(|cycle| !promise.forbids(cycle.kind))
    })
}

/// The last level of time that the promise looks at.
fn level(promise: Model) -> Level {
    match promise {
        Model::StrictSerializable | Model::StrongSnapshotIsolation => Level::RealTime,
        _ if promise.implies(Model::StrongSessionReadUncommitted) => Level::Process,
        _ => Level::Data,
    }
}

/// Whether appends that no read shows can be put into an order that the promise allows, where there are cycles that it allows: why
/// the verdict is unknown otherwise. Without cycles, every order is right.
pub(super) fn undecided_appends(
    facts: &Facts<'_, Elements>,
    versions: &[list::Versions<'_>],
    graph: &Graph,
    promise: Model,
) -> Option<Reason> {
    if !promise.implies(Model::ConsistentView) {
        return None;
    }
    let places = places(facts, graph, level(promise));
    let mut ordered = graph.only(|_| true);
    let part = |(key, versions): (u32, &list::Versions<'_>)| versions.ordered(facts, key, &places);
    for part in (0..).zip(versions).map(part) {
        ordered.add(part);
    }
    (!is_kept(facts, &ordered, promise)).then(|| Reason::NotExamined {
        what: format!("no cycle of what is known refutes {promise}, and no order was found of appends that no read shows"),
    })
}

/// Where each transaction commits in an order of snapshots and commits that agrees with all dependencies: what a transaction depends
/// on commits before its snapshot, and whatever writes over what it read commits after it. Commits come as soon as they can.
fn places<R: Shown>(facts: &Facts<'_, R>, graph: &Graph, level: Level) -> Vec<u32> {
    let nodes = graph.nodes();
    let is_joint = |node: Node| node >= graph.joints_from;
    // A transaction's snapshot and its commit; and a joint, as reached by an anti-dependency, and otherwise.
    let (snapshot, commit) = (|node: Node| 2 * node, |node: Node| 2 * node + 1);
    let mut edges: Vec<(Node, Node)> = facts.taking().map(|op| (snapshot(op), commit(op))).collect();
    for edge in graph.edges.iter().filter(|edge| edge.level <= level) {
        let after_anti = if is_joint(edge.to) { snapshot(edge.to) } else { commit(edge.to) };
        let after_other = if is_joint(edge.to) { commit(edge.to) } else { snapshot(edge.to) };
        if matches!(edge.dependency, Dependency::ReadWrite | Dependency::Link) {
            edges.push((snapshot(edge.from), after_anti));
        }
        if edge.dependency != Dependency::ReadWrite {
            edges.push((commit(edge.from), after_other));
        }
    }
    edges.sort_unstable();
    let mut waits = vec![0_u32; 2 * nodes];
    for (_, to) in &edges {
        waits[*to as usize] += 1;
    }
    let key = |node: Node| match node / 2 {
        joint if is_joint(joint) => (0, 0, node),
        op => (node & 1 ^ 1, facts.position(op), node),
    };
    let mut ready: BTreeSet<(u32, u64, Node)> =
        (0..2 * nodes as Node).filter(|node| waits[*node as usize] == 0).map(key).collect();
    let (mut places, mut place) = (vec![u32::MAX; nodes], 0);
    while let Some((.., node)) = ready.pop_first() {
        if node & 1 == 1 {
            places[node as usize / 2] = place;
            place += 1;
        }
        let first = edges.partition_point(|(from, _)| *from < node);
        for (_, next) in edges[first..].iter().take_while(|(from, _)| *from == node) {
            waits[*next as usize] -= 1;
            if waits[*next as usize] == 0 {
                ready.insert(key(*next));
            }
        }
    }
    places
}
