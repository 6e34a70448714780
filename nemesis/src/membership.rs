//! Changes of a cluster's members, and the administrator who makes them.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use duress_arena::ProcessSpec;
use duress_history::NodeId;
use duress_history::nemesis::{Comeback, ListedMember};
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::variant::{Kind, MEMBERSHIPS, Row};

/// How a member is removed; healing adds the node again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberChange {
    /// Its process goes on, as one that is not a member, or ends by itself.
    Leave,
    /// Its process has ended before, and starts again on its data, which know nothing of the removal. If such a node never comes
    /// back, the others refuse it, and it becomes another member.
    Join,
    /// Its process has ended before, and its data are deleted: a fresh node of the same name and address joins.
    Replace,
}

impl Kind for MemberChange {
    fn rows() -> &'static [Row<Self>] {
        MEMBERSHIPS
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Leave => "leave",
            Self::Join => "join",
            Self::Replace => "replace",
        }
    }

    fn with(self, parameter: Option<&str>) -> Option<Self> {
        parameter.is_none().then_some(self)
    }

    fn varied(self, _: &mut impl Rng) -> Self {
        self
    }
}

impl fmt::Display for MemberChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether the members of a cluster can be changed while it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Members {
    /// They are the same for ever.
    Fixed,
    /// An administrator can remove and add them.
    Changeable,
}

/// How a node without data is started that an administrator adds.
#[derive(Clone, Debug)]
pub struct Joining {
    /// Its command, which also serves later, when there are data.
    pub spec: ProcessSpec,
    /// The folder with all its data.
    pub data: PathBuf,
}

/// The administrator of a cluster, whose requests to its nodes no fault disturbs. The calls block, each for `within` at most; `via`
/// are the nodes to ask.
pub trait Administrator: Send {
    /// Returns how a removed node becomes a member again.
    fn comeback(&self) -> Comeback;

    /// Returns how `node` starts without data, while these are the members `listed`.
    ///
    /// # Errors
    /// The node is unknown, or its program is missing.
    fn joining(&self, node: &NodeId, listed: &[ListedMember]) -> Result<Joining, AdministratorError>;

    /// Returns the members, as the cluster lists them.
    ///
    /// # Errors
    /// No node of `via` answers.
    fn members(&self, via: &[NodeId], within: Duration) -> Result<Vec<ListedMember>, AdministratorError>;

    /// Has the cluster remove `node`. Nothing changes if it is not a member.
    ///
    /// # Errors
    /// It is unknown whether it was removed, or will be.
    fn remove(&self, node: &NodeId, via: &[NodeId], within: Duration) -> Result<(), AdministratorError>;

    /// Has the cluster add `node`, which gets the data and a vote. Nothing changes if it is a member.
    ///
    /// # Errors
    /// It is unknown whether it was added, or will be.
    fn add(&self, node: &NodeId, via: &[NodeId], within: Duration) -> Result<(), AdministratorError>;

    /// Makes one attempt to see `node` itself answer a request of a client.
    fn serves(&self, node: &NodeId) -> bool;
}

/// A request of the administrator without success.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} failed: {why}")]
pub struct AdministratorError {
    /// The request.
    pub what: String,
    /// The last error.
    pub why: String,
}
