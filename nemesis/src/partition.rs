//! Partitions: which directed links between hosts are cut.

use std::fmt;
use std::time::Duration;

use duress_history::NodeId;
use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::quantity;
use crate::role::Role;
use crate::selector::{Choice, LISTED, Relation, Targets, join_nodes, parse_nodes};
use crate::variant::{Kind, Row, partitions};

/// The shortest period whose states the probes can observe.
const FLAPPING_MIN: Duration = Duration::from_millis(20);
/// The longest period: the injection waits to observe both states.
const FLAPPING_MAX: Duration = Duration::from_secs(4);

/// The choice of the cut links. Names follow Jepsen's where it has one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartitionShape {
    /// One node is cut from all others.
    One,
    /// A minority of random size is cut from the majority.
    Majority,
    /// Two halves, the smaller one rounded down.
    Halves,
    /// Every node sees a majority, and no two nodes see the same one.
    MajoritiesRing,
    /// Two halves that only one node, the bridge, can both see.
    Bridge,
    /// Packets cross between a minority and the rest in one direction only.
    OneWay,
    /// The node that leads when the fault starts is cut from all others.
    IsolateLeader,
    /// The node that leads when the fault starts is cut from the majority, with as many others as make a minority.
    LeaderInMinority,
    /// The links of one of the drawn shapes are cut and open in turn, each for half of this period.
    Flapping(Duration),
    /// Some client hosts are cut from some nodes.
    Clients,
    /// These nodes are cut from all others.
    Nodes(Vec<NodeId>),
}

impl PartitionShape {
    /// Returns the smallest number of nodes that it disables in a cluster of `nodes` nodes.
    pub(crate) fn fewest_lost(&self, nodes: usize) -> usize {
        match self {
            Self::Halves => nodes / 2,
            Self::MajoritiesRing => nodes - (2 * ring_reach(nodes) + 1).min(nodes),
            Self::LeaderInMinority => minority_max(nodes),
            // The bridge is linked to every node.
            Self::Bridge => 0,
            _ => 1,
        }
    }

    /// Draws a shape that cuts nodes from each other permanently, fits a cluster of `nodes` nodes (at least
    /// two), and disables at most `most` of them (at least one).
    fn drawn_within(nodes: usize, most: usize, rng: &mut impl Rng) -> Self {
        let of_nodes = |shape: &Self| !matches!(shape, Self::Flapping(_) | Self::Clients);
        Self::draw(nodes, |shape| of_nodes(shape) && shape.fewest_lost(nodes) <= most, rng)
    }

    /// Draws the links to cut. A minority has at most `most` nodes. `nodes` must satisfy the needs of the
    /// variant.
    pub fn cut(&self, nodes: &[NodeId], clients: &[NodeId], most: usize, rng: &mut impl Rng) -> Cut {
        let mut order = nodes.to_vec();
        order.shuffle(rng);
        let minority_max = minority_max(nodes.len()).min(most).max(1);
        let links = match self {
            Self::One => return isolates(Relation::Any, 1, order),
            Self::Majority => {
                return isolates(Relation::Any, rng.random_range(1..=minority_max), order);
            }
            Self::Halves => split(&order, (nodes.len() / 2).max(1), Direction::Both),
            Self::MajoritiesRing => majorities_ring(&order),
            Self::Bridge => {
                let half = (order.len() - 1) / 2;
                // The last node of the shuffled order is the bridge, which belongs to neither half.
                split(&order[..order.len() - 1], half.max(1), Direction::Both)
            }
            Self::OneWay => {
                let direction = if rng.random_bool(0.5) { Direction::Out } else { Direction::In };
                split(&order, rng.random_range(1..=minority_max), direction)
            }
            Self::Flapping(_) => {
                return Self::drawn_within(nodes.len(), most, rng).cut(nodes, clients, most, rng);
            }
            Self::IsolateLeader => return isolates(Relation::Has(Role::leader()), 1, order),
            Self::LeaderInMinority => return isolates(Relation::Has(Role::leader()), minority_max, order),
            Self::Clients => {
                let mut hosts = clients.to_vec();
                hosts.shuffle(rng);
                let hosts = &hosts[..rng.random_range(1..=hosts.len())];
                let nodes = &order[..rng.random_range(1..=order.len())];
                between(hosts, nodes, Direction::Both)
            }
            Self::Nodes(set) => isolate(set, nodes),
        };
        Cut::Links(sorted(links))
    }
}

