//! The readiness and the status of a node of the store.

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

/// A key that no workload uses. Reading it has no effect.
pub(super) const PROBE_KEY: &[u8] = b"duress:probe";

/// The line of `INFO` by which a replica reports that it has no connection to its primary.
const CUT_OFF: &str = "\nprimary_link_status:down\r";

/// Sends the read `probe` to the node, which in most settings takes the leader or primary, and its quorum.
///
/// The answer of a node that reads from its own copy proves nothing about the others, so it must also be
/// connected to its primary, or know a leader.
pub(super) async fn ready(
    from: &dyn Place,
    to: SocketAddr,
    probe: &[&[u8]],
    cut_off: Option<CutOff>,
    deadline: Instant,
) -> Result<(), RequestError> {
    let mut connection = RespConnection::open(from, to, deadline).await?;
    match connection.call(probe, deadline).await? {
        BytesFrame::BulkString(_) | BytesFrame::Null | BytesFrame::Integer(_) => {}
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

/// Returns the node's own contents, of each shard where there are several.
pub(super) async fn contents(
    from: &dyn Place,
    to: SocketAddr,
    shards: usize,
    deadline: Instant,
) -> Result<Vec<ReplicaCopy>, RequestError> {
    let mut connection = RespConnection::open(from, to, deadline).await?;
    let mut copies = Vec::new();
    for shard in 0..shards {
        let number = shard.to_string();
        let held = match connection.call(&[b"DEBUG", b"CONTENTS", number.as_bytes()], deadline).await? {
            BytesFrame::Array(parts) => copy(&parts)?,
            BytesFrame::Error(error) => return Err(error_reply(&error)),
            other => return Err(unexpected(&other)),
        };
        let object = (shards > 1).then(|| format!("shard {shard}"));
        copies.push(ReplicaCopy { object, ..held });
    }
    Ok(copies)
}

/// Returns the node's own copies, by the owners that have one.
pub(super) async fn copies(
    from: &dyn Place,
    to: SocketAddr,
    deadline: Instant,
) -> Result<Vec<ReplicaCopy>, RequestError> {
    let mut connection = RespConnection::open(from, to, deadline).await?;
    let of_owners = |frame: &BytesFrame| match frame {
        BytesFrame::Array(parts) => match &parts[..] {
            [BytesFrame::BulkString(owners), parts @ ..] => {
                let object = Some(String::from_utf8_lossy(owners).into_owned());
                Ok(ReplicaCopy { object, ..copy(parts)? })
            }
            _ => Err(unexpected(frame)),
        },
        other => Err(unexpected(other)),
    };
    match connection.call(&[b"DEBUG", b"COPIES"], deadline).await? {
        BytesFrame::Array(copies) => copies.iter().map(of_owners).collect(),
        BytesFrame::Error(error) => Err(error_reply(&error)),
        other => Err(unexpected(&other)),
    }
}

/// Returns the role of the node that leads a shard.
pub(super) fn leader_of(shard: impl std::fmt::Display) -> String {
    format!("shard-{shard}")
}

/// Reads a position, then each key and its value; the text of a list is `["a", "b"]`.
fn copy(parts: &[BytesFrame]) -> Result<ReplicaCopy, RequestError> {
    let string = |part: &BytesFrame| match part {
        BytesFrame::BulkString(bytes) => Ok(String::from_utf8_lossy(bytes).into_owned()),
        other => Err(unexpected(other)),
    };
    let value = |part: &BytesFrame| match part {
        BytesFrame::Array(elements) => {
            elements.iter().map(string).collect::<Result<Vec<_>, _>>().map(|list| format!("{list:?}"))
        }
        other => string(other),
    };
    let (position, pairs) = match parts.split_first() {
        Some((position, pairs)) => (string(position)?, pairs.as_chunks::<2>().0),
        None => (String::new(), &[][..]),
    };
    let values = pairs.iter().map(|[key, held]| Ok((string(key)?, value(held)?)));
    Ok(ReplicaCopy { position, values: values.collect::<Result<_, _>>()?, ..ReplicaCopy::default() })
}

async fn info(connection: &mut RespConnection, deadline: Instant) -> Result<String, RequestError> {
    match connection.call(&[b"INFO"], deadline).await? {
        BytesFrame::BulkString(text) => Ok(String::from_utf8_lossy(&text).into_owned()),
        BytesFrame::Error(error) => Err(error_reply(&error)),
        other => Err(unexpected(&other)),
    }
}

/// Parses `INFO`'s lines of the form `key:value`. A line that is missing or has an unknown value leaves its
/// field unknown.
fn parse(info: &str) -> NodeStatus {
    let mut status = NodeStatus::default();
    for (key, value) in info.lines().filter_map(|line| line.split_once(':')) {
        match (key, value) {
            ("role", "leader" | "primary") => status.role = Role::Leader,
            ("role", "follower" | "replica") => status.role = Role::Follower,
            ("role", "candidate") => status.role = Role::Candidate,
            ("leader", name) if !name.is_empty() => status.leader = Some(NodeId::new(name)),
            ("term" | "epoch", number) => status.term = number.parse().ok(),
            ("shard_leaders", leaders) => {
                let named = leaders.split(',').filter_map(|leader| leader.split_once('='));
                let others = named.filter(|(shard, leader)| *shard != "0" && !leader.is_empty());
                status.roles =
                    others.map(|(shard, leader)| (leader_of(shard), NodeId::new(leader))).collect();
            }
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
    fn info_names_the_leaders_of_other_shards() {
        let roles = parse("shard_leaders:0=n1,1=n3,2=\r\n").roles;
        assert_eq!(roles, [("shard-1".to_owned(), NodeId::new("n3"))].into());
    }

    #[test]
    fn contents_are_strings_and_lists() {
        let text = |text: &'static str| BytesFrame::BulkString(text.into());
        let list = |elements: &[&'static str]| {
            BytesFrame::Array(elements.iter().map(|&element| text(element)).collect())
        };
        let read = copy(&[text("7"), text("k"), text("v"), text("l"), list(&["a", "b, c"])]).unwrap();
        assert_eq!(read.position, "7");
        let values = [("k", "v"), ("l", r#"["a", "b, c"]"#)].map(|(key, value)| (key.into(), value.into()));
        assert_eq!(read.values, values.into());
        assert_eq!(copy(&[]).unwrap(), ReplicaCopy::default());
        assert!(
            copy(&[list(&["a"])]).is_err() && copy(&[text("7"), text("k"), BytesFrame::Integer(1)]).is_err()
        );
    }

    #[test]
    fn what_info_does_not_say_is_unknown() {
        let nothing = NodeStatus::default();
        assert_eq!(parse("role:observer\r\nleader:\r\nterm:\r\nnonsense\r\n"), nothing);
        assert_eq!(parse(""), nothing);
    }
}
