//! Cycles of one strongly connected component: the kinds that occur, and a short cycle of each.
//!
//! Adya, "Weak Consistency: A Generalized Theory and Optimistic Implementations for Distributed Transactions" (1999), and Elle:
//! - G0: every edge is a write after a write; G1c: edges are writes, and reads of what was written;
//! - G-single: one edge of the cycle is an anti-dependency (a write over what was read); G-nonadjacent: several
//!   are, and no two of them follow each other; G2-item: some do.
//!
//! The check looks for each kind with data dependencies alone, then with the order of processes, then with real
//! time. The absence of a kind is decided exactly, from the components of the edges that it may have. For cycles
//! without adjacent anti-dependencies the nodes are doubled, to record whether the last edge was one. G-single
//! alone has no such test: if trying each anti-dependency takes too long, a cycle is reported as G-nonadjacent,
//! which is weaker.

use std::collections::VecDeque;

use petgraph::algo::kosaraju_scc;
use petgraph::graph::DiGraph;
use rustc_hash::FxHashMap;

use super::graph::{Dependency, Edge, Level, Node};
use crate::verdict::AnomalyKind;
use crate::witness::Op;

/// The number of cycles compared in the search for the shortest.
const TRIED_MAX: usize = 64;

/// The number of edges followed for the cycles of one kind.
const STEPS_MAX: u64 = 50_000_000;

/// A step of a cycle, from transaction to transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) from: Op,
    pub(super) to: Op,
    pub(super) key: u32,
    pub(super) dependency: Dependency,
    pub(super) level: Level,
}

/// A cycle and its kind.
#[derive(Clone, Debug)]
pub(super) struct Cycle {
    pub(super) kind: AnomalyKind,
    pub(super) steps: Vec<Step>,
}

/// The kinds of cycles, worst first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    G0,
    G1c,
    GSingle,
    GNonadjacent,
    G2Item,
}

impl Class {
    const ALL: [Self; 5] = [Self::G0, Self::G1c, Self::GSingle, Self::GNonadjacent, Self::G2Item];

    /// Returns the edges that a cycle of this class may have. The edge of `must_have` is exempt.
    fn may_have(self) -> u8 {
        use Dependency::{Inferred, Link, Order, ReadWrite, WriteRead, WriteWrite};
        let of = |edges: &[Dependency]| edges.iter().fold(0, |mask, edge| mask | *edge as u8);
        match self {
            Self::G0 => of(&[WriteWrite, Order, Link]),
            Self::G1c => of(&[WriteWrite, WriteRead, Order, Link]),
            Self::GSingle => of(&[WriteWrite, WriteRead, Order, Link, Inferred]),
            Self::GNonadjacent | Self::G2Item => {
                of(&[WriteWrite, WriteRead, Order, Link, Inferred, ReadWrite])
            }
        }
    }

    /// Returns the edges of which it must have one.
    fn must_have(self) -> u8 {
        match self {
            Self::G0 => Dependency::WriteWrite as u8,
            Self::G1c => Dependency::WriteRead as u8,
            // An inferred order assumes that there is no G-single.
            Self::GSingle => Dependency::ReadWrite as u8 | Dependency::Inferred as u8,
            Self::GNonadjacent | Self::G2Item => Dependency::ReadWrite as u8,
        }
    }

    fn kind(self, level: Level) -> AnomalyKind {
        use AnomalyKind as Kind;
        let of_levels = match self {
            Self::G0 => [Kind::G0, Kind::G0Process, Kind::G0Realtime],
            Self::G1c => [Kind::G1c, Kind::G1cProcess, Kind::G1cRealtime],
            Self::GSingle => [Kind::GSingle, Kind::GSingleProcess, Kind::GSingleRealtime],
            Self::GNonadjacent => [Kind::GNonadjacent, Kind::GNonadjacentProcess, Kind::GNonadjacentRealtime],
            Self::G2Item => [Kind::G2Item, Kind::G2ItemProcess, Kind::G2ItemRealtime],
        };
        of_levels[level as usize]
    }
}

/// The states that a walk through a component has reached. The memory is reused for the next walk.
struct Walk {
    /// For each state, the walk that reached it, the cost, and the previous state and edge.
    reached: Vec<(u32, u32, u32, u32)>,
    walks: u32,
    steps: u64,
}

impl Walk {
    fn new(states: usize) -> Self {
        Self { reached: vec![(0, 0, 0, 0); states], walks: 0, steps: 0 }
    }

    fn begin(&mut self, state: usize) {
        self.walks += 1;
        self.reach(state, 0, state, 0);
    }

    fn reach(&mut self, state: usize, cost: u32, from: usize, edge: usize) {
        self.reached[state] = (self.walks, cost, from as u32, edge as u32);
    }

