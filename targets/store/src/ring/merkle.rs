//! Digests of keys and stamps in a tree, from which two nodes find what differs between them.
//!
//! Merkle, "A digital signature based on a conventional encryption function" (CRYPTO 1987); as Dynamo uses it. A leaf has the
//! keys whose places begin with its number. Two trees are compared from the root; only what differs is descended into.
//! Stamps stand for values, since no version is given out twice. A tree is made anew for each comparison, in time O(keys).

use bytes::Bytes;
use serde::Serialize;

use super::placement::place;

/// The bits by which a level is finer than the one above.
const BITS: usize = 4;
/// The level of the leaves; that of the root is 0.
pub const LEAVES: usize = 3;

/// A tree of digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Digests by level, from the root; 0 where there is no key.
    levels: Vec<Vec<u64>>,
}

impl Tree {
    /// Returns the tree of some keys and their stamps, in order of key.
    pub fn of<'a>(keys: impl Iterator<Item = (&'a Bytes, impl Serialize)>) -> Self {
        let mut leaves = vec![0_u64; 1 << (BITS * LEAVES)];
        for (key, stamp) in keys {
            let encoded = postcard::to_stdvec(&stamp).expect("numbers can be encoded");
            let digest = &mut leaves[leaf(key)];
            // A key's length keeps it apart from the stamp.
            let length = (key.len() as u64).to_be_bytes();
            *digest = place(&[&digest.to_be_bytes()[..], &length, key, &encoded].concat());
        }
        let mut levels = vec![leaves];
        while levels.len() <= LEAVES {
            let above = levels[levels.len() - 1].chunks(1 << BITS).map(|children| {
                if children.iter().all(|digest| *digest == 0) {
                    return 0;
                }
                let bytes: Vec<u8> = children.iter().flat_map(|digest| digest.to_be_bytes()).collect();
                place(&bytes)
            });
            levels.push(above.collect());
        }
        levels.reverse();
        Self { levels }
    }

    /// Returns the digests at these places of a level; a place that does not exist has none.
    pub fn digests(&self, level: usize, places: &[usize]) -> Vec<(usize, u64)> {
        let Some(digests) = self.levels.get(level) else { return Vec::new() };
        places.iter().filter_map(|at| Some((*at, *digests.get(*at)?))).collect()
    }

    /// Returns the places of a level where another tree has these digests and this one has others.
    pub fn differing(&self, level: usize, theirs: &[(usize, u64)]) -> Vec<usize> {
        let ours = |at: usize| self.levels.get(level)?.get(at).copied();
        theirs.iter().filter(|(at, digest)| ours(*at) != Some(*digest)).map(|(at, _)| *at).collect()
    }
}

/// Returns the leaf of a key.
pub fn leaf(key: &[u8]) -> usize {
    (place(key) >> (64 - BITS * LEAVES)) as usize
}

/// Returns the places one level below these.
pub fn below(places: &[usize]) -> Vec<usize> {
    places.iter().flat_map(|at| at << BITS..(at + 1) << BITS).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::ring::placement::Member;
    use crate::ring::version::{Version, Versions};

    fn tree(keys: &BTreeMap<Bytes, Version>) -> Tree {
        Tree::of(keys.iter().map(|(key, version)| (key, *version)))
    }

    /// Descends as anti-entropy does, and returns the leaves that differ and how many digests were sent.
    fn differing(ours: &Tree, theirs: &Tree) -> (Vec<usize>, usize) {
        let (mut places, mut sent) = (vec![0], 0);
        for level in 0..=LEAVES {
            let digests = ours.digests(level, &places);
            sent += digests.len();
            places = theirs.differing(level, &digests);
            if level < LEAVES {
                places = below(&places);
            }
        }
        (places, sent)
    }

    #[test]
    fn exactly_the_leaves_that_differ_are_found_at_little_cost() {
        let versions = Versions::new(Member(0), 1);
        let key = |at: usize| Bytes::from(format!("k{at}"));
        let ours: BTreeMap<Bytes, Version> = (0..5_000).map(|at| (key(at), versions.at(1))).collect();
        assert_eq!(differing(&tree(&ours), &tree(&ours)), (vec![], 1), "equal trees need one digest");
        let mut theirs = ours.clone();
        theirs.insert(key(17), versions.at(2));
        theirs.remove(&key(1_234));
        theirs.insert(key(9_999), versions.at(1));
        let mut expected = [17, 1_234, 9_999].map(|at| leaf(&key(at))).to_vec();
        expected.sort_unstable();
        let (found, sent) = differing(&tree(&ours), &tree(&theirs));
        assert_eq!(found, expected);
        assert!(sent <= 1 + 16 + 3 * 16 + 3 * 16, "{sent} digests of 4369");
        assert_eq!(differing(&tree(&theirs), &tree(&ours)).0, expected, "the other node asks");
    }

    #[test]
    fn places_that_do_not_exist_differ_and_have_no_digest() {
        let empty = tree(&BTreeMap::new());
        assert_eq!(empty.digests(9, &[0]), []);
        assert_eq!(empty.digests(0, &[1, 0]), [(0, 0)]);
        assert_eq!(empty.differing(9, &[(0, 0)]), [0]);
    }
}
