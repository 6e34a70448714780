//! The choice of nodes that a fault strikes.

use std::fmt;

use duress_history::NodeId;
use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::role::{Role, RoleMap};
use crate::variant::{Kind, Row, selectors};

/// A rule for choosing nodes, as the command line has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// One at random.
    One,
    /// From one node to the largest number that leaves a majority.
    Minority,
    /// The smallest majority of the nodes.
    Majority,
    /// Every node.
    All,
    /// A node that has this role when the fault starts.
    Role(Role),
    /// One node at random among those that do not lead when the fault starts.
    Follower,
    /// Every node but the leader.
    Followers,
    /// Every client host, for faults of links.
    Clients,
    /// The named hosts.
    Nodes(Vec<NodeId>),
}

/// The name of the variant that lists hosts.
pub(crate) const LISTED: &str = "n1+n2";
/// The choice of all client hosts, for faults of links.
const CLIENTS: &str = "clients";
/// The name of the variant that takes the name of a target's role.
const ROLE: &str = "role";

/// Parses `n1` or `n1+n2`; `None` if a name is empty or has anything but letters, digits and hyphens.
pub(crate) fn parse_nodes(text: &str) -> Option<Vec<NodeId>> {
    let named = |name: &str| {
        // A digit is required, so that a mistyped rule is not taken for a node.
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        (plain && name.chars().any(|c| c.is_ascii_digit())).then(|| NodeId::new(name))
    };
    text.split('+').map(named).collect()
}

/// Formats nodes as `n1+n2`.
pub(crate) fn join_nodes(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::as_str).collect::<Vec<_>>().join("+")
}

impl Selector {
    /// Parses a choice of hosts for a fault of links, which may end at clients.
    pub(crate) fn of_links(text: &str) -> Option<Self> {
        if text == CLIENTS { Some(Self::Clients) } else { Self::parse(text) }
    }

    /// Returns whether it fixes the number of nodes, so that chance decides at most which nodes.
    pub(crate) fn names_its_size(&self) -> bool {
        !matches!(self, Self::One | Self::Minority)
    }

    /// Returns the largest number of `nodes` nodes that it may choose.
    pub(crate) fn count(&self, nodes: usize) -> usize {
        match self {
            Self::One | Self::Role(_) | Self::Follower => 1,
            Self::Minority => nodes.saturating_sub(1) / 2,
            Self::Majority => nodes / 2 + 1,
            Self::All => nodes,
            Self::Followers => nodes.saturating_sub(1),
            Self::Clients => 0,
            Self::Nodes(listed) => listed.len(),
        }
    }

    /// Returns whether a majority of `nodes` nodes is left, whichever it chooses.
    pub(crate) fn leaves_majority(&self, nodes: usize) -> bool {
        self.count(nodes) * 2 < nodes
    }

    /// Draws the targets among `nodes`, which are not empty, or `clients`. A minority has at least one node
    /// and at most `most`.
    pub fn targets(&self, nodes: &[NodeId], clients: &[NodeId], most: usize, rng: &mut impl Rng) -> Targets {
        let mut preferred = nodes.to_vec();
        preferred.shuffle(rng);
        let chosen = |role, count| Targets::Chosen(Choice { role, count, preferred: preferred.clone() });
        let leader = Role::leader;
        match self {
            Self::One => chosen(Relation::Any, 1),
            Self::Minority => {
                let most = (nodes.len().saturating_sub(1) / 2).min(most);
                chosen(Relation::Any, rng.random_range(1..=most.max(1)))
            }
            Self::Majority => chosen(Relation::Any, nodes.len() / 2 + 1),
            Self::All => Targets::Nodes(nodes.to_vec()),
            Self::Clients => Targets::Nodes(clients.to_vec()),
            Self::Role(role) => chosen(Relation::Has(role.clone()), 1),
            Self::Follower => chosen(Relation::Lacks(leader()), 1),
            Self::Followers => chosen(Relation::Lacks(leader()), nodes.len().saturating_sub(1).max(1)),
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
            Self::Role(role) => match role.as_str() {
                Role::LEADER => Role::LEADER,
                Role::OLD_LEADER => Role::OLD_LEADER,
                Role::RETURNED => Role::RETURNED,
                _ => ROLE,
            },
            Self::Follower => "follower",
            Self::Followers => "followers",
            Self::Clients => CLIENTS,
            Self::Nodes(_) => LISTED,
        }
    }

    fn with(self, parameter: Option<&str>) -> Option<Self> {
        match (self, parameter) {
            (selector, _) if selector.name() == ROLE => Role::parse(parameter?).map(Self::Role),
            (selector, None) => Some(selector),
            _ => None,
        }
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
            Self::Role(role) if self.name() == ROLE => write!(f, "{ROLE}={role}"),
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
    /// The nodes on which the choice falls when the fault starts.
    Chosen(Choice),
}

/// A choice that is made when the fault starts, among nodes that no other fault has taken by then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The nodes that come first.
    #[serde(flatten)]
    pub role: Relation,
    /// The number of nodes.
    pub count: usize,
    /// Every node, in an order drawn from the seed.
    pub preferred: Vec<NodeId>,
}

