//! The timeline from afar: operations counted in bins of time, by node and by how they ended.
//!
//! The finest level has [`BINS`] bins over the whole run; each coarser level, made in the browser, adds two and two.
//! Below the finest level the browser draws from the operations themselves.

use super::history::{Ending, RunHistory};
use super::pack::Column;

/// Bins at the finest level; a power of two.
pub const BINS: usize = 4096;

/// The operations of one bin on one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bin {
    /// Operations invoked in it that happened.
    pub ok: u32,
    /// That did not.
    pub fail: u32,
    /// That may have, or never ended.
    pub info: u32,
    /// The longest any of them took, in microseconds.
    pub slowest: u64,
}

/// The bins of all nodes.
#[derive(Clone, Debug)]
pub struct Tiles {
    /// How long a bin is, in microseconds; at least one.
    pub bin_us: u64,
    /// By node, as [`RunHistory::nodes`] has them, and last those of unknown nodes; [`BINS`] each.
    pub nodes: Vec<Vec<Bin>>,
}

/// Counts every operation of `history` once.
#[must_use]
pub fn tiles(history: &RunHistory) -> Tiles {
    let bin_us = (history.lasted / 1000 + 1).div_ceil(BINS as u64).max(1);
    let mut nodes = vec![vec![Bin::default(); BINS]; history.nodes.len() + 1];
    for operation in &history.operations {
        let node = history.lanes[operation.lane as usize].node.map_or(history.nodes.len(), usize::from);
        // The last microsecond of the run is in the last bin, by the choice of their length.
        let place = (operation.start / 1000 / bin_us) as usize;
        let bin = &mut nodes[node][place];
        match operation.ending {
            Ending::Ok => bin.ok += 1,
            Ending::Fail => bin.fail += 1,
            Ending::Info | Ending::Open => bin.info += 1,
        }
        bin.slowest = bin.slowest.max((operation.end - operation.start) / 1000);
    }
    Tiles { bin_us, nodes }
}

impl Tiles {
    /// Returns all bins one after the other, four numbers each, packed.
    #[must_use]
    pub fn packed(&self) -> String {
        let mut column = Column::default();
        for bin in self.nodes.iter().flatten() {
            for number in [bin.ok.into(), bin.fail.into(), bin.info.into(), bin.slowest] {
                column.push(number);
            }
        }
        column.packed()
    }
}

#[cfg(test)]
mod tests {
    use super::super::history::{Lane, Operation};
    use super::*;

    fn operation(start: u64, lane: u32, ending: Ending) -> Operation {
        let value = "".into();
        Operation { index: 0, start, end: start + 5000, lane, function: 0, ending, error: None, value }
    }

    #[test]
    fn every_operation_is_in_one_bin() {
        let lasted = 123_456_789_012;
        let endings = [Ending::Ok, Ending::Fail, Ending::Info, Ending::Open];
        let operations: Vec<_> = (0..10_000_u64)
            .map(|at| operation(at * lasted / 9_999, (at % 2) as u32, endings[(at % 4) as usize]))
            .collect();
        let lanes = vec![Lane { process: 0, node: Some(0) }, Lane { process: 1, node: None }];
        let history =
            RunHistory { operations, lanes, nodes: vec!["n1".into()], lasted, ..RunHistory::default() };
        let tiles = tiles(&history);
        let sum = |of: fn(&Bin) -> u32, node: usize| tiles.nodes[node].iter().map(of).sum::<u32>();
        assert_eq!([sum(|bin| bin.ok, 0), sum(|bin| bin.info, 0)], [2500, 2500]);
        assert_eq!([sum(|bin| bin.fail, 1), sum(|bin| bin.info, 1)], [2500, 2500]);
        assert!(tiles.bin_us * BINS as u64 * 1000 > lasted);
        assert_eq!(tiles.nodes[0].iter().map(|bin| bin.slowest).max(), Some(5));
    }

    #[test]
    fn the_last_moment_is_within() {
        for lasted in [0, 1, 999, 4_096_000, 4_096_001, u64::from(u32::MAX)] {
            let operations = vec![operation(lasted, 0, Ending::Ok)];
            let lanes = vec![Lane { process: 0, node: None }];
            let history = RunHistory { operations, lanes, lasted, ..RunHistory::default() };
            assert_eq!(tiles(&history).nodes[0].iter().map(|bin| bin.ok).sum::<u32>(), 1);
        }
    }
}
