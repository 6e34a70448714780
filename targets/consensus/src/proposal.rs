//! An entry that was proposed and waits for its replies.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use openraft::Raft;
use openraft::error::ClientWriteError;
use openraft::raft::ClientWriteResult;
use tokio::sync::oneshot;

use crate::types::{Appended, Batch, Fatal, Replies, TypeConfig};

/// An entry that was proposed and waits for its replies.
#[derive(Debug)]
pub struct Proposal {
    result: oneshot::Receiver<ClientWriteResult<TypeConfig>>,
    appended: Arc<Appended>,
}

/// Why a proposal has no replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProposalError {
    /// This node does not lead, and never had the entry in its log: no node will ever execute it.
    NotLeader,
    /// The entry was in the log when this node stopped being the leader; a later leader may commit it.
    LeaderChanged,
    /// The consensus has stopped; the entry may have been executed, or may be later.
    Stopped,
}

impl Proposal {
    pub(crate) fn send(raft: &Raft<TypeConfig>, batch: Batch) -> BoxFuture<'_, Result<Self, Fatal>> {
        Box::pin(async move {
            let appended = Arc::new(Appended::default());
            let result = raft.client_write_ff(batch.with_marker(Arc::clone(&appended))).await?;
            Ok(Self { result, appended })
        })
    }

    /// Waits until the entry is durable in the log of this node, without a deadline.
    pub async fn appended(&self) {
        self.appended.durable().await;
    }

    /// Waits for the replies, without a deadline.
    ///
    /// # Errors
    /// There are no replies; the variant tells whether the entry may be executed nevertheless.
    pub fn replies(self) -> BoxFuture<'static, Result<Replies, ProposalError>> {
        Box::pin(async move {
            match self.result.await {
                Ok(Ok(response)) => Ok(response.data),
                Ok(Err(ClientWriteError::ForwardToLeader(_))) if self.appended.is_handed_to_log() => {
                    Err(ProposalError::LeaderChanged)
                }
                Ok(Err(ClientWriteError::ForwardToLeader(_))) => Err(ProposalError::NotLeader),
                Ok(Err(ClientWriteError::ChangeMembershipError(_))) | Err(_) => Err(ProposalError::Stopped),
            }
        })
    }
}