/// The relation of chosen nodes to a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "whose", content = "role", rename_all = "lowercase")]
pub enum Relation {
    /// Any node.
    Any,
    /// Nodes that have it first, then the others.
    Has(Role),
    /// Only nodes that do not have it. If no node is known to have it, the least preferred node counts as one
    /// that does.
    Lacks(Role),
}

impl Targets {
    /// Returns the role that must be known.
    #[must_use]
    pub fn role(&self) -> Option<&Role> {
        match self {
            Self::Nodes(_) => None,
            Self::Chosen(choice) => match &choice.role {
                Relation::Any => None,
                Relation::Has(role) | Relation::Lacks(role) => Some(role),
            },
        }
    }

    /// Returns every node that is named.
    #[must_use]
    pub fn named(&self) -> &[NodeId] {
        match self {
            Self::Nodes(nodes) | Self::Chosen(Choice { preferred: nodes, .. }) => nodes,
        }
    }

    /// Returns the largest number of nodes that it may strike.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::Nodes(nodes) => nodes.len(),
            Self::Chosen(choice) => choice.count,
        }
    }

    /// Returns the nodes to strike, given the present roles and the nodes that other faults have taken
    /// `down`.
    ///
    /// Named nodes are struck even if they are down. A choice falls only on nodes that are up, and is empty
    /// if there are none.
    #[must_use]
    pub fn resolve(&self, roles: &RoleMap, down: &[NodeId]) -> Vec<NodeId> {
        let Choice { role, count, preferred } = match self {
            Self::Nodes(nodes) => return nodes.clone(),
            Self::Chosen(choice) => choice,
        };
        let mut order: Vec<&NodeId> = preferred.iter().collect();
        match role {
            Relation::Any => {}
            // The sort is stable: nodes of the same kind keep the drawn order.
            Relation::Has(role) => order.sort_by_key(|node| !roles.of(role).contains(node)),
            Relation::Lacks(role) => match roles.of(role) {
                [] if order.len() > 1 => _ = order.pop(),
                having => order.retain(|node| !having.contains(node)),
            },
        }
        let up = order.into_iter().filter(|node| !down.contains(node));
        let mut chosen: Vec<NodeId> = up.take(*count).cloned().collect();
        chosen.sort();
        chosen
    }
}

impl fmt::Display for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nodes(nodes) => f.write_str(&join_nodes(nodes)),
            Self::Chosen(Choice { role, count, preferred }) => match (role, count) {
                (Relation::Any, 1) => f.write_str("one node"),
                (Relation::Any, _) => write!(f, "{count} nodes"),
                (Relation::Has(role), 1) => write!(f, "{role}"),
                (Relation::Has(role), _) => write!(f, "{count} nodes, first the {role}"),
                (Relation::Lacks(role), 1) if role.as_str() == Role::LEADER => f.write_str("one follower"),
                (Relation::Lacks(role), count)
                    if role.as_str() == Role::LEADER && count + 1 >= preferred.len() =>
                {
                    f.write_str("followers")
                }
                (Relation::Lacks(role), _) => write!(f, "{count} nodes but the {role}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(selector: &str, nodes: &[NodeId]) -> Targets {
        let selector = Selector::parse(selector).expect("a selector");
        // Keep the named order as the preference, so that the test can predict the choice.
        match selector.targets(nodes, &[], nodes.len(), &mut rand::rng()) {
            Targets::Chosen(choice) => Targets::Chosen(Choice { preferred: nodes.to_vec(), ..choice }),
            fixed => fixed,
        }
    }

    #[test]
    fn a_choice_falls_on_nodes_that_are_up_and_have_the_role() {
        let all = ["n1", "n2", "n3"].map(NodeId::new);
        let struck = |selector: &str, roles: &[(&str, &str)], down: &[&str]| {
            let roles: RoleMap =
                roles.iter().map(|(role, node)| (Role::new(*role), NodeId::new(*node))).collect();
            let down: Vec<NodeId> = down.iter().map(|node| NodeId::new(*node)).collect();
            join_nodes(&targets(selector, &all).resolve(&roles, &down))
        };
        let n2_leads = [("leader", "n2")];
        assert_eq!(struck("leader", &n2_leads, &[]), "n2");
        assert_eq!(struck("leader", &[], &[]), "n1", "where none leads, one of them is struck");
        assert_eq!(
            struck("leader", &n2_leads, &["n2"]),
            "n1",
            "a leader that is down may still count as one"
        );
        assert_eq!(struck("leader", &n2_leads, &["n1", "n2", "n3"]), "", "none is left");
        assert_eq!(struck("follower", &n2_leads, &["n1"]), "n3");
        assert_eq!(struck("followers", &n2_leads, &[]), "n1+n3");
        assert_eq!(struck("followers", &[], &["n1"]), "n2");
        assert_eq!(struck("majority", &n2_leads, &["n1"]), "n2+n3");
        assert_eq!(struck("n3", &[], &["n3"]), "n3");
        let partitions = [("log-0", "n3"), ("partition", "n3"), ("partition", "n2")];
        assert_eq!(struck("role=log-0", &partitions, &[]), "n3");
        assert_eq!(struck("role=partition", &partitions, &[]), "n2", "of several, the preferred one");
    }
}
