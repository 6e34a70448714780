//! Roles of nodes: which node leads, coordinates or has just returned when a fault starts.

use std::collections::BTreeMap;
use std::fmt;

use duress_history::NodeId;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// A role of a node: one that the run tracks itself, or one that the target names, such as `controller`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Role(String);

impl Role {
    /// The node that leads.
    pub const LEADER: &str = "leader";
    /// The node that led before the present leader.
    pub const OLD_LEADER: &str = "old-leader";
    /// The node that was last started, resumed or reconnected.
    pub const RETURNED: &str = "returned";

    /// Returns the role called `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// Returns the role of the node that leads.
    #[must_use]
    pub fn leader() -> Self {
        Self::new(Self::LEADER)
    }

    /// Returns its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether it exists for every target, because the run itself tracks it.
    #[must_use]
    pub fn is_kept_track_of(&self) -> bool {
        [Self::LEADER, Self::OLD_LEADER, Self::RETURNED].contains(&self.as_str())
    }

    /// Parses a role of the command line: letters, digits, `-`, `_` and `.`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        (!text.is_empty() && text.chars().all(plain)).then(|| Self::new(text))
    }
}

/// Draws one of the target's own `roles`, with this probability, if it has any.
///
/// It draws the first roles more often: a target lists its single roles, such as the controller, before the leaders of its
/// partitions.
pub(crate) fn draw(roles: &[Role], probability: f64, rng: &mut impl Rng) -> Option<Role> {
    if roles.is_empty() || !rng.random_bool(probability) {
        return None;
    }
    let at = rng.random_range(0..roles.len()).min(rng.random_range(0..roles.len()));
    Some(roles[at].clone())
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The roles of nodes at a moment. Several nodes may have the same role: each partition of a topic has a
/// leader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleMap(BTreeMap<Role, Vec<NodeId>>);

impl RoleMap {
    /// Adds `node` to the nodes that have `role`.
    pub fn give(&mut self, role: Role, node: NodeId) {
        let nodes = self.0.entry(role).or_default();
        if !nodes.contains(&node) {
            nodes.push(node);
        }
    }

    /// Returns the nodes that have `role`.
    #[must_use]
    pub fn of(&self, role: &Role) -> &[NodeId] {
        self.0.get(role).map_or(&[], Vec::as_slice)
    }

    /// Returns the node that leads.
    #[must_use]
    pub fn leader(&self) -> Option<&NodeId> {
        self.of(&Role::leader()).first()
    }
}

impl FromIterator<(Role, NodeId)> for RoleMap {
    fn from_iter<I: IntoIterator<Item = (Role, NodeId)>>(pairs: I) -> Self {
        let mut roles = Self::default();
        for (role, node) in pairs {
            roles.give(role, node);
        }
        roles
    }
}
