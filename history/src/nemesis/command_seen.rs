//! Observations of a fault that the user's own commands inject.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::node::NodeId;

/// The answers of a fault's evidence command about one node, before and after duress injected or healed the fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandSeen {
    /// The node.
    pub node: NodeId,
    /// Whether the fault was in force before.
    pub before: bool,
    /// Whether it was in force afterwards.
    pub after: bool,
    /// The last line that the command wrote afterwards; empty if it wrote none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub said: String,
}

impl fmt::Display for CommandSeen {
    /// Formats `n1: not in force before, in force now ("State: T (stopped)")`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = |in_force: bool| if in_force { "in force" } else { "not in force" };
        write!(f, "{}: {} before, {} now", self.node, words(self.before), words(self.after))?;
        if self.said.is_empty() { Ok(()) } else { write!(f, " (\"{}\")", self.said) }
    }
}
