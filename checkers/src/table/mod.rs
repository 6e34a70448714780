//! Tables: does a compacted log give the same table as the whole log?
//!
//! A log of records, each with a key and a value or a deletion, is also a table: the *fold* of the log gives each key the
//! value of its last record. Compaction may remove every record that a later one of the same key follows, and
//! deletions altogether once nothing is before them; it must never change the fold.
//!
//! The whole log cannot be read once it has been compacted. But the acknowledgement of each write gives its
//! record's place, and each read of the remaining log shows more; of the known records of a key, the one with
//! the highest offset is the least that every later read must have of it: that record, or a later one.
//!
//! Values are put once each; a key that was given a value twice is undecided ([`Reason::RepeatedValue`]).
//!
//! In reading order: `facts`; `records`: records that contradict each other; `fold`: tables that differ from
//! the fold; `describe`: how operations are described in a witness.
//!
//! A history in which the log was never read, or only while nothing was in it, is unknown.
//!
//! A final phase asks for the ends, reads all remaining records, and then asks for the ends, or reads, once
//! more: only the later answers exclude that a record beyond the read was the reason for an absence.

mod describe;
mod facts;
mod fold;
mod records;

use std::sync::atomic::{AtomicBool, Ordering};

use duress_history::table::Table;
use duress_history::{Allowed, Delivery, Operation};

use crate::delivery::facts::WriteStatus;
use crate::delivery::promise::allows;
use crate::delivery::{DeliveryCounts, DeliveryReport, happened};
use crate::findings::Findings;
use crate::verdict::{AnomalyKind, CheckReport, Details, Reason, Verdict};
use facts::Facts;

/// The options for checking a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableOptions {
    /// The log's promise on loss and on duplicates. Order within a partition is the condition of there being
    /// a table at all. If loss is allowed, only records that were read must stay; if unsettled reads are, not even these.
    pub promise: Delivery,
}

impl Default for TableOptions {
    /// Everything promised.
    fn default() -> Self {
        Self { promise: Delivery::EXACTLY_ONCE }
    }
}

/// Checks that every read of the remaining log gives the table of the whole log.
///
/// `operations` are in order of invocation. `interrupt` may be set at any time; partitions not decided then
/// are `Unknown`.
/// Time O(n log n) in the records written and read, and for each read O(keys).
#[must_use]
pub fn check_table(
    operations: &[Operation<Table>],
    options: &TableOptions,
    interrupt: &AtomicBool,
) -> CheckReport {
    let facts = Facts::new(operations);
    let keys = facts.partitions.len() as u64;
    let promised = options.promise;
    let mut findings = Findings::new(move |kind| allows(promised, kind));
    let mut reasons = Vec::new();
    let mut unseen = 0;
    if u32::try_from(operations.len()).is_err() {
        reasons.push(Reason::TooLong { key: None, operations: operations.len() as u64 });
    } else if let Some((key, value)) = facts.repeated {
        reasons.push(Reason::RepeatedValue { key: Some(key.clone()), value: value.clone() });
    } else {
        let lost = records::impossible(&facts, &mut findings);
        if interrupt.load(Ordering::Relaxed) {
            reasons.push(Reason::Interrupted { key: None, explored: 0, reached: None });
        } else {
            let undecided = fold::differences(&facts, &lost, options.promise.loss, &mut findings);
            for (key, messages) in undecided {
                unseen += messages;
                if options.promise.loss == Allowed::No {
                    reasons.push(Reason::Unseen { key, messages });
                }
            }
        }
    }
    let counts = counts(&facts, &findings, unseen);
    if reasons.is_empty() {
        let shows = |read: &&facts::Read<'_>| read.read.next.0 > 0 || !read.read.records.is_empty();
        let observed = facts.reads.iter().filter(shows).count() as u64;
        reasons.extend(Reason::nothing_shown(operations.len() as u64, happened(operations), observed));
    }
    let (anomalies, found) = findings.finish();
    // It is unknown whether compacted records were once there, and so is the promise reached.
    let details =
        Details::Delivery(DeliveryReport { promise: options.promise, reached: None, counts, found });
    CheckReport {
        verdict: Verdict::new(anomalies, reasons),
        keys,
        operations: operations.len() as u64,
        details,
    }
}

fn counts(facts: &Facts<'_>, findings: &Findings, unseen: u64) -> DeliveryCounts {
    let mut counts = DeliveryCounts {
        lost: findings.count(AnomalyKind::LostWrite)
            + findings.count(AnomalyKind::LatestLost)
            + findings.count(AnomalyKind::TableDiverged),
        duplicated: findings.count(AnomalyKind::Duplicate),
        deliveries: facts.reads.iter().map(|read| read.read.records.len() as u64).sum(),
        unseen,
        ..DeliveryCounts::default()
    };
    for write in &facts.writes {
        counts.sent += 1;
        let seen = u64::from(!write.seen.is_empty());
        counts.delivered += seen;
        match write.status {
            WriteStatus::Acknowledged(_) => counts.acknowledged += 1,
            WriteStatus::Failed => counts.failed += 1,
            WriteStatus::Unknown => {
                counts.unknown += 1;
                counts.unacknowledged_delivered += seen;
            }
        }
    }
    counts
}