    fn cost(&self, state: usize) -> Option<u32> {
        let (walk, cost, ..) = self.reached[state];
        (walk == self.walks).then_some(cost)
    }

    /// Returns the edges from the beginning of the walk to `state`.
    fn way(&self, begin: usize, mut state: usize) -> Vec<usize> {
        let mut way = Vec::new();
        while state != begin {
            let (_, _, from, edge) = self.reached[state];
            way.push(edge as usize);
            state = from as usize;
        }
        way.reverse();
        way
    }
}

/// A component with its nodes numbered from 0.
pub(super) struct Component {
    nodes: Vec<Node>,
    edges: Vec<Edge>,
    /// The beginning of the edges of each node; edges are sorted by the node that they leave.
    starts: Vec<usize>,
    joints_from: Node,
}

impl Component {
    pub(super) fn new(mut edges: Vec<Edge>, joints_from: Node) -> Self {
        let mut nodes: Vec<Node> = edges.iter().map(|edge| edge.from).collect();
        nodes.sort_unstable();
        nodes.dedup();
        let local: FxHashMap<Node, u32> = nodes.iter().copied().zip(0..).collect();
        for edge in &mut edges {
            (edge.from, edge.to) = (local[&edge.from], local[&edge.to]);
        }
        edges.sort_by_key(|edge| edge.from);
        let starts =
            (0..=nodes.len() as Node).map(|node| edges.partition_point(|edge| edge.from < node)).collect();
        Self { nodes, edges, starts, joints_from }
    }

    /// Returns the worst cycles: for each level, the shortest found of each class that is not covered by a
    /// worse class of this level, or of a lower one.
    pub(super) fn cycles(&self) -> Vec<Cycle> {
        let mut found: Vec<(Class, Cycle)> = Vec::new();
        for level in [Level::Data, Level::Process, Level::RealTime] {
            if !self.is_knotted(level) {
                continue;
            }
            for class in Class::ALL {
                let has = |other: Class| found.iter().any(|(class, _)| *class == other);
                let covered = match class {
                    Class::G0 | Class::G1c | Class::GSingle => has(class),
                    Class::GNonadjacent => has(Class::GSingle) || has(class),
                    Class::G2Item => has(Class::GSingle) || has(Class::GNonadjacent) || has(class),
                };
                if !covered && let Some(steps) = self.cycle(class, level) {
                    found.push((class, Cycle { kind: class.kind(level), steps }));
                }
            }
        }
        found.into_iter().map(|(_, cycle)| cycle).collect()
    }

    /// Returns whether there are cycles of any class.
    fn is_knotted(&self, level: Level) -> bool {
        let components = self.components(level, Class::G2Item);
        let mut numbers = components.clone();
        numbers.sort_unstable();
        numbers.dedup();
        numbers.len() < components.len()
    }

    /// Returns a short cycle of `class`.
    fn cycle(&self, class: Class, level: Level) -> Option<Vec<Step>> {
        let may = class.may_have();
        let allowed = |edge: &Edge| edge.level <= level && edge.dependency as u8 & may != 0;
        let alternating = matches!(class, Class::GSingle | Class::GNonadjacent);
        let components = self.components(level, if alternating { Class::GNonadjacent } else { class });
        let states = self.nodes.len();
        let is_seed = |edge: &Edge| {
            let (from, to) = (edge.from as usize, edge.to as usize);
            let after =
                if edge.dependency == Dependency::ReadWrite && alternating { to + states } else { to };
            edge.level <= level
                && edge.dependency as u8 & class.must_have() != 0
                && components[from] == components[after]
        };
        // The edge that leads back furthest is the most likely culprit.
        let back = |edge: &Edge| {
            let [from, to] = [edge.from, edge.to].map(|node| self.nodes[node as usize]);
            if to < self.joints_from { from.saturating_sub(to) } else { 0 }
        };
        let mut seeds: Vec<usize> =
            self.edges.iter().enumerate().filter(|(_, edge)| is_seed(edge)).map(|(at, _)| at).collect();
        seeds.sort_by_key(|at| std::cmp::Reverse(back(&self.edges[*at])));
        let mut walk = Walk::new(if alternating { 2 * states } else { states });
        let (mut shortest, mut tried): (Option<Vec<Step>>, usize) = (None, 0);
        for at in seeds {
            let length = shortest.as_ref().map_or(u32::MAX, |shortest| shortest.len() as u32);
            if tried >= TRIED_MAX || walk.steps > STEPS_MAX || length == 2 {
                break;
            }
            let alternates = class == Class::GNonadjacent;
            let Some(mut cycle) = self.way(at, allowed, alternates, length, &mut walk) else { continue };
            cycle.insert(0, at);
            let Some(cycle) = self.steps(&cycle) else { continue };
            tried += 1;
            if shortest.as_ref().is_none_or(|shortest| cycle.len() < shortest.len()) {
                shortest = Some(cycle);
            }
        }
        shortest
    }

