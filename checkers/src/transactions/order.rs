//! Looks for an order of all transactions that explains every answer. Such an order makes a verdict valid if
//! the order of versions is unknown.
//!
//! An order in which the transactions could have happened one after the other, in real time, satisfies every
//! model. If none is found and less is promised, an order is sought that keeps only the order of processes,
//! or only data dependencies ([`serial`]). For snapshot isolation and weaker models, each transaction may
//! also take its snapshot long before it commits ([`search`](super::search)). For models that do not demand one order, the versions of
//! each object are put into some order that agrees with the known dependencies. All dependencies are then
//! known, and so is whether a cycle exists that the promise forbids.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use duress_history::ConsistencyModel as Model;
use duress_history::txn::{Elements, Held};
use rayon::prelude::*;

use super::cycle::Component;
use super::explain::Shown;
use super::facts::Facts;
use super::graph::{Dependency, Graph, Level, Node, Part};
use super::list;
use super::model::forbids;
use super::proof::Proof;
use super::register::Versions;
use super::search::Search;
use super::serial::{self, Serial};
use super::visibility::{Access, Accessed};
use crate::verdict::{AnomalyKind, Reason};

/// Whether an order explains the answers.
pub(super) enum Order {
    /// One does that the promise allows.
    Found,
    /// None does, and the promise demands one: the anomaly, and its proof.
    Contradiction(AnomalyKind, Proof),
    /// None was found.
    Undecided(Reason),
}

