//! What a check of sets found beside its verdict.

use std::collections::BTreeMap;

use duress_history::Consistency;
use serde::{Deserialize, Serialize};

use super::facts::Facts;
use crate::linearizable::Convergence;
use crate::verdict::AnomalyKind;

/// Elements by what became of them, and for how long they were missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SetReport {
    /// The promise that it was held to.
    pub promise: Consistency,
    /// Elements, by what became of them.
    pub counts: SetCounts,
    /// For how long elements were missing that were known; null where none was.
    pub missing: Option<Missing>,
    /// How replicas were compared at the end; only where reads may be stale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub convergence: Option<Convergence>,
    /// How often each anomaly was found, those included that the promise tolerates. The verdict has witnesses of the
    /// first few of each kind only.
    pub found: BTreeMap<AnomalyKind, u64>,
}

/// Elements of all sets, by what became of them, and the reads that say so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SetCounts {
    /// Reads that were answered.
    pub reads: u64,
    /// Elements that were to be added.
    pub added: u64,
    /// Those of them whose add was acknowledged.
    pub acknowledged: u64,
    /// Those of them whose adds all failed.
    pub failed: u64,
    /// Those of them whose adds are all of unknown outcome.
    pub unknown: u64,
    /// Elements of unknown outcome that some read has: they were added.
    pub recovered: u64,
    /// Known elements that a read lacked, and a later one had.
    pub stale: u64,
    /// Known elements that are proved to be gone.
    pub lost: u64,
    /// Acknowledged elements that no read has, and that are not proved to be gone.
    pub never_read: u64,
    /// Elements that an answer had twice.
    pub duplicated: u64,
    /// Elements that a read had and that cannot have been there.
    pub impossible: u64,
}

impl SetCounts {
    /// Counts the elements of one set.
    pub(super) fn add(&mut self, facts: &Facts<'_>) {
        self.reads += facts.reads.len() as u64;
        for element in facts.elements.iter().filter(|element| element.is_added()) {
            self.added += 1;
            match (element.acknowledged, element.begun) {
                (Some(_), _) => self.acknowledged += 1,
                (None, None) => self.failed += 1,
                (None, Some(_)) => {
                    self.unknown += 1;
                    self.recovered += u64::from(!element.seen.is_empty());
                }
            }
        }
    }
}

/// For how long known elements were missing: from when they were known to the beginning of the last read that lacks them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Missing {
    /// How many elements were missing.
    pub elements: u64,
    /// Half of them for at most so long, in nanoseconds.
    pub p50_ns: u64,
    /// 95 of a hundred.
    pub p95_ns: u64,
    /// 99 of a hundred.
    pub p99_ns: u64,
    /// All of them.
    pub max_ns: u64,
}

/// Durations, in any order.
#[derive(Default)]
pub(super) struct Durations(Vec<u64>);

impl Durations {
    pub(super) fn add(&mut self, duration: u64) {
        self.0.push(duration);
    }

    /// Their quantiles, by nearest rank.
    pub(super) fn finish(mut self) -> Option<Missing> {
        self.0.sort_unstable();
        let count = self.0.len();
        let quantile = |percent: usize| self.0[(count * percent).div_ceil(100).max(1) - 1];
        (count > 0).then(|| Missing {
            elements: count as u64,
            p50_ns: quantile(50),
            p95_ns: quantile(95),
            p99_ns: quantile(99),
            max_ns: quantile(100),
        })
    }
}
