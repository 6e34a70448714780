//! The writes that a transaction had to see: read atomic and causal consistency.
//!
//! Biswas and Enea, "On the Complexity of Checking Transactional Consistency" (OOPSLA 2019). If a transaction
//! read an object from one writer although another writer of it was visible to it, the other must have come
//! first. *Read atomic*: every transaction from which a transaction read is visible to it. *Causal*:
//! everything is visible that it could know of, through reads and through the order of processes. The model
//! is kept exactly if the resulting order has no cycle. For causal consistency only the last visible writer
//! of each process counts, since the others come before it. As in AWDIT (Møldrup and Pavlogiannis, PLDI
//! 2025), the time is proportional to the transactions times the processes.
//!
//! Departures: as in Elle, read atomic ignores processes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicBool, Ordering};

use duress_history::txn::{Act, Elements, Held};
use rustc_hash::{FxHashMap, FxHashSet};

use super::cycle::{Component, Cycle, Step};
use super::explain::{Reasons, Shown};
use super::facts::{Facts, Fate};
use super::graph::{Dependency, Graph, Level, Part};
use super::{list, register};
use crate::verdict::{AnomalyKind, Reason, RelationKind};
use crate::witness::{Op, Statement, Witness, say};

/// The largest number of visible transactions, one per process, that are remembered at a time, over all
/// transactions.
const CLOCKS_MAX: usize = 1 << 29;

/// The accesses of a transaction to one object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    pub(super) op: Op,
    pub(super) key: u32,
    /// The writer from which it read; an inner `None` is the initial value.
    pub(super) read: Option<Option<Op>>,
    pub(super) writes: bool,
}

/// The versions of all objects, as transactions saw them.
pub(super) trait Accessed<R: Shown>: Reasons<R> + Sync {
    /// Returns the accesses of each transaction that takes part to each object, by transaction.
    fn accesses(&self, facts: &Facts<'_, R>) -> Vec<Access>;
}

impl Accessed<Held> for Vec<register::Versions<'_>> {
    fn accesses(&self, facts: &Facts<'_, Held>) -> Vec<Access> {
        let mut accesses = Vec::new();
        for (key, versions) in (0..).zip(self) {
            for touch in versions.touches.iter().filter(|touch| facts.takes_part(touch.op)) {
                let writer = |version: usize| versions.versions[version].writer.map(|place| place.op);
                let (read, writes) = (touch.found.map(writer), touch.left.is_some());
                accesses.push(Access { op: touch.op, key, read, writes });
            }
        }
        accesses.sort_by_key(|access| (access.op, access.key));
        accesses
    }
}

impl Accessed<Elements> for Vec<list::Versions<'_>> {
    fn accesses(&self, facts: &Facts<'_, Elements>) -> Vec<Access> {
        let mut accesses: Vec<Access> = Vec::new();
        for (key, versions) in (0..).zip(self) {
            for place in facts.of_key(key).iter().filter(|place| facts.takes_part(place.op)) {
                let op = place.op;
                if accesses.last().is_none_or(|access| (access.op, access.key) != (op, key)) {
                    accesses.push(Access { op, key, read: None, writes: false });
                }
                let Some(access) = accesses.last_mut() else { continue };
                match facts.act(*place) {
                    Act::Write(_) => access.writes = true,
                    // The elements of others are known even if the transaction had appended before its read.
                    Act::Read(Some(Elements(list)))
                        if access.read.is_none()
                            && facts.fate(op) == Fate::Committed
                            && list::of_others(facts, *place, list) <= versions.elements.len() =>
                    {
                        let seen = list::of_others(facts, *place, list);
                        access.read = Some(versions.before(seen).map(|(_, append)| append.place.op));
                    }
                    Act::Read(_) => {}
                }
            }
        }
        accesses.sort_by_key(|access| (access.op, access.key));
        accesses
    }
}

/// The evidence for inferred orders: for the earlier writer, the later one and the object, the transaction
/// that read from the later writer although the earlier one was visible to it.
type Shows = FxHashMap<(Op, Op, u32), Op>;

/// The reasons for the inferred order of writers, and those for other edges.
struct Visible<'r, T> {
    others: &'r T,
    shows: Shows,
}

