//! Adds to, and reads of, a rotating set of counters.

use duress_history::Event;
use duress_history::counter::{Counter, CounterOp};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::options::CounterOptions;
use crate::workload::generator::{Context, Generator, Next, WORKLOAD_STREAM};
use crate::workload::objects::{Draw, Keys};

/// An endless mix of adds and reads, which depends on the seed and the options alone.
#[derive(Debug)]
pub struct CounterMix {
    options: CounterOptions,
    rng: ChaCha8Rng,
    keys: Keys,
}

impl CounterMix {
    /// Returns a mix drawn from `seed`. All of `options` but the weights are at least one, and one weight is.
    #[must_use]
    pub fn new(options: CounterOptions, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(WORKLOAD_STREAM);
        let keys = Keys::new("c", options.keys, options.operations_per_key, options.cold_keys);
        Self { options, rng, keys }
    }

    /// Has the names of its keys begin with `prefix`.
    pub fn rename(&mut self, prefix: &str) {
        self.keys.rename(prefix);
    }

    /// Returns the keys of the counters.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    fn draw(&mut self) -> Counter {
        let CounterOptions { adds, reads, .. } = self.options;
        let (key, _) = match self.keys.draw(&mut self.rng) {
            Draw::Read(key) => return Counter { key: Some(key), op: CounterOp::Read(None) },
            Draw::Any(key, active) => (key, active),
        };
        let op = if self.rng.random_range(0..adds + reads) < reads {
            CounterOp::Read(None)
        } else {
            let step = self.rng.random_range(1..=i64::from(self.options.step_max));
            CounterOp::Add(if self.options.negative && self.rng.random_bool(0.5) { -step } else { step })
        };
        Counter { key: Some(key), op }
    }
}

impl Generator<Counter> for CounterMix {
    fn next(&mut self, _: &Context) -> Next<Counter> {
        Next::Op(self.draw())
    }

    fn update(&mut self, _: &Event<Counter>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_at_most_the_step() {
        for (step_max, negative) in [(1, false), (5, false), (5, true)] {
            let options = CounterOptions { step_max, negative, ..CounterOptions::default() };
            let mut mix = CounterMix::new(options, 1);
            let added: Vec<i64> = (0..1000)
                .filter_map(|_| match mix.draw().op {
                    CounterOp::Add(delta) => Some(delta),
                    CounterOp::Read(_) => None,
                })
                .collect();
            let (least, most) = (added.iter().min().copied(), added.iter().max().copied());
            let step = i64::from(step_max);
            assert_eq!((least, most), (Some(if negative { -step } else { 1 }), Some(step)));
        }
    }
}
