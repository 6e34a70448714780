//! What was seen of a node's processes.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::node::NodeId;

/// What was seen of one node's processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Form")]
pub struct NodeProcesses {
    /// Which node.
    pub node: NodeId,
    /// How many processes were seen in the expected state; 0 when the node had none.
    pub processes: usize,
}

/// Both forms that the file may have.
#[derive(Deserialize)]
#[serde(untagged)]
enum Form {
    /// Earlier versions kept the name alone of a node that was started, once its program was being executed.
    Name(NodeId),
    Full {
        node: NodeId,
        processes: usize,
    },
}

impl From<Form> for NodeProcesses {
    fn from(form: Form) -> Self {
        match form {
            Form::Name(node) => Self { node, processes: 1 },
            Form::Full { node, processes } => Self { node, processes },
        }
    }
}

impl fmt::Display for NodeProcesses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.processes {
            0 => write!(f, "{} (has none)", self.node),
            1 => write!(f, "{}", self.node),
            more => write!(f, "{} ({more} processes)", self.node),
        }
    }
}

/// What was seen of the processes of one node that was to go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeResumed {
    /// Which node.
    pub node: NodeId,
    /// How many processes it has.
    pub processes: usize,
    /// How many of their threads are still stopped.
    #[serde(default)]
    pub stopped: usize,
    /// How many of the processes had been stopped until then.
    #[serde(default)]
    pub continued: usize,
    /// How many of those have used a processor since.
    #[serde(default)]
    pub progressed: usize,
    /// Whether another fault had ended the processes that were paused: what runs now was never stopped, or nothing does.
    #[serde(default)]
    pub replaced: bool,
}

impl NodeResumed {
    /// Whether it shows that what had been stopped goes on.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        self.stopped == 0
            && self.progressed == self.continued
            && (self.replaced || (self.processes > 0 && self.continued > 0))
    }
}

impl fmt::Display for NodeResumed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} of {} stopped processes went on", self.node, self.progressed, self.continued)?;
        if self.stopped > 0 {
            write!(f, ", {} threads are still stopped", self.stopped)?;
        }
        if self.replaced {
            f.write_str(", another fault had ended what was paused")?;
        }
        Ok(())
    }
}