impl<R: Shown, T: Accessed<R>> Reasons<R> for Visible<'_, T> {
    fn evidence(&self, facts: &Facts<'_, R>, step: &Step) -> Vec<Op> {
        match self.shows.get(&(step.from, step.to, step.key)) {
            Some(reader) if step.dependency == Dependency::Inferred => vec![*reader],
            _ if step.dependency == Dependency::Inferred => Vec::new(),
            _ => self.others.evidence(facts, step),
        }
    }

    fn because(&self, facts: &Facts<'_, R>, step: &Step, witness: &Witness) -> Statement {
        let (from, to) = (witness.named(step.from), witness.named(step.to));
        match self.shows.get(&(step.from, step.to, step.key)) {
            Some(reader) if step.dependency == Dependency::Inferred => {
                let key = facts.keys[step.key as usize];
                let reader_named = witness.named(*reader);
                let sentence = format!(
                    "{reader_named} had to see {from}, which wrote {key}, and read {key} from {to}: so {to} wrote it after that."
                );
                say(sentence, &[step.from, step.to, *reader]).relates(
                    RelationKind::WriteWrite,
                    step.from,
                    step.to,
                )
            }
            _ => self.others.because(facts, step, witness),
        }
    }
}

/// Checks visibility. Reports cycles, whose kinds are [`AnomalyKind::FracturedRead`] or
/// [`AnomalyKind::CausalityViolation`], with their sentences; returns why the check was not decided, if so.
pub(super) fn check<R: Shown, T: Accessed<R>>(
    facts: &Facts<'_, R>,
    versions: &T,
    dependencies: &Graph,
    kind: AnomalyKind,
    interrupt: &AtomicBool,
    mut found: impl FnMut(&Cycle, &dyn Fn() -> crate::verdict::Anomaly),
) -> Option<Reason> {
    let is_causal = kind == AnomalyKind::CausalityViolation;
    let accesses = versions.accesses(facts);
    let mut part = Part::default();
    let by_op: Vec<&[Access]> = {
        let mut by_op: Vec<&[Access]> = vec![&[]; facts.operations.len()];
        for of_op in accesses.chunk_by(|one, other| one.op == other.op) {
            by_op[of_op[0].op as usize] = of_op;
        }
        by_op
    };
    let writes: FxHashSet<(Op, u32)> =
        accesses.iter().filter(|access| access.writes).map(|access| (access.op, access.key)).collect();
    let mut shows = Shows::default();
    let mut visible = |part: &mut Part, writer: Op, access: &Access| match access.read {
        Some(Some(other)) if other != writer && access.op != writer => {
            part.edge(writer, other, access.key, Dependency::Inferred, Level::Data);
            shows.entry((writer, other, access.key)).or_insert(access.op);
        }
        Some(None) if access.op != writer => {
            part.edge(access.op, writer, access.key, Dependency::ReadWrite, Level::Data);
        }
        _ => {}
    };
    for access in &accesses {
        if let Some(Some(writer)) = access.read {
            part.edge(writer, access.op, access.key, Dependency::WriteRead, Level::Data);
        }
    }
    if is_causal {
        match causal(facts, &by_op, &accesses, interrupt, |writer, access| visible(&mut part, writer, access))
        {
            Ok(()) => {}
            Err(reason) => return Some(reason),
        }
    } else {
        for of_op in &by_op {
            for access in *of_op {
                let Some(Some(writer)) = access.read else { continue };
                for other in of_op.iter().filter(|other| writes.contains(&(writer, other.key))) {
                    visible(&mut part, writer, other);
                }
            }
        }
    }
    // A known order of versions is the order of their writers.
    let mut graph = dependencies.only(|edge| match edge.dependency {
        Dependency::WriteWrite | Dependency::Link => edge.level == Level::Data,
        Dependency::Order => is_causal && edge.level == Level::Process,
        Dependency::WriteRead | Dependency::ReadWrite | Dependency::Inferred => false,
    });
    graph.add(part);
    let joints_from = graph.joints_from;
    let components = graph.components(facts);
    let reasons = Visible { others: versions, shows };
    for edges in components {
        for mut cycle in Component::new(edges, joints_from).cycles() {
            // Cycles of reads and the order of processes alone are of another kind.
            let follows =
                |step: &Step| matches!(step.dependency, Dependency::Inferred | Dependency::ReadWrite);
            if cycle.steps.iter().any(follows) {
                cycle.kind = kind;
                found(&cycle, &|| super::explain::cycle(facts, &reasons, &cycle));
            }
        }
    }
    None
}

/// A process by its number, and its transactions that wrote an object, each with its position in the process.
type OfProcess = (usize, Vec<(u32, Op)>);

