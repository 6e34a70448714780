//! Transactions: which consistency model do their answers keep, and which do they refute?
//!
//! The vocabularies are those of [`duress_history::txn`]: lists that are appended to, and registers. What is read says which
//! transaction wrote it, and in part in which order the versions of an object were written. From that follows which transaction
//! came before which: a *dependency*. A cycle of dependencies is an anomaly, by its kind; others need no cycle. An anomaly refutes
//! the models that forbid it. Names are those of Adya and of Elle.
//!
//! A transaction that was acknowledged took effect, and one that failed did not. One of unknown outcome did if an effect of it was
//! read; otherwise it is left out, as it may not have happened.
//!
//! **What is decided.** An anomaly is a proof. Lists are decided: without an anomaly there is an order of the transactions that
//! explains every answer, since every list has its order but for what no read shows. The order of a register's versions is known in part only, and there may be
//! none that explains every answer although no cycle shows it, which is NP-hard to decide (Papadimitriou, 1979). So where no anomaly
//! is found an order is looked for, in `order` and `search`: the verdict is valid where there is one, and unknown otherwise.
//!
//! Not looked at: predicates, which are not in the vocabularies; so that repeatable read is serializability of everything else.
//!
//! In reading order: [`ConsistencyModel`], in `model`; `facts`: a history by key; `list` and `register`: versions; `graph` and
//! `cycle`; `visibility`; `order` and `search`; `finding`, `explain` and `reasons`: sentences.

mod cycle;
mod explain;
mod facts;
mod finding;
mod graph;
mod list;
mod model;
mod order;
mod reasons;
mod register;
mod search;
mod visibility;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use duress_history::txn::{Act, ListAppend, RwRegister};
use duress_history::{Allowed, Assumed, Operation, Scalar};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use model::ConsistencyModel;

use crate::findings::Findings;
use crate::verdict::{Anomaly, AnomalyKind, CheckReport, Details, Reason, Verdict};
use cycle::{Component, Cycle};
use explain::{Reasons, Shown};
use facts::{Facts, Fate};
use finding::Finding;
use graph::{Graph, Part};
use visibility::Accessed;

/// What a check of transactions found beside its verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TransactionsReport {
    /// What was promised.
    pub promise: ConsistencyModel,
    /// Transactions that were acknowledged.
    pub committed: u64,
    /// Transactions that failed.
    pub aborted: u64,
    /// Transactions of unknown outcome.
    pub unknown: u64,
    /// How often each anomaly was found, whether the promise forbids it or not; of cycles, in how many knots of transactions. The
    /// verdict has witnesses of the first few of each kind only.
    pub found: BTreeMap<AnomalyKind, u64>,
    /// The weakest models that the anomalies refute. Each that implies one of them is refuted too.
    pub refuted: Vec<ConsistencyModel>,
    /// The strongest models that are not refuted.
    pub left: Vec<ConsistencyModel>,
}

/// Checks transactions on lists, in order of invocation, against what is promised of them.
///
/// `interrupt` may be set at any time; what is not decided then is `Unknown`.
#[must_use]
pub fn check_list_append(
    operations: &[Operation<ListAppend>],
    promise: ConsistencyModel,
    interrupt: &AtomicBool,
) -> CheckReport {
    let facts = Facts::new(operations);
    let (versions, findings): (Vec<_>, Vec<_>) =
        keys(&facts).map(|key| list::Versions::new(&facts, key)).unzip();
    let mut check = Check::new(&facts, promise, interrupt);
    check.findings(findings);
    check.repeated(versions.iter().map(|versions| versions.repeated));
    check.internal(|op| list::internal(&facts, op));
    let parts = keys(&facts).map(|key| versions[key as usize].depend(&facts, key)).collect();
    let graph = check.cycles(parts, &versions);
    check.visibility(&versions, &graph);
    // Without cycles of any kind there is one order of all transactions.
    if check.may_be_valid() && check.found.kinds().next().is_some() {
        check.reasons.extend(order::undecided_appends(&facts, &versions, &graph, promise, interrupt));
    }
    check.finish()
}

/// Checks transactions on registers, in order of invocation, against what is promised of them.
///
/// `interrupt` may be set at any time; what is not decided then is `Unknown`.
#[must_use]
pub fn check_rw_register(
    operations: &[Operation<RwRegister>],
    promise: ConsistencyModel,
    assumed: &Assumed,
    interrupt: &AtomicBool,
) -> CheckReport {
    let facts = Facts::new(operations);
    let (versions, findings): (Vec<_>, Vec<_>) =
        keys(&facts).map(|key| register::Versions::new(&facts, key, assumed)).unzip();
    let mut check = Check::new(&facts, promise, interrupt);
    check.findings(findings);
    check.repeated(versions.iter().map(|versions| versions.repeated));
    check.internal(|op| register::internal(&facts, op, assumed.nil_reads));
    let parts = keys(&facts).map(|key| versions[key as usize].depend(&facts, key)).collect();
    let graph = check.cycles(parts, &versions);
    check.visibility(&versions, &graph);
    if check.may_be_valid()
        && let Some(reason) = order::undecided(&facts, &versions, &graph, promise, interrupt)
    {
        check.reasons.push(reason);
        // There may be none because of what was visible, which is decided.
        check.visible(&versions, &graph, ConsistencyModel::Causal);
    }
    check.finish()
}

