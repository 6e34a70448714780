//! Adds to, and reads of, a rotating set of sets.

use duress_history::set::{Set, SetOp};
use duress_history::{Event, Scalar};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::options::SetOptions;
use crate::workload::generator::{Context, Generator, Next, WORKLOAD_STREAM};
use crate::workload::objects::{Draw, Keys};

/// An endless mix of adds and reads, which depends on the seed and the options alone.
#[derive(Debug)]
pub struct SetMix {
    options: SetOptions,
    rng: ChaCha8Rng,
    keys: Keys,
}

impl SetMix {
    /// Returns a mix drawn from `seed`. All of `options` but the weights are at least one, and one weight is.
    #[must_use]
    pub fn new(options: SetOptions, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(WORKLOAD_STREAM);
        let keys = Keys::new("s", options.keys, options.operations_per_key, options.cold_keys);
        Self { options, rng, keys }
    }

    /// Has the names of its keys begin with `prefix`.
    pub fn rename(&mut self, prefix: &str) {
        self.keys.rename(prefix);
    }

    /// Returns the keys of the sets.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    fn draw(&mut self) -> Set {
        let SetOptions { adds, reads, .. } = self.options;
        let (key, active) = match self.keys.draw(&mut self.rng) {
            Draw::Read(key) => return Set { key: Some(key), op: SetOp::Read(None) },
            Draw::Any(key, active) => (key, active),
        };
        let op = if self.rng.random_range(0..adds + reads) < reads {
            SetOp::Read(None)
        } else {
            SetOp::Add(Scalar::Int(active.value()))
        };
        Set { key: Some(key), op }
    }
}

impl Generator<Set> for SetMix {
    fn next(&mut self, _: &Context) -> Next<Set> {
        Next::Op(self.draw())
    }

    fn update(&mut self, _: &Event<Set>) {}
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn drawn(seed: u64, count: usize) -> (Vec<Set>, SetMix) {
        let mut mix = SetMix::new(SetOptions::default(), seed);
        ((0..count).map(|_| mix.draw()).collect(), mix)
    }

    #[test]
    fn each_element_is_added_once_and_every_set_is_known_at_the_end() {
        assert_eq!(drawn(1, 3000).0, drawn(1, 3000).0);
        let (operations, mix) = drawn(1, 20_000);
        let mut elements = HashSet::new();
        for Set { key, op } in &operations {
            if let SetOp::Add(element) = op {
                assert!(elements.insert((key.clone(), element.clone())), "{key:?} {element}");
            }
        }
        let sets: HashSet<_> = operations.iter().filter_map(|operation| operation.key.clone()).collect();
        assert!(sets.len() > 20_000 / 240 - 6);
        assert_eq!(sets, mix.keys().all().into_iter().collect());
    }
}
