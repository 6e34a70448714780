//! The choice of an operation's key.
//!
//! Hot keys are operated on again and again, and left for fresh ones in time. Cold keys live for the whole
//! run and are written rarely: snapshots, compaction and the truncation of logs carry their values, and a
//! write that is lost on the way is not overwritten before a client looks.

use std::collections::BTreeSet;

use duress_history::Scalar;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// The share of operations that are about cold keys, where there are any.
const COLD_SHARE: f64 = 0.05;
/// The share of operations on a cold key, once it was written, that only read it.
const COLD_READS: f64 = 0.8;
/// The share of draws of hot keys by Zipf's law with exponent 1; the others are uniform.
const SKEWED_SHARE: f64 = 0.5;
/// How often an operation is followed by a series of reads of its key.
const SERIES_SHARE: f64 = 0.02;
/// The longest such series.
const SERIES_MAX: u32 = 12;

/// A key in use.
#[derive(Clone, Debug)]
pub struct Active {
    name: Scalar,
    operations: u32,
    heat: Heat,
    /// The latest value generated for it; values of a key count from 1, so each is generated once.
    pub latest: i64,
}

/// How much a key is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heat {
    Hot,
    Cold,
}

impl Active {
    /// Returns the next value of its own.
    pub fn value(&mut self) -> i64 {
        self.latest += 1;
        self.latest
    }
}

/// The next operation's key.
#[derive(Debug)]
pub enum Draw<'a> {
    /// A read of this key.
    Read(Scalar),
    /// Anything, of this key.
    Any(Scalar, &'a mut Active),
}

/// Keys in use. A hot one is left for a fresh one after so many operations: what bounds the cost of checking it.
#[derive(Debug)]
pub struct Keys {
    prefix: String,
    operations_per_key: u32,
    hot: Vec<Active>,
    cold: Vec<Active>,
    /// How many hot keys there were so far.
    used: u64,
    /// Hot keys that were left.
    left: Vec<Scalar>,
    /// A key that is read again and again, and how often still.
    series: Option<(Scalar, u32)>,
}

impl Keys {
    /// Returns so many hot keys at a time, and so many cold ones, whose names begin with `prefix`. Hot keys
    /// and operations are at least one.
    #[must_use]
    pub fn new(prefix: &str, hot: u32, operations_per_key: u32, cold: u32) -> Self {
        let mut keys = Self {
            prefix: prefix.to_owned(),
            operations_per_key,
            hot: Vec::new(),
            cold: Vec::new(),
            used: 0,
            left: Vec::new(),
            series: None,
        };
        keys.hot = (0..hot).map(|_| keys.fresh()).collect();
        let cold = (0..cold).map(|number| format!("{prefix}-cold-{number}"));
        keys.cold = cold
            .map(|name| Active {
                name: Scalar::from(name.as_str()),
                operations: 0,
                heat: Heat::Cold,
                latest: 0,
            })
            .collect();
        keys
    }

    /// Has the names of all keys begin with `prefix`, before one was drawn.
    pub fn rename(&mut self, prefix: &str) {
        self.prefix.insert_str(0, prefix);
        for active in self.hot.iter_mut().chain(&mut self.cold) {
            active.name = Scalar::from(format!("{prefix}{}", active.name).as_str());
        }
    }

    fn fresh(&mut self) -> Active {
        let name = Scalar::from(format!("{}{}", self.prefix, self.used).as_str());
        self.used += 1;
        Active { name, operations: 0, heat: Heat::Hot, latest: 0 }
    }

