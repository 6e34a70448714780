//! Members of a cluster that an administrator changes while it serves.

use std::time::Duration;

use async_trait::async_trait;
use duress_arena::ProcessSpec;
use duress_history::NodeId;
use duress_history::nemesis::{Comeback, ListedMember};

use crate::deployment::{LaunchError, NotReady};
use crate::place::Place;
use crate::topology::NodeFiles;

/// The requests of an administrator. Each is made once, to the node `via`, over a connection opened from `from`.
#[async_trait]
pub trait Membership: Send + Sync {
    /// Returns how a removed node becomes a member again.
    fn comeback(&self) -> Comeback;

    /// Returns how `node` is started with an empty folder, to join the members `listed`, and at every later time.
    ///
    /// # Errors
    /// [`LaunchError`] when `node` is unknown or the program is missing.
    fn joining(
        &self,
        node: &NodeId,
        files: &NodeFiles,
        listed: &[ListedMember],
    ) -> Result<ProcessSpec, LaunchError>;

    /// Returns the members as a quorum knows them.
    ///
    /// # Errors
    /// [`NotReady`], within `deadline`.
    async fn members(
        &self,
        via: &NodeId,
        from: &dyn Place,
        deadline: Duration,
    ) -> Result<Vec<ListedMember>, NotReady>;

    /// Removes `node` from the cluster; nothing changes if it is not a member.
    ///
    /// # Errors
    /// [`NotReady`], within `deadline`: it is unknown whether it was removed, or will be.
    async fn remove(
        &self,
        node: &NodeId,
        via: &NodeId,
        from: &dyn Place,
        deadline: Duration,
    ) -> Result<(), NotReady>;

    /// Adds `node` to the cluster, which gives it a vote at once, or by itself once it has all data; nothing changes if it is a member.
    ///
    /// # Errors
    /// [`NotReady`], within `deadline`: it is unknown whether it was added, or will be.
    async fn add(
        &self,
        node: &NodeId,
        via: &NodeId,
        from: &dyn Place,
        deadline: Duration,
    ) -> Result<(), NotReady>;
}