impl Kind for PartitionShape {
    fn rows() -> &'static [Row<Self>] {
        partitions()
    }

    fn name(&self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Majority => "majority",
            Self::Halves => "halves",
            Self::MajoritiesRing => "majorities-ring",
            Self::Bridge => "bridge",
            Self::OneWay => "one-way",
            Self::IsolateLeader => "isolate-leader",
            Self::LeaderInMinority => "leader-in-minority",
            Self::Flapping(_) => "flapping",
            Self::Clients => "clients",
            Self::Nodes(_) => LISTED,
        }
    }

    fn with(self, parameter: Option<&str>) -> Option<Self> {
        match (self, parameter) {
            (Self::Flapping(_), Some(value)) => {
                let period = quantity::duration(value)?;
                (FLAPPING_MIN..=FLAPPING_MAX).contains(&period).then_some(Self::Flapping(period))
            }
            (_, Some(_)) => None,
            (shape, None) => Some(shape),
        }
    }

    fn varied(self, rng: &mut impl Rng) -> Self {
        match self {
            // The injection waits to observe both states of every link, so a long period would delay the next
            // faults.
            Self::Flapping(_) => Self::Flapping(Duration::from_millis(rng.random_range(20..=60) * 10)),
            shape => shape,
        }
    }

    fn listed(text: &str) -> Option<Self> {
        parse_nodes(text).map(Self::Nodes)
    }
}

impl fmt::Display for PartitionShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flapping(period) => write!(f, "{}={}", self.name(), quantity::show_duration(*period)),
            Self::Nodes(nodes) => f.write_str(&join_nodes(nodes)),
            _ => f.write_str(self.name()),
        }
    }
}

/// A directed link: packets from the first host to the second.
pub type Link = (NodeId, NodeId);

/// The links that a partition cuts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cut {
    /// Exactly these directed links.
    Links(Vec<Link>),
    /// All links between these nodes and the others.
    Isolate(Targets),
}

/// Returns the directed links between `set` and the other `nodes`, sorted.
pub(crate) fn isolation(set: &[NodeId], nodes: &[NodeId]) -> Vec<Link> {
    sorted(isolate(set, nodes))
}

impl fmt::Display for Cut {
    /// Groups hosts that lose the same links: `{n1,n2} | {n3,n4,n5}` for both directions, `{n1} -/-> {n2}`
    /// for one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Isolate(targets) => write!(f, "{targets} from all others"),
            Self::Links(links) => describe_links(links, f),
        }
    }
}

fn describe_links(links: &[Link], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    // Sources that are cut from the same set of destinations are listed together.
    let mut groups: Vec<(Vec<&str>, Vec<&str>)> = Vec::new();
    let mut sources: Vec<&NodeId> = links.iter().map(|(from, _)| from).collect();
    sources.dedup();
    for source in sources {
        let lost: Vec<&str> =
            links.iter().filter(|(from, _)| from == source).map(|(_, to)| to.as_str()).collect();
        match groups.iter_mut().find(|(_, destinations)| *destinations == lost) {
            Some((members, _)) => members.push(source.as_str()),
            None => groups.push((vec![source.as_str()], lost)),
        }
    }
    let mutual = |(from, to): &(Vec<&str>, Vec<&str>)| groups.iter().any(|(a, b)| a == to && b == from);
    let mut first = true;
    for (at, group) in groups.iter().enumerate() {
        let (from, to) = (group.0.join(","), group.1.join(","));
        let both = mutual(group);
        // A mutual pair of groups is listed once.
        if both && groups[..at].iter().any(|(a, b)| *a == group.1 && *b == group.0) {
            continue;
        }
        if !first {
            f.write_str("; ")?;
        }
        first = false;
        if both { write!(f, "{{{from}}} | {{{to}}}")? } else { write!(f, "{{{from}}} -/-> {{{to}}}")? }
    }
    Ok(())
}

/// The most of `nodes` nodes that are no majority, nor half of them.
fn minority_max(nodes: usize) -> usize {
    nodes.saturating_sub(1) / 2
}

/// The direction of a cut between a first group of hosts and a second.
#[derive(Clone, Copy)]
enum Direction {
    Both,
    Out,
    In,
}

fn isolates(role: Relation, count: usize, preferred: Vec<NodeId>) -> Cut {
    Cut::Isolate(Targets::Chosen(Choice { role, count, preferred }))
}

fn split(order: &[NodeId], first: usize, direction: Direction) -> Vec<Link> {
    let (one, other) = order.split_at(first);
    between(one, other, direction)
}

fn isolate(set: &[NodeId], nodes: &[NodeId]) -> Vec<Link> {
    let others: Vec<NodeId> = nodes.iter().filter(|node| !set.contains(node)).cloned().collect();
    between(set, &others, Direction::Both)
}