    /// Draws the next key.
    pub fn draw(&mut self, rng: &mut ChaCha8Rng) -> Draw<'_> {
        if let Some((key, left)) = self.series.take() {
            self.series = (left > 1).then(|| (key.clone(), left - 1));
            return Draw::Read(key);
        }
        let cold = !self.cold.is_empty() && rng.random_bool(COLD_SHARE);
        let active = if cold {
            let at = rng.random_range(0..self.cold.len());
            &mut self.cold[at]
        } else {
            let at = self.hot_place(rng);
            if self.hot[at].operations >= self.operations_per_key {
                let fresh = self.fresh();
                let left = std::mem::replace(&mut self.hot[at], fresh);
                self.left.push(left.name);
            }
            &mut self.hot[at]
        };
        active.operations = active.operations.saturating_add(1);
        let name = active.name.clone();
        if rng.random_bool(SERIES_SHARE) {
            // These count, too.
            let left = match active.heat {
                Heat::Hot => self.operations_per_key.saturating_sub(active.operations),
                Heat::Cold => SERIES_MAX,
            };
            let reads = rng.random_range(1..=SERIES_MAX).min(left);
            active.operations = active.operations.saturating_add(reads);
            self.series = (reads > 0).then(|| (name.clone(), reads));
        }
        // The first operation on a cold key may put something there.
        if active.heat == Heat::Cold && active.operations > 1 && rng.random_bool(COLD_READS) {
            return Draw::Read(name);
        }
        Draw::Any(name, active)
    }

    /// Returns one of the hot keys: by Zipf's law, or uniformly.
    fn hot_place(&self, rng: &mut ChaCha8Rng) -> usize {
        if rng.random_bool(1.0 - SKEWED_SHARE) {
            return rng.random_range(0..self.hot.len());
        }
        let harmonic: f64 = (1..=self.hot.len()).map(|rank| 1.0 / rank as f64).sum();
        let mut left = rng.random_range(0.0..harmonic);
        for rank in 1..self.hot.len() {
            left -= 1.0 / rank as f64;
            if left < 0.0 {
                return rank - 1;
            }
        }
        self.hot.len() - 1
    }

    /// Returns every key that an operation was drawn for.
    #[must_use]
    pub fn all(&self) -> BTreeSet<Scalar> {
        let used = self.hot.iter().chain(&self.cold).filter(|active| active.operations > 0);
        self.left.iter().chain(used.map(|active| &active.name)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::SeedableRng;

    use super::*;

    /// By key, how often it was drawn for anything, and for a read alone.
    fn drawn(keys: &mut Keys, count: usize) -> BTreeMap<Scalar, (u32, u32)> {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut seen: BTreeMap<Scalar, (u32, u32)> = BTreeMap::new();
        for _ in 0..count {
            match keys.draw(&mut rng) {
                Draw::Any(key, _) => seen.entry(key).or_default().0 += 1,
                Draw::Read(key) => seen.entry(key).or_default().1 += 1,
            }
        }
        seen
    }

    #[test]
    fn hot_keys_are_left_and_cold_ones_stay() {
        let mut keys = Keys::new("r", 6, 240, 60);
        let seen = drawn(&mut keys, 40_000);
        assert_eq!(keys.all(), seen.keys().cloned().collect());
        let (cold, hot): (Vec<_>, Vec<_>) =
            seen.iter().partition(|(key, _)| key.to_string().contains("cold"));
        assert_eq!(cold.len(), 60);
        assert!(hot.len() > 40_000 / 300, "{}", hot.len());
        assert!(hot.iter().all(|(_, (any, _))| *any <= 240));
        let written: u32 = cold.iter().map(|(_, (any, _))| any).sum();
        assert!((200..700).contains(&written), "rarely: {written}");
        assert!(cold.iter().all(|(_, (any, reads))| *any > 0 && reads > any), "{cold:?}");
    }

    #[test]
    fn renamed_keys_are_all_other_ones() {
        let (mut usual, mut renamed) = (Keys::new("r", 6, 240, 60), Keys::new("r", 6, 240, 60));
        renamed.rename("x-");
        let (usual, renamed) = (drawn(&mut usual, 20_000), drawn(&mut renamed, 20_000));
        let names: Vec<String> = usual.keys().map(|key| format!("x-{key}")).collect();
        assert_eq!(renamed.keys().map(ToString::to_string).collect::<Vec<_>>(), names);
    }

    #[test]
    fn some_hot_keys_are_hotter() {
        let mut keys = Keys::new("r", 6, u32::MAX, 0);
        let seen = drawn(&mut keys, 20_000);
        let count = |name: &str| seen[&Scalar::from(name)].0;
        assert!(count("r0") > 2 * count("r5") && count("r5") > 500, "{seen:?}");
    }
}
