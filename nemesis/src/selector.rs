//! The choice of nodes that a fault strikes.

use std::fmt;

use duress_history::NodeId;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::variant::{Kind, Row, selectors};

/// A rule for choosing nodes, as the command line has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// One at random.
    One,
    /// From one node to the largest number that leaves a majority.
    Minority,
    /// The smallest number that leaves no majority.
    Majority,
    /// Every node.
    All,
    /// The node that leads when the fault starts.
    Leader,
    /// One node at random of those that do not lead then.
    Follower,
    /// Every node but the leader.
    Followers,
    /// Every host of clients, for faults of links.
    Clients,
    /// These.
    Nodes(Vec<NodeId>),
}

/// The name of a variant that lists hosts, whichever it lists.
pub(crate) const LISTED: &str = "n1+n2";
/// The choice of all client hosts, for faults of links.
const CLIENTS: &str = "clients";

/// Parses `n1` or `n1+n2`; `None` if a name is empty or has anything but letters, digits and hyphens.
pub(crate) fn parse_nodes(text: &str) -> Option<Vec<NodeId>> {
    let named = |name: &str| {
        // A digit is required, so that a mistyped rule is not taken for a node.
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        (plain && name.chars().any(|c| c.is_ascii_digit())).then(|| NodeId::new(name))
    };
    text.split('+').map(named).collect()
}

/// `n1+n2`.
pub(crate) fn join_nodes(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::as_str).collect::<Vec<_>>().join("+")
}

impl Selector {
    /// Reads a choice of hosts for a fault of links, which end at clients too.
    pub(crate) fn of_links(text: &str) -> Option<Self> {
        if text == CLIENTS { Some(Self::Clients) } else { Self::parse(text) }
    }

    /// Whether it leaves only the choice among nodes of its kind to chance.
    pub(crate) fn names_its_size(&self) -> bool {
        !matches!(self, Self::One | Self::Minority)
    }

    /// Draws the targets among `nodes`, which are not empty, or `clients`. A minority is at most `most` nodes, and at
    /// least one.
    pub fn targets(&self, nodes: &[NodeId], clients: &[NodeId], most: usize, rng: &mut impl Rng) -> Targets {
        let some = |count: usize, rng: &mut _| {
            let mut chosen: Vec<NodeId> = nodes.sample(rng, count).cloned().collect();
            chosen.sort();
            Targets::Nodes(chosen)
        };
        match self {
            Self::One => some(1, rng),
            Self::Minority => {
                let most = (nodes.len().saturating_sub(1) / 2).min(most);
                let count = rng.random_range(1..=most.max(1));
                some(count, rng)
            }
            Self::Majority => some(nodes.len() / 2 + 1, rng),
            Self::All => Targets::Nodes(nodes.to_vec()),
            Self::Clients => Targets::Nodes(clients.to_vec()),
            Self::Leader | Self::Follower | Self::Followers => {
                let mut order = nodes.to_vec();
                order.shuffle(rng);
                match self {
                    Self::Follower => Targets::Follower { preferred: order },
                    Self::Leader => Targets::Leader { otherwise: order.swap_remove(0) },
                    _ => Targets::Followers { otherwise: order.swap_remove(0) },
                }
            }
            Self::Nodes(nodes) => Targets::Nodes(nodes.clone()),
        }
    }
}

impl Kind for Selector {
    fn rows() -> &'static [Row<Self>] {
        selectors()
    }

    fn name(&self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Minority => "minority",
            Self::Majority => "majority",
            Self::All => "all",
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Followers => "followers",
            Self::Clients => CLIENTS,
            Self::Nodes(_) => LISTED,
        }
    }

    fn with(self, parameter: Option<&str>) -> Option<Self> {
        parameter.is_none().then_some(self)
    }

    fn varied(self, _: &mut impl Rng) -> Self {
        self
    }

    fn listed(text: &str) -> Option<Self> {
        parse_nodes(text).map(Self::Nodes)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nodes(nodes) => f.write_str(&join_nodes(nodes)),
            _ => f.write_str(self.name()),
        }
    }
}

