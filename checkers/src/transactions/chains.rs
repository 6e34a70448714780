//! The writers among transactions, divided into chains: each member is known to come before the next.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use super::graph::{Graph, Node};
use super::visibility::Access;
use crate::witness::Op;

/// The number of entries of all clocks at which chains are too many: about 256 MB.
const ENTRIES_MAX: usize = 1 << 26;

/// The edges of a graph, by the node that they leave.
pub(super) struct Successors {
    starts: Vec<u32>,
    pub(super) ends: Vec<Node>,
}

impl Successors {
    pub(super) fn new(graph: &Graph) -> Self {
        let mut starts = vec![0_u32; graph.nodes() + 1];
        for edge in &graph.edges {
            starts[edge.from as usize + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let (mut next, mut ends) = (starts.clone(), vec![0; graph.edges.len()]);
        for edge in &graph.edges {
            let next = &mut next[edge.from as usize];
            ends[*next as usize] = edge.to;
            *next += 1;
        }
        Self { starts, ends }
    }

    /// Returns the places of the successors of `node` among all ends.
    pub(super) fn range(&self, node: Node) -> Range<usize> {
        self.starts[node as usize] as usize..self.starts[node as usize + 1] as usize
    }

    pub(super) fn of(&self, node: Node) -> &[Node] {
        &self.ends[self.range(node)]
    }

    /// Returns the nodes in an order that agrees with all edges, and with `position` where they leave a choice; `None` if
    /// there is a cycle.
    pub(super) fn sorted(&self, position: impl Fn(Node) -> u64) -> Option<Vec<Node>> {
        let nodes = self.starts.len() - 1;
        let mut waits = vec![0_u32; nodes];
        for to in &self.ends {
            waits[*to as usize] += 1;
        }
        let free = (0..nodes as Node).filter(|node| waits[*node as usize] == 0);
        let mut ready: BinaryHeap<Reverse<(u64, Node)>> =
            free.map(|node| Reverse((position(node), node))).collect();
        let mut order = Vec::with_capacity(nodes);
        while let Some(Reverse((_, node))) = ready.pop() {
            order.push(node);
            for next in self.of(node) {
                waits[*next as usize] -= 1;
                if waits[*next as usize] == 0 {
                    ready.push(Reverse((position(*next), *next)));
                }
            }
        }
        (order.len() == nodes).then_some(order)
    }
}

/// The place of a writer in its chain; the first is number 1, and transactions that do not write have number 0.
#[derive(Clone, Copy, Default)]
pub(super) struct Link {
    pub(super) chain: u32,
    pub(super) number: u32,
}

/// All chains.
pub(super) struct Chains {
    /// The places, by transaction.
    pub(super) links: Vec<Link>,
    pub(super) count: usize,
}

impl Chains {
    /// Appends each writer, in `order`, to a chain whose last member comes before it. Returns `None` if there would be
    /// too many chains.
    pub(super) fn new(
        accesses: &[Access],
        graph: &Graph,
        known: &Successors,
        order: &[Node],
    ) -> Option<Self> {
        let mut links = vec![Link::default(); graph.joints_from as usize];
        let mut is_writer = vec![false; graph.joints_from as usize];
        for access in accesses.iter().filter(|access| access.writes) {
            is_writer[access.op as usize] = true;
        }
        let mut lengths: Vec<u32> = Vec::new();
        let mut clocks: Vec<Vec<u32>> = vec![Vec::new(); graph.nodes()];
        for node in order {
            let mut clock = std::mem::take(&mut clocks[*node as usize]);
            if is_writer.get(*node as usize).is_some_and(|is| *is) {
                let chain = lengths.iter().zip(&clock).position(|(length, known)| length == known);
                let chain = chain.unwrap_or_else(|| {
                    lengths.push(0);
                    lengths.len() - 1
                });
                if lengths.len().saturating_mul(graph.nodes()) > ENTRIES_MAX {
                    return None;
                }
                lengths[chain] += 1;
                links[*node as usize] = Link { chain: chain as u32, number: lengths[chain] };
                if clock.len() <= chain {
                    clock.resize(chain + 1, 0);
                }
                clock[chain] = lengths[chain];
            }
            for next in known.of(*node) {
                let next = &mut clocks[*next as usize];
                if next.len() < clock.len() {
                    next.resize(clock.len(), 0);
                }
                for (mine, theirs) in next.iter_mut().zip(&clock) {
                    *mine = (*mine).max(*theirs);
                }
            }
        }
        Some(Self { links, count: lengths.len() })
    }
}

/// The accesses to one object.
#[derive(Default)]
pub(super) struct OfKey {
    /// The writers by chain, in the order of the chain, with their numbers in it.
    pub(super) writers: Vec<(u32, Vec<(u32, Op)>)>,
    /// Each writer with a transaction that read its version; sorted.
    pub(super) readers: Vec<(Op, Op)>,
}

impl OfKey {
    /// Returns the accesses to each of so many objects.
    pub(super) fn all(keys: usize, accesses: &[Access], links: &[Link]) -> Vec<Self> {
        let mut of_keys: Vec<Self> = Vec::new();
        of_keys.resize_with(keys, Self::default);
        let mut written: Vec<(u32, u32, u32, Op)> = Vec::new();
        for access in accesses {
            let of_key = &mut of_keys[access.key as usize];
            if access.writes {
                let link = links[access.op as usize];
                written.push((access.key, link.chain, link.number, access.op));
            }
            if let Some(Some(writer)) = access.read {
                of_key.readers.push((writer, access.op));
            }
        }
        written.sort_unstable();
        for same in written.chunk_by(|one, other| (one.0, one.1) == (other.0, other.1)) {
            let members = same.iter().map(|(_, _, number, op)| (*number, *op)).collect();
            of_keys[same[0].0 as usize].writers.push((same[0].1, members));
        }
        for of_key in &mut of_keys {
            of_key.readers.sort_unstable();
        }
        of_keys
    }

    /// Returns the places of the readers of `writer`'s version.
    pub(super) fn readers(&self, writer: Op) -> Range<usize> {
        let first = self.readers.partition_point(|(of, _)| *of < writer);
        let count = self.readers[first..].partition_point(|(of, _)| *of == writer);
        first..first + count
    }
}
