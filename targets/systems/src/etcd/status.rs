//! The readiness and the status of a node of etcd.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use duress_history::NodeId;
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use crate::deployment::{NodeStatus, Role};
use crate::etcd::answer::{self, Range};
use crate::etcd::session::{ReadLevel, range};
use crate::http::HttpConnection;
use crate::outcome::{CauseKind, RequestError};
use crate::place::Place;
use crate::replica::ReplicaCopy;

/// A key that no workload uses. Reading it has no effect.
pub(super) const PROBE_KEY: &str = "duress:probe";

/// Reads one key through the node, its leader and its quorum, whatever level the workload's reads have.
pub(super) async fn ready(from: &dyn Place, to: SocketAddr, deadline: Instant) -> Result<(), RequestError> {
    let mut gateway = HttpConnection::open(from, to, deadline).await?;
    let (path, body) = range(&STANDARD.encode(PROBE_KEY), ReadLevel::Linearizable);
    let answer = gateway.post(path, body.to_string().into_bytes(), deadline).await?;
    answer::read::<Range>(&answer).map(|_| ())
}

/// The answer to a status request. Numbers of 64 bits are strings; zero is left out in some versions.
#[derive(Deserialize)]
struct Status {
    header: Header,
    #[serde(default)]
    leader: Option<String>,
    #[serde(default, rename = "raftTerm")]
    raft_term: Option<String>,
    #[serde(default, rename = "raftAppliedIndex")]
    applied: Option<String>,
}

#[derive(Deserialize)]
struct Header {
    member_id: String,
    #[serde(default)]
    revision: String,
}

/// The answer to a request for the hash of all revisions of all keys, up to the latest.
#[derive(Deserialize)]
struct HashKv {
    header: Header,
    #[serde(default)]
    hash: u64,
}

/// The answer to a request for the members.
#[derive(Deserialize)]
pub(super) struct Members {
    #[serde(default)]
    pub(super) members: Vec<Member>,
}

/// A member of the cluster.
#[derive(Deserialize)]
pub(super) struct Member {
    #[serde(rename = "ID")]
    pub(super) id: String,
    /// Empty before its first start.
    #[serde(default)]
    name: String,
    #[serde(default, rename = "peerURLs")]
    peer_urls: Vec<String>,
    /// Whether it has no vote.
    #[serde(default, rename = "isLearner")]
    pub(super) learns: bool,
}

impl Member {
    /// Whether its peers reach it by `url`.
    pub(super) fn is_at(&self, url: &str) -> bool {
        self.peer_urls.iter().any(|at| at == url)
    }
}

/// Asks the node for its role, and for the name of the member that it takes to be leader.
pub(super) async fn ask(
    from: &dyn Place,
    to: SocketAddr,
    deadline: Instant,
) -> Result<NodeStatus, RequestError> {
    let mut gateway = HttpConnection::open(from, to, deadline).await?;
    let answer = gateway.post("/v3/maintenance/status", b"{}".to_vec(), deadline).await?;
    let status: Status = answer::read(&answer)?;
    let term = status.raft_term.and_then(|term| term.parse().ok());
    let Some(leader) = status.leader.filter(|id| id != "0") else {
        // etcd does not report whether a node without a leader is a candidate.
        return Ok(NodeStatus { term, ..NodeStatus::default() });
    };
    let role = if leader == status.header.member_id { Role::Leader } else { Role::Follower };
    // Answered from the node's own copy: no leader has to be reachable.
    let answer = gateway.post("/v3/cluster/member/list", b"{}".to_vec(), deadline).await?;
    let members: Members = answer::read(&answer)?;
    let named = members.members.into_iter().find(|member| member.id == leader && !member.name.is_empty());
    let leader = named.map(|member| NodeId::new(member.name));
    Ok(NodeStatus { role, leader, term, ..NodeStatus::default() })
}

/// Returns the node's own contents: each key with its value and revisions, as of the log entry that it
/// applied last.
///
/// The digest has the node's latest revision and, if the gateway gives it, the hash of all revisions of all
/// keys.
pub(super) async fn contents(
    from: &dyn Place,
    to: SocketAddr,
    deadline: Instant,
) -> Result<ReplicaCopy, RequestError> {
    let mut gateway = HttpConnection::open(from, to, deadline).await?;
    let before = applied(&mut gateway, deadline).await?;
    // From the lowest key to the end, of the node's own copy.
    let all = json!({"key": "AA==", "range_end": "AA==", "serializable": true});
    let answer = gateway.post("/v3/kv/range", all.to_string().into_bytes(), deadline).await?;
    let (range, header): (Range, Headed) = (answer::read(&answer)?, answer::read(&answer)?);
    let mut digest = format!("revision {}", header.header.revision);
    let answer = gateway.post("/v3/maintenance/hashkv", b"{\"revision\":\"0\"}".to_vec(), deadline).await?;
    if answer.status == StatusCode::OK {
        let hash: HashKv = answer::read(&answer)?;
        digest.push_str(&format!(", hash {} at revision {}", hash.hash, hash.header.revision));
    }
    // Entries applied meanwhile may be in some of these answers and not in others.
    if applied(&mut gateway, deadline).await? != before {
        return Err(RequestError::definite(CauseKind::Rejected, "entries were applied meanwhile"));
    }
    Ok(ReplicaCopy { object: None, position: before, digest, values: range.texts()? })
}

/// The answer to anything.
#[derive(Deserialize)]
struct Headed {
    header: Header,
}

/// Returns the last entry of the log that the node has applied.
async fn applied(gateway: &mut HttpConnection, deadline: Instant) -> Result<String, RequestError> {
    let answer = gateway.post("/v3/maintenance/status", b"{}".to_vec(), deadline).await?;
    let status: Status = answer::read(&answer)?;
    let unsaid = || RequestError::definite(CauseKind::Rejected, "the node does not report its applied index");
    status.applied.ok_or_else(unsaid)
}