    /// Returns the component of each node in the graph of the edges that `class` may have. If
    /// anti-dependencies must not be adjacent, each node has two: as reached by another edge, and as reached
    /// by an anti-dependency.
    fn components(&self, level: Level, class: Class) -> Vec<u32> {
        let alternating = class == Class::GNonadjacent;
        let states = self.nodes.len();
        let count = if alternating { 2 * states } else { states };
        let mut graph: DiGraph<(), (), u32> = DiGraph::with_capacity(count, self.edges.len());
        for _ in 0..count {
            graph.add_node(());
        }
        for edge in self.edges.iter().filter(|edge| edge.level <= level) {
            if edge.dependency as u8 & class.may_have() == 0 {
                continue;
            }
            let (from, to) = (edge.from, edge.to);
            let (from_after, to_after) = (from + states as u32, to + states as u32);
            match edge.dependency {
                _ if !alternating => {
                    graph.add_edge(from.into(), to.into(), ());
                }
                Dependency::ReadWrite => {
                    graph.add_edge(from.into(), to_after.into(), ());
                }
                Dependency::Link => {
                    graph.add_edge(from.into(), to.into(), ());
                    graph.add_edge(from_after.into(), to_after.into(), ());
                }
                _ => {
                    graph.add_edge(from.into(), to.into(), ());
                    graph.add_edge(from_after.into(), to.into(), ());
                }
            }
        }
        let mut components = vec![0; count];
        for (number, component) in kosaraju_scc(&graph).into_iter().enumerate() {
            for node in component {
                components[node.index()] = number as u32;
            }
        }
        components
    }

    /// Returns the shortest way from the end of the edge `seed` back to its beginning, over `allowed` edges
    /// and shorter than `length`. Links cost nothing.
    fn way(
        &self,
        seed: usize,
        allowed: impl Fn(&Edge) -> bool,
        alternating: bool,
        length: u32,
        walk: &mut Walk,
    ) -> Option<Vec<usize>> {
        let states = self.nodes.len();
        let seed = &self.edges[seed];
        let goal = seed.from as usize;
        // If anti-dependencies must not be adjacent, a state is a node and whether the last edge was one.
        let begin = seed.to as usize + if alternating { states } else { 0 };
        walk.begin(begin);
        let mut queue: VecDeque<(usize, u32)> = VecDeque::from([(begin, 0)]);
        while let Some((state, cost)) = queue.pop_front() {
            if walk.cost(state).is_some_and(|known| known < cost) {
                continue;
            }
            if state == goal {
                return Some(walk.way(begin, state));
            }
            let (node, after) = (state % states, state >= states);
            for at in self.starts[node]..self.starts[node + 1] {
                walk.steps += 1;
                let edge = &self.edges[at];
                let is_anti = edge.dependency == Dependency::ReadWrite;
                if !allowed(edge) || (alternating && after && is_anti) {
                    continue;
                }
                let stays = alternating && (is_anti || (after && edge.dependency == Dependency::Link));
                let to = edge.to as usize + if stays { states } else { 0 };
                let price = cost + u32::from(edge.dependency != Dependency::Link);
                if price + 1 < length && walk.cost(to).is_none_or(|known| price < known) {
                    walk.reach(to, price, state, at);
                    if price == cost {
                        queue.push_front((to, price));
                    } else {
                        queue.push_back((to, price));
                    }
                }
            }
        }
        None
    }

    /// Returns the transactions of a cycle of edges, without the joints between them; `None` if a transaction
    /// occurs twice, so that a shorter cycle of a worse class exists.
    fn steps(&self, cycle: &[usize]) -> Option<Vec<Step>> {
        let is_joint = |node: u32| self.nodes[node as usize] >= self.joints_from;
        let first = cycle.iter().position(|at| !is_joint(self.edges[*at].from))?;
        let mut steps: Vec<Step> = Vec::new();
        let mut open: Option<Step> = None;
        for at in cycle[first..].iter().chain(&cycle[..first]) {
            let edge = self.edges[*at];
            let op = |node: u32| self.nodes[node as usize];
            let mut step = open.take().unwrap_or(Step {
                from: op(edge.from),
                to: 0,
                key: edge.key,
                dependency: edge.dependency,
                level: edge.level,
            });
            if is_joint(edge.to) {
                open = Some(step);
                continue;
            }
            step.to = op(edge.to);
            steps.push(step);
        }
        let mut ops: Vec<Op> = steps.iter().map(|step| step.from).collect();
        ops.sort_unstable();
        ops.dedup();
        (ops.len() == steps.len()).then_some(steps)
    }
}
