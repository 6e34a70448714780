//! Writes of single keys, and reads of their groups.

use duress_history::txn::{Act, Micro, RwRegister, Txn};
use duress_history::{Event, Scalar};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::options::LongForkOptions;
use crate::workload::generator::{Context, Generator, Next, WORKLOAD_STREAM};

/// An endless mix of writes and reads, which depends on the seed and the options alone. No key is written twice.
#[derive(Debug)]
pub struct LongForkMix {
    options: LongForkOptions,
    rng: ChaCha8Rng,
    prefix: String,
    active: Vec<Group>,
    /// How many groups there were.
    begun: u32,
}

/// A group that is written and read.
#[derive(Clone, Copy, Debug)]
struct Group {
    number: u32,
    /// How many of its keys were written: the first ones.
    written: u32,
    operations: u32,
}

impl LongForkMix {
    /// Returns a mix drawn from `seed`; `options` are within their ranges.
    #[must_use]
    pub fn new(options: LongForkOptions, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(WORKLOAD_STREAM);
        let group = |number| Group { number, written: 0, operations: 0 };
        let active = (0..options.groups).map(group).collect();
        Self { options, rng, prefix: String::new(), active, begun: options.groups }
    }

    /// Has the names of its keys begin with `prefix`.
    pub fn rename(&mut self, prefix: &str) {
        prefix.clone_into(&mut self.prefix);
    }

    /// Returns the keys of all groups so far.
    pub fn groups(&self) -> impl Iterator<Item = Vec<Scalar>> {
        (0..self.begun).map(|number| self.keys(number))
    }

    fn keys(&self, group: u32) -> Vec<Scalar> {
        (0..self.options.keys_per_group).map(|key| self.key(group, key)).collect()
    }

    fn key(&self, group: u32, key: u32) -> Scalar {
        Scalar::from(format!("{}g{group}-{key}", self.prefix).as_str())
    }

    fn draw(&mut self) -> RwRegister {
        let LongForkOptions { keys_per_group, operations_per_group, writes, reads, .. } = self.options;
        let at = self.rng.random_range(0..self.active.len());
        let Group { number, written, operations } = &mut self.active[at];
        *operations += 1;
        let (group, ended) = (*number, *operations >= operations_per_group);
        let writes = if *written < keys_per_group { writes } else { 0 };
        let micros = if self.rng.random_range(0..(writes + reads).max(1)) < writes {
            *written += 1;
            let key = *written - 1;
            vec![Micro { key: self.key(group, key), act: Act::Write(Scalar::Int(1)) }]
        } else {
            self.keys(group).into_iter().map(|key| Micro { key, act: Act::Read(None) }).collect()
        };
        if ended {
            self.active[at] = Group { number: self.begun, written: 0, operations: 0 };
            self.begun += 1;
        }
        Txn { micros: micros.into() }
    }
}

impl Generator<RwRegister> for LongForkMix {
    fn next(&mut self, _: &Context) -> Next<RwRegister> {
        Next::Op(self.draw())
    }

    fn update(&mut self, _: &Event<RwRegister>) {}
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_key_is_written_at_most_once_and_reads_are_of_whole_groups() {
        let drawn = |seed| {
            let mut mix = LongForkMix::new(LongForkOptions::default(), seed);
            mix.rename("p-");
            let all: Vec<RwRegister> = (0..3000).map(|_| mix.draw()).collect();
            (all, mix.groups().collect::<BTreeSet<_>>())
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
        let (all, groups) = drawn(1);
        let (mut written, mut read) = (BTreeSet::new(), BTreeSet::new());
        for Txn { micros } in all {
            let keys: Vec<Scalar> = micros.iter().map(|micro| micro.key.clone()).collect();
            match &micros[..] {
                [Micro { key, act: Act::Write(_) }] => {
                    assert!(written.insert(key.clone()), "{key} is written again");
                }
                _ => assert!(groups.contains(&keys) && read.insert(keys.clone()) || read.contains(&keys)),
            }
        }
        assert!(read.len() > 10 && written.len() > 30, "{read:?} {written:?}");
        let all: BTreeSet<&Scalar> = groups.iter().flatten().collect();
        assert!(written.iter().all(|key| all.contains(key)));
    }
}
