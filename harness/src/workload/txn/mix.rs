//! Transactions of reads and writes over a rotating set of keys.

use std::marker::PhantomData;

use duress_history::txn::{Act, Answer, Micro, Txn};
use duress_history::{Event, Scalar};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::options::TxnOptions;
use crate::workload::generator::{Context, Generator, Next, WORKLOAD_STREAM};
use crate::workload::objects::{Draw, Keys};

/// An endless mix of transactions, which depends on the seed and the options alone. Every value written to a
/// key is unique, which lets a read name the transaction that it saw.
#[derive(Debug)]
pub struct TxnMix<R> {
    options: TxnOptions,
    rng: ChaCha8Rng,
    keys: Keys,
    model: PhantomData<fn() -> R>,
}

impl<R: Answer> TxnMix<R> {
    /// Returns a mix drawn from `seed`; `options` are within their ranges.
    #[must_use]
    pub fn new(options: TxnOptions, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(WORKLOAD_STREAM);
        let keys = Keys::new("k", options.keys, options.operations_per_key, options.cold_keys);
        Self { options, rng, keys, model: PhantomData }
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

    /// Returns the next transaction; there always is one.
    pub fn draw(&mut self) -> Txn<R> {
        let TxnOptions { txn_length_min, txn_length_max, read_only_percent, reads, writes, .. } =
            self.options;
        let length = self.rng.random_range(txn_length_min..=txn_length_max);
        let writes = match self.rng.random_range(0..100) < read_only_percent {
            true => 0,
            false => writes,
        };
        Txn { micros: (0..length).map(|_| self.micro(reads, writes)).collect() }
    }

    /// Returns an operation, drawn by these weights: a read if both are 0.
    fn micro(&mut self, reads: u32, writes: u32) -> Micro<R> {
        let read = |key: Scalar| Micro { key, act: Act::Read(None) };
        match self.keys.draw(&mut self.rng) {
            Draw::Any(key, active) if writes > 0 && self.rng.random_range(0..reads + writes) < writes => {
                Micro { key, act: Act::Write(Scalar::Int(active.value())) }
            }
            Draw::Any(key, _) | Draw::Read(key) => read(key),
        }
    }
}

impl<R: Answer> Generator<Txn<R>> for TxnMix<R> {
    fn next(&mut self, _: &Context) -> Next<Txn<R>> {
        Next::Op(self.draw())
    }

    fn update(&mut self, _: &Event<Txn<R>>) {}
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use duress_history::txn::{Held, ListAppend};

    use super::*;

    fn drawn(
        options: TxnOptions,
        seed: u64,
        count: usize,
    ) -> (Vec<ListAppend>, TxnMix<duress_history::txn::Elements>) {
        let mut mix = TxnMix::new(options, seed);
        ((0..count).map(|_| mix.draw()).collect(), mix)
    }

    fn writes<R>(txn: &Txn<R>) -> usize {
        txn.micros.iter().filter(|micro| matches!(micro.act, Act::Write(_))).count()
    }

    #[test]
    fn the_seed_decides_every_transaction_whatever_it_is_about() {
        let usual = TxnOptions::default();
        assert_eq!(drawn(usual, 1, 3000).0, drawn(usual, 1, 3000).0);
        assert_ne!(drawn(usual, 1, 3000).0, drawn(usual, 2, 3000).0);
        let mut registers = TxnMix::<Held>::new(usual, 1);
        for lists in drawn(usual, 1, 3000).0 {
            let registers = registers.draw();
            assert_eq!((writes(&lists), lists.micros.len()), (writes(&registers), registers.micros.len()));
        }
    }

    #[test]
    fn values_of_a_key_are_unique_keys_are_left_in_time_and_all_are_known_at_the_end() {
        let (transactions, mix) = drawn(TxnOptions::default(), 3, 20_000);
        let mut written: HashMap<Scalar, HashSet<Scalar>> = HashMap::new();
        let mut operations: HashMap<Scalar, u32> = HashMap::new();
        for Micro { key, act } in transactions.iter().flat_map(|txn| &txn.micros) {
            *operations.entry(key.clone()).or_default() += 1;
            if let Act::Write(value) = act {
                assert!(written.entry(key.clone()).or_default().insert(value.clone()), "{key} {value}");
            }
        }
        let cold = |key: &&Scalar| key.to_string().contains("cold");
        assert_eq!(operations.keys().filter(cold).count(), 30);
        assert!(operations.len() > 2 * 20_000 / 120 - 10, "{}", operations.len());
        assert!(operations.iter().all(|(key, count)| cold(&key) || *count <= 120), "{operations:?}");
        assert_eq!(mix.keys().all(), operations.into_keys().collect());
    }

    #[test]
    fn lengths_and_shares_are_those_of_the_options() {
        let lengths = |options| -> HashSet<usize> {
            drawn(options, 1, 1000).0.iter().map(|txn| txn.micros.len()).collect()
        };
        let usual = TxnOptions::default();
        assert_eq!(lengths(usual), [1, 2, 3, 4].into());
        assert_eq!(lengths(TxnOptions { txn_length_min: 3, txn_length_max: 3, ..usual }), [3].into());
        let without_writes =
            |options| drawn(options, 1, 2000).0.iter().filter(|txn| writes(txn) == 0).count();
        let only_written = TxnOptions { reads: 0, cold_keys: 0, ..usual };
        assert!((300..700).contains(&without_writes(only_written)), "a fifth, and series of reads");
        assert_eq!(without_writes(TxnOptions { read_only_percent: 100, ..only_written }), 2000);
        assert_eq!(without_writes(TxnOptions { writes: 0, ..usual }), 2000);
    }
}
