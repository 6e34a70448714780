//! The administrator of the cluster, as the nemesis has it: its calls block the nemesis's thread.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use duress_history::NodeId;
use duress_history::nemesis::{Comeback, ListedMember};
use duress_nemesis::membership::{Administrator, AdministratorError, Joining};
use duress_targets::{Deployment, Membership, NodeFiles, NotReady, Place};
use futures_util::future::{BoxFuture, select_ok};
use tokio::runtime::Runtime;

use crate::run::conductor::chain;

/// One attempt to see a node serve takes at most this long.
const ATTEMPT: Duration = Duration::from_millis(500);

/// Speaks to a cluster whose members can be changed, from the operator's place.
pub struct Operator {
    deployment: Arc<dyn Deployment>,
    place: Arc<dyn Place>,
    files: BTreeMap<NodeId, NodeFiles>,
    runtime: Runtime,
}

impl Operator {
    /// Returns the operator of a cluster with these `files`, in `place`.
    ///
    /// # Errors
    /// The system's error when it has no resources left.
    pub fn new(
        deployment: Arc<dyn Deployment>,
        place: Arc<dyn Place>,
        files: BTreeMap<NodeId, NodeFiles>,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { deployment, place, files, runtime })
    }

    /// Has the nodes of `via` carry out `request`, all at once, and returns the first success: a node that is cut off from the others
    /// would keep the rest waiting.
    fn ask<'a, T>(
        &'a self,
        what: &str,
        via: &'a [NodeId],
        request: impl Fn(&'a dyn Membership, &'a NodeId) -> BoxFuture<'a, Result<T, NotReady>>,
    ) -> Result<T, AdministratorError> {
        let failed = |why: String| AdministratorError { what: what.to_owned(), why };
        let Some(membership) = self.deployment.membership().filter(|_| !via.is_empty()) else {
            return Err(failed("no node runs that could be asked".to_owned()));
        };
        let requests = via.iter().map(|node| request(membership, node));
        let first = self.runtime.block_on(select_ok(requests));
        first.map(|(result, _)| result).map_err(|error| failed(chain(&error)))
    }
}

impl Administrator for Operator {
    fn comeback(&self) -> Comeback {
        self.deployment.membership().map_or(Comeback::Running, Membership::comeback)
    }

    fn joining(&self, node: &NodeId, listed: &[ListedMember]) -> Result<Joining, AdministratorError> {
        let failed = |why| AdministratorError { what: "starting a new member".to_owned(), why };
        let known = self.deployment.membership().zip(self.files.get(node));
        let (membership, files) = known.ok_or_else(|| failed(format!("{node} cannot join")))?;
        let spec = membership.joining(node, files, listed).map_err(|error| failed(chain(&error)))?;
        Ok(Joining { spec, data: files.data.clone() })
    }

    fn members(&self, via: &[NodeId], within: Duration) -> Result<Vec<ListedMember>, AdministratorError> {
        self.ask("listing the members", via, |membership, via| {
            Box::pin(membership.members(via, &*self.place, within))
        })
    }

    fn remove(&self, node: &NodeId, via: &[NodeId], within: Duration) -> Result<(), AdministratorError> {
        self.ask("removing a member", via, |membership, via| {
            Box::pin(membership.remove(node, via, &*self.place, within))
        })
    }

    fn add(&self, node: &NodeId, via: &[NodeId], within: Duration) -> Result<(), AdministratorError> {
        self.ask("adding a member", via, |membership, via| {
            Box::pin(membership.add(node, via, &*self.place, within))
        })
    }

    fn serves(&self, node: &NodeId) -> bool {
        self.runtime.block_on(self.deployment.ready(node, &*self.place, ATTEMPT)).is_ok()
    }
}
