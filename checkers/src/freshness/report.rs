//! The ages of all reads, summarized.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How old reads were, at least: everything counted here is certain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// How many reads were old by how long ago the register's newest write had ended, in order of time; empty if no read
    /// followed a write, or if the history has no times.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_write_age: Vec<WriteAge>,
}

/// The reads that began in some range of time after the last write to end before them had ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteAge {
    /// The upper end of the range, in nanoseconds, which does not belong to it; its lower end is that of the range before,
    /// and the first begins at 0. `None` is without end.
    pub below_ns: Option<u64>,
    /// The reads in it.
    pub reads: u64,
    /// Those of them that were old.
    pub old: u64,
}

/// The upper ends of the ranges, in nanoseconds: 1, 2 and 5 of each power of ten from a millisecond to ten seconds.
const RANGES: [u64; 13] = [
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
    2_000_000_000,
    5_000_000_000,
    10_000_000_000,
];

impl WriteAge {
    /// Counts reads, given how long after a write each began, in nanoseconds, and whether it was old.
    pub(super) fn count(reads: impl Iterator<Item = (u64, bool)>) -> Vec<Self> {
        let ends = RANGES.into_iter().map(Some).chain([None]);
        let mut ranges: Vec<Self> = ends.map(|below_ns| Self { below_ns, reads: 0, old: 0 }).collect();
        for (age, old) in reads {
            let range = &mut ranges[RANGES.partition_point(|end| *end <= age)];
            range.reads += 1;
            range.old += u64::from(old);
        }
        ranges.retain(|range| range.reads > 0);
        ranges
    }
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
        let Self { reads, old, versions, age_ns, by_write_age: _ } = self;
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