/// Looks for an order of transactions on registers that the promise allows.
pub(super) fn of_registers(
    facts: &Facts<'_, Held>,
    versions: &Vec<Versions<'_>>,
    graph: &Graph,
    promise: Model,
    interrupt: &AtomicBool,
) -> Order {
    // These models allow any order of writes that agrees with the dependencies, and one exists if they have
    // no cycle.
    let needs_none = [Model::Causal, Model::StrongReadCommitted];
    if needs_none.into_iter().any(|model| model.implies(promise)) {
        return Order::Found;
    }
    let lowest = level(promise);
    let accesses = versions.accesses(facts);
    match serial(facts, &accesses, graph, lowest, interrupt) {
        Serial::Found => return Order::Found,
        Serial::Contradiction(proof) if forbids(promise, not_serializable(proof.level())) => {
            return Order::Contradiction(not_serializable(proof.level()), proof);
        }
        Serial::Contradiction(_) | Serial::Undecided => {}
    }
    if !promise.implies(Model::RepeatableRead) {
        let places = places(facts, graph, lowest);
        let part = |(key, versions): (usize, &Versions<'_>)| versions.ordered(facts, key as u32, &places);
        let parts: Vec<Part> = versions.par_iter().enumerate().map(part).collect();
        let mut ordered = Graph::of_time(facts);
        for part in parts {
            ordered.add(part);
        }
        if is_kept(facts, &ordered, promise) || Search::new(facts, &accesses, graph, lowest).finds(interrupt)
        {
            return Order::Found;
        }
    }
    Order::Undecided(not_found(
        promise,
        "of the transactions was found that explains every answer",
        interrupt,
    ))
}

/// Searches for an order of the transactions one after the other, by data and by what `lowest` adds to it.
///
/// Most databases keep more: the order of real time, perhaps only of the transactions that write, while reads may
/// be answered from old copies. With more order there is less to search, so that these come first.
fn serial<R: Shown>(
    facts: &Facts<'_, R>,
    accesses: &[Access],
    graph: &Graph,
    lowest: Level,
    interrupt: &AtomicBool,
) -> Serial {
    let finds = |graph: &Graph| serial::finds(facts, accesses, graph, interrupt);
    if lowest < Level::RealTime {
        if finds(graph) {
            return Serial::Found;
        }
        let mut writes = vec![false; facts.operations.len()];
        for access in accesses.iter().filter(|access| access.writes) {
            writes[access.op as usize] = true;
        }
        let of_writers = Graph::of_time_among(facts, |op| writes[op as usize]);
        if finds(&graph.only(|edge| edge.level <= lowest).with(&of_writers)) {
            return Serial::Found;
        }
    }
    serial::search(facts, accesses, &graph.only(|edge| edge.level <= lowest), interrupt)
}

/// Returns the kind of the anomaly that no order of the transactions one after the other explains every answer.
fn not_serializable(level: Level) -> AnomalyKind {
    match level {
        Level::Data => AnomalyKind::NotSerializable,
        Level::Process => AnomalyKind::NotSerializableProcess,
        Level::RealTime => AnomalyKind::NotSerializableRealtime,
    }
}

/// Returns why the verdict is unknown, if no order was found for the appends that no read shows. Only
/// histories with cycles that the promise allows need this check: without cycles, every order is right.
pub(super) fn undecided_appends(
    facts: &Facts<'_, Elements>,
    versions: &Vec<list::Versions<'_>>,
    graph: &Graph,
    promise: Model,
    interrupt: &AtomicBool,
) -> Option<Reason> {
    if !promise.implies(Model::ConsistentView) {
        return None;
    }
    let lowest = level(promise);
    let accesses: Vec<Access> = versions.accesses(facts);
    if matches!(serial(facts, &accesses, graph, lowest, interrupt), Serial::Found) {
        return None;
    }
    if !promise.implies(Model::RepeatableRead) {
        let places = places(facts, graph, lowest);
        let mut ordered = graph.only(|_| true);
        let part = |(key, versions): (u32, &list::Versions<'_>)| versions.ordered(facts, key, &places);
        for part in (0..).zip(versions).map(part) {
            ordered.add(part);
        }
        if is_kept(facts, &ordered, promise) || Search::new(facts, &accesses, graph, lowest).finds(interrupt)
        {
            return None;
        }
    }
    Some(not_found(promise, "was found of appends that no read shows", interrupt))
}

fn not_found(promise: Model, order: &str, interrupt: &AtomicBool) -> Reason {
    if interrupt.load(Ordering::Relaxed) {
        return Reason::Interrupted { key: None, explored: 0, reached: None };
    }
    let what = format!("no cycle of what is known refutes {promise}, and no order {order}");
    Reason::NotExamined { what }
}

/// Returns whether the promise is kept if these are all dependencies.
fn is_kept<R: Shown + Sync>(facts: &Facts<'_, R>, graph: &Graph, promise: Model) -> bool {
    graph.components(facts).into_par_iter().all(|edges| {
        let cycles = Component::new(edges, graph.joints_from).cycles();
        cycles.iter().all(|cycle| !forbids(promise, cycle.kind))
    })
}

/// Returns the highest level of order that the promise considers.
fn level(promise: Model) -> Level {
    match promise {
        Model::StrictSerializable | Model::StrongSnapshotIsolation => Level::RealTime,
        _ if promise.implies(Model::StrongSessionReadUncommitted) => Level::Process,
        _ => Level::Data,
    }
}

/// Returns the order of snapshots (even numbers) and commits (odd numbers): the transactions on which a
/// transaction depends commit before its snapshot, and transactions that overwrite what it read commit after
/// it. A joint has two nodes as well, one reached by an anti-dependency and one by other edges.
pub(super) fn of_snapshots<R: Shown>(facts: &Facts<'_, R>, graph: &Graph, level: Level) -> Vec<(Node, Node)> {
    let is_joint = |node: Node| node >= graph.joints_from;
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
    edges
}

/// Returns the position of each transaction's commit in an order of snapshots and commits that agrees with
/// all dependencies. Each commit comes as early as possible.
fn places<R: Shown>(facts: &Facts<'_, R>, graph: &Graph, level: Level) -> Vec<u32> {
    let nodes = graph.nodes();
    let is_joint = |node: Node| node >= graph.joints_from;
    let mut edges = of_snapshots(facts, graph, level);
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
