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

use crate::message::{Nothing, Request, Response};
use crate::peer::payload::{decode, encode};
use crate::peer::{CallError, Link};
use crate::types::{Consensus, LeaderId};

/// The links to all peers, by the number of the node.
pub type Links = Arc<BTreeMap<u64, Link>>;

const UNREACHABLE_RETRY: Duration = Duration::from_millis(50);
const APPEND_BYTES_MAX: usize = 16 << 20;

/// An observer of the messages that a leader sends and of their acknowledgements, on which reads by lease rest. `()`
/// ignores them.
pub trait Observer: Clone + Send + Sync + 'static {
    /// What the observer remembers of a message that was sent.
    type Sent: Send;

    /// An append is about to be sent.
    fn sending(&self) -> Self::Sent;

    /// A peer has handled an append of `leader`, which is this node, and knew of no later leader.
    fn acknowledged(&self, leader: LeaderId, peer: u64, sending: Self::Sent);

    /// This node is about to ask for votes for `leader`, which is itself.
    fn asking_for_vote(&self, leader: LeaderId);
}

impl Observer for () {
    type Sent = ();

    fn sending(&self) {}

    fn acknowledged(&self, _: LeaderId, _: u64, (): ()) {}

    fn asking_for_vote(&self, _: LeaderId) {}
}

/// Makes a [`PeerNetwork`] per peer.
#[derive(Debug, Clone)]
pub struct PeerNetworks<O> {
    /// This node's number.
    pub node: u64,
    /// The links to the others.
    pub links: Links,
    /// The observer.
    pub observer: O,
}

impl<C: Consensus, O: Observer> RaftNetworkFactory<C> for PeerNetworks<O> {
    type Network = PeerNetwork<O>;

    async fn new_client(&mut self, target: u64, _: &BasicNode) -> PeerNetwork<O> {
        let (link, observer) = (self.links.get(&target).cloned(), self.observer.clone());
        PeerNetwork { node: self.node, target, link, observer }
    }
}

/// Sends consensus messages to one peer.
#[derive(Debug)]
pub struct PeerNetwork<O> {
    node: u64,
    target: u64,
    link: Option<Link>,
    observer: O,
}

/// An answer of another kind than the request.
#[derive(Debug, thiserror::Error)]
#[error("the peer's answer does not fit the request")]
struct AnswerError;

type RpcError<E> = RPCError<u64, BasicNode, RaftError<u64, E>>;

impl<O> PeerNetwork<O> {
    async fn ask<T, E: std::error::Error>(
        &self,
        kind: RPCTypes,
        payload: Bytes,
        option: &RPCOption,
        pick: impl FnOnce(Response<Nothing>) -> Option<Result<T, RaftError<u64, E>>>,
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
        decode::<Response<Nothing>>(&payload)
            .and_then(pick)
            .ok_or_else(|| RPCError::Network(NetworkError::new(&AnswerError)))?
            .map_err(|error| RPCError::RemoteError(RemoteError::new(self.target, error)))
    }
}

impl<C: Consensus, O: Observer> RaftNetwork<C> for PeerNetwork<O> {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<C>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RPCError<u64, BasicNode, RaftError<u64>>> {
        let sending = self.observer.sending();
        let leader = *rpc.vote.leader_id();
        let entries = rpc.entries.len() as u64;
        let payload = encode(&Request::<C, Nothing>::Append(rpc));
        if payload.len() > APPEND_BYTES_MAX && entries > 1 {
            return Err(RPCError::PayloadTooLarge(PayloadTooLarge::new_entries_hint(entries / 2)));
        }
        let answer = self
            .ask(RPCTypes::AppendEntries, payload, &option, |response| match response {
                Response::Append(result) => Some(result),
                _ => None,
            })
            .await?;
        if follows(&answer) {
            self.observer.acknowledged(leader, self.target, sending);
        }
        Ok(answer)
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<C>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, RPCError<u64, BasicNode, RaftError<u64, InstallSnapshotError>>>
    {
        let payload = encode(&Request::<C, Nothing>::Snapshot(rpc));
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
        self.observer.asking_for_vote(*rpc.vote.leader_id());
        let payload = encode(&Request::<C, Nothing>::Vote(rpc));
        self.ask(RPCTypes::Vote, payload, &option, |response| match response {
            Response::Vote(result) => Some(result),
            _ => None,
        })
        .await
    }

    fn backoff(&self) -> Backoff {
        // A link that is down refuses at once and reconnects on its own, so a retry is cheap.
        Backoff::new(std::iter::repeat(UNREACHABLE_RETRY))
    }
}

/// Whether this answer to an append is that of a follower of its leader, which may still lack earlier entries.
fn follows(answer: &AppendEntriesResponse<u64>) -> bool {
    match answer {
        AppendEntriesResponse::Success
        | AppendEntriesResponse::PartialSuccess(_)
        | AppendEntriesResponse::Conflict => true,
        AppendEntriesResponse::HigherVote(_) => false,
    }
}
