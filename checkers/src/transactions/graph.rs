//! The graph of dependencies between transactions: built in linear size and reduced to the parts that can
//! contain cycles.
//!
//! A node is an operation of the history, by its number, or a *joint*: a node without a transaction, through
//! which many edges share their way. The kind of such a way is that of its first edge; the others are
//! [`Dependency::Link`]s. Real time is a chain of joints. The end of a transaction leads to a joint, and the
//! last joint before the begin of another leads to that one. One is thus before the other exactly if there is
//! a way, with three edges for each transaction.
//!
//! Each node has a position, in the order in which transactions ended. Most edges lead forward. Each cycle
//! has backward edges and lies within their span, so only the nodes in such spans are given to petgraph.

use petgraph::algo::kosaraju_scc;
use petgraph::graph::DiGraph;
use rustc_hash::FxHashMap;

use super::facts::Facts;
use crate::witness::Op;
use duress_history::txn::Answer;

/// The number of a node: an operation or, from [`Graph::joints_from`] on, a joint.
pub(super) type Node = u32;

/// The key of edges without a key.
pub(super) const NO_KEY: u32 = u32::MAX;

/// The reason why the transaction at the beginning of an edge comes before the one at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Dependency {
    /// The second wrote after the first.
    WriteWrite = 1,
    /// The second read a value that the first wrote.
    WriteRead = 2,
    /// The second overwrote a value that the first read.
    ReadWrite = 4,
    /// The first ended before the second began.
    Order = 8,
    /// The second continues the way of a previous edge.
    Link = 16,
    /// The second wrote after the first, or there is another anomaly: a G-single of the same level, or worse.
    Inferred = 32,
}

/// The order on which an edge rests, in addition to reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Level {
    /// Data only.
    Data,
    /// The order of the transactions of one process.
    Process,
    /// Real time.
    RealTime,
}

/// An edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    pub(super) from: Node,
    pub(super) to: Node,
    /// The key concerned, or [`NO_KEY`].
    pub(super) key: u32,
    pub(super) dependency: Dependency,
    pub(super) level: Level,
}

/// The edges and joints found for one key.
#[derive(Default)]
pub(super) struct Part {
    pub(super) edges: Vec<Edge>,
    /// The positions of its joints.
    joints: Vec<u64>,
}

/// The flag of joint numbers in a part, until it is added to a graph.
const JOINT: Node = 1 << 31;

impl Part {
    pub(super) fn edge(&mut self, from: Node, to: Node, key: u32, dependency: Dependency, level: Level) {
        if from != to {
            self.edges.push(Edge { from, to, key, dependency, level });
        }
    }

    pub(super) fn joint(&mut self, position: u64) -> Node {
        self.joints.push(position);
        JOINT | (self.joints.len() - 1) as Node
    }

    /// Adds edges from each of `sources` to each of `targets`, except from a node to itself. No target may be
    /// listed twice.
    pub(super) fn fan(
        &mut self,
        sources: &[(Op, Dependency)],
        targets: &[Op],
        key: u32,
        level: Level,
        position: impl Fn(Op) -> u64,
    ) {
        if sources.len() * targets.len() <= 2 * (sources.len() + targets.len()) + 8 {
            for (source, dependency) in sources {
                for target in targets {
                    self.edge(*source, *target, key, *dependency, level);
                }
            }
            return;
        }
        let mut targets: Vec<Op> = targets.to_vec();
        targets.sort_by_key(|target| position(*target));
        let places: FxHashMap<Op, usize> = targets.iter().enumerate().map(|(at, op)| (*op, at)).collect();
        // A way from the `at`th joint of `after` leads to every target from `at` on, and one from that of
        // `before` to every target up to `at`.
        let chain = |part: &mut Self, forward: bool| -> Vec<Node> {
            let joints: Vec<Node> = targets.iter().map(|target| part.joint(position(*target))).collect();
            for at in 0..targets.len() {
                part.edge(joints[at], targets[at], key, Dependency::Link, Level::Data);
                if at > 0 && forward {
                    part.edge(joints[at - 1], joints[at], key, Dependency::Link, Level::Data);
                } else if at > 0 {
                    part.edge(joints[at], joints[at - 1], key, Dependency::Link, Level::Data);
                }
            }
            joints
        };
        let after = chain(self, true);
        let own = sources.iter().any(|(source, _)| places.contains_key(source));
        let before = if own { chain(self, false) } else { Vec::new() };
        for (source, dependency) in sources {
            match places.get(source) {
                None => self.edge(*source, after[0], key, *dependency, level),
                Some(at) => {
                    if at + 1 < targets.len() {
                        self.edge(*source, after[at + 1], key, *dependency, level);
                    }
                    if *at > 0 {
                        self.edge(*source, before[at - 1], key, *dependency, level);
                    }
                }
            }
        }
    }
}