fn keys<R: Shown>(facts: &Facts<'_, R>) -> rayon::range::Iter<u32>
where
    for<'a> Facts<'a, R>: Sync,
{
    (0..facts.keys.len() as u32).into_par_iter()
}

/// A check under way.
struct Check<'c, 'a, R> {
    facts: &'c Facts<'a, R>,
    promise: ConsistencyModel,
    interrupt: &'c AtomicBool,
    found: Findings,
    reasons: Vec<Reason>,
}

impl<'c, 'a, R: Shown + Sync> Check<'c, 'a, R> {
    fn new(facts: &'c Facts<'a, R>, promise: ConsistencyModel, interrupt: &'c AtomicBool) -> Self {
        let allows = move |kind| Allowed::from(!promise.forbids(kind));
        Self { facts, promise, interrupt, found: Findings::new(allows), reasons: Vec::new() }
    }

    fn findings(&mut self, findings: impl IntoIterator<Item = Vec<Finding>>) {
        for finding in findings.into_iter().flatten() {
            self.found.add(finding.kind, || explain::finding(self.facts, &finding));
        }
    }

    /// Keys with a value that was written more than once are not decided.
    fn repeated<'v>(&mut self, values: impl Iterator<Item = Option<&'v Scalar>>) {
        let reason = |(key, value): (&&Scalar, Option<&Scalar>)| {
            value.map(|value| Reason::RepeatedWrite { key: Some((*key).clone()), value: value.clone() })
        };
        self.reasons.extend(self.facts.keys.iter().zip(values).filter_map(reason));
    }

    /// What contradicts itself within a transaction, where `wrong` says so.
    fn internal(&mut self, wrong: impl Fn(u32) -> Option<(facts::Place, facts::Place)> + Sync + Send) {
        let facts = self.facts;
        let committed = |op: &u32| facts.fate(*op) == Fate::Committed;
        let count = facts.operations.len() as u32;
        let findings: Vec<_> = (0..count).into_par_iter().filter(committed).filter_map(wrong).collect();
        for (place, before) in findings {
            self.found.add(AnomalyKind::Internal, || {
                let key = &facts.micros(place.op)[place.micro as usize].key;
                let key = facts.keys.iter().position(|known| *known == key).unwrap_or_default() as u32;
                explain::finding(facts, &Finding::new(AnomalyKind::Internal, key, place).and(before))
            });
        }
    }

    /// Adds `parts` to the order of time, and finds the cycles.
    fn cycles(&mut self, parts: Vec<(Part, Vec<Finding>)>, reasons: &impl Reasons<R>) -> Graph {
        let mut graph = Graph::of_time(self.facts);
        for (part, findings) in parts {
            graph.add(part);
            self.findings([findings]);
        }
        if self.interrupt.load(Ordering::Relaxed) {
            self.reasons.push(Reason::Interrupted { key: None, explored: 0 });
            return graph;
        }
        let components = graph.components(self.facts);
        let joints_from = graph.joints_from;
        let found: Vec<_> =
            components.into_par_iter().map(|edges| Component::new(edges, joints_from).cycles()).collect();
        for cycle in found.into_iter().flatten() {
            self.found.add(cycle.kind, || explain::cycle(self.facts, reasons, &cycle));
        }
        graph
    }

    /// Whether each transaction saw what it had to see, where that was promised, or where there are cycles that only stronger models
    /// forbid.
    fn visibility(&mut self, versions: &impl Accessed<R>, graph: &Graph) {
        let promised = [ConsistencyModel::ReadAtomic, ConsistencyModel::Causal].contains(&self.promise);
        if self.found.kinds().next().is_some() {
            self.visible(versions, graph, ConsistencyModel::Causal);
        } else if promised {
            self.visible(versions, graph, self.promise);
        }
    }

    /// Whether each transaction saw what it had to see, by the models that `strongest` implies.
    fn visible(&mut self, versions: &impl Accessed<R>, graph: &Graph, strongest: ConsistencyModel) {
        for (kind, model) in [
            (AnomalyKind::FracturedRead, ConsistencyModel::ReadAtomic),
            (AnomalyKind::CausalityViolation, ConsistencyModel::Causal),
        ] {
            if !strongest.implies(model) || self.found.kinds().any(|kind| model.forbids(kind)) {
                continue;
            }
            let found = &mut self.found;
            let add = |cycle: &Cycle, explain: &dyn Fn() -> Anomaly| found.add(cycle.kind, explain);
            let undecided = visibility::check(self.facts, versions, graph, kind, self.interrupt, add);
            self.reasons.extend(undecided.filter(|_| self.promise.implies(model)));
        }
    }

    /// Whether nothing was found that the promise forbids.
    fn may_be_valid(&self) -> bool {
        self.reasons.is_empty() && !self.found.kinds().any(|kind| self.promise.forbids(kind))
    }

    fn finish(mut self) -> CheckReport {
        let of = |fate| move |op: &u32| self.facts.fate(*op) == fate;
        let ops = 0..self.facts.operations.len() as u32;
        let count = |fate| ops.clone().filter(of(fate)).count() as u64;
        let (committed, aborted, unknown) =
            (count(Fate::Committed), count(Fate::Aborted), count(Fate::Maybe));
        let is_answer =
            |op: &u32| self.facts.micros(*op).iter().any(|micro| matches!(micro.act, Act::Read(Some(_))));
        let observed = ops.clone().filter(of(Fate::Committed)).filter(is_answer).count() as u64;
        let operations = self.facts.operations.len() as u64;
        self.reasons.extend(Reason::nothing_shown(operations, committed, observed));
        let (refuted, left) = model::refuted(self.found.kinds());
        let (anomalies, found) = self.found.finish();
        let promise = self.promise;
        let report = TransactionsReport { promise, committed, aborted, unknown, found, refuted, left };
        CheckReport {
            verdict: Verdict::new(anomalies, self.reasons),
            keys: self.facts.keys.len() as u64,
            operations,
            details: Details::Transactions(report),
        }
    }
}
