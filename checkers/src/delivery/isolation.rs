//! Isolation of transactions: a transaction reads only what another has committed.
//!
//! *G1c*: transactions read from each other in a cycle, so one of them was read before it committed.
//! *Precommitted read*: a transaction received a message that it had sent itself, before it committed.
//!
//! Source: Adya, Liskov, O'Neil: "Generalized isolation level definitions", ICDE 2000, G1c.
//!
//! Departures: only edges of the kind "sent and was read" count. Transactions do not isolate writes from each
//! other: logs do not promise that the messages of two transactions have the same order in all partitions
//! (G0), as in Jepsen's analysis. A message that a failed transaction sent is an *aborted read*; see
//! [`unsent`](super::unsent). The check does not ask whether a reader receives all messages of a transaction
//! at once, since partitions are read independently.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, VecDeque};

use duress_history::Scalar;
use duress_history::log::Log;
use rustc_hash::FxHashMap;

use super::describe::Places;
use super::facts::{Facts, Op};
use crate::findings::Findings;
use crate::verdict::{Anomaly, AnomalyKind, Object, ObjectKind, RelationKind, Role};
use crate::witness::{Witness, say, shown};

/// A message that one transaction sent and another, or the same one, received.
#[derive(Clone, Copy)]
struct Edge<'a> {
    from: Op,
    to: Op,
    key: &'a Scalar,
    value: &'a Scalar,
    offset: u64,
}

/// The number of cycles for which the shortest through one of their transactions is sought: readers of a
/// report read the first.
const SHORTEST: u32 = 8;

/// Finds transactions that read uncommitted messages. Time O(n log n) in the messages read.
pub(super) fn uncommitted_reads(facts: &Facts<'_>, findings: &mut Findings) {
    let is_transaction =
        |op: Op| matches!(facts.operation(op).action, Log::Txn(_)) && facts.answered(op).is_some();
    let mut edges: BTreeMap<Op, Vec<Edge<'_>>> = BTreeMap::new();
    for partition in facts.partitions.iter().filter(|partition| partition.repeated.is_none()) {
        for record in &partition.records {
            let Some(send) = record.send else { continue };
            let (from, to) = (partition.sends[send as usize].op, record.op);
            if !is_transaction(from) || !is_transaction(to) {
                continue;
            }
            let edge = Edge { from, to, key: partition.key, value: record.value, offset: record.offset };
            if from == to {
                findings.add(AnomalyKind::PrecommittedRead, || precommitted(facts, &edge));
            } else {
                edges.entry(from).or_default().push(edge);
            }
        }
    }
    let mut graph = Graph::new(edges);
    let mut found = 0;
    while let Some(cycle) = graph.cycle(found < SHORTEST) {
        found += 1;
        findings.add(AnomalyKind::G1c, || circular(facts, &cycle));
        graph.remove(cycle.iter().map(|edge| edge.from));
    }
}

/// The reads between transactions, without transactions that cannot be on a cycle.
struct Graph<'a> {
    edges: BTreeMap<Op, Vec<Edge<'a>>>,
    /// The transactions from which each transaction read.
    sources: FxHashMap<Op, Vec<Op>>,
}

impl<'a> Graph<'a> {
    fn new(edges: BTreeMap<Op, Vec<Edge<'a>>>) -> Self {
        let mut sources: FxHashMap<Op, Vec<Op>> = FxHashMap::default();
        for edge in edges.values().flatten() {
            sources.entry(edge.to).or_default().push(edge.from);
        }
        let mut graph = Self { edges, sources };
        let ends: Vec<Op> = graph.sources.keys().copied().collect();
        graph.peel(ends);
        graph
    }

    /// Removes those of `suspects` from which no remaining transaction has read, and then those of their
    /// sources to which the same applies.
    fn peel(&mut self, mut suspects: Vec<Op>) {
        while let Some(op) = suspects.pop() {
            let edges = &mut self.edges;
            let sources = &self.sources;
            let is_left = |to: Op| sources.contains_key(&to);
            let read = edges.get_mut(&op).is_some_and(|edges| {
                edges.retain(|edge| is_left(edge.to));
                !edges.is_empty()
            });
            if !read {
                edges.remove(&op);
                suspects.extend(self.sources.remove(&op).unwrap_or_default());
            }
        }
    }