/// A graph of dependencies.
pub(super) struct Graph {
    pub(super) edges: Vec<Edge>,
    /// The number of the first joint.
    pub(super) joints_from: Node,
    joints: Vec<u64>,
}

impl Graph {
    /// Returns a graph of so many operations without edges.
    pub(super) fn new(operations: usize) -> Self {
        Self { edges: Vec::new(), joints_from: operations as Node, joints: Vec::new() }
    }

    /// Returns the graph with the edges for which `keep` holds.
    pub(super) fn only(&self, keep: impl Fn(&Edge) -> bool) -> Self {
        let edges = self.edges.iter().copied().filter(keep).collect();
        Self { edges, joints_from: self.joints_from, joints: self.joints.clone() }
    }

    /// Returns the order of time and of processes between the transactions that take part.
    pub(super) fn of_time<R: Answer>(facts: &Facts<'_, R>) -> Self {
        Self::of_time_among(facts, |_| true)
    }

    /// Returns the order of time and of processes between those that take part and for which `is_one` holds.
    pub(super) fn of_time_among<R: Answer>(facts: &Facts<'_, R>, is_one: impl Fn(Op) -> bool) -> Self {
        let count = facts.operations.len();
        let mut graph = Self::new(count);
        let mut last_of_process: FxHashMap<u64, Op> = FxHashMap::default();
        let mut ends: Vec<(u64, Op)> = Vec::with_capacity(count);
        for op in facts.taking().filter(|op| is_one(*op)) {
            if let Some(end) = facts.end(op) {
                ends.push((end, op));
            }
            let process = facts.operations[op as usize].process.0;
            if let Some(last) = last_of_process.insert(process, op) {
                let (dependency, level) = (Dependency::Order, Level::Process);
                graph.edges.push(Edge { from: last, to: op, key: NO_KEY, dependency, level });
            }
        }
        ends.sort_unstable();
        graph.edges.reserve(3 * ends.len());
        let mut ends = ends.into_iter().peekable();
        let (mut joint, mut open) = (None, false);
        for op in facts.taking().filter(|op| is_one(*op)) {
            let begin = facts.operations[op as usize].index;
            while let Some((end, ended)) = ends.next_if(|(end, _)| *end < begin) {
                if !open {
                    let next = graph.joint(2 * end + 1);
                    if let Some(joint) = joint {
                        graph.link(joint, next);
                    }
                    (joint, open) = (Some(next), true);
                }
                let to = joint.expect("it was made just now");
                let (dependency, level) = (Dependency::Order, Level::RealTime);
                graph.edges.push(Edge { from: ended, to, key: NO_KEY, dependency, level });
            }
            if let Some(joint) = joint {
                graph.link(joint, op);
                open = false;
            }
        }
        graph
    }

    /// Returns the graph with the edges of `other`, of the same operations.
    pub(super) fn with(mut self, other: &Self) -> Self {
        let number = |node: Node| {
            if node < other.joints_from { node } else { node + self.joints.len() as Node }
        };
        let edges =
            other.edges.iter().map(|edge| Edge { from: number(edge.from), to: number(edge.to), ..*edge });
        self.edges.extend(edges);
        self.joints.extend(&other.joints);
        self
    }

    /// Returns the number of nodes.
    pub(super) fn nodes(&self) -> usize {
        self.joints_from as usize + self.joints.len()
    }

    fn joint(&mut self, position: u64) -> Node {
        self.joints.push(position);
        self.joints_from + (self.joints.len() - 1) as Node
    }

    fn link(&mut self, from: Node, to: Node) {
        let (dependency, level) = (Dependency::Link, Level::Data);
        self.edges.push(Edge { from, to, key: NO_KEY, dependency, level });
    }

    /// Adds the edges and joints of one key.
    pub(super) fn add(&mut self, part: Part) {
        let first = self.joints_from + self.joints.len() as Node;
        let number = |node: Node| if node & JOINT == 0 { node } else { first + (node & !JOINT) };
        let edges = part.edges.into_iter();
        self.edges.extend(edges.map(|edge| Edge { from: number(edge.from), to: number(edge.to), ..edge }));
        self.joints.extend(part.joints);
    }

