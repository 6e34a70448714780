//! Which key an operation is about.

use std::collections::BTreeSet;

use duress_history::Scalar;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// A key in use.
#[derive(Clone, Debug)]
pub struct Active {
    number: u64,
    operations: u32,
    /// The latest value generated for it; values of a key count from 1, so each is generated once.
    pub latest: i64,
}

impl Active {
    fn fresh(number: u64) -> Self {
        Self { number, operations: 0, latest: 0 }
    }

    /// The next value of its own.
    pub fn value(&mut self) -> i64 {
        self.latest += 1;
        self.latest
    }
}

/// Keys in use, each of which is left for a fresh one after so many operations: what bounds the cost of checking it.
#[derive(Debug)]
pub struct Keys {
    prefix: &'static str,
    operations_per_key: u32,
    active: Vec<Active>,
    used: u64,
}

impl Keys {
    /// So many keys at a time, whose names begin with `prefix`; both numbers are at least one.
    #[must_use]
    pub fn new(prefix: &'static str, at_a_time: u32, operations_per_key: u32) -> Self {
        let active: Vec<Active> = (0..u64::from(at_a_time)).map(Active::fresh).collect();
        Self { prefix, operations_per_key, used: active.len() as u64, active }
    }

    /// The key of the next operation, and its name.
    pub fn draw(&mut self, rng: &mut ChaCha8Rng) -> (Scalar, &mut Active) {
        let at = rng.random_range(0..self.active.len());
        if self.active[at].operations >= self.operations_per_key {
            self.active[at] = Active::fresh(self.used);
            self.used += 1;
        }
        let name = self.name(self.active[at].number);
        let active = &mut self.active[at];
        active.operations += 1;
        (name, active)
    }

    /// Every key that an operation was drawn for.
    #[must_use]
    pub fn all(&self) -> BTreeSet<Scalar> {
        let unused: BTreeSet<u64> =
            self.active.iter().filter(|active| active.operations == 0).map(|active| active.number).collect();
        (0..self.used).filter(|number| !unused.contains(number)).map(|number| self.name(number)).collect()
    }

    fn name(&self, number: u64) -> Scalar {
        Scalar::from(format!("{}{number}", self.prefix).as_str())
    }
}
