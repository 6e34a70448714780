//! Reads, writes and compare-and-sets over a rotating set of registers.

use std::collections::BTreeSet;

use duress_history::register::{Register, RegisterOp};
use duress_history::{Event, Scalar};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::options::RegisterOptions;
use crate::workload::generator::{Context, Generator, Next, WORKLOAD_STREAM};

/// A compare-and-set expects the latest value generated for its key this often; else an older one, so that it fails.
const CAS_LATEST: f64 = 0.8;

/// A key in use.
#[derive(Clone, Debug)]
struct Active {
    key: u64,
    operations: u32,
    /// The latest value generated for it; values of a key count from 1, so each is written once.
    latest: i64,
}

/// An endless mix of operations. Every value written to a key is unique, which lets a read name the write it saw.
///
/// The sequence depends on the seed and the options alone: a compare-and-set expects values that were *generated*, not
/// values that were observed.
#[derive(Debug)]
pub struct RegisterMix {
    options: RegisterOptions,
    rng: ChaCha8Rng,
    active: Vec<Active>,
    keys_used: u64,
}

impl RegisterMix {
    /// A mix drawn from `seed`. All of `options` but the weights are at least one, and one weight is.
    #[must_use]
    pub fn new(options: RegisterOptions, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(WORKLOAD_STREAM);
        let active: Vec<Active> =
            (0..u64::from(options.keys)).map(|key| Active { key, operations: 0, latest: 0 }).collect();
        Self { options, rng, keys_used: active.len() as u64, active }
    }

    /// The `number`th key.
    #[must_use]
    pub fn key(number: u64) -> Scalar {
        Scalar::from(format!("r{number}").as_str())
    }

    /// Every key that an operation was drawn for.
    #[must_use]
    pub fn keys(&self) -> BTreeSet<Scalar> {
        let unused: BTreeSet<u64> =
            self.active.iter().filter(|active| active.operations == 0).map(|active| active.key).collect();
        (0..self.keys_used).filter(|key| !unused.contains(key)).map(Self::key).collect()
    }

    /// The next operation; there always is one.
    pub fn draw(&mut self) -> Register {
        let at = self.rng.random_range(0..self.active.len());
        if self.active[at].operations >= self.options.operations_per_key {
            self.active[at] = Active { key: self.keys_used, operations: 0, latest: 0 };
            self.keys_used += 1;
        }
        let RegisterOptions { reads, writes, cas, .. } = self.options;
        let choice = self.rng.random_range(0..reads + writes + cas);
        let slot = &mut self.active[at];
        slot.operations += 1;
        let op = if choice < reads {
            RegisterOp::Read(None)
        } else if choice < reads + writes || slot.latest == 0 {
            slot.latest += 1;
            RegisterOp::Write(Scalar::Int(slot.latest))
        } else {
            let old = if slot.latest == 1 || self.rng.random_bool(CAS_LATEST) {
                slot.latest
            } else {
                self.rng.random_range(1..slot.latest)
            };
            slot.latest += 1;
            RegisterOp::Cas { old: Some(Scalar::Int(old)), new: Scalar::Int(slot.latest) }
        };
        Register { key: Self::key(slot.key), op }
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