    /// Returns a cycle of the remaining transactions; if `shortest`, the shortest through one of them.
    fn cycle(&self, shortest: bool) -> Option<Vec<Edge<'a>>> {
        // Each remaining transaction was read by another remaining one, so following the edges ends on a
        // cycle.
        let mut at = *self.edges.first_key_value()?.0;
        let mut met: FxHashMap<Op, usize> = FxHashMap::default();
        let mut way: Vec<Edge<'a>> = Vec::new();
        let begin = loop {
            if let Some(begin) = met.insert(at, way.len()) {
                break begin;
            }
            let next = self.edges.get(&at)?.iter().find(|edge| self.edges.contains_key(&edge.to))?;
            way.push(*next);
            at = next.to;
        };
        if !shortest {
            return Some(way.split_off(begin));
        }
        let start = at;
        let mut reached: FxHashMap<Op, Edge<'a>> = FxHashMap::default();
        let mut queue = VecDeque::from([start]);
        while let Some(op) = queue.pop_front() {
            for edge in self.edges.get(&op).into_iter().flatten() {
                if edge.to == start {
                    let mut cycle = vec![*edge];
                    while let Some(before) = reached.get(&cycle[cycle.len() - 1].from) {
                        cycle.push(*before);
                    }
                    cycle.reverse();
                    return Some(cycle);
                }
                if let Entry::Vacant(vacant) = reached.entry(edge.to) {
                    vacant.insert(*edge);
                    queue.push_back(edge.to);
                }
            }
        }
        None
    }

    /// Removes `ops`, and those that cannot be on a cycle without them.
    fn remove(&mut self, ops: impl Iterator<Item = Op>) {
        let mut suspects = Vec::new();
        for op in ops {
            self.edges.remove(&op);
            suspects.extend(self.sources.remove(&op).unwrap_or_default());
        }
        self.peel(suspects);
    }
}

fn sent_and_read(edge: &Edge<'_>) -> [String; 2] {
    let Edge { key, value, offset, .. } = edge;
    [format!("send {value} to {key}"), format!("poll {key} -> {value}@{offset}")]
}

fn circular(facts: &Facts<'_>, cycle: &[Edge<'_>]) -> Anomaly {
    let before = |at: usize| &cycle[at.checked_sub(1).unwrap_or(cycle.len() - 1)];
    let operations = cycle.iter().enumerate().map(|(at, edge)| {
        let [sent, _] = sent_and_read(edge);
        let [_, read] = sent_and_read(before(at));
        let focus = Places { key: edge.key.clone(), offsets: Vec::new() };
        let mut operation = shown(facts.operation(edge.from), &focus, Role::Part);
        operation.action = format!("{sent}, {read}");
        (edge.from, operation)
    });
    let mut keys: Vec<&Scalar> = cycle.iter().map(|edge| edge.key).collect();
    keys.sort_unstable();
    keys.dedup();
    let objects = keys.into_iter().map(|key| Object::new(ObjectKind::Partition, key)).collect();
    let witness = Witness::new(objects, operations);
    let mut steps: Vec<_> = cycle
        .iter()
        .map(|edge| {
            let Edge { from, to, key, value, .. } = *edge;
            let sentence = format!(
                "{} was given {value} of {key}, which {} had sent: so {} committed before {} read.",
                witness.label(to),
                witness.named(from),
                witness.label(from),
                witness.label(to)
            );
            say(sentence, &[from, to]).relates(RelationKind::WriteRead, from, to)
        })
        .collect();
    let ops: Vec<Op> = cycle.iter().map(|edge| edge.from).collect();
    steps.push(say("A transaction reads before it commits: so each committed before itself.", &ops));
    let labels = witness.labels().join(", ");
    let summary = format!("the transactions {labels} were given each other's messages in a cycle");
    let last = ops.iter().copied().max_by_key(|op| facts.answered(*op)).unwrap_or_default();
    witness.anomaly(AnomalyKind::G1c, last, summary, steps)
}

fn precommitted(facts: &Facts<'_>, edge: &Edge<'_>) -> Anomaly {
    let Edge { from, key, value, offset, .. } = *edge;
    let focus = Places { key: key.clone(), offsets: vec![offset] };
    let operation = (from, shown(facts.operation(from), &focus, Role::Read));
    let witness = Witness::new(vec![Object::new(ObjectKind::Partition, key)], [operation]);
    let steps = vec![
        say(format!("{} sent {value} and was given it, at offset {offset}.", witness.named(from)), &[from]),
        say("A transaction reads before it commits: what it was given was not committed.", &[from]),
    ];
    let summary = format!("{} was given {value} of {key}, which it had sent itself", witness.named(from));
    witness.anomaly(AnomalyKind::PrecommittedRead, from, summary, steps)
}
