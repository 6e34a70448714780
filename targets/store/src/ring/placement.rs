//! The owners of a key: consistent hashing with virtual nodes.
//!
//! Karger and others, "Consistent hashing and random trees" (STOC 1997). Each node has several points on a ring of 64-bit
//! hashes. The owners of a key are the first distinct nodes at or after the key's place, clockwise. A node that joins takes
//! over only what lies before its own points.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::config::NodeName;

/// A node, by its place among the names of all nodes in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Member(pub u16);

/// The ring. Equal on all nodes that have the same names and options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ring {
    /// The points in order, each with all members in the order in which they follow.
    points: Vec<(u64, Vec<Member>)>,
    copies: usize,
}

impl Ring {
    /// Places `members`, which are in order, at `vnodes` points each; a key has `copies` owners, or as many as there are
    /// members.
    pub fn new(members: &[NodeName], vnodes: u64, copies: usize) -> Self {
        let of = |(at, name): (u16, &NodeName)| {
            let name = name.as_str().to_owned();
            (0..vnodes).map(move |point| (place(format!("{name}/{point}").as_bytes()), Member(at)))
        };
        let mut places: Vec<(u64, Member)> = (0..).zip(members).flat_map(of).collect();
        places.sort_unstable();
        let follow = |from: usize| {
            let mut order: Vec<Member> = Vec::with_capacity(members.len());
            for (_, member) in places[from..].iter().chain(&places[..from]) {
                if order.len() == members.len() {
                    break;
                }
                if !order.contains(member) {
                    order.push(*member);
                }
            }
            order
        };
        let points = (0..places.len()).map(|at| (places[at].0, follow(at))).collect();
        Self { points, copies: copies.min(members.len()) }
    }

    /// Returns all members in the order in which they follow on a key's place: its owners, then those that stand in.
    pub fn preference(&self, key: &[u8]) -> &[Member] {
        let at = place(key);
        let next = self.points.partition_point(|(point, _)| *point < at);
        &self.points[if next == self.points.len() { 0 } else { next }].1
    }

    /// Returns the owners of a key, the first of them first.
    pub fn owners(&self, key: &[u8]) -> &[Member] {
        &self.preference(key)[..self.copies]
    }

    /// Returns all sets of owners that some key may have, each in order.
    pub fn owner_sets(&self) -> BTreeSet<Vec<Member>> {
        let set = |(_, members): &(u64, Vec<Member>)| {
            let mut owners = members[..self.copies].to_vec();
            owners.sort_unstable();
            owners
        };
        self.points.iter().map(set).collect()
    }

    /// How many owners a key has.
    pub fn copies(&self) -> usize {
        self.copies
    }
}

/// Returns the place of some bytes on the ring. The same for all programs and versions, unlike the standard library's hashes:
/// FNV-1a, and then the finalizer of MurmurHash3, since the high bits of FNV-1a change little with the last bytes.
pub fn place(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: usize = 20_000;

    fn ring(nodes: usize, vnodes: u64) -> Ring {
        let names: Vec<NodeName> = (1..=nodes).map(|at| format!("n{at}").parse().unwrap()).collect();
        Ring::new(&names, vnodes, 3)
    }

    fn keys() -> impl Iterator<Item = Vec<u8>> {
        (0..KEYS).map(|at| format!("key{at}").into_bytes())
    }

    /// The share of the first owner that has most keys, in times of an equal share.
    fn greatest_share(ring: &Ring, nodes: usize) -> f64 {
        let mut owned = vec![0; nodes];
        keys().for_each(|key| owned[usize::from(ring.owners(&key)[0].0)] += 1);
        f64::from(*owned.iter().max().unwrap()) * nodes as f64 / KEYS as f64
    }

    #[test]
    fn virtual_nodes_balance() {
        let (one, many) = (greatest_share(&ring(5, 1), 5), greatest_share(&ring(5, 64), 5));
        assert!(many < 1.25 && one > 1.5, "{one} with one point each, {many} with 64");
    }

    #[test]
    fn a_sixth_node_takes_its_share_and_nothing_else_moves() {
        let (five, six) = (ring(5, 64), ring(6, 64));
        let mut moved = 0;
        for key in keys() {
            let (before, after) = (five.owners(&key), six.owners(&key));
            if before[0] != after[0] {
                assert_eq!(after[0], Member(5), "a key moved between old nodes");
                moved += 1;
            }
            let stay: Vec<&Member> = after.iter().filter(|member| **member != Member(5)).collect();
            assert_eq!(
                stay,
                before[..stay.len()].iter().collect::<Vec<_>>(),
                "the old owners keep their order"
            );
        }
        let share = f64::from(moved) * 6.0 / KEYS as f64;
        assert!((0.8..=1.2).contains(&share), "{share} of a sixth");
    }

    #[test]
    fn owners_are_distinct_and_as_many_as_there_can_be() {
        for nodes in 1..=5 {
            let ring = ring(nodes, 8);
            for key in keys().take(500) {
                let mut owners = ring.owners(&key).to_vec();
                owners.sort_unstable();
                owners.dedup();
                assert_eq!((owners.len(), ring.preference(&key).len()), (nodes.min(3), nodes));
            }
        }
    }
}
