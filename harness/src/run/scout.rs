//! The scout: finds out who leads just before a fault that strikes the leader, so that the fault need not wait for it.

use std::rc::Rc;
use std::time::Duration;

use duress_history::NodeId;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::run::cluster_access::ClusterAccess;

/// How long before the fault it begins to ask: a node that does not answer is waited for almost as long.
pub const AHEAD: Duration = Duration::from_millis(450);
/// How long it waits before it asks again.
const BETWEEN: Duration = Duration::from_millis(20);

/// Asks the cluster again and again who leads, until it is dropped.
pub struct Scout {
    answers: watch::Receiver<Option<Option<NodeId>>>,
    asking: JoinHandle<()>,
}

impl Scout {
    /// Sends it out. On a `LocalSet`.
    #[must_use]
    pub fn send(cluster: Rc<ClusterAccess>) -> Self {
        let (answer, answers) = watch::channel(None);
        let asking = tokio::task::spawn_local(async move {
            // The receiver is gone when the last answer was taken.
            while answer.send(Some(cluster.leader().await)).is_ok() {
                tokio::time::sleep(BETWEEN).await;
            }
        });
        Self { answers, asking }
    }

    /// Returns the latest answer, or waits for the first, which does not take long.
    pub async fn leader(mut self) -> Option<NodeId> {
        match self.answers.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone().flatten(),
            // The task only ends when this is dropped.
            Err(_) => None,
        }
    }
}

impl Drop for Scout {
    fn drop(&mut self) {
        self.asking.abort();
    }
}
