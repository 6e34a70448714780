//! Transactions: the consistency models that a history's answers keep, and those that they refute.
//!
//! The vocabularies are those of [`duress_history::txn`]: lists that are appended to, and registers. A read
//! shows which transaction wrote its value and, in part, the order in which the versions of an object were
//! written. From this follows which transaction came before which: a *dependency*. A cycle of dependencies is
//! an anomaly, whose kind depends on the edges; other anomalies need no cycle. An anomaly refutes the models
//! that forbid it. Names are those of Adya and of Elle.
//!
//! An acknowledged transaction took effect, and a failed one did not. A transaction of unknown outcome took
//! effect if any of its effects was read. Otherwise it is left out, as it may not have happened.
//!
//! **What is decided.** An anomaly is a proof. Lists are always decided: without an anomaly, some order of
//! the transactions explains every answer, since the order of each list is known except for the appends that
//! no read shows. The order of a register's versions is known only in part. Possibly no order explains every
//! answer although no cycle shows it; this is NP-hard to decide (Papadimitriou, 1979). If no anomaly is
//! found, `order` looks for an order, and `proof` for a proof that there is none: the verdict is unknown if neither is found.
//!
//! Predicates are not examined, since the vocabularies do not have them. Repeatable read is therefore
//! serializability of everything else.
//!
//! In reading order: `model`: the anomalies that refute a model; `facts`: a history by key; `list` and `register`:
//! versions; `graph` and `cycle`; `visibility`; `order`, with `serial`, `chains` and `proof`, and `search`; `finding`, `explain` and `reasons`: the
//! sentences of the report; `single`: registers whose operations are transactions; `sessions`: what each process that uses such
//! registers may rely on.

mod chains;
mod cycle;
mod explain;
mod facts;
mod finding;
mod graph;
mod list;
mod model;
mod order;
mod proof;
mod reasons;
mod register;
mod search;
mod serial;
mod sessions;
mod single;
mod visibility;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use duress_history::txn::{Act, ListAppend, RwRegister};
use duress_history::{Allowed, Assumed, ConsistencyModel, Operation, Scalar};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::findings::Findings;
use crate::freshness::ReadAges;
use crate::verdict::{Anomaly, AnomalyKind, CheckReport, Details, Reason, Verdict};
use cycle::{Component, Cycle};
use explain::{Reasons, Shown};
use facts::{Facts, Fate};
use finding::Finding;
use graph::{Graph, Part};
use model::forbids;
use order::Order;
pub use sessions::check_session_guarantees;
pub use single::check_registers_by_model;
use visibility::Accessed;

/// The results of a check of transactions in addition to its verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TransactionsReport {
    /// The promised model.
    pub promise: ConsistencyModel,
    /// Transactions that were acknowledged.
    pub committed: u64,
    /// Transactions that failed.
    pub aborted: u64,
    /// Transactions of unknown outcome.
    pub unknown: u64,
    /// How often each anomaly was found, whether the promise forbids it or not. Cycles are counted by
    /// strongly connected component. The verdict has witnesses only for the first few of each kind.
    pub found: BTreeMap<AnomalyKind, u64>,
    /// The weakest models that the anomalies refute. Every model that implies one of them is refuted too.
    pub refuted: Vec<ConsistencyModel>,
    /// The strongest models that are not refuted.
    pub left: Vec<ConsistencyModel>,
    /// How old reads were; only where single registers were read.
    #[serde(default, rename = "read_ages", skip_serializing_if = "Option::is_none")]
    pub read_ages: Option<ReadAges>,
}

/// Checks transactions on lists, in order of invocation, against their promise.
///
/// `interrupt` may be set at any time; everything undecided then is `Unknown`.
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
    // Without any cycle, one order of all transactions exists.
    if check.may_be_valid() && check.found.kinds().next().is_some() {
        check.reasons.extend(order::undecided_appends(&facts, &versions, &graph, promise, interrupt));
    }
    check.finish()
}

/// Checks transactions on registers, in order of invocation, against their promise.
///
/// `interrupt` may be set at any time; everything undecided then is `Unknown`.
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
    if check.may_be_valid() {
        match order::of_registers(&facts, &versions, &graph, promise, interrupt) {
            Order::Found => {}
            Order::Contradiction(kind, proof) => {
                check.found.add(kind, || explain::proof(&facts, &versions, kind, &proof));
            }
            Order::Undecided(reason) => {
                check.reasons.push(reason);
                // The order may not exist because of the visibility of writes, which can be decided.
                check.visible(&versions, &graph, ConsistencyModel::Causal);
            }
        }
    }
    check.finish()
}

