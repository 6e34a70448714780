//! The latest status of each node and the leader derived from it, by which faults find their nodes.

use std::collections::BTreeMap;

use duress_history::NodeId;
use duress_nemesis::{Role as FaultRole, RoleMap};
use duress_targets::{NodeStatus, Role};
use tokio::sync::watch;

/// A change of the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The new leader.
    pub node: NodeId,
    /// The previous leader, if there was one.
    pub before: Option<NodeId>,
    /// The term, epoch or view in which the new one leads, if reported.
    pub term: Option<u64>,
}

/// The latest status of each node. A node that did not answer the last request has none.
#[derive(Debug)]
pub struct Sightings {
    said: BTreeMap<NodeId, NodeStatus>,
    /// The last observed leader, and its term.
    leader: Option<(NodeId, u64)>,
    /// The previous leader.
    before: Option<NodeId>,
    changes: watch::Sender<Option<Change>>,
}

impl Default for Sightings {
    fn default() -> Self {
        Self { said: BTreeMap::new(), leader: None, before: None, changes: watch::channel(None).0 }
    }
}

impl Sightings {
    /// Records the `status` of `node`, or its silence. Returns the change of the leader, if there is one.
    pub fn saw(&mut self, node: &NodeId, status: Option<&NodeStatus>) -> Option<Change> {
        match status {
            Some(status) => _ = self.said.insert(node.clone(), status.clone()),
            None => _ = self.said.remove(node),
        }
        let (leader, term) = self.claimed()?;
        // Nodes that have not heard of the new leader yet still name the previous one.
        let older = self.leader.as_ref().is_some_and(|(_, known)| term < *known);
        let same = self.leader.as_ref().is_some_and(|(known, _)| *known == leader);
        if older {
            return None;
        }
        let before = self.leader.replace((leader.clone(), term)).map(|(before, _)| before);
        if same {
            return None;
        }
        self.before.clone_from(&before);
        let term = Some(term).filter(|term| *term > 0);
        let change = Change { node: leader, before, term };
        self.changes.send_replace(Some(change.clone()));
        Some(change)
    }

    /// Returns the node that claims to lead, or that another node names, in the highest term. A node's own
    /// claim takes precedence.
    fn claimed(&self) -> Option<(NodeId, u64)> {
        let claims = self.said.iter().filter_map(|(node, status)| {
            let itself = status.role == Role::Leader;
            let claimed = if itself { Some(node) } else { status.leader.as_ref() };
            Some((status.term.unwrap_or(0), itself, claimed?))
        });
        claims.max_by_key(|(term, itself, _)| (*term, *itself)).map(|(term, _, node)| (node.clone(), term))
    }

    /// Returns the present roles of the nodes.
    #[must_use]
    pub fn roles(&self) -> RoleMap {
        let mut roles = RoleMap::default();
        let led = [
            (FaultRole::LEADER, self.leader.as_ref().map(|(node, _)| node)),
            (FaultRole::OLD_LEADER, self.before.as_ref()),
        ];
        for (role, node) in led {
            if let Some(node) = node {
                roles.give(FaultRole::new(role), node.clone());
            }
        }
        // If several nodes claim to lead a partition, the latest epoch decides.
        let mut partitions: BTreeMap<&str, (u64, &NodeId)> = BTreeMap::new();
        let mut named: BTreeMap<&str, BTreeMap<&NodeId, usize>> = BTreeMap::new();
        for (node, status) in &self.said {
            for led in &status.leads {
                let epoch = led.epoch.unwrap_or(0);
                let known = partitions.entry(&led.partition).or_insert((epoch, node));
                *known = (*known).max((epoch, node));
            }
            for (role, holder) in &status.roles {
                *named.entry(role).or_default().entry(holder).or_default() += 1;
            }
        }
        for (partition, (_, node)) in partitions {
            roles.give(FaultRole::new(partition), node.clone());
        }
        // A role without an epoch belongs to the node named most often.
        for (role, holders) in named {
            if let Some((holder, _)) = holders.into_iter().max_by_key(|(_, count)| *count) {
                roles.give(FaultRole::new(role), holder.clone());
            }
        }
        roles
    }

    /// Returns a receiver of later changes of the leader.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Option<Change>> {
        self.changes.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeId {
        NodeId::new(name)
    }

    fn status(role: Role, leader: &str, term: u64) -> NodeStatus {
        NodeStatus { role, leader: Some(node(leader)), term: Some(term), ..NodeStatus::default() }
    }

    fn led(roles: &RoleMap, role: &str) -> Option<String> {
        roles.of(&FaultRole::new(role)).first().map(NodeId::to_string)
    }

    #[test]
    fn a_leader_is_the_one_of_the_highest_term() {
        let mut sightings = Sightings::default();
        let first = sightings.saw(&node("n1"), Some(&status(Role::Leader, "n1", 3)));
        assert_eq!(first, Some(Change { node: node("n1"), before: None, term: Some(3) }));
        assert_eq!(sightings.saw(&node("n2"), Some(&status(Role::Follower, "n1", 3))), None);
        // The leader is killed. The others still name it until one of them leads.
        assert_eq!(sightings.saw(&node("n1"), None), None);
        assert_eq!(led(&sightings.roles(), "leader").as_deref(), Some("n1"));
        let next = sightings.saw(&node("n3"), Some(&status(Role::Leader, "n3", 4)));
        assert_eq!(next, Some(Change { node: node("n3"), before: Some(node("n1")), term: Some(4) }));
        // The old leader wakes, and still believes that it leads.
        assert_eq!(sightings.saw(&node("n1"), Some(&status(Role::Leader, "n1", 3))), None);
        assert_eq!(led(&sightings.roles(), "leader").as_deref(), Some("n3"));
        assert_eq!(led(&sightings.roles(), "old-leader").as_deref(), Some("n1"));
        // Silence of the new leader is not a change either, even if only the old leader claims to lead.
        assert_eq!(sightings.saw(&node("n3"), None), None);
        assert_eq!(led(&sightings.roles(), "leader").as_deref(), Some("n3"));
    }

    #[test]
    fn the_same_node_in_a_later_term_is_no_change() {
        let mut sightings = Sightings::default();
        sightings.saw(&node("n1"), Some(&status(Role::Leader, "n1", 3)));
        assert_eq!(sightings.saw(&node("n1"), Some(&status(Role::Leader, "n1", 5))), None);
        assert_eq!(
            sightings.saw(&node("n2"), Some(&status(Role::Leader, "n2", 4))),
            None,
            "of an older term"
        );
    }

    #[test]
    fn roles_are_those_that_most_nodes_name_and_partitions_have_epochs() {
        let mut sightings = Sightings::default();
        let of = |controller: &str, epoch| NodeStatus {
            roles: BTreeMap::from([("controller".to_owned(), node(controller))]),
            leads: vec![duress_targets::LedPartition {
                partition: "log-0".to_owned(),
                epoch: Some(epoch),
                replicas: 3,
                in_sync: Default::default(),
            }],
            ..NodeStatus::default()
        };
        sightings.saw(&node("n1"), Some(&of("n1", 4)));
        sightings.saw(&node("n2"), Some(&of("n3", 7)));
        sightings.saw(&node("n3"), Some(&of("n3", 5)));
        let roles = sightings.roles();
        assert_eq!(led(&roles, "controller").as_deref(), Some("n3"));
        assert_eq!(led(&roles, "log-0").as_deref(), Some("n2"));
    }
}
