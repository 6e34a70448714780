//! Session guarantees of registers: read-your-writes, monotonic reads, monotonic writes, writes follow reads.
//!
//! Terry and others, "Session Guarantees for Weakly Consistent Replicated Data" (PDIS 1994), with the executions of Viotti and
//! Vukolić, "Consistency in Non-Transactional Distributed Storage Systems" (ACM Computing Surveys, 2016): each read has a set of
//! writes that are *visible* to it, and there is one order of all writes, the *arbitration*. A read returns the last visible
//! write of its register, or the initial value if none is visible. In the order of one process:
//! - read-your-writes: a write is visible to the reads after it;
//! - monotonic reads: what is visible to a read is visible to those after it;
//! - monotonic writes: a write is before those after it, and visible to each read to which one of those is;
//! - writes follow reads: what is visible to a read is before the writes after it, and visible to each read to which one of those
//!   is. A compare-and-set is a read, and a write after it.
//!
//! **What is decided.** Whether one execution keeps all of the guarantees at once. Each value is written once to its register, so
//! that it is known which write a read returned. The least visible sets then suffice: larger ones only demand more. A write of its
//! register that is visible to a read and not returned is before the returned one. The guarantees are kept exactly if no cycle of
//! writes follows, and no read of an initial value has a visible write.
//!
//! **Which form.** The last two have two halves; Viotti and Vukolić have only that about the arbitration. Without the half about
//! visibility, a process may see a write and miss the earlier ones of the same process on other registers, which PRAM forbids:
//! PRAM is the first three guarantees only with it (Brzeziński, Sobaniec and Wawrzyniak, "From Session Causality to Causal
//! Consistency", 2004). With both halves, all four guarantees are causal consistency. Alone, the last two demand nothing of
//! reads that see one register each: each read may have seen nothing but what it returned. Then nothing was observed, and the
//! verdict is unknown (but a cycle of compare-and-sets breaks writes-follow-reads).
//!
//! In reading order: `session`: the sessions of a history, and the order of their writes; `walk`: the visible sets of a session,
//! and the order that they demand; `shorten` and `explain`: the cycles of the report, and their sentences.
//!
//! **Time** is linear for the first two guarantees. With the others, a process may see each write of others once more: the time
//! grows with the processes times the operations at worst.

mod explain;
mod session;
mod shorten;
mod walk;

use std::sync::atomic::{AtomicBool, Ordering};

use duress_history::register::Register;
use duress_history::txn::{Act, Held};
use duress_history::{Allowed, Assumed, Initial, Operation, Scalar, SessionGuarantee, SessionGuarantees};

use super::cycle::{Component, Cycle, Step};
use super::facts::{Facts, Fate};
use super::finding::Finding;
use super::graph::{Dependency, Graph, Level, NO_KEY, Part};
use super::register::Versions;
use super::single::transactions;
use crate::findings::Findings;
use crate::verdict::{AnomalyKind, CheckReport, Reason};
use session::Sessions;
use walk::Walk;