fn keys<R: Shown>(facts: &Facts<'_, R>) -> rayon::range::Iter<u32>
where
    for<'a> Facts<'a, R>: Sync,
{
    (0..facts.keys.len() as u32).into_par_iter()
}

/// A running check.
struct Check<'c, 'a, R> {
    facts: &'c Facts<'a, R>,
    promise: ConsistencyModel,
    interrupt: &'c AtomicBool,
    found: Findings,
    reasons: Vec<Reason>,
}

impl<'c, 'a, R: Shown + Sync> Check<'c, 'a, R> {
    fn new(facts: &'c Facts<'a, R>, promise: ConsistencyModel, interrupt: &'c AtomicBool) -> Self {
        let allows = move |kind| Allowed::from(!forbids(promise, kind));
        Self { facts, promise, interrupt, found: Findings::new(allows), reasons: Vec::new() }
    }

    fn findings(&mut self, findings: impl IntoIterator<Item = Vec<Finding>>) {
        for finding in findings.into_iter().flatten() {
            self.found.add(finding.kind, || explain::finding(self.facts, &finding));
        }
    }

    /// Records as undecided the keys with a value that was written more than once.
    fn repeated<'v>(&mut self, values: impl Iterator<Item = Option<&'v Scalar>>) {
        let reason = |(key, value): (&&Scalar, Option<&Scalar>)| {
            value.map(|value| Reason::RepeatedWrite { key: Some((*key).clone()), value: value.clone() })
        };
        self.reasons.extend(self.facts.keys.iter().zip(values).filter_map(reason));
    }

    /// Adds the contradictions within a transaction that `wrong` finds.
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

    /// Adds `parts` to the order of time and finds the cycles.
    fn cycles(&mut self, parts: Vec<(Part, Vec<Finding>)>, reasons: &impl Reasons<R>) -> Graph {
        let mut graph = Graph::of_time(self.facts);
        for (part, findings) in parts {
            graph.add(part);
            self.findings([findings]);
        }
        if self.interrupt.load(Ordering::Relaxed) {
            self.reasons.push(Reason::Interrupted { key: None, explored: 0, reached: None });
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

    /// Checks that each transaction saw what it had to see, if that was promised, or for the models that the
    /// anomalies found so far leave open.
    fn visibility(&mut self, versions: &impl Accessed<R>, graph: &Graph) {
        let promised = [ConsistencyModel::ReadAtomic, ConsistencyModel::Causal].contains(&self.promise);
        if self.found.kinds().next().is_some() {
            self.visible(versions, graph, ConsistencyModel::Causal);
        } else if promised {
            self.visible(versions, graph, self.promise);
        }
    }

    /// Checks that each transaction saw what it had to see, by the models that `strongest` implies.
    fn visible(&mut self, versions: &impl Accessed<R>, graph: &Graph, strongest: ConsistencyModel) {
        for (kind, model) in [
            (AnomalyKind::FracturedRead, ConsistencyModel::ReadAtomic),
            (AnomalyKind::CausalityViolation, ConsistencyModel::Causal),
        ] {
            if !strongest.implies(model) || self.found.kinds().any(|kind| forbids(model, kind)) {
                continue;
            }
            let found = &mut self.found;
            let add = |cycle: &Cycle, explain: &dyn Fn() -> Anomaly| found.add(cycle.kind, explain);
            let undecided = visibility::check(self.facts, versions, graph, kind, self.interrupt, add);
            self.reasons.extend(undecided.filter(|_| self.promise.implies(model)));
        }
    }

    /// Returns whether nothing was found that the promise forbids, and nothing is undecided.
    fn may_be_valid(&self) -> bool {
        self.reasons.is_empty() && !self.found.kinds().any(|kind| forbids(self.promise, kind))
    }

    fn finish(mut self) -> CheckReport {
        let [committed, aborted, unknown] =
            [Fate::Committed, Fate::Aborted, Fate::Maybe].map(|fate| self.facts.fates(fate));
        let is_answer =
            |op: &u32| self.facts.micros(*op).iter().any(|micro| matches!(micro.act, Act::Read(Some(_))));
        let ops = 0..self.facts.operations.len() as u32;
        let is_committed = |op: &u32| self.facts.fate(*op) == Fate::Committed;
        let observed = ops.filter(is_committed).filter(is_answer).count() as u64;
        let operations = self.facts.operations.len() as u64;
        self.reasons.extend(Reason::nothing_shown(operations, committed, observed));
        let (refuted, left) = model::refuted(self.found.kinds());
        let (anomalies, found) = self.found.finish();
        let promise = self.promise;
        let report = TransactionsReport {
            promise,
            committed,
            aborted,
            unknown,
            found,
            refuted,
            left,
            read_ages: None,
        };
        CheckReport {
            verdict: Verdict::new(anomalies, self.reasons),
            keys: self.facts.keys.len() as u64,
            operations,
            details: Details::Transactions(report),
        }
    }
}