/// Calls `visible` with the last writer of each process that is visible to a reader, in causal order.
fn causal<R: Shown>(
    facts: &Facts<'_, R>,
    by_op: &[&[Access]],
    accesses: &[Access],
    interrupt: &AtomicBool,
    mut visible: impl FnMut(Op, &Access),
) -> Result<(), Reason> {
    // Transactions by process, and the position of each in its process.
    let mut processes: FxHashMap<u64, usize> = FxHashMap::default();
    let mut last: Vec<Op> = Vec::new();
    let mut place: Vec<(usize, u32)> = vec![(0, 0); facts.operations.len()];
    let mut before: Vec<Option<Op>> = vec![None; facts.operations.len()];
    let mut counts: Vec<u32> = Vec::new();
    for op in facts.taking() {
        let process = facts.operations[op as usize].process.0;
        let number = *processes.entry(process).or_insert_with(|| {
            counts.push(0);
            last.push(op);
            counts.len() - 1
        });
        if counts[number] > 0 {
            before[op as usize] = Some(last[number]);
        }
        counts[number] += 1;
        last[number] = op;
        place[op as usize] = (number, counts[number]);
    }
    let width = counts.len();
    // Writers of each object by process, in the order of the process.
    let mut writers: Vec<Vec<OfProcess>> = vec![Vec::new(); facts.keys.len()];
    let mut slots: FxHashMap<(u32, usize), usize> = FxHashMap::default();
    for access in accesses.iter().filter(|access| access.writes) {
        let (process, at) = place[access.op as usize];
        let of_key = &mut writers[access.key as usize];
        let slot = *slots.entry((access.key, process)).or_insert_with(|| {
            of_key.push((process, Vec::new()));
            of_key.len() - 1
        });
        of_key[slot].1.push((at, access.op));
    }
    drop(slots);
    // The clock of a transaction is computed once all its predecessors are known, and kept as long as a
    // successor needs it.
    let sources = |op: Op| {
        let reads = by_op[op as usize].iter().filter_map(|access| access.read.flatten());
        reads.chain(before[op as usize]).filter(move |source| *source != op)
    };
    let (mut waits, mut starts) =
        (vec![0_u32; facts.operations.len()], vec![0_u32; facts.operations.len() + 1]);
    for op in facts.taking() {
        for source in sources(op) {
            waits[op as usize] += 1;
            starts[source as usize + 1] += 1;
        }
    }
    for op in 0..facts.operations.len() {
        starts[op + 1] += starts[op];
    }
    let (mut next, mut after) = (starts.clone(), vec![0; starts[facts.operations.len()] as usize]);
    for op in facts.taking() {
        for source in sources(op) {
            after[next[source as usize] as usize] = op;
            next[source as usize] += 1;
        }
    }
    let after = |op: Op| &after[starts[op as usize] as usize..starts[op as usize + 1] as usize];
    let mut to_come: Vec<u32> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let mut clocks: Vec<Vec<u32>> = vec![Vec::new(); facts.operations.len()];
    let (mut unused, mut kept): (Vec<Vec<u32>>, usize) = (Vec::new(), 0);
    let first = facts.taking().filter(|op| waits[*op as usize] == 0).map(Reverse);
    let mut ready: BinaryHeap<Reverse<Op>> = first.collect();
    while let Some(Reverse(op)) = ready.pop() {
        if interrupt.load(Ordering::Relaxed) {
            return Err(Reason::Interrupted { key: None, explored: 0, reached: None });
        }
        let mut clock = unused.pop().unwrap_or_default();
        clock.clear();
        clock.resize(width, 0);
        for source in sources(op) {
            for (mine, theirs) in clock.iter_mut().zip(&clocks[source as usize]) {
                *mine = (*mine).max(*theirs);
            }
        }
        for source in sources(op) {
            to_come[source as usize] -= 1;
            if to_come[source as usize] == 0 {
                unused.push(std::mem::take(&mut clocks[source as usize]));
                kept -= 1;
            }
        }
        for access in by_op[op as usize].iter().filter(|access| access.read.is_some()) {
            for (process, writers) in &writers[access.key as usize] {
                let seen = writers.partition_point(|(at, _)| *at <= clock[*process]);
                if let Some(last) = seen.checked_sub(1) {
                    visible(writers[last].1, access);
                }
            }
        }
        let (process, at) = place[op as usize];
        clock[process] = clock[process].max(at);
        if after(op).is_empty() {
            unused.push(clock);
        } else {
            clocks[op as usize] = clock;
            kept += 1;
        }
        if kept.saturating_mul(width) > CLOCKS_MAX {
            return Err(Reason::NotExamined {
                what: format!("{width} processes are too many to say what was visible to each transaction"),
            });
        }
        for next in after(op) {
            waits[*next as usize] -= 1;
            if waits[*next as usize] == 0 {
                ready.push(Reverse(*next));
            }
        }
    }
    Ok(())
}
