//! The findings of the analyses: every anomaly counted, the first few of each kind with their witnesses.

use std::collections::BTreeMap;

use duress_history::Allowed;

use crate::verdict::{Anomaly, AnomalyKind, CheckReport, Details, FoundReport, Reason, Verdict};

/// Anomalies of one kind that get a witness: a system that is broken in one way is broken so thousands of times, and
/// a few show it.
const WITNESSES_MAX: u64 = 8;

/// The findings so far.
pub(crate) struct Findings {
    allows: Box<dyn Fn(AnomalyKind) -> Allowed>,
    anomalies: Vec<Anomaly>,
    found: BTreeMap<AnomalyKind, u64>,
}

impl Findings {
    /// Returns empty findings; `allows` tells which anomalies the promise allows.
    pub(crate) fn new(allows: impl Fn(AnomalyKind) -> Allowed + 'static) -> Self {
        Self { allows: Box::new(allows), anomalies: Vec::new(), found: BTreeMap::new() }
    }

    /// Counts an anomaly of `kind`, and has it explained if it breaks the promise and few like it were.
    pub(crate) fn add(&mut self, kind: AnomalyKind, explain: impl FnOnce() -> Anomaly) {
        let count = self.found.entry(kind).or_default();
        *count += 1;
        if *count <= WITNESSES_MAX && (self.allows)(kind) == Allowed::No {
            self.anomalies.push(explain());
        }
    }

    /// How many of `kind` were found.
    pub(crate) fn count(&self, kind: AnomalyKind) -> u64 {
        self.found.get(&kind).copied().unwrap_or_default()
    }

    /// Returns the kinds that were found.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = AnomalyKind> + '_ {
        self.found.keys().copied()
    }

    /// Returns the anomalies that break the promise, and how many there were of each kind in all.
    pub(crate) fn finish(self) -> (Vec<Anomaly>, BTreeMap<AnomalyKind, u64>) {
        (self.anomalies, self.found)
    }

    /// Returns the answer of a checker that finds nothing besides anomalies, about so many `keys` and `operations`: of these,
    /// `happened` succeeded, and `observed` of their answers show something.
    pub(crate) fn report(
        self,
        keys: usize,
        operations: usize,
        (happened, observed): (u64, u64),
        mut reasons: Vec<Reason>,
    ) -> CheckReport {
        if reasons.is_empty() {
            reasons.extend(Reason::nothing_shown(operations as u64, happened, observed));
        }
        let (anomalies, found) = self.finish();
        CheckReport {
            verdict: Verdict::new(anomalies, reasons),
            keys: keys as u64,
            operations: operations as u64,
            details: Details::Found(FoundReport { found }),
        }
    }
}
