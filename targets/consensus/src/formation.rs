//! How pristine nodes become a cluster.
//!
//! The membership is fixed, so every node would write the same first entry and openraft allows any number of them to;
//! but each node that does also starts an election at once, and five candidates of the same term split the
//! vote. So
//! the first reachable node forms the cluster, once it reaches a majority; the others wait to be contacted. Nodes are
//! counted from one that the setup names.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use openraft::error::{InitializeError, RaftError};
use openraft::{BasicNode, Raft};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::message::{Formation, Request, Response};
use crate::name::NodeName;
use crate::network::Links;
use crate::peer::payload::{decode_for_consensus, encode_for_consensus};
use crate::types::{Fatal, TypeConfig};

const ASK_EVERY: Duration = Duration::from_millis(20);
const ANSWER_MAX: Duration = Duration::from_millis(200);

/// Returns when this node is part of a cluster, forming it if that falls to this node.
///
/// `members` are all nodes in order; `node` is this one's place among them, and `first` that of the node that comes first.
///
/// # Errors
/// The consensus has stopped.
pub(crate) async fn form(
    raft: &Raft<TypeConfig>,
    node: u64,
    first: u64,
    members: &[NodeName],
    links: &Links,
) -> Result<(), Fatal> {
    let size = members.len() as u64;
    let turn = |number: u64| (number + size - first % size) % size;
    let mut ask = interval(ASK_EVERY);
    ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ask.tick().await;
        if raft.is_initialized().await? {
            return Ok(());
        }
        let peers = ask_peers(links).await;
        let majority = peers.len() + 1 > members.len() / 2;
        let someone_has_formed = peers.values().any(|formation| *formation == Formation::Formed);
        let is_first = peers.keys().all(|peer| turn(node) < turn(*peer));
        if !majority || someone_has_formed || !is_first {
            continue;
        }
        let nodes: BTreeMap<u64, BasicNode> =
            (0..).zip(members).map(|(number, name)| (number, BasicNode::new(name))).collect();
        return match raft.initialize(nodes).await {
            Ok(()) => {
                tracing::info!(members = members.len(), "cluster formed");
                Ok(())
            }
            // Another node was faster.
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(RaftError::APIError(InitializeError::NotInMembers(error))) => {
                unreachable!("a node is one of its own members: {error}")
            }
            Err(RaftError::Fatal(fatal)) => Err(fatal),
        };
    }
}

async fn ask_peers(links: &Links) -> BTreeMap<u64, Formation> {
    let deadline = Instant::now() + ANSWER_MAX;
    let question = encode_for_consensus(&Request::Formation);
    let answers = links.iter().map(|(number, link)| {
        let question = question.clone();
        async move {
            let payload = link.call(question, deadline).await.ok()?;
            match decode_for_consensus(&payload)? {
                Response::Formation(formation) => Some((*number, formation)),
                _ => None,
            }
        }
    });
    join_all(answers).await.into_iter().flatten().collect()
}
