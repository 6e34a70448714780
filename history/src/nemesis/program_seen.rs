//! Observations of the program that a node runs.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::node::NodeId;

/// The files that a node's process executes, as /proc shows them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeProgram {
    /// The node.
    pub node: NodeId,
    /// That of the process before the change; `None` if the node had none.
    pub before: Option<String>,
    /// That of the process now; `None` if the node has none.
    pub after: Option<String>,
    /// The one that it is to execute.
    pub wanted: String,
}

impl NodeProgram {
    /// Whether the node ran another program before, and runs the requested one.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.after.as_ref() == Some(&self.wanted)
            && self.before.as_ref().is_some_and(|before| *before != self.wanted)
    }
}

impl fmt::Display for NodeProgram {
    /// Formats `n1 runs /opt/new, and /opt/old before`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, before, after, wanted } = self;
        let none = || "nothing".to_owned();
        let (after, before) = (after.clone().unwrap_or_else(none), before.clone().unwrap_or_else(none));
        write!(f, "{node} runs {after}")?;
        if after != *wanted {
            write!(f, " INSTEAD OF {wanted}")?;
        }
        write!(f, ", and {before} before")
    }
}
