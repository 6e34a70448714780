//! Roles of nodes: which node leads, coordinates, or has just come back, at the moment at which a fault asks for it.

use std::collections::BTreeMap;
use std::fmt;

use duress_history::NodeId;
use serde::{Deserialize, Serialize};

/// A role that nodes have: [`Role::LEADER`], or one that the target names, such as `controller`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Role(String);

impl Role {
    /// The node that leads.
    pub const LEADER: &str = "leader";
    /// The node that led before the one that leads now.
    pub const OLD_LEADER: &str = "old-leader";
    /// The node that was started, resumed or joined again last.
    pub const RETURNED: &str = "returned";

    /// The role called `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The node that leads.
    #[must_use]
    pub fn leader() -> Self {
        Self::new(Self::LEADER)
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether every target has it, because the run itself keeps track of it.
    #[must_use]
    pub fn is_kept_track_of(&self) -> bool {
        [Self::LEADER, Self::OLD_LEADER, Self::RETURNED].contains(&self.as_str())
    }

    /// The role of a command line, where its name is a word of letters, digits and hyphens.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        (!text.is_empty() && text.chars().all(plain)).then(|| Self::new(text))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which nodes have which role at a moment. Several nodes may have one: each partition of a topic has a leader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleMap(BTreeMap<Role, Vec<NodeId>>);

impl RoleMap {
    /// `node` has `role` too.
    pub fn give(&mut self, role: Role, node: NodeId) {
        let nodes = self.0.entry(role).or_default();
        if !nodes.contains(&node) {
            nodes.push(node);
        }
    }

    /// The nodes that have `role`.
    #[must_use]
    pub fn of(&self, role: &Role) -> &[NodeId] {
        self.0.get(role).map_or(&[], Vec::as_slice)
    }

    /// The node that leads.
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
