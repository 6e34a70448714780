//! Whether a node of etcd takes part, and what it says of itself.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use duress_history::NodeId;
use serde::Deserialize;
use tokio::time::Instant;

use crate::deployment::{NodeStatus, Role};
use crate::etcd::answer::{self, Range};
use crate::etcd::gateway::Gateway;
use crate::etcd::session::{ReadLevel, range};
use crate::outcome::RequestError;
use crate::place::Place;

/// A key that no workload uses. Reading it changes nothing.
const PROBE_KEY: &str = "duress:probe";

/// Reads one key through the node, its leader and its quorum, whatever level the workload's reads have.
pub(super) async fn ready(from: &dyn Place, to: SocketAddr, deadline: Instant) -> Result<(), RequestError> {
    let mut gateway = Gateway::open(from, to, deadline).await?;
    let (path, body) = range(&STANDARD.encode(PROBE_KEY), ReadLevel::Linearizable);
    let answer = gateway.post(path, body.to_string().into_bytes(), deadline).await?;
    answer::read::<Range>(&answer).map(|_| ())
}

/// The answer to a status request. Numbers of 64 bits are texts; zero is left out in some versions.
#[derive(Deserialize)]
struct Status {
    header: Header,
    #[serde(default)]
    leader: Option<String>,
    #[serde(default, rename = "raftTerm")]
    raft_term: Option<String>,
}

#[derive(Deserialize)]
struct Header {
    member_id: String,
}

#[derive(Deserialize)]
struct Members {
    #[serde(default)]
    members: Vec<Member>,
}

#[derive(Deserialize)]
struct Member {
    #[serde(rename = "ID")]
    id: String,
    #[serde(default)]
    name: String,
}

/// Asks the node for its role, and for the name of the member that it takes to be leader.
pub(super) async fn ask(
    from: &dyn Place,
    to: SocketAddr,
    deadline: Instant,
) -> Result<NodeStatus, RequestError> {
    let mut gateway = Gateway::open(from, to, deadline).await?;
    let answer = gateway.post("/v3/maintenance/status", b"{}".to_vec(), deadline).await?;
    let status: Status = answer::read(&answer)?;
    let term = status.raft_term.and_then(|term| term.parse().ok());
    let Some(leader) = status.leader.filter(|id| id != "0") else {
        // etcd does not say whether a node without a leader stands for election.
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
