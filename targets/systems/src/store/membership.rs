//! The members of the store's mode `raft`, by `RAFT.NODE`.

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use duress_arena::ProcessSpec;
use duress_history::NodeId;
use duress_history::nemesis::{Comeback, ListedMember};
use redis_protocol::resp2::types::BytesFrame;
use tokio::time::Instant;

use crate::deployment::{Deployment, LaunchError, NotReady};
use crate::membership::Membership;
use crate::outcome::RequestError;
use crate::place::Place;
use crate::resp::RespConnection;
use crate::store::StoreCluster;
use crate::store::session::{error_reply, unexpected};
use crate::topology::NodeFiles;

#[async_trait]
impl Membership for StoreCluster {
    fn comeback(&self) -> Comeback {
        Comeback::Running
    }

    fn joining(
        &self,
        node: &NodeId,
        files: &NodeFiles,
        _: &[ListedMember],
    ) -> Result<ProcessSpec, LaunchError> {
        let mut spec = self.process(node, files)?;
        spec.args.push("--join".into());
        Ok(spec)
    }

    async fn members(
        &self,
        via: &NodeId,
        from: &dyn Place,
        deadline: Duration,
    ) -> Result<Vec<ListedMember>, NotReady> {
        self.ask_about_members(&[b"LIST"], via, from, deadline).await
    }

    async fn remove(
        &self,
        node: &NodeId,
        via: &NodeId,
        from: &dyn Place,
        deadline: Duration,
    ) -> Result<(), NotReady> {
        let words: &[&[u8]] = &[b"REMOVE", node.as_str().as_bytes()];
        self.ask_about_members(words, via, from, deadline).await.map(drop)
    }

    async fn add(
        &self,
        node: &NodeId,
        via: &NodeId,
        from: &dyn Place,
        deadline: Duration,
    ) -> Result<(), NotReady> {
        let words: &[&[u8]] = &[b"ADD", node.as_str().as_bytes()];
        self.ask_about_members(words, via, from, deadline).await.map(drop)
    }
}

impl StoreCluster {
    async fn ask_about_members(
        &self,
        words: &[&[u8]],
        via: &NodeId,
        from: &dyn Place,
        deadline: Duration,
    ) -> Result<Vec<ListedMember>, NotReady> {
        let (to, deadline) = (self.address(via)?, Instant::now() + deadline);
        let listed = ask(from, to, words, deadline).await;
        listed.map_err(|failure| NotReady::because(via, "RAFT.NODE", failure))
    }
}

async fn ask(
    from: &dyn Place,
    to: SocketAddr,
    words: &[&[u8]],
    deadline: Instant,
) -> Result<Vec<ListedMember>, RequestError> {
    let mut connection = RespConnection::open(from, to, deadline).await?;
    let command: Vec<&[u8]> = [&b"RAFT.NODE"[..]].iter().chain(words).copied().collect();
    match connection.call(&command, deadline).await? {
        BytesFrame::Array(members) => members.iter().map(member).collect(),
        BytesFrame::Error(error) => Err(error_reply(&error)),
        other => Err(unexpected(&other)),
    }
}

/// Reads a name, `voter` or `learner`, and a number; a position follows.
fn member(frame: &BytesFrame) -> Result<ListedMember, RequestError> {
    let BytesFrame::Array(parts) = frame else { return Err(unexpected(frame)) };
    let [BytesFrame::BulkString(name), BytesFrame::BulkString(part), BytesFrame::Integer(number), ..] =
        &parts[..]
    else {
        return Err(unexpected(frame));
    };
    Ok(ListedMember {
        node: NodeId::new(String::from_utf8_lossy(name)),
        identity: number.to_string(),
        votes: **part == *b"voter",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_has_a_name_a_part_and_a_number() {
        let text = |text: &'static str| BytesFrame::BulkString(text.into());
        let listed = |part, number| {
            member(&BytesFrame::Array(vec![
                text("n3"),
                text(part),
                BytesFrame::Integer(number),
                BytesFrame::Integer(7),
            ]))
        };
        let member = |votes, identity: &str| ListedMember {
            node: NodeId::new("n3"),
            identity: identity.to_owned(),
            votes,
        };
        assert_eq!(listed("voter", 2).unwrap(), member(true, "2"));
        assert_eq!(listed("learner", 2050).unwrap(), member(false, "2050"));
        assert!(super::member(&text("n3")).is_err());
    }
}
