//! The proof that no serial order of transactions explains the answers: a cycle of orders, some of which follow from others.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicBool, Ordering};

use rustc_hash::{FxHashMap, FxHashSet};

use super::cycle::Step;
use super::graph::{Dependency, Edge, Graph, Level, Node};
use crate::witness::Op;

/// The cost of an edge that follows from others, in edges that do not, in the search for a short proof.
const DERIVED_COST: u32 = 4;

/// The number of lemmas of the longest proof that is shown.
const LEMMAS_MAX: usize = 100;

/// An order of two transactions that follows from that of two others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Derived {
    pub(super) from: Op,
    pub(super) to: Op,
    pub(super) key: u32,
    /// [`Dependency::Inferred`]: the second of `between` read the version of `key` that `to` wrote, and `from`, which wrote one
    /// too, is the first. [`Dependency::ReadWrite`]: `from` read the version of `key` that the first of `between` wrote, and
    /// `to`, the second, wrote one too.
    pub(super) dependency: Dependency,
    /// A writer and a transaction that it comes before.
    pub(super) between: (Op, Op),
}

/// An order that follows from others.
#[derive(Clone, Debug)]
pub(super) struct Lemma {
    /// The steps from the first of `so.between` to the second.
    pub(super) way: Vec<Step>,
    pub(super) so: Derived,
}

/// A proof: each lemma rests on those before it, and the steps of the cycle on all of them.
#[derive(Clone, Debug)]
pub(super) struct Proof {
    pub(super) lemmas: Vec<Lemma>,
    pub(super) cycle: Vec<Step>,
}

/// The edges by the node that they leave. Each has a number: 0 if it was known, otherwise it is the one that was derived at this
/// place, counted from 1.
struct Edges {
    of: FxHashMap<Node, Vec<(Edge, usize)>>,
    joints_from: Node,
}

impl Proof {
    /// Returns a short proof, from what was derived, in this order, until the edge `closing` closed a cycle. Returns `None`
    /// if it needs more than [`LEMMAS_MAX`] lemmas, which are too many to be followed, or when it is interrupted.
    pub(super) fn new(
        graph: &Graph,
        derived: &[Derived],
        closing: (Node, Node),
        interrupt: &AtomicBool,
    ) -> Option<Self> {
        let edges = Edges::new(graph, derived);
        let closing_edge = edges.of.get(&closing.0)?.iter().find(|(edge, _)| edge.to == closing.1)?;
        let mut cycle = vec![*closing_edge];
        cycle.extend(edges.way(closing.1, closing.0, usize::MAX)?);
        let mut proof = Self { lemmas: Vec::new(), cycle: edges.steps(&cycle) };
        let mut known: FxHashSet<usize> = FxHashSet::default();
        // The edges that the proof still needs. A second visit, with the lemma, comes after those on which it rests.
        let mut open: Vec<(usize, Option<Lemma>)> = numbers(&cycle).map(|number| (number, None)).collect();
        while let Some((number, lemma)) = open.pop() {
            if let Some(lemma) = lemma {
                proof.lemmas.push(lemma);
            } else if known.insert(number) {
                if known.len() > LEMMAS_MAX || interrupt.load(Ordering::Relaxed) {
                    return None;
                }
                let so = derived[number - 1];
                let way = edges.way(so.between.0, so.between.1, number)?;
                open.push((number, Some(Lemma { way: edges.steps(&way), so })));
                open.extend(numbers(&way).map(|number| (number, None)));
            }
        }
        Some(proof)
    }

    /// Returns the order on which the proof rests in addition to reads and writes.
    pub(super) fn level(&self) -> Level {
        let steps = self.lemmas.iter().flat_map(|lemma| &lemma.way).chain(&self.cycle);
        steps.map(|step| step.level).max().unwrap_or(Level::Data)
    }
}

/// Returns the numbers of the derived edges.
fn numbers(way: &[(Edge, usize)]) -> impl Iterator<Item = usize> + '_ {
    way.iter().map(|(_, number)| *number).filter(|number| *number > 0)
}

impl Edges {
    fn new(graph: &Graph, derived: &[Derived]) -> Self {
        let mut of: FxHashMap<Node, Vec<(Edge, usize)>> = FxHashMap::default();
        for edge in &graph.edges {
            of.entry(edge.from).or_default().push((*edge, 0));
        }
        for (it, number) in derived.iter().zip(1..) {
            let (from, to, key, dependency) = (it.from, it.to, it.key, it.dependency);
            let edge = Edge { from, to, key, dependency, level: Level::Data };
            of.entry(from).or_default().push((edge, number));
        }
        Self { of, joints_from: graph.joints_from }
    }

    /// Returns the edges of a cheapest way, all of which were known before the derived edge `number`.
    fn way(&self, from: Node, to: Node, number: usize) -> Option<Vec<(Edge, usize)>> {
        let mut reached: FxHashMap<Node, (u32, Option<(Edge, usize)>)> = FxHashMap::default();
        reached.insert(from, (0, None));
        let mut queue: BinaryHeap<Reverse<(u32, Node)>> = BinaryHeap::from([Reverse((0, from))]);
        while let Some(Reverse((cost, node))) = queue.pop() {
            if node == to && cost > 0 {
                break;
            }
            if reached[&node].0 < cost {
                continue;
            }
            for (edge, derived) in self.of.get(&node).into_iter().flatten() {
                let price = match (edge.dependency, derived) {
                    (Dependency::Link, _) => 0,
                    (_, 0) => 1,
                    _ => DERIVED_COST,
                };
                let cost = cost + price;
                if *derived < number && reached.get(&edge.to).is_none_or(|(known, _)| cost < *known) {
                    reached.insert(edge.to, (cost, Some((*edge, *derived))));
                    queue.push(Reverse((cost, edge.to)));
                }
            }
        }
        let mut way = Vec::new();
        let mut at = to;
        while at != from {
            let (edge, derived) = reached.get(&at)?.1?;
            way.push((edge, derived));
            at = edge.from;
        }
        way.reverse();
        Some(way)
    }

    /// Returns the steps of a way, without the joints.
    fn steps(&self, way: &[(Edge, usize)]) -> Vec<Step> {
        let is_joint = |node: Node| node >= self.joints_from;
        let first = way.iter().position(|(edge, _)| !is_joint(edge.from)).unwrap_or(0);
        let mut steps: Vec<Step> = Vec::new();
        let mut open: Option<Step> = None;
        for (edge, _) in way[first..].iter().chain(&way[..first]) {
            let Edge { from, to, key, dependency, level } = *edge;
            let mut step = open.take().unwrap_or(Step { from, to, key, dependency, level });
            step.to = to;
            if is_joint(to) {
                open = Some(step);
            } else {
                steps.push(step);
            }
        }
        steps
    }
}
