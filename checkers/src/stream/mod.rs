//! Streams: has every input exactly one output, in order, and is the table in the outputs the one that was kept?
//!
//! Workers read inputs, count how often each key has come, and write an output for each input into the partition of the same
//! number; outputs and read positions are committed together. The vocabulary is that of [`duress_history::stream`]. Values
//! are unique: one that was sent twice makes everything undecided ([`Reason::RepeatedValue`]).
//!
//! - *Never sent*, *aborted read*: an output of no input, of no attempt, or of an attempt that has failed.
//! - *Duplicate*: two outputs of one input.
//! - *Lost write*: an input that was acknowledged, and that the group has passed, without an output; an output that was
//!   committed or read, and is not there. *Poll skip*: a read left out what others had found before.
//! - *Inconsistent offsets*: one place that was read as two outputs.
//! - *Reordered*: outputs in another order than their inputs.
//! - *Table diverged*: the outputs of a key, in order, do not count 1, 2, 3: the table that a worker kept is not the fold of
//!   the outputs before. Only the part of a partition that was read without a gap from its beginning counts.
//!
//! In reading order: `facts`; `records`: outputs that cannot be there; `fold`: order and counts; `lost`: what is missing;
//! `describe`: how operations are described in a witness.
//!
//! Departures: an attempt of unknown outcome may have been committed or not, and its outputs decide. If the answer of an
//! attempt lists outputs, it lists all of them. Losses are decided by reads that began after the last attempt had ended, if
//! they cover the outputs from the beginning to the ends that an answer gave after that; a history without such reads is
//! unknown, whatever was promised.

mod describe;
mod facts;
mod fold;
mod lost;
mod records;

use std::sync::atomic::{AtomicBool, Ordering};

use duress_history::stream::Stream;
use duress_history::{Allowed, Delivery, Operation};

use crate::delivery::facts::WriteStatus;
use crate::delivery::promise::allows;
use crate::delivery::{DeliveryCounts, DeliveryReport, happened};
use crate::findings::Findings;
use crate::verdict::{AnomalyKind, CheckReport, Details, Reason, Verdict};
use facts::Facts;
use lost::Open;

/// The partitions that a reason names at most.
const PARTITIONS_SHOWN: usize = 6;

/// The options for checking a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamOptions {
    /// The promise on inputs: how often each is processed.
    pub promise: Delivery,
}

impl Default for StreamOptions {
    /// Everything promised.
    fn default() -> Self {
        Self { promise: Delivery::EXACTLY_ONCE }
    }
}

/// Whether `promise` allows an anomaly of `kind`.
fn allowed(promise: Delivery, kind: AnomalyKind) -> Allowed {
    match kind {
        // A worker that processes an input twice counts it twice, or counts on from what it had counted in vain.
        AnomalyKind::TableDiverged => promise.repetition.max(promise.loss),
        AnomalyKind::PollSkip => promise.loss,
        // The end of an aborted transaction may be lost as well.
        AnomalyKind::AbortedRead => promise.loss,
        kind => allows(promise, kind),
    }
}

/// Checks that inputs are processed as promised.
///
/// `operations` are in order of invocation. `interrupt` may be set at any time, and is looked at between the parts of the check;
/// whatever is not decided then is `Unknown`. Time O(n log n) in the outputs read.
#[must_use]
pub fn check_stream(
    operations: &[Operation<Stream>],
    options: &StreamOptions,
    interrupt: &AtomicBool,
) -> CheckReport {
    let facts = Facts::new(operations);
    let promised = options.promise;
    let mut findings = Findings::new(move |kind| allowed(promised, kind));
    let mut reasons = Vec::new();
    let mut counts = DeliveryCounts::default();
    if u32::try_from(operations.len()).is_err() {
        reasons.push(Reason::TooLong { key: None, operations: operations.len() as u64 });
    } else if let Some(value) = facts.repeated {
        reasons.push(Reason::RepeatedValue { key: None, value: value.clone() });
    } else if let Some(attempt) = facts.repeated_attempt {
        let what = format!("attempt {attempt} was made twice: what it wrote is not known");
        reasons.push(Reason::NotExamined { what });
    } else if let Some(open) = examine(&facts, &mut findings, interrupt) {
        counts = count(&facts, &findings, open.unseen.iter().map(|(_, messages)| messages).sum());
        let (all, happened) = (operations.len() as u64, happened(operations));
        match Reason::nothing_shown(all, happened, counts.deliveries) {
            Some(nothing) => reasons.push(nothing),
            None => reasons.extend(questions(open, promised)),
        }
    } else {
        reasons.push(Reason::Interrupted { key: None, explored: 0, reached: None });
    }
    let (anomalies, found) = findings.finish();
    CheckReport {
        verdict: Verdict::new(anomalies, reasons),
        keys: facts.partitions.len() as u64,
        operations: operations.len() as u64,
        details: Details::Delivery(DeliveryReport {
            promise: promised,
            reached: counts.reached(),
            counts,
            found,
        }),
    }
}

/// Returns why `open` leaves a promise undecided.
fn questions(open: Open, promised: Delivery) -> Vec<Reason> {
    let Open { unseen, unread } = open;
    let mut reasons = Vec::new();
    if !unread.is_empty() {
        let names: Vec<String> = unread.iter().take(PARTITIONS_SHOWN).map(ToString::to_string).collect();
        let more = if unread.len() > names.len() { ", …" } else { "" };
        let what = format!(
            "after all processing no reads cover the outputs from the beginning to an end that was asked for: {}{more}",
            names.join(", ")
        );
        reasons.push(Reason::NotExamined { what });
    }
    if promised.loss == Allowed::No {
        reasons.extend(unseen.into_iter().map(|(key, messages)| Reason::Unseen { key: Some(key), messages }));
    }
    reasons
}

/// Finds all anomalies, and returns the open questions; `None` once `interrupt` is set, between the parts of the check.
fn examine(facts: &Facts<'_>, findings: &mut Findings, interrupt: &AtomicBool) -> Option<Open> {
    let go_on = || (!interrupt.load(Ordering::Relaxed)).then_some(());
    go_on()?;
    records::impossible(facts, findings);
    go_on()?;
    fold::diverged(facts, findings);
    go_on()?;
    Some(lost::missing(facts, findings))
}

fn count(facts: &Facts<'_>, findings: &Findings, unseen: u64) -> DeliveryCounts {
    let mut counts = DeliveryCounts {
        lost: findings.count(AnomalyKind::LostWrite),
        duplicated: findings.count(AnomalyKind::Duplicate),
        reordered: findings.count(AnomalyKind::Reordered),
        unseen,
        deliveries: facts.seen.values().map(|seen| seen.len() as u64).sum(),
        ..DeliveryCounts::default()
    };
    for input in &facts.inputs {
        counts.sent += 1;
        let seen = u64::from(facts.outputs.contains_key(input.value));
        counts.delivered += seen;
        match input.status {
            WriteStatus::Acknowledged(_) => counts.acknowledged += 1,
            WriteStatus::Failed => counts.failed += 1,
            WriteStatus::Unknown => counts.unknown += 1,
        }
        if !matches!(input.status, WriteStatus::Acknowledged(_)) {
            counts.unacknowledged_delivered += seen;
        }
    }
    counts
}
