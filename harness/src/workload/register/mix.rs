//! Reads, writes, deletes and compare-and-sets over a rotating set of registers.

use duress_history::register::{Register, RegisterOp};
use duress_history::{Event, Scalar};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::options::RegisterOptions;
use crate::workload::generator::{Context, Generator, Next, WORKLOAD_STREAM};
use crate::workload::objects::{Draw, Keys};

/// A compare-and-set expects the latest value generated for its key this often; else an older one, so that it fails.
const CAS_LATEST: f64 = 0.8;

/// An endless mix of operations. Every value written to a key is unique, which lets a read name the write it saw.
///
/// The sequence depends on the seed and the options alone: a compare-and-set expects values that were *generated*, not
/// values that were observed.
#[derive(Debug)]
pub struct RegisterMix {
    options: RegisterOptions,
    rng: ChaCha8Rng,
    keys: Keys,
}

impl RegisterMix {
    /// Returns a mix drawn from `seed`. All of `options` but the weights are at least one, and one weight is.
    #[must_use]
    pub fn new(options: RegisterOptions, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(WORKLOAD_STREAM);
        let keys = Keys::new("r", options.keys, options.operations_per_key, options.cold_keys);
        Self { options, rng, keys }
    }

    /// Has the names of its keys begin with `prefix`.
    pub fn rename(&mut self, prefix: &str) {
        self.keys.rename(prefix);
    }

    /// Returns the keys.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Returns the next operation; there always is one.
    pub fn draw(&mut self) -> Register {
        let RegisterOptions { reads, writes, deletes, cas, .. } = self.options;
        let (key, active) = match self.keys.draw(&mut self.rng) {
            Draw::Read(key) => return Register { key, op: RegisterOp::Read(None) },
            Draw::Any(key, active) => (key, active),
        };
        let choice = self.rng.random_range(0..reads + writes + deletes + cas);
        let op = if choice < reads {
            RegisterOp::Read(None)
        } else if choice < reads + writes || active.latest == 0 {
            RegisterOp::Write(Scalar::Int(active.value()))
        } else if choice < reads + writes + deletes {
            RegisterOp::Delete
        } else {
            let old = if active.latest == 1 || self.rng.random_bool(CAS_LATEST) {
                active.latest
            } else {
                self.rng.random_range(1..active.latest)
            };
            RegisterOp::Cas { old: Some(Scalar::Int(old)), new: Scalar::Int(active.value()) }
        };
        Register { key, op }
    }
}

impl Generator<Register> for RegisterMix {
    fn next(&mut self, _: &Context) -> Next<Register> {
        Next::Op(self.draw())
    }

    fn update(&mut self, _: &Event<Register>) {}
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    fn drawn(seed: u64, count: usize) -> Vec<Register> {
        let mut mix = RegisterMix::new(RegisterOptions::default(), seed);
        (0..count).map(|_| mix.draw()).collect()
    }

    #[test]
    fn the_seed_decides_every_operation() {
        assert_eq!(drawn(1, 5000), drawn(1, 5000));
        assert_ne!(drawn(1, 5000), drawn(2, 5000));
    }

    #[test]
    fn values_of_a_key_are_unique_and_keys_are_left_in_time() {
        let mut written: HashMap<Scalar, HashSet<Scalar>> = HashMap::new();
        let mut operations: HashMap<Scalar, u32> = HashMap::new();
        for Register { key, op } in drawn(3, 20_000) {
            *operations.entry(key.clone()).or_default() += 1;
            if let RegisterOp::Write(value) | RegisterOp::Cas { new: value, .. } = op {
                assert!(written.entry(key).or_default().insert(value), "written twice");
            }
        }
        assert!(operations.len() > 20_000 / 240 - 6);
        assert!(operations.values().all(|count| *count <= 240));
    }
}