/// Chosen nodes, or a rule that only the running cluster can decide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Targets {
    /// Exactly these.
    Nodes(Vec<NodeId>),
    /// The leader when the fault starts.
    Leader {
        /// The node struck instead while no node claims to lead.
        otherwise: NodeId,
    },
    /// The first of these that does not lead when the fault starts.
    Follower {
        /// Every node, in an order drawn from the seed.
        preferred: Vec<NodeId>,
    },
    /// All but the leader when the fault starts.
    Followers {
        /// The node spared instead while no node claims to lead.
        otherwise: NodeId,
    },
}

impl Targets {
    /// Whether the leader must be known.
    #[must_use]
    pub fn needs_leader(&self) -> bool {
        !matches!(self, Self::Nodes(_))
    }

    /// Returns every node that is named.
    #[must_use]
    pub fn named(&self) -> Vec<NodeId> {
        match self {
            Self::Nodes(nodes) | Self::Follower { preferred: nodes } => nodes.clone(),
            Self::Leader { otherwise } | Self::Followers { otherwise } => vec![otherwise.clone()],
        }
    }

    /// Returns the nodes to strike among `all`, with `leader` leading, or no node, and the nodes `down` taken
    /// by other faults.
    ///
    /// Fixed nodes are struck, down or not. A rule avoids nodes that are down while there are others: a node
    /// that was just killed may still count as the leader.
    #[must_use]
    pub fn resolve(&self, all: &[NodeId], leader: Option<&NodeId>, down: &[NodeId]) -> Vec<NodeId> {
        let up = |node: &&NodeId| !down.contains(node);
        match self {
            Self::Nodes(nodes) => nodes.clone(),
            Self::Leader { otherwise } => {
                let leader = leader.unwrap_or(otherwise);
                let next = || [otherwise].into_iter().chain(all).find(up);
                vec![Some(leader).filter(up).or_else(next).unwrap_or(leader).clone()]
            }
            Self::Follower { preferred } => {
                let mut followers = preferred.iter().filter(|node| Some(*node) != leader);
                let first = followers.clone().next();
                followers.find(up).or(first).into_iter().cloned().collect()
            }
            Self::Followers { otherwise } => {
                let spared = leader.unwrap_or(otherwise);
                let followers = all.iter().filter(|node| *node != spared);
                let left: Vec<NodeId> = followers.clone().filter(up).cloned().collect();
                if left.is_empty() { followers.cloned().collect() } else { left }
            }
        }
    }
}

impl fmt::Display for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nodes(nodes) => f.write_str(&join_nodes(nodes)),
            Self::Leader { .. } => f.write_str("leader"),
            Self::Follower { .. } => f.write_str("one follower"),
            Self::Followers { .. } => f.write_str("followers"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_keeps_clear_of_nodes_that_are_down() {
        let [n1, n2, n3] = ["n1", "n2", "n3"].map(NodeId::new);
        let all = vec![n1.clone(), n2.clone(), n3.clone()];
        let struck = |targets: &Targets, leader: Option<&NodeId>, down: &[NodeId]| {
            targets.resolve(&all, leader, down).iter().map(NodeId::to_string).collect::<Vec<_>>().join("+")
        };
        let leader = Targets::Leader { otherwise: n2.clone() };
        assert_eq!(struck(&leader, Some(&n1), &[]), "n1");
        assert_eq!(struck(&leader, Some(&n1), std::slice::from_ref(&n1)), "n2");
        assert_eq!(struck(&leader, Some(&n1), &all), "n1");
        let follower = Targets::Follower { preferred: all.clone() };
        assert_eq!(struck(&follower, Some(&n1), std::slice::from_ref(&n2)), "n3");
        let followers = Targets::Followers { otherwise: n1 };
        assert_eq!(struck(&followers, None, std::slice::from_ref(&n3)), "n2");
        assert_eq!(struck(&Targets::Nodes(vec![n3.clone()]), None, &[n3]), "n3");
    }
}
