//! Observations of a cluster's members.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::node::NodeId;

/// A member, as the cluster itself lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedMember {
    /// The node.
    pub node: NodeId,
    /// The number that distinguishes it from other members of the same name.
    pub identity: String,
    /// Whether it has a vote.
    pub votes: bool,
}

/// How a node that was removed becomes a member again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comeback {
    /// It runs, with the data that it has or without any, and is added.
    Running,
    /// It ends by itself as it learns that it was removed, and its data are of no use. It is added first, and then starts without
    /// data.
    Anew,
}

/// The evidence that nodes were removed or added: the cluster's lists of its members, and the nodes' own answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembersSeen {
    /// The nodes.
    pub nodes: Vec<NodeId>,
    /// The members before; `None` if no node told them.
    pub before: Option<Vec<ListedMember>>,
    /// The members afterwards; `None` if no node told them.
    pub after: Option<Vec<ListedMember>>,
    /// The nodes whose data were deleted, and how many files each had.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub wiped: BTreeMap<NodeId, u64>,
    /// The nodes that were started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub started: Vec<NodeId>,
    /// The nodes that answered a client's request themselves once they had a vote.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub serving: Vec<NodeId>,
    /// The other faults that were in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hindered_by: Vec<u32>,
}

impl MembersSeen {
    /// Whether it shows that the nodes were members and are none, and that data that were deleted had been there.
    #[must_use]
    pub fn are_removed(&self) -> bool {
        let (Some(before), Some(after)) = (&self.before, &self.after) else { return false };
        let lists = |members: &[ListedMember], node: &NodeId| members.iter().any(|m| m.node == *node);
        !after.is_empty()
            && self.nodes.iter().all(|node| lists(before, node) && !lists(after, node))
            && self.wiped.values().all(|files| *files > 0)
    }

    /// Whether it shows that the nodes have a vote, and serve.
    #[must_use]
    pub fn are_added(&self) -> bool {
        let Some(after) = &self.after else { return false };
        let votes = |node: &NodeId| after.iter().any(|member| member.node == *node && member.votes);
        self.nodes.iter().all(|node| votes(node) && self.serving.contains(node))
    }
}

impl fmt::Display for MembersSeen {
    /// Formats `the cluster lists n1, n2, n3 before and n1, n2 now; n3 lost 1 file`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |members: &Option<Vec<ListedMember>>| match members {
            None => "nothing".to_owned(),
            Some(members) => {
                let member = |member: &ListedMember| {
                    let part = if member.votes { "" } else { " (no vote)" };
                    format!("{} #{}{part}", member.node, member.identity)
                };
                members.iter().map(member).collect::<Vec<_>>().join(", ")
            }
        };
        write!(f, "the cluster lists {} before and {} now", list(&self.before), list(&self.after))?;
        for (node, files) in &self.wiped {
            let plural = if *files == 1 { "" } else { "s" };
            write!(f, "; {node} lost {files} file{plural}")?;
        }
        if !self.serving.is_empty() {
            let serving: Vec<&str> = self.serving.iter().map(NodeId::as_str).collect();
            write!(f, "; {} answers requests", serving.join(", "))?;
        }
        if !self.hindered_by.is_empty() {
            let others: Vec<String> = self.hindered_by.iter().map(u32::to_string).collect();
            write!(f, "; also in force: {}", others.join(", "))?;
        }
        Ok(())
    }
}
