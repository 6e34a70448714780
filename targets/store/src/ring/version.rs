//! Versions of keys, none of which is given out twice.
//!
//! A version is a counter, and then what makes it the only one of its kind: the node that gave it out, which of the node's
//! starts this was, and a number within it. The number of starts is on disk before the first version is given out.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::placement::Member;
use super::vector::Actor;

/// The version of a key. The greater one wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version {
    /// One more than the highest that the writer saw.
    pub counter: u64,
    /// The node that gave it out.
    pub node: Member,
    /// Which of its starts this was, from 1.
    pub start: u64,
    /// The number of the version within that.
    pub number: u64,
}

/// Gives out the versions of one node.
#[derive(Debug)]
pub struct Versions {
    node: Member,
    start: u64,
    number: AtomicU64,
}

impl Versions {
    /// Returns the versions of a node that has started so many times, durably counted.
    pub fn new(node: Member, start: u64) -> Self {
        Self { node, start, number: AtomicU64::new(0) }
    }

    /// Returns an actor that was never given out before.
    pub fn actor(&self) -> Actor {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        Actor { node: self.node, start: self.start, number }
    }

    /// The bug `actor-reused`: returns the same actor each time, whatever this node has forgotten.
    pub fn node_as_actor(&self) -> Actor {
        Actor { node: self.node, start: 0, number: 0 }
    }

    /// Returns a version greater than `seen`, which was never given out before.
    pub fn after(&self, seen: Option<Version>) -> Version {
        self.at(seen.map_or(0, |seen| seen.counter) + 1)
    }

    /// Returns a version with this counter, which was never given out before.
    pub fn at(&self, counter: u64) -> Version {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        Version { counter, node: self.node, start: self.start, number }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_above_the_one_seen_and_is_given_out_once() {
        let versions = Versions::new(Member(1), 1);
        let seen = Versions::new(Member(4), 9).at(7);
        let (one, other) = (versions.after(Some(seen)), versions.after(Some(seen)));
        assert!(one > seen && other > seen && one != other);
        assert_ne!(versions.after(None), Versions::new(Member(1), 2).after(None), "after a restart");
        assert_ne!(versions.after(None), Versions::new(Member(2), 1).after(None), "by another node");
    }
}
