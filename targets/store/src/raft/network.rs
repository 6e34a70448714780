//! Consensus messages over the links to peers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::BasicNode;
use openraft::error::{
    InstallSnapshotError, NetworkError, PayloadTooLarge, RPCError, RaftError, RemoteError, Timeout,
    Unreachable,
};
use openraft::network::{Backoff, RPCOption, RPCTypes, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use tokio::time::Instant;

use super::lease::Lease;
use super::message::{Request, Response};
use super::types::TypeConfig;
use crate::peer::payload::{decode, encode};
use crate::peer::{CallError, Link};

/// The links to all peers, by the number of the node.
pub type Links = Arc<BTreeMap<u64, Link>>;

const UNREACHABLE_RETRY: Duration = Duration::from_millis(50);
const APPEND_BYTES_MAX: usize = 16 << 20;

/// Makes a [`PeerNetwork`] per peer.
#[derive(Debug, Clone)]
pub struct PeerNetworks {
    /// This node's number.
    pub node: u64,
    /// The links to the others.
    pub links: Links,
    /// The lease that acknowledged appends renew, if reads use one.
    pub lease: Option<Arc<Lease>>,
}

impl RaftNetworkFactory<TypeConfig> for PeerNetworks {
    type Network = PeerNetwork;

    async fn new_client(&mut self, target: u64, _: &BasicNode) -> PeerNetwork {
        let (link, lease) = (self.links.get(&target).cloned(), self.lease.clone());
        PeerNetwork { node: self.node, target, link, lease }
    }
}

/// Sends consensus messages to one peer.
#[derive(Debug)]
pub struct PeerNetwork {
    node: u64,
    target: u64,
    link: Option<Link>,
    lease: Option<Arc<Lease>>,
}

/// A message that was answered with something else.
#[derive(Debug, thiserror::Error)]
#[error("the peer's answer does not fit the request")]
struct AnswerError;

type RpcError<E> = RPCError<u64, BasicNode, RaftError<u64, E>>;

impl PeerNetwork {
    async fn ask<T, E: std::error::Error>(
        &self,
        kind: RPCTypes,
        payload: Bytes,
        option: &RPCOption,
        pick: impl FnOnce(Response) -> Option<Result<T, RaftError<u64, E>>>,
    ) -> Result<T, RpcError<E>> {
        let timeout = option.hard_ttl();
        let result = match &self.link {
            Some(link) => link.call(payload, Instant::now() + timeout).await,
            None => Err(CallError::NotSent),
        };
        let payload = result.map_err(|error| match error {
            CallError::NotSent => RPCError::Unreachable(Unreachable::new(&error)),
            CallError::Lost => RPCError::Network(NetworkError::new(&error)),
            CallError::TimedOut => {
                RPCError::Timeout(Timeout { action: kind, id: self.node, target: self.target, timeout })
            }
        })?;
        decode::<Response>(&payload)
            .and_then(pick)
            .ok_or_else(|| RPCError::Network(NetworkError::new(&AnswerError)))?
            .map_err(|error| RPCError::RemoteError(RemoteError::new(self.target, error)))
    }
}

impl RaftNetwork<TypeConfig> for PeerNetwork {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RPCError<u64, BasicNode, RaftError<u64>>> {
        let sending = self.lease.as_ref().map(|lease| lease.sending());
        let leader = *rpc.vote.leader_id();
        let entries = rpc.entries.len() as u64;
        let payload = encode(&Request::Append(rpc));
        if payload.len() > APPEND_BYTES_MAX && entries > 1 {
            return Err(RPCError::PayloadTooLarge(PayloadTooLarge::new_entries_hint(entries / 2)));
        }
        let answer = self
            .ask(RPCTypes::AppendEntries, payload, &option, |response| match response {
                Response::Append(result) => Some(result),
                _ => None,
            })
            .await?;
        if let (Some(lease), Some(sending)) = (&self.lease, sending)
            && follows(&answer)
        {
            lease.acknowledged(leader, self.target, sending);
        }
        Ok(answer)
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, RPCError<u64, BasicNode, RaftError<u64, InstallSnapshotError>>>
    {
        let payload = encode(&Request::Snapshot(rpc));
        self.ask(RPCTypes::InstallSnapshot, payload, &option, |response| match response {
            Response::Snapshot(result) => Some(result),
            _ => None,
        })
        .await
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, RPCError<u64, BasicNode, RaftError<u64>>> {
        if let Some(lease) = &self.lease {
            lease.cede(*rpc.vote.leader_id());
        }
        let payload = encode(&Request::Vote(rpc));
        self.ask(RPCTypes::Vote, payload, &option, |response| match response {
            Response::Vote(result) => Some(result),
            _ => None,
        })
        .await
    }

    fn backoff(&self) -> Backoff {
        // A link that is down refuses at once and reconnects on its own; asking it often costs nothing.
        Backoff::new(std::iter::repeat(UNREACHABLE_RETRY))
    }
}

/// Whether who answers an append so follows the leader that sent it. One that lacks earlier entries does too.
fn follows(answer: &AppendEntriesResponse<u64>) -> bool {
    match answer {
        AppendEntriesResponse::Success
        | AppendEntriesResponse::PartialSuccess(_)
        | AppendEntriesResponse::Conflict => true,
        AppendEntriesResponse::HigherVote(_) => false,
    }
}
