//! What a broker says of its cluster and of itself.

use std::net::SocketAddr;

use duress_history::NodeId;
use tokio::time::Instant;

use crate::connect::Connect;
use crate::kafka::{Metadata, metadata};
use crate::outcome::{CauseKind, RequestError};
use crate::system::{NodeStatus, Role};
use crate::topology::Topology;

/// Whether the broker at `to` takes part: it knows of a controller, which knows of it.
///
/// # Errors
/// A [`RequestError`] when it does not, by `deadline`.
pub(super) async fn ready(from: &dyn Connect, to: SocketAddr, deadline: Instant) -> Result<(), RequestError> {
    let metadata = metadata(from, to, deadline).await?;
    let missing = if metadata.controller.is_none() {
        "it knows of no controller"
    } else if !metadata.brokers.values().any(|address| *address == to) {
        "it is not registered yet"
    } else {
        return Ok(());
    };
    Err(RequestError::definite(CauseKind::NoLeader, missing))
}

/// Asks the broker at `to` who leads.
///
/// # Errors
/// A [`RequestError`], by `deadline`.
pub(super) async fn ask(
    from: &dyn Connect,
    to: SocketAddr,
    topology: &Topology,
    deadline: Instant,
) -> Result<NodeStatus, RequestError> {
    let metadata = metadata(from, to, deadline).await?;
    Ok(status(&metadata, to, topology))
}

fn status(metadata: &Metadata, to: SocketAddr, topology: &Topology) -> NodeStatus {
    let (leader, term) = match metadata.first_partition {
        Some(partition) => (partition.leader, u64::try_from(partition.epoch).ok()),
        None => (metadata.controller, None),
    };
    let leader = leader.and_then(|id| metadata.brokers.get(&id));
    let name = |address: &SocketAddr| -> Option<NodeId> {
        let node = topology.nodes.iter().find(|node| address.ip() == node.address)?;
        Some(node.name.clone())
    };
    NodeStatus {
        role: match leader {
            Some(leader) if *leader == to => Role::Leader,
            Some(_) => Role::Follower,
            None => Role::Unknown,
        },
        leader: leader.and_then(name),
        term,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::kafka::Leadership;
    use crate::topology::Node;

    use super::*;

    fn topology() -> Topology {
        let nodes = ["n1", "n2"].into_iter().zip(1..).map(|(name, number)| Node {
            name: NodeId::new(name),
            address: [127, 0, 0, number].into(),
            data: "data".into(),
            stdout: "out".into(),
            stderr: "err".into(),
        });
        Topology { nodes: nodes.collect(), executable: "duress".into() }
    }

    fn metadata(first_partition: Option<Leadership>) -> Metadata {
        let brokers = (1..=2).map(|number| (number, SocketAddr::from(([127, 0, 0, number as u8], 9092))));
        Metadata { brokers: brokers.collect::<BTreeMap<_, _>>(), controller: Some(1), first_partition }
    }

    #[test]
    fn the_leader_of_the_first_partition_is_the_leader() {
        let metadata = metadata(Some(Leadership { leader: Some(2), epoch: 7 }));
        let leader = Some(NodeId::new("n2"));
        assert_eq!(
            status(&metadata, metadata.brokers[&2], &topology()),
            NodeStatus { role: Role::Leader, leader: leader.clone(), term: Some(7) }
        );
        assert_eq!(
            status(&metadata, metadata.brokers[&1], &topology()),
            NodeStatus { role: Role::Follower, leader, term: Some(7) }
        );
    }

    #[test]
    fn without_a_topic_it_is_the_controller_and_without_a_leader_nobody() {
        let none = metadata(None);
        let status_of = |metadata: &Metadata| status(metadata, metadata.brokers[&1], &topology());
        assert_eq!(status_of(&none).leader, Some(NodeId::new("n1")));
        let leaderless = metadata(Some(Leadership { leader: None, epoch: 3 }));
        assert_eq!(status_of(&leaderless), NodeStatus { role: Role::Unknown, leader: None, term: Some(3) });
    }
}
