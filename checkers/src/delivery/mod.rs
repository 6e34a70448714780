//! Delivery: is every acknowledged message delivered, once, in order, and nothing else?
//!
//! The object is a log of partitions. A partition is an ordered list of messages, each at an offset; a sent
//! message is appended, and appended messages neither change nor move. Consumers read partitions in order. A
//! consumer *group* shares partitions out among its members and remembers, by committed offsets, how far each
//! was consumed.
//!
//! The vocabulary is that of [`duress_history::log`]. Values are unique: a partition to which a value was
//! sent twice is undecided ([`Reason::RepeatedValue`]).
//!
//! A history in which no message was read, or, for a queue, none by a member of the group, is unknown.
//!
//! The anomalies that break a promise are a parameter ([`Delivery`](duress_history::Delivery)); they are
//! counted in any case, and the counts show which promise the record keeps. Names are those of Jepsen's
//! analysis of Kafka (`jepsen.tests.kafka`) if it has one; each analysis lists its departures from it.
//!
//! In reading order:
//! - [`promise`]: the promise to check, and the result;
//! - `facts`: sends and records by partition; `positions`: the positions of consumers, and their jumps;
//! - `marks`: how far one must read to be sure;
//! - the analyses, one file each: `lost`, `duplicates`, `unsent`, `isolation`, `offsets`, `polls`, `sends`;
//!   of groups, with their `members`, `committed` and `group`;
//! - `describe`: how operations are described in a witness.

mod committed;
pub(crate) mod describe;
mod duplicates;
pub(crate) mod facts;
mod group;
mod isolation;
mod lost;
mod marks;
mod members;
mod offsets;
mod polls;
mod positions;
pub mod promise;
mod sends;
mod unsent;

use std::sync::atomic::{AtomicBool, Ordering};

use duress_history::log::Log;
use duress_history::pairs::Completion;
use duress_history::{Allowed, Operation};

use crate::findings::Findings;
use crate::verdict::{AnomalyKind, CheckReport, Details, Reason, Verdict};
use facts::{Facts, WriteStatus};
use group::Consumed;
use lost::Losses;
use members::Members;
pub use promise::{Acknowledged, DeliveryCounts, DeliveryReport, Gaps, LogOptions};

/// Checks a log as its producers and its consumers see it: acknowledged messages can be read, in order.
///
/// `operations` are in order of invocation. `interrupt` may be set at any time; partitions not decided then
/// are `Unknown`. Time O(n log n) in the messages sent and read.
#[must_use]
pub fn check_log(operations: &[Operation<Log>], options: &LogOptions, interrupt: &AtomicBool) -> CheckReport {
    check(operations, Subject::Log, options, interrupt)
}

/// Checks a queue: besides everything that [`check_log`] checks, the consumer group receives every
/// acknowledged message, as often as promised.
///
/// `operations` are in order of invocation. `interrupt` may be set at any time; partitions not decided then
/// are `Unknown`. Time O(n log n) in the messages sent and read.
#[must_use]
pub fn check_queue(
    operations: &[Operation<Log>],
    options: &LogOptions,
    interrupt: &AtomicBool,
) -> CheckReport {
    check(operations, Subject::Queue, options, interrupt)
}

/// The recipient of the messages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Subject {
    /// To every reader.
    Log,
    /// To the consumer group.
    Queue,
}

fn check(
    operations: &[Operation<Log>],
    subject: Subject,
    options: &LogOptions,
    interrupt: &AtomicBool,
) -> CheckReport {
    let facts = Facts::new(operations);
    let promised = options.promise;
    let mut findings = Findings::new(move |kind| promise::allows(promised, kind));
    let (mut reasons, mut counts) = (Vec::new(), DeliveryCounts::default());
    if u32::try_from(operations.len()).is_err() {
        reasons.push(Reason::TooLong { key: None, operations: operations.len() as u64 });
    } else if let Some(analysed) = analyse(&facts, subject, options, &mut findings, interrupt) {
        counts = count(&facts, &analysed, &findings);
        reasons = undecided(&facts, &analysed, options);
        if reasons.is_empty() {
            let (all, happened) = (operations.len() as u64, happened(operations));
            reasons.extend(Reason::nothing_shown(all, happened, counts.deliveries));
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
            promise: options.promise,
            reached: counts.reached(),
            counts,
            found,
        }),
    }
}

