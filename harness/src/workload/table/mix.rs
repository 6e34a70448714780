//! Puts and deletes over a few keys, and reads of the log that they leave.

use duress_history::table::Table;
use duress_history::{Event, Scalar};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::options::TableOptions;
use crate::workload::generator::{Context, Generator, Next, WORKLOAD_STREAM};

/// The share of puts and deletes that are about cold keys, where there are any: the next put does not soon hide what compaction
/// lost of them.
const COLD_SHARE: f64 = 0.1;

/// An endless mix of operations; each value is put once.
#[derive(Debug)]
pub struct TableMix {
    options: TableOptions,
    rng: ChaCha8Rng,
    latest: i64,
}

impl TableMix {
    /// A mix drawn from `seed`. Numbers in `options` but the weights are at least one, and one weight is.
    #[must_use]
    pub fn new(options: TableOptions, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(WORKLOAD_STREAM);
        Self { options, rng, latest: 0 }
    }

    /// The next operation; there always is one.
    pub fn draw(&mut self) -> Table {
        let TableOptions { keys, cold_keys, puts, deletes, reads, .. } = self.options;
        let choice = self.rng.random_range(0..puts + deletes + reads);
        if choice >= puts + deletes {
            return Table::ReadLog(None);
        }
        let cold = cold_keys > 0 && self.rng.random_bool(COLD_SHARE);
        let key = match cold {
            true => format!("cold-{}", self.rng.random_range(0..cold_keys)),
            false => format!("k{}", self.rng.random_range(0..keys)),
        };
        let key = Scalar::from(key.as_str());
        if choice < puts {
            self.latest += 1;
            Table::Put { key, value: Scalar::Int(self.latest), place: None }
        } else {
            Table::Delete { key, place: None }
        }
    }
}

impl Generator<Table> for TableMix {
    fn next(&mut self, _: &Context) -> Next<Table> {
        Next::Op(self.draw())
    }

    fn update(&mut self, _: &Event<Table>) {}
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_seed_decides_every_operation_and_values_are_put_once() {
        let drawn = |seed| {
            let mut mix = TableMix::new(TableOptions::default(), seed);
            (0..5000).map(|_| mix.draw()).collect::<Vec<_>>()
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
        let mut seen = HashSet::new();
        for operation in drawn(1) {
            if let Table::Put { value, .. } = operation {
                assert!(seen.insert(value), "put twice");
            }
        }
        assert!(seen.len() > 3000);
    }
}
