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
//! Departures: an attempt of unknown outcome may have been committed or not, and its outputs decide. What is lost is decided
//! by reads that began after the last attempt had ended, if they reach the ends that an answer gave after that.

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
        kind => allows(promise, kind),
    }
}

/// Checks that inputs are processed as promised.
///
/// `operations` are in order of invocation. `interrupt` may be set at any time; what is not decided then is `Unknown`.
/// Time O(n log n) in the outputs read.
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
    } else if interrupt.load(Ordering::Relaxed) {
        reasons.push(Reason::Interrupted { key: None, explored: 0, reached: None });
    } else {
        records::impossible(&facts, &mut findings);
        fold::diverged(&facts, &mut findings);
        let unseen = lost::missing(&facts, &mut findings);
        counts = count(&facts, &findings, unseen.iter().map(|(_, messages)| messages).sum());
        if promised.loss == Allowed::No {
            let open = unseen.into_iter().filter(|(_, messages)| *messages > 0);
            reasons.extend(open.map(|(key, messages)| Reason::Unseen { key: Some(key), messages }));
        }
        if reasons.is_empty() {
            let (all, happened) = (operations.len() as u64, happened(operations));
            reasons.extend(Reason::nothing_shown(all, happened, counts.deliveries));
        }
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
