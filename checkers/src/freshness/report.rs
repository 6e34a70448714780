//! The ages of all reads, summarized.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How old reads were, at least: everything counted here is certain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadAges {
    /// The reads that were answered; a compare-and-set that succeeded is a read of the value that it replaced.
    pub reads: u64,
    /// The reads among these that returned a value which had been replaced before they began.
    pub old: u64,
    /// How many versions old these were; `None` if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versions: Option<Quantiles>,
    /// How old these were, in nanoseconds; `None` also if the history has no times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ns: Option<Quantiles>,
}

/// Quantiles, exact, by the nearest rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quantiles {
    /// The median.
    pub p50: u64,
    /// The 99th percentile.
    pub p99: u64,
    /// The greatest.
    pub max: u64,
}

impl Quantiles {
    /// Returns those of `values`; `None` without values.
    pub(super) fn of(mut values: Vec<u64>) -> Option<Self> {
        values.sort_unstable();
        let rank =
            |percent: usize| values.get((values.len() * percent).div_ceil(100).checked_sub(1)?).copied();
        Some(Self { p50: rank(50)?, p99: rank(99)?, max: rank(100)? })
    }
}

impl fmt::Display for ReadAges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reads, old, versions, age_ns } = self;
        let Some(Quantiles { p50, p99, max }) = versions else {
            return write!(f, "old reads: none of {reads} for certain");
        };
        let share = *old as f64 * 100.0 / *reads as f64;
        write!(
            f,
            "old reads: {old} of {reads} ({share:.1} %); versions up to {max} (p50 {p50}, p99 {p99}), "
        )?;
        match age_ns.map(|Quantiles { p50, p99, max }| [p50, p99, max].map(|ns| ns as f64 / 1e6)) {
            Some([p50, p99, max]) => write!(f, "age up to {max:.2} ms (p50 {p50:.2} ms, p99 {p99:.2} ms)"),
            None => f.write_str("age unknown: the history lacks times"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_nearest_rank() {
        assert_eq!(Quantiles::of(Vec::new()), None);
        assert_eq!(Quantiles::of(vec![7]), Some(Quantiles { p50: 7, p99: 7, max: 7 }));
        assert_eq!(
            Quantiles::of((1..=200).rev().collect()),
            Some(Quantiles { p50: 100, p99: 198, max: 200 })
        );
    }
}