fn between(one: &[NodeId], other: &[NodeId], direction: Direction) -> Vec<Link> {
    let mut links = Vec::new();
    for a in one {
        for b in other {
            if !matches!(direction, Direction::In) {
                links.push((a.clone(), b.clone()));
            }
            if !matches!(direction, Direction::Out) {
                links.push((b.clone(), a.clone()));
            }
        }
    }
    links
}

/// Puts the nodes on a ring and keeps only links to the nearest neighbours, just enough of them for a majority.
fn majorities_ring(order: &[NodeId]) -> Vec<Link> {
    let n = order.len();
    let reach = ring_reach(n);
    let mut links = Vec::new();
    for a in 0..n {
        for b in 0..n {
            let distance = a.abs_diff(b).min(n - a.abs_diff(b));
            if distance > reach {
                links.push((order[a].clone(), order[b].clone()));
            }
        }
    }
    links
}

/// Returns how many neighbours a node keeps on either side of a ring of `nodes` nodes. A majority is n/2 + 1
/// nodes including itself, so n/2 others: half of them, rounded up, on either side.
fn ring_reach(nodes: usize) -> usize {
    (nodes / 2).div_ceil(2)
}

fn sorted(mut links: Vec<Link>) -> Vec<Link> {
    links.sort();
    links
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::role::RoleMap;

    fn names(count: usize, prefix: &str) -> Vec<NodeId> {
        (1..=count).map(|at| NodeId::new(format!("{prefix}{at}"))).collect()
    }

    /// Returns the nodes that `node` can exchange packets with, in both directions, itself included.
    fn sees(node: &NodeId, nodes: &[NodeId], links: &[Link]) -> BTreeSet<NodeId> {
        let cut = |a: &NodeId, b: &NodeId| links.contains(&(a.clone(), b.clone()));
        nodes.iter().filter(|other| !cut(node, other) && !cut(other, node)).cloned().collect()
    }

    fn draw(shape: &PartitionShape, n: usize, seed: u64) -> Vec<Link> {
        let nodes = names(n, "n");
        let cut = shape.cut(&nodes, &names(n, "c"), n, &mut ChaCha8Rng::seed_from_u64(seed));
        match cut {
            Cut::Links(links) => links,
            Cut::Isolate(targets) => isolation(&targets.resolve(&RoleMap::default(), &[]), &nodes),
        }
    }

    #[test]
    fn every_node_of_a_majorities_ring_sees_its_own_majority() {
        for n in 4..9 {
            for seed in 0..20 {
                let nodes = names(n, "n");
                let links = draw(&PartitionShape::MajoritiesRing, n, seed);
                assert!(!links.is_empty(), "{n} nodes: no link is cut");
                let seen: Vec<_> = nodes.iter().map(|node| sees(node, &nodes, &links)).collect();
                assert!(seen.iter().all(|set| set.len() > n / 2), "{n} nodes: {seen:?}");
                assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), n, "two nodes see the same majority");
            }
        }
    }

    #[test]
    fn only_the_bridge_sees_everybody() {
        for n in 3..8 {
            let nodes = names(n, "n");
            let links = draw(&PartitionShape::Bridge, n, 7);
            let bridges = nodes.iter().filter(|node| sees(node, &nodes, &links).len() == n).count();
            assert_eq!(bridges, 1, "{n} nodes: {links:?}");
        }
    }

    #[test]
    fn majority_leaves_a_majority_and_one_way_cuts_one_way() {
        for seed in 0..50 {
            let nodes = names(5, "n");
            let links = draw(&PartitionShape::Majority, 5, seed);
            assert!(nodes.iter().any(|node| sees(node, &nodes, &links).len() >= 3), "{links:?}");
            let links = draw(&PartitionShape::OneWay, 5, seed);
            assert!(links.iter().all(|(a, b)| !links.contains(&(b.clone(), a.clone()))), "{links:?}");
        }
    }

    #[test]
    fn cuts_are_said_as_groups() {
        let nodes = names(3, "n");
        let cut = Cut::Links(isolate(&names(1, "n"), &nodes).into_iter().collect());
        let Cut::Links(links) = &cut else { unreachable!("built as links") };
        let said = Cut::Links(sorted(links.clone())).to_string();
        assert_eq!(said, "{n1} | {n2,n3}");
        let one_way = Cut::Links(vec![(nodes[0].clone(), nodes[1].clone())]);
        assert_eq!(one_way.to_string(), "{n1} -/-> {n2}");
    }
}
