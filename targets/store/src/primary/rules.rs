//! How many copies a write needs, and what follows from it.

use crate::bug::Bug;
use crate::config::{Ack, Failover};

/// The rules of a cluster.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// All nodes.
    pub nodes: usize,
    /// When a write is acknowledged.
    pub ack: Ack,
    /// Whether replicas are promoted.
    pub failover: Failover,
    /// The seeded bug, if any.
    pub bug: Option<Bug>,
}

/// A replica, as its primary knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copy {
    /// The last write that it has on disk.
    pub offset: u64,
    /// Whether it has asked lately.
    pub in_contact: bool,
}

impl Rules {
    /// The number of nodes that elect a primary, or confirm one, the one included that asks; so many replicas are in contact
    /// with it.
    pub fn majority(self, in_contact: usize) -> usize {
        // A primary that loses its replicas is a majority of those that are left.
        let nodes = if self.bug == Some(Bug::TwoPrimariesAfterPause) { 1 + in_contact } else { self.nodes };
        nodes / 2 + 1
    }

    /// The number of nodes that have an acknowledged write on disk, at least.
    fn copies(self) -> usize {
        match (self.ack, self.failover) {
            (Ack::Async, _) | (Ack::Sync, Failover::Off) => 1,
            (Ack::Semi, _) => 2.min(self.nodes),
            (Ack::Sync, Failover::Auto) => self.nodes / 2 + 1,
        }
    }

    /// Whether primaries come and go, and no acknowledged write is lost by that: of every majority that elects a primary, some
    /// node has it.
    pub fn survives_failover(self) -> bool {
        self.failover == Failover::Auto && self.copies() + self.nodes / 2 + 1 > self.nodes
    }

    /// Returns the offset up to which writes may be acknowledged by a primary that has those up to `own` on disk.
    pub fn settled(self, own: u64, replicas: &[Copy]) -> u64 {
        let mut offsets: Vec<u64> = replicas.iter().map(|copy| copy.offset).collect();
        offsets.sort_unstable_by(|one, other| other.cmp(one));
        let at_least = |others: usize| match others.checked_sub(1) {
            Some(place) => offsets.get(place).copied().unwrap_or(0),
            None => own,
        };
        let settled = match self.ack {
            Ack::Async => own,
            Ack::Semi => at_least(self.copies() - 1),
            Ack::Sync => {
                let in_contact = || replicas.iter().filter(|copy| copy.in_contact);
                let slowest = in_contact().map(|copy| copy.offset).min().unwrap_or(own);
                let others = match self.failover {
                    Failover::Off => 0,
                    Failover::Auto => self.majority(in_contact().count()) - 1,
                };
                slowest.min(at_least(others))
            }
        };
        settled.min(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(nodes: usize, ack: Ack, failover: Failover) -> Rules {
        Rules { nodes, ack, failover, bug: None }
    }

    fn copies(seen: &[(u64, bool)]) -> Vec<Copy> {
        seen.iter().map(|(offset, in_contact)| Copy { offset: *offset, in_contact: *in_contact }).collect()
    }

    #[test]
    fn acknowledgement_and_election_must_share_a_node() {
        let survives = |ack| [1, 2, 3, 4, 5].map(|n| rules(n, ack, Failover::Auto).survives_failover());
        assert_eq!(survives(Ack::Async), [true, true, false, false, false], "two nodes are one majority");
        assert_eq!(survives(Ack::Semi), [true, true, true, true, false]);
        assert_eq!(survives(Ack::Sync), [true; 5]);
        assert!(!rules(3, Ack::Sync, Failover::Off).survives_failover(), "there is none");
    }

    #[test]
    fn a_write_is_settled_by_the_replicas_that_its_acknowledgement_needs() {
        use Ack::{Async, Semi, Sync};
        use Failover::{Auto, Off};
        let five = &[(7, true), (4, true), (9, false), (2, false)];
        for (ack, failover, replicas, settled) in [
            (Async, Off, &five[..], 8),
            (Semi, Off, &five[..], 8),
            (Semi, Off, &[(3, true), (5, false)], 5),
            (Sync, Off, five, 4),
            (Sync, Off, &[(2, false), (3, false)], 8),
            (Sync, Auto, five, 4),
            (Sync, Auto, &[(7, true), (6, true), (5, true), (2, false)], 5),
            // Two of five are no majority, however many are in contact.
            (Sync, Auto, &[(7, true), (0, false), (0, false), (0, false)], 0),
            (Semi, Off, &[], 8),
            (Sync, Auto, &[], 8),
        ] {
            let rules = rules(replicas.len() + 1, ack, failover);
            assert_eq!(rules.settled(8, &copies(replicas)), settled, "{rules:?} {replicas:?}");
        }
    }

    #[test]
    fn with_the_bug_a_primary_alone_is_a_majority() {
        let bug = Some(Bug::TwoPrimariesAfterPause);
        let rules = Rules { bug, ..rules(3, Ack::Sync, Failover::Auto) };
        assert_eq!(rules.settled(8, &copies(&[(5, false), (6, false)])), 8);
        assert_eq!(rules.settled(8, &copies(&[(5, false), (6, true)])), 6);
    }
}
