//! A consensus that has stopped by itself.

use openraft::Raft;
use openraft::error::Fatal;

use crate::types::Consensus;

/// Returns when the consensus has stopped on an error of its own, which is returned.
pub async fn failed<C: Consensus>(raft: &Raft<C>) -> Fatal<u64> {
    let mut metrics = raft.metrics();
    loop {
        if let Err(fatal) = &metrics.borrow_and_update().running_state {
            return fatal.clone();
        }
        if metrics.changed().await.is_err() {
            return Fatal::Stopped;
        }
    }
}
