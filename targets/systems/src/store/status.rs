//! Whether a node of the store takes part, and what it says of itself.

use std::net::SocketAddr;

use duress_history::NodeId;
use redis_protocol::resp2::types::BytesFrame;
use tokio::time::Instant;

use crate::deployment::{NodeStatus, Role};
use crate::outcome::{CauseKind, RequestError};
use crate::place::Place;
use crate::replica::ReplicaCopy;
use crate::resp::RespConnection;
use crate::store::CutOff;
use crate::store::session::{error_reply, unexpected};

/// A key that no workload uses. Reading it changes nothing.
const PROBE_KEY: &[u8] = b"duress:probe";

/// The line of `INFO` by which a replica says that it has no connection to its primary.
const CUT_OFF: &str = "\nprimary_link_status:down\r";

/// Reads one key through the node, which in most settings takes the leader or primary, and its quorum.
///
/// A node that answers reads from its own copy says nothing of the others by answering, so it is asked whether it is
/// connected to its primary, or knows a leader, too.
pub(super) async fn ready(
    from: &dyn Place,
    to: SocketAddr,
    cut_off: Option<CutOff>,
    deadline: Instant,
) -> Result<(), RequestError> {
    let mut connection = RespConnection::open(from, to, deadline).await?;
    match connection.call(&[b"GET", PROBE_KEY], deadline).await? {
        BytesFrame::BulkString(_) | BytesFrame::Null => {}
        BytesFrame::Error(error) => return Err(error_reply(&error)),
        other => return Err(unexpected(&other)),
    }
    let missing = match cut_off {
        Some(CutOff::NoPrimary) => info(&mut connection, deadline)
            .await?
            .contains(CUT_OFF)
            .then_some("the replica is not connected to its primary"),
        Some(CutOff::NoLeader) => parse(&info(&mut connection, deadline).await?)
            .leader
            .is_none()
            .then_some("the node knows no leader"),
        None => None,
    };
    match missing {
        Some(why) => Err(RequestError::definite(CauseKind::NoLeader, why)),
        None => Ok(()),
    }
}

/// Asks the node for its role.
pub(super) async fn ask(
    from: &dyn Place,
    to: SocketAddr,
    deadline: Instant,
) -> Result<NodeStatus, RequestError> {
    let mut connection = RespConnection::open(from, to, deadline).await?;
    info(&mut connection, deadline).await.map(|text| parse(&text))
}

/// What the node holds of its own.
pub(super) async fn contents(
    from: &dyn Place,
    to: SocketAddr,
    deadline: Instant,
) -> Result<ReplicaCopy, RequestError> {
    let mut connection = RespConnection::open(from, to, deadline).await?;
    let parts = match connection.call(&[b"DEBUG", b"CONTENTS"], deadline).await? {
        BytesFrame::Array(parts) => parts,
        BytesFrame::Error(error) => return Err(error_reply(&error)),
        other => return Err(unexpected(&other)),
    };
    let mut texts = parts.iter().map(|part| match part {
        BytesFrame::BulkString(bytes) => Ok(String::from_utf8_lossy(bytes).into_owned()),
        other => Err(unexpected(other)),
    });
    let position = texts.next().transpose()?.unwrap_or_default();
    let texts = texts.collect::<Result<Vec<_>, _>>()?;
    let (pairs, _) = texts.as_chunks::<2>();
    let values = pairs.iter().cloned().map(|[key, value]| (key, value)).collect();
    Ok(ReplicaCopy { position, values, ..ReplicaCopy::default() })
}

async fn info(connection: &mut RespConnection, deadline: Instant) -> Result<String, RequestError> {
    match connection.call(&[b"INFO"], deadline).await? {
        BytesFrame::BulkString(text) => Ok(String::from_utf8_lossy(&text).into_owned()),
        BytesFrame::Error(error) => Err(error_reply(&error)),
        other => Err(unexpected(&other)),
    }
}

/// Reads `INFO`'s lines of the form `key:value`. A line that is missing or says nothing known leaves its field unknown.
fn parse(info: &str) -> NodeStatus {
    let mut status = NodeStatus::default();
    for (key, value) in info.lines().filter_map(|line| line.split_once(':')) {
        match (key, value) {
            ("role", "leader" | "primary") => status.role = Role::Leader,
            ("role", "follower" | "replica") => status.role = Role::Follower,
            ("role", "candidate") => status.role = Role::Candidate,
            ("leader", name) if !name.is_empty() => status.leader = Some(NodeId::new(name)),
            ("term", number) => status.term = number.parse().ok(),
            _ => {}
        }
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_names_role_leader_and_term() {
        let info = "# Replication\r\nrole:follower\r\nleader:n3\r\nterm:12\r\napplied:7\r\n";
        let leader = Some(NodeId::new("n3"));
        let told = NodeStatus { role: Role::Follower, leader, term: Some(12), ..NodeStatus::default() };
        assert_eq!(parse(info), told);
    }

    #[test]
    fn what_info_does_not_say_is_unknown() {
        let nothing = NodeStatus::default();
        assert_eq!(parse("role:observer\r\nleader:\r\nterm:\r\nnonsense\r\n"), nothing);
        assert_eq!(parse(""), nothing);
    }
}
