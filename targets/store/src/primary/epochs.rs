//! The history of epochs: which primary wrote which of the writes.
//!
//! A primary begins its epoch with a write of its own, so that the epoch and the offset of a node's last write determine
//! all writes before it: two nodes that have them in common have the same history up to there.

use serde::{Deserialize, Serialize};

/// The beginning of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beginning {
    /// The epoch.
    pub epoch: u64,
    /// The offset of its first write.
    pub first: u64,
}

/// The epochs of a node's writes, in order. Writes before the first of them are of epoch 0: there is no failover.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epochs(Vec<Beginning>);

impl Epochs {
    /// Returns the epoch of the write at `offset`.
    pub fn at(&self, offset: u64) -> u64 {
        self.0.iter().rfind(|beginning| beginning.first <= offset).map_or(0, |beginning| beginning.epoch)
    }

    /// Returns the epochs that begin after `offset`, up to `last`.
    pub fn between(&self, offset: u64, last: u64) -> Vec<Beginning> {
        self.0.iter().filter(|beginning| (offset + 1..=last).contains(&beginning.first)).copied().collect()
    }

    /// Adds epochs that begin after all others.
    pub fn extend(&mut self, begun: &[Beginning]) {
        self.0.extend_from_slice(begun);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_belongs_to_the_epoch_that_began_last() {
        let mut epochs = Epochs::default();
        assert_eq!(epochs.at(9), 0);
        let [one, four] = [Beginning { epoch: 1, first: 1 }, Beginning { epoch: 4, first: 6 }];
        epochs.extend(&[one]);
        epochs.extend(&[four]);
        assert_eq!([0, 1, 5, 6, 7].map(|offset| epochs.at(offset)), [0, 1, 1, 4, 4]);
        assert_eq!(epochs.between(1, 6), [four]);
        assert_eq!(epochs.between(1, 5), []);
        assert_eq!(epochs.between(0, 9), [one, four]);
    }
}
