//! What a broker says of its cluster and of itself.

use std::net::SocketAddr;

use duress_history::NodeId;
use tokio::time::Instant;

use crate::deployment::{LedPartition, NodeStatus, Role};
use crate::kafka::{Metadata, Partition, copies, metadata};
use crate::outcome::{CauseKind, RequestError};
use crate::place::Place;
use crate::replica::ReplicaCopy;
use crate::topology::Topology;

/// Whether the broker at `to` takes part: it knows of a controller, which knows of it.
///
/// # Errors
/// A [`RequestError`] when it does not, by `deadline`.
pub(super) async fn ready(from: &dyn Place, to: SocketAddr, deadline: Instant) -> Result<(), RequestError> {
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

/// The copies that the broker at `to` holds.
///
/// # Errors
/// A [`RequestError`], by `deadline`.
pub(super) async fn held(
    from: &dyn Place,
    to: SocketAddr,
    deadline: Instant,
) -> Result<Vec<ReplicaCopy>, RequestError> {
    let partitions: Vec<Partition> = metadata(from, to, deadline).await?.partitions.into_keys().collect();
    copies(from, to, &partitions, deadline).await
}

/// Asks the broker at `to` who leads.
///
/// # Errors
/// A [`RequestError`], by `deadline`.
pub(super) async fn ask(
    from: &dyn Place,
    to: SocketAddr,
    topology: &Topology,
    deadline: Instant,
) -> Result<NodeStatus, RequestError> {
    let metadata = metadata(from, to, deadline).await?;
    Ok(status(&metadata, to, topology))
}

fn status(metadata: &Metadata, to: SocketAddr, topology: &Topology) -> NodeStatus {
    // Topics begin with their partition 0.
    let (leader, term) = match metadata.partitions.values().next() {
        Some(first) => (first.leadership.leader, u64::try_from(first.leadership.epoch).ok()),
        None => (metadata.controller, None),
    };
    let address = |id: i32| metadata.brokers.get(&id);
    let name = |address: &SocketAddr| -> Option<NodeId> {
        let node = topology.nodes.iter().find(|node| address.ip() == node.address)?;
        Some(node.name.clone())
    };
    let is_led_here = |leader: Option<i32>| leader.and_then(address) == Some(&to);
    let led_here = metadata.partitions.iter().filter(|(_, replicas)| is_led_here(replicas.leadership.leader));
    let leads = led_here.map(|(partition, replicas)| LedPartition {
        partition: partition.to_string(),
        epoch: u64::try_from(replicas.leadership.epoch).ok(),
        replicas: replicas.count,
        in_sync: replicas.in_sync.iter().filter_map(|id| name(address(*id)?)).collect(),
    });
    let leader = leader.and_then(address);
    NodeStatus {
        role: match leader {
            Some(leader) if *leader == to => Role::Leader,
            Some(_) => Role::Follower,
            None => Role::Unknown,
        },
        leader: leader.and_then(name),
        term,
        leads: leads.collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use crate::kafka::{Leadership, Replicas};
    use crate::topology::Node;

    use super::*;

    fn topology() -> Topology {
        let nodes = ["n1", "n2"]
            .into_iter()
            .zip(1..)
            .map(|(name, number)| Node { name: NodeId::new(name), address: [127, 0, 0, number].into() });
        Topology { nodes: nodes.collect() }
    }

    /// A cluster of two brokers, in which broker 1 is the controller; the first of `partitions` is partition 0.
    fn metadata(partitions: &[Leadership]) -> Metadata {
        let brokers = (1..=2).map(|number| (number, SocketAddr::from(([127, 0, 0, number as u8], 9092))));
        let partitions = (0..).zip(partitions).map(|(index, leadership)| {
            let in_sync = BTreeSet::from_iter(leadership.leader.into_iter().chain([2]));
            let replicas = Replicas { leadership: *leadership, count: 2, in_sync };
            (Partition { topic: "a".into(), index }, replicas)
        });
        Metadata {
            brokers: brokers.collect::<BTreeMap<_, _>>(),
            controller: Some(1),
            partitions: partitions.collect(),
        }
    }

    #[test]
    fn the_leader_of_the_first_partition_is_the_leader() {
        let metadata =
            metadata(&[Leadership { leader: Some(2), epoch: 7 }, Leadership { leader: Some(1), epoch: 3 }]);
        let [n1, n2] = ["n1", "n2"].map(NodeId::new);
        let led = |partition: &str, epoch, in_sync: &[&NodeId]| LedPartition {
            partition: partition.to_owned(),
            epoch: Some(epoch),
            replicas: 2,
            in_sync: in_sync.iter().copied().cloned().collect(),
        };
        assert_eq!(
            status(&metadata, metadata.brokers[&2], &topology()),
            NodeStatus {
                role: Role::Leader,
                leader: Some(n2.clone()),
                term: Some(7),
                leads: vec![led("a-0", 7, &[&n2])],
            }
        );
        assert_eq!(
            status(&metadata, metadata.brokers[&1], &topology()),
            NodeStatus {
                role: Role::Follower,
                leader: Some(n2.clone()),
                term: Some(7),
                leads: vec![led("a-1", 3, &[&n1, &n2])],
            }
        );
    }

    #[test]
    fn without_a_topic_it_is_the_controller_and_without_a_leader_nobody() {
        let none = metadata(&[]);
        let status_of = |metadata: &Metadata| status(metadata, metadata.brokers[&1], &topology());
        assert_eq!(status_of(&none).leader, Some(NodeId::new("n1")));
        let leaderless = metadata(&[Leadership { leader: None, epoch: 3 }]);
        assert_eq!(status_of(&leaderless), NodeStatus { term: Some(3), ..NodeStatus::default() });
    }
}