/// The findings of the analyses besides anomalies, by partition.
struct Analysed {
    losses: Vec<Losses>,
    /// For a queue only.
    consumed: Option<Vec<Consumed>>,
}

/// Runs every analysis; `None` when it was interrupted between two of them.
fn analyse(
    facts: &Facts<'_>,
    subject: Subject,
    options: &LogOptions,
    findings: &mut Findings,
    interrupt: &AtomicBool,
) -> Option<Analysed> {
    let go_on = || (!interrupt.load(Ordering::Relaxed)).then_some(());
    go_on()?;
    let positions = positions::follow(facts, options.gaps);
    go_on()?;
    let losses = lost::lost_writes(facts, &positions, options, findings);
    go_on()?;
    unsent::unsent_messages(facts, findings);
    offsets::inconsistent_offsets(facts, &losses, findings);
    duplicates::duplicates(facts, findings);
    isolation::uncommitted_reads(facts, findings);
    go_on()?;
    polls::polls_out_of_order(facts, &positions, &losses, options, findings);
    sends::sends_out_of_order(facts, &losses, options.promise.unsettled_reads, findings);
    go_on()?;
    let members = Members::new(facts);
    committed::offsets_back(facts, &members, findings);
    let consumed =
        (subject == Subject::Queue).then(|| group::deliveries(facts, &members, &losses, options, findings));
    Some(Analysed { losses, consumed })
}

fn count(facts: &Facts<'_>, analysed: &Analysed, findings: &Findings) -> DeliveryCounts {
    let mut counts = DeliveryCounts {
        lost: findings.count(AnomalyKind::LostWrite),
        duplicated: findings.count(AnomalyKind::Duplicate),
        reordered: findings.count(AnomalyKind::Reordered)
            + findings.count(AnomalyKind::NonmonotonicSend)
            + findings.count(AnomalyKind::IntNonmonotonicSend),
        undelivered: findings.count(AnomalyKind::Undelivered),
        redelivered: findings.count(AnomalyKind::Redelivered),
        ..DeliveryCounts::default()
    };
    for (at, partition) in facts.partitions.iter().enumerate() {
        for sent in &partition.sends {
            counts.sent += 1;
            match sent.status {
                WriteStatus::Acknowledged(_) => counts.acknowledged += 1,
                WriteStatus::Failed => counts.failed += 1,
                WriteStatus::Unknown => counts.unknown += 1,
            }
        }
        if let Some(consumed) = &analysed.consumed {
            counts.delivered += consumed[at].messages;
            counts.unacknowledged_delivered += consumed[at].unacknowledged;
            counts.deliveries += consumed[at].deliveries;
            counts.unseen += consumed[at].unseen;
        } else {
            let seen = || partition.sends.iter().filter(|sent| sent.seen.is_some());
            counts.delivered += seen().count() as u64;
            counts.unacknowledged_delivered += seen().filter(|sent| !sent.is_acknowledged()).count() as u64;
            counts.deliveries += partition.records.len() as u64;
            counts.unseen += analysed.losses[at].unseen;
        }
    }
    counts
}

/// How many operations succeeded.
pub(crate) fn happened<A>(operations: &[Operation<A>]) -> u64 {
    operations.iter().filter(|operation| matches!(operation.completion, Completion::Ok { .. })).count() as u64
}

/// Returns the undecided questions.
fn undecided(facts: &Facts<'_>, analysed: &Analysed, options: &LogOptions) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for (at, partition) in facts.partitions.iter().enumerate() {
        let key = || Some(partition.key.clone());
        if let Some(value) = partition.repeated {
            reasons.push(Reason::RepeatedValue { key: key(), value: value.clone() });
        }
        let unseen =
            analysed.consumed.as_ref().map_or(analysed.losses[at].unseen, |consumed| consumed[at].unseen);
        // If losses are allowed there is nothing to decide.
        if unseen > 0 && options.promise.loss == Allowed::No {
            reasons.push(Reason::Unseen { key: key(), messages: unseen });
        }
    }
    reasons
}
