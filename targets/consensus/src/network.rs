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

use crate::member::place_of;
use crate::message::{MemberRequest, Request, Response, Sender};
use crate::peer::payload::{decode_for_consensus, encode_for_consensus};
use crate::peer::{CallError, Link};
use crate::standing::{Known, Standing};
use crate::types::{LeaderId, TypeConfig};

/// The links to all peers, by the place of the node.
pub(crate) type Links = Arc<BTreeMap<u64, Link>>;

const UNREACHABLE_RETRY: Duration = Duration::from_millis(50);
const APPEND_BYTES_MAX: usize = 16 << 20;

/// An observer of the messages of a leader and of their acknowledgements, on which reads by lease rest.
pub trait Observer: Send + Sync + 'static {
    /// Observes that an append of `leader`, which is this node, is about to be sent to a peer. The function
    /// returned is called once the peer has handled it and knew of no later leader.
    fn sending(self: Arc<Self>, leader: LeaderId, peer: u64) -> Acknowledged;

    /// This node has granted a vote for `leader`, or is about to ask for votes for itself as `leader`. No other node has
    /// learnt of it yet.
    fn ceding(&self, leader: LeaderId);
}

/// Reports that a peer has acknowledged an append.
pub type Acknowledged = Box<dyn FnOnce() + Send>;

/// Makes a [`PeerNetwork`] per peer.
#[derive(Clone)]
pub(crate) struct PeerNetworks {
    pub(crate) links: Links,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) standing: Arc<Standing>,
}

impl RaftNetworkFactory<TypeConfig> for PeerNetworks {
    type Network = PeerNetwork;

    async fn new_client(&mut self, target: u64, _: &BasicNode) -> PeerNetwork {
        let (link, observer) = (self.links.get(&place_of(target)).cloned(), self.observer.clone());
        PeerNetwork { target, link, observer, standing: Arc::clone(&self.standing) }
    }
}

/// Sends consensus messages to one peer.
pub(crate) struct PeerNetwork {
    target: u64,
    link: Option<Link>,
    observer: Option<Arc<dyn Observer>>,
    standing: Arc<Standing>,
}

/// Why an answer is not one to the request.
#[derive(Debug, thiserror::Error)]
enum AnswerError {
    /// It is of another kind than the request, or cannot be decoded.
    #[error("the peer's answer does not fit the request")]
    Kind,
    /// The node is not the member that was addressed.
    #[error("the peer is member {0}, another one than the request is for")]
    OtherMember(u64),
    /// The node does not take part.
    #[error("the peer, or this node, is not a member")]
    NotMember,
}

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
            CallError::TimedOut => RPCError::Timeout(Timeout {
                action: kind,
                id: self.standing.number(),
                target: self.target,
                timeout,
            }),
        })?;
        let failed = |error: AnswerError| RPCError::Network(NetworkError::new(&error));
        match decode_for_consensus(&payload) {
            Some(Response::Number(number)) => Err(failed(AnswerError::OtherMember(number))),
            Some(Response::NoVote) => Err(failed(AnswerError::NotMember)),
            Some(Response::Standing(Known::Removed(at))) => {
                self.standing.is_removed(at);
                Err(failed(AnswerError::NotMember))
            }
            answer => answer
                .and_then(pick)
                .ok_or_else(|| failed(AnswerError::Kind))?
                .map_err(|error| RPCError::RemoteError(RemoteError::new(self.target, error))),
        }
    }

    fn encode(&self, request: MemberRequest) -> Bytes {
        encode_for_consensus(&Request::ToMember(self.target, request))
    }
}

impl RaftNetwork<TypeConfig> for PeerNetwork {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RPCError<u64, BasicNode, RaftError<u64>>> {
        let leader = *rpc.vote.leader_id();
        let acknowledged =
            self.observer.as_ref().map(|observer| Arc::clone(observer).sending(leader, self.target));
        let entries = rpc.entries.len() as u64;
        let payload = self.encode(MemberRequest::Append(rpc));
        if payload.len() > APPEND_BYTES_MAX && entries > 1 {
            return Err(RPCError::PayloadTooLarge(PayloadTooLarge::new_entries_hint(entries / 2)));
        }
        let answer = self
            .ask(RPCTypes::AppendEntries, payload, &option, |response| match response {
                Response::Append(result) => Some(result),
                _ => None,
            })
            .await?;
        if let Some(acknowledged) = acknowledged
            && follows(&answer)
        {
            acknowledged();
        }
        Ok(answer)
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, RPCError<u64, BasicNode, RaftError<u64, InstallSnapshotError>>>
    {
        let payload = self.encode(MemberRequest::Snapshot(rpc));
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
        if let Some(observer) = &self.observer {
            observer.ceding(*rpc.vote.leader_id());
        }
        let known_until = self.standing.known_until();
        let payload =
            self.encode(MemberRequest::Vote(rpc, Sender { number: self.standing.number(), known_until }));
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
