//! The administrator of the cluster, as the nemesis has it: its calls block the nemesis's thread.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use duress_history::NodeId;
use duress_history::nemesis::ListedMember;
use duress_nemesis::membership::{Administrator, AdministratorError};
use duress_targets::{Deployment, Membership, NotReady, Place};
use tokio::runtime::Runtime;

use crate::run::conductor::chain;

/// One attempt to see a node serve takes at most this long.
const ATTEMPT: Duration = Duration::from_millis(500);

/// Speaks to a cluster whose members can be changed, from the operator's place.
pub struct Operator {
    deployment: Arc<dyn Deployment>,
    place: Arc<dyn Place>,
    runtime: Runtime,
}

impl Operator {
    /// Returns the operator of a cluster in `place`.
    ///
    /// # Errors
    /// The system's error when it has no resources left.
    pub fn new(deployment: Arc<dyn Deployment>, place: Arc<dyn Place>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { deployment, place, runtime })
    }

    /// Has one node of `via` after the other carry out `request`, until one does.
    fn ask<T>(
        &self,
        what: String,
        via: &[NodeId],
        request: impl AsyncFn(&dyn Membership, &NodeId) -> Result<T, NotReady>,
    ) -> Result<T, AdministratorError> {
        let mut why = "no node runs that could be asked".to_owned();
        if let Some(membership) = self.deployment.membership() {
            for node in via {
                match self.runtime.block_on(request(membership, node)) {
                    Ok(result) => return Ok(result),
                    Err(error) => why = chain(&error),
                }
            }
        }
        Err(AdministratorError { what, why })
    }
}

impl Administrator for Operator {
    fn members(&self, via: &[NodeId], within: Duration) -> Result<Vec<ListedMember>, AdministratorError> {
        let place = &*self.place;
        self.ask("listing the members".to_owned(), via, async |membership, via| {
            membership.members(via, place, within).await
        })
    }

    fn remove(&self, node: &NodeId, via: &[NodeId], within: Duration) -> Result<(), AdministratorError> {
        let place = &*self.place;
        self.ask(format!("removing {node}"), via, async |membership, via| {
            membership.remove(node, via, place, within).await
        })
    }

    fn add(&self, node: &NodeId, via: &[NodeId], within: Duration) -> Result<(), AdministratorError> {
        let place = &*self.place;
        self.ask(format!("adding {node}"), via, async |membership, via| {
            membership.add(node, via, place, within).await
        })
    }

    fn serves(&self, node: &NodeId) -> bool {
        self.runtime.block_on(self.deployment.ready(node, &*self.place, ATTEMPT)).is_ok()
    }
}