/// Checks operations on registers, in order of invocation, against session guarantees, which one execution has to keep together.
///
/// A session ends with the first operation of its process whose outcome is unknown. An operation of unknown outcome took effect
/// if its value was read. A value that was written twice to a register leaves it undecided; if initial values are unknown, they
/// are taken to be none of the written ones. `interrupt` may be set at any time; everything undecided then is `Unknown`.
#[must_use]
pub fn check_session_guarantees(
    operations: &[Operation<Register>],
    guarantees: SessionGuarantees,
    assumed: &Assumed,
    interrupt: &AtomicBool,
) -> CheckReport {
    let (transactions, mut reasons) = transactions(operations);
    let facts = Facts::new(&transactions);
    let mut found = Findings::new(|_| Allowed::No);
    let (mut versions, mut wrong): (Vec<Versions<'_>>, Vec<Finding>) = (Vec::new(), Vec::new());
    for key in 0..facts.keys.len() as u32 {
        let (of_key, findings) = Versions::new(&facts, key, assumed);
        wrong.extend(findings);
        wrong.extend(of_key.future_reads(&facts, key));
        versions.push(of_key);
    }
    for finding in wrong {
        // The register may have held at first the value that was read too early.
        if finding.kind == AnomalyKind::FutureRead && assumed.initial == Initial::Any {
            let of_key = &mut versions[finding.key as usize];
            if let Act::Read(Some(Held(Some(value)))) = facts.act(finding.places[0]) {
                of_key.repeated.get_or_insert(value);
            }
        } else {
            found.add(finding.kind, || super::explain::finding(&facts, &finding));
        }
    }
    for (key, versions) in facts.keys.iter().zip(&versions) {
        let reason =
            |value: &Scalar| Reason::RepeatedWrite { key: Some((*key).clone()), value: value.clone() };
        reasons.extend(versions.repeated.map(reason));
    }

    let sessions = Sessions::new(&facts, &versions, guarantees);
    let mut part = sessions.arbitration();
    let mut walk = Walk::new(&sessions);
    let (mut reads, mut bound) = (0, 0);
    for session in 0..sessions.count() {
        if interrupt.load(Ordering::Relaxed) {
            reasons.push(Reason::Interrupted { key: None, explored: 0, reached: None });
            break;
        }
        walk.begin(session);
        for place in sessions.range(session) {
            if let Some(missed) = walk.act(place, &mut part) {
                found.add(missed.kind, || explain::missed(&sessions, &missed));
            }
        }
        reads += walk.reads;
        bound += walk.bound;
    }
    let mut graph = Graph::new(operations.len());
    graph.add(part);
    let components = graph.components(&facts);
    for edges in components {
        for mut cycle in Component::new(edges, graph.joints_from).cycles() {
            cycle.steps = shorten::joined(&sessions, cycle.steps);
            cycle.kind = kind(&sessions, &cycle);
            found.add(cycle.kind, || explain::cycle(&sessions, &cycle));
        }
    }
    if reads > 0 && bound == 0 {
        reasons.push(Reason::NotExamined { what: unbound(guarantees) });
    }
    let happened = facts.fates(Fate::Committed);
    found.report(facts.keys.len(), operations.len(), (happened, reads), reasons)
}

/// Returns the kind of a cycle: that of the last of the guarantees on which it rests.
fn kind(sessions: &Sessions<'_, '_>, cycle: &Cycle) -> AnomalyKind {
    let of_step = |step: &Step| match (step.dependency, step.level) {
        (Dependency::WriteRead | Dependency::Inferred, _) => SessionGuarantee::WritesFollowReads,
        (_, Level::Data) if sessions.is_own(step.from, step.key) => SessionGuarantee::ReadYourWrites,
        (_, Level::Data) => SessionGuarantee::MonotonicReads,
        _ => SessionGuarantee::MonotonicWrites,
    };
    broken_by(cycle.steps.iter().map(of_step).max().unwrap_or(SessionGuarantee::ReadYourWrites))
}

/// Returns the kind of anomaly that breaks `guarantee`; kinds are in the order of the guarantees.
fn broken_by(guarantee: SessionGuarantee) -> AnomalyKind {
    match guarantee {
        SessionGuarantee::ReadYourWrites => AnomalyKind::ReadYourWritesViolation,
        SessionGuarantee::MonotonicReads => AnomalyKind::MonotonicReadsViolation,
        SessionGuarantee::MonotonicWrites => AnomalyKind::MonotonicWritesViolation,
        SessionGuarantee::WritesFollowReads => AnomalyKind::WritesFollowReadsViolation,
    }
}

/// Returns why reads prove nothing about `guarantees`.
fn unbound(guarantees: SessionGuarantees) -> String {
    use SessionGuarantee::{MonotonicReads, ReadYourWrites};
    if guarantees.has(ReadYourWrites) || guarantees.has(MonotonicReads) {
        format!("no process read a register of which {guarantees} makes a write visible to it")
    } else {
        format!(
            "a read sees one register, so that reads prove {guarantees} only together with {}; check {}+{guarantees}",
            MonotonicReads.name(),
            MonotonicReads.name()
        )
    }
}
