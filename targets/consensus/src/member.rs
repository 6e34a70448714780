//! Members of a cluster: their numbers, and what a cluster lists of them.
//!
//! A founder's number is its place among the names of all nodes. A node that joins later with an empty folder draws a
//! number that no member had before, and keeps it: whatever an earlier member of its name had promised, such as a vote,
//! was never its promise. The place of its name is part of the number.

use std::hash::{BuildHasher, Hasher, RandomState};

use serde::{Deserialize, Serialize};

use crate::name::NodeName;

/// The most names that a cluster has: the distance between two numbers of one name.
const PLACES: u64 = 1 << 10;

/// How a node whose folder is empty begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// It forms the cluster with the others.
    Founds,
    /// It waits until an administrator adds it to a cluster.
    Joins,
}

/// Returns the place, among the names of all nodes, of the node that is the member `number`.
pub fn place_of(number: u64) -> u64 {
    number % PLACES
}

/// Draws the number of a node at `place` that joins.
pub(crate) fn draw(place: u64) -> u64 {
    // The standard library's only source of chance.
    let drawn = RandomState::new().build_hasher().finish() >> 32;
    place + PLACES * (1 + drawn)
}

/// A member, as the leader lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The node's name.
    pub name: NodeName,
    /// The member's number.
    pub number: u64,
    /// Whether it counts for quorums.
    pub part: Part,
    /// The last index of the log that the leader knows it to have; 0 if none is known.
    pub position: u64,
}

/// The part of a member in the consensus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// It counts for quorums.
    Voter,
    /// It gets the log, and becomes a voter once it has all of it.
    Learner,
}

/// Why the members were not changed, or were perhaps changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// This node does not lead.
    #[error("this node is not the leader")]
    NotLeader,
    /// Another change is under way, or the present members are not committed yet.
    #[error("another change of the members is under way: ask again")]
    UnderWay,
    /// The node does not say who it is.
    #[error("{0} does not answer: start it first")]
    Unreachable(NodeName),
    /// A member of that name has other data.
    #[error("{0} is a member and has lost its data since: remove it first")]
    OtherData(NodeName),
    /// No member would be left.
    #[error("{0} is the last voter")]
    LastVoter(NodeName),
    /// The leadership or the consensus ended meanwhile: the change may be made, or may be later.
    #[error("the leader changed meanwhile")]
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_drawn_is_new_and_tells_the_place() {
        let drawn = [draw(3), draw(3)];
        assert!(drawn.iter().all(|number| place_of(*number) == 3 && *number >= PLACES), "{drawn:?}");
        assert_ne!(drawn[0], drawn[1]);
        assert_eq!(place_of(3), 3, "a founder's number is its place");
    }
}
