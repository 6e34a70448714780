//! The members of a cluster of etcd.
//!
//! | request | gateway |
//! |---|---|
//! | list | `/v3/kv/deleterange` of a key that is not there, which passes through the log and changes nothing; then `/v3/cluster/member/list`, which the node answers from what it has applied, and that is at least this far |
//! | remove | list, then `/v3/cluster/member/remove` |
//! | add | list, then `/v3/cluster/member/add`, with a vote: of members without one, etcd has one at a time |
//!
//! A member is known by the URL of its peers: it has no name before its first start.

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use duress_arena::ProcessSpec;
use duress_history::NodeId;
use duress_history::nemesis::{Comeback, ListedMember};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::answer::{self, Change};
use super::launch::{self, peer_url};
use super::status::{Member, Members, PROBE_KEY};
use super::{EtcdCluster, client_address};
use crate::deployment::{LaunchError, NotReady};
use crate::http::HttpConnection;
use crate::membership::Membership;
use crate::outcome::RequestError;
use crate::place::Place;
use crate::topology::{NodeFiles, Topology};

#[async_trait]
impl Membership for EtcdCluster {
    fn comeback(&self) -> Comeback {
        Comeback::Anew
    }

    fn joining(
        &self,
        node: &NodeId,
        files: &NodeFiles,
        listed: &[ListedMember],
    ) -> Result<ProcessSpec, LaunchError> {
        let cluster = launch::Cluster::Existing(listed);
        Ok(launch::process(self.program()?, &self.topology, cluster, self.topology.node(node)?, files))
    }

    async fn members(
        &self,
        via: &NodeId,
        from: &dyn Place,
        deadline: Duration,
    ) -> Result<Vec<ListedMember>, NotReady> {
        let (to, deadline) = (client_address(&self.topology, via)?, Instant::now() + deadline);
        let listed = async {
            let members = Gateway::open(from, to, deadline).await?.members().await?;
            Ok(listed(&members, &self.topology))
        };
        listed.await.map_err(|failure| NotReady::because(via, "listing the members", failure))
    }

    async fn remove(
        &self,
        node: &NodeId,
        via: &NodeId,
        from: &dyn Place,
        deadline: Duration,
    ) -> Result<(), NotReady> {
        let (to, deadline) = (client_address(&self.topology, via)?, Instant::now() + deadline);
        let url = peer_url(self.topology.node(node)?);
        let removed = async { Gateway::open(from, to, deadline).await?.remove(&url).await };
        removed.await.map_err(|failure| NotReady::because(via, "removing a member", failure))
    }

    async fn add(
        &self,
        node: &NodeId,
        via: &NodeId,
        from: &dyn Place,
        deadline: Duration,
    ) -> Result<(), NotReady> {
        let (to, deadline) = (client_address(&self.topology, via)?, Instant::now() + deadline);
        let url = peer_url(self.topology.node(node)?);
        let added = async { Gateway::open(from, to, deadline).await?.add(&url).await };
        added.await.map_err(|failure| NotReady::because(via, "adding a member", failure))
    }
}

/// A connection for the requests of an administrator.
struct Gateway {
    connection: HttpConnection,
    deadline: Instant,
}

impl Gateway {
    async fn open(from: &dyn Place, to: SocketAddr, deadline: Instant) -> Result<Self, RequestError> {
        Ok(Self { connection: HttpConnection::open(from, to, deadline).await?, deadline })
    }

    async fn ask<A: DeserializeOwned>(&mut self, path: &str, body: &Value) -> Result<A, RequestError> {
        let answer = self.connection.post(path, body.to_string().into_bytes(), self.deadline).await?;
        answer::read(&answer)
    }

    /// Returns the members after every change that was agreed on before this request.
    async fn members(&mut self) -> Result<Vec<Member>, RequestError> {
        let nothing = json!({"key": STANDARD.encode(PROBE_KEY)});
        self.ask::<Change>("/v3/kv/deleterange", &nothing).await?;
        Ok(self.ask::<Members>("/v3/cluster/member/list", &json!({})).await?.members)
    }

    /// Returns the member whose peers reach it by `url`.
    async fn member(&mut self, url: &str) -> Result<Option<Member>, RequestError> {
        Ok(self.members().await?.into_iter().find(|member| member.is_at(url)))
    }

    async fn remove(&mut self, url: &str) -> Result<(), RequestError> {
        let Some(member) = self.member(url).await? else { return Ok(()) };
        self.ask::<Change>("/v3/cluster/member/remove", &json!({"ID": member.id})).await.map(drop)
    }

    async fn add(&mut self, url: &str) -> Result<(), RequestError> {
        if self.member(url).await?.is_some() {
            return Ok(());
        }
        self.ask::<Change>("/v3/cluster/member/add", &json!({"peerURLs": [url]})).await.map(drop)
    }
}

/// Returns those `members` that are nodes of `topology`; a stranger is listed under its number.
fn listed(members: &[Member], topology: &Topology) -> Vec<ListedMember> {
    let listed = |member: &Member| {
        let node = topology.nodes.iter().find(|node| member.is_at(&peer_url(node)));
        ListedMember {
            node: node.map_or_else(|| NodeId::new(member.id.as_str()), |node| node.name.clone()),
            identity: member.id.clone(),
            votes: !member.learns,
        }
    };
    members.iter().map(listed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Node;

    #[test]
    fn a_member_that_never_started_is_known_by_its_url_and_has_no_vote() {
        let node =
            |number: u8| Node { name: NodeId::new(format!("n{number}")), address: [10, 0, 0, number].into() };
        let topology = Topology { nodes: [1, 2, 3].map(node).to_vec() };
        let answer = r#"{"members": [
            {"ID": "7", "name": "n1", "peerURLs": ["http://10.0.0.1:2380"]},
            {"ID": "8", "peerURLs": ["http://10.0.0.3:2380"], "isLearner": true}]}"#;
        let members = serde_json::from_str::<Members>(answer).unwrap().members;
        let member = |node: &str, identity: &str, votes| ListedMember {
            node: NodeId::new(node),
            identity: identity.to_owned(),
            votes,
        };
        let listed = listed(&members, &topology);
        assert_eq!(listed, [member("n1", "7", true), member("n3", "8", false)]);

        let files = NodeFiles { data: "/d".into(), stdout: "/o".into(), stderr: "/e".into() };
        let cluster = launch::Cluster::Existing(&listed);
        let joining = launch::process("etcd".into(), &topology, cluster, &topology.nodes[2], &files);
        let has = |flag: &str| joining.args.iter().any(|arg| arg.to_str() == Some(flag));
        assert!(has("--initial-cluster=n1=http://10.0.0.1:2380,n3=http://10.0.0.3:2380"), "{joining:?}");
        assert!(has("--initial-cluster-state=existing"), "{joining:?}");
    }
}