    /// Returns whether there is no cycle: removes nodes without incoming edges until none is left (Kahn,
    /// 1962). Most histories have no cycle, and this takes much less time than the search for components.
    fn is_acyclic(&self) -> bool {
        let nodes = self.nodes();
        let (mut starts, mut waits) = (vec![0_u32; nodes + 1], vec![0_u32; nodes]);
        for edge in &self.edges {
            starts[edge.from as usize + 1] += 1;
            waits[edge.to as usize] += 1;
        }
        for node in 0..nodes {
            starts[node + 1] += starts[node];
        }
        let (mut next, mut ends) = (starts.clone(), vec![0; self.edges.len()]);
        for edge in &self.edges {
            let next = &mut next[edge.from as usize];
            ends[*next as usize] = edge.to;
            *next += 1;
        }
        let mut free: Vec<Node> = (0..nodes as Node).filter(|node| waits[*node as usize] == 0).collect();
        let mut gone = 0;
        while let Some(node) = free.pop() {
            gone += 1;
            for end in &ends[starts[node as usize] as usize..starts[node as usize + 1] as usize] {
                waits[*end as usize] -= 1;
                if waits[*end as usize] == 0 {
                    free.push(*end);
                }
            }
        }
        gone == nodes
    }

    /// Returns the strongly connected components of more than one node, each with its inner edges.
    pub(super) fn components<R: Answer>(&self, facts: &Facts<'_, R>) -> Vec<Vec<Edge>> {
        if self.is_acyclic() {
            return Vec::new();
        }
        let nodes = self.nodes();
        let mut order: Vec<(u64, Node)> = facts.taking().map(|op| (facts.position(op), op)).collect();
        order.extend(self.joints.iter().zip(self.joints_from..).map(|(position, node)| (*position, node)));
        order.sort_unstable();
        let mut ranks: Vec<u32> = vec![0; nodes];
        for (rank, (_, node)) in order.iter().enumerate() {
            ranks[*node as usize] = rank as u32;
        }
        // The number of backward edges that span the gap between a rank and the next.
        let mut spans: Vec<i32> = vec![0; order.len() + 1];
        for edge in &self.edges {
            let (from, to) = (ranks[edge.from as usize], ranks[edge.to as usize]);
            if from > to {
                spans[to as usize] += 1;
                spans[from as usize] -= 1;
            }
        }
        // Nodes within one run of spanned gaps share a window; others have none.
        const NONE: u32 = u32::MAX;
        let (mut windows, mut of_window): (Vec<u32>, Vec<Node>) = (vec![NONE; order.len()], Vec::new());
        let (mut spanning, mut window) = (0, 0);
        for rank in 0..order.len() {
            let inside = spanning > 0;
            spanning += spans[rank];
            if inside || spanning > 0 {
                windows[rank] = window;
                of_window.push(rank as u32);
            }
            window += u32::from(spanning == 0);
        }
        drop(spans);
        let inside = |edge: &&Edge| {
            let (from, to) =
                (windows[ranks[edge.from as usize] as usize], windows[ranks[edge.to as usize] as usize]);
            from != NONE && from == to
        };
        let mut local: Vec<u32> = vec![NONE; order.len()];
        let mut graph: DiGraph<(), (), u32> = DiGraph::with_capacity(of_window.len(), 0);
        for (at, rank) in of_window.iter().enumerate() {
            local[*rank as usize] = at as u32;
            graph.add_node(());
        }
        for edge in self.edges.iter().filter(inside) {
            let [from, to] = [edge.from, edge.to].map(|node| local[ranks[node as usize] as usize]);
            graph.add_edge(from.into(), to.into(), ());
        }
        let mut components: Vec<Vec<Edge>> = Vec::new();
        let mut component_of: Vec<u32> = vec![NONE; of_window.len()];
        for component in kosaraju_scc(&graph).into_iter().filter(|component| component.len() > 1) {
            for node in component {
                component_of[node.index()] = components.len() as u32;
            }
            components.push(Vec::new());
        }
        if components.is_empty() {
            return components;
        }
        drop(graph);
        for edge in self.edges.iter().filter(inside) {
            let [from, to] =
                [edge.from, edge.to].map(|node| component_of[local[ranks[node as usize] as usize] as usize]);
            if from != NONE && from == to {
                components[from as usize].push(*edge);
            }
        }
        components
    }
}
