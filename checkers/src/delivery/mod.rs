//! Delivery: does every message that was acknowledged come, once, in order, and nothing else?
//!
//! The object is a log of partitions. A partition is an ordered list of messages, each at an offset; a message that is
//! sent is appended, and what is appended neither changes nor moves. Consumers read partitions in order. A consumer
//! *group* shares partitions out among its members and remembers, by committed offsets, how far each was consumed.
//!
//! The vocabulary is that of [`duress_history::log`]. Values are unique: of a partition to which a value was sent twice
//! nothing is said ([`Reason::RepeatedValue`]).
//!
//! Which anomalies break a promise is a parameter ([`Delivery`](duress_history::Delivery)); they are counted in any case, and the counts say which
//! promise the record keeps. Names are those of Jepsen's analysis of Kafka (`jepsen.tests.kafka`) where it
//! has one; each analysis says where it departs from it.
//!
//! In reading order:
//! - [`promise`]: against what is checked, and what was reached;
//! - `facts`: sends and records by partition; `positions`: where consumers stood, and where they jumped;
//! - `marks`: how far one must read to be sure;
//! - the analyses, one file each: `lost`, `duplicates`, `unsent`, `offsets`, `polls`, `sends`; of groups, with their
//!   `members`, `committed` and `group`;
//! - `told`: how operations are told in a witness.

mod committed;
mod duplicates;
pub(crate) mod facts;
mod group;
mod lost;
mod marks;
mod members;
mod offsets;
mod polls;
mod positions;
pub mod promise;
mod sends;
pub(crate) mod told;
mod unsent;

use std::sync::atomic::{AtomicBool, Ordering};

use duress_history::log::Log;
use duress_history::pairs::Completion;
use duress_history::{Allowed, Operation};

use crate::findings::Findings;
use crate::verdict::{AnomalyKind, CheckReport, Reason, Skipped, Statistics, Verdict};
use facts::{Facts, Fate};
use group::Given;
use lost::Losses;
use members::Members;
pub use promise::{Acknowledged, DeliveryCounts, DeliveryReport, Gaps, LogOptions};

/// Checks a log as its producers and its consumers see it: what was acknowledged can be read, and is read in order.
///
/// `operations` are in order of invocation. `interrupt` may be set at any time; what is not decided then is `Unknown`.
/// Time O(n log n) in the messages sent and read.
#[must_use]
pub fn check_log(operations: &[Operation<Log>], options: &LogOptions, interrupt: &AtomicBool) -> CheckReport {
    check(operations, Subject::Log, options, interrupt)
}

/// Checks a queue: beside everything that [`check_log`] does, the consumer group is given every message that was
/// acknowledged, as often as is promised.
///
/// `operations` are in order of invocation. `interrupt` may be set at any time; what is not decided then is `Unknown`.
/// Time O(n log n) in the messages sent and read.
#[must_use]
pub fn check_queue(
    operations: &[Operation<Log>],
    options: &LogOptions,
    interrupt: &AtomicBool,
) -> CheckReport {
    check(operations, Subject::Queue, options, interrupt)
}

/// To whom messages are to be delivered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Subject {
    /// To whoever reads.
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
    if u32::try_from(operations.len()).is_err() {
        let too_long = Reason::TooLong { key: None, operations: operations.len() as u64 };
        return report(operations, 0, Verdict::Unknown(vec![too_long]), None);
    }
    let facts = Facts::new(operations);
    let mut findings = Findings::new(options.promise);
    let analysed = analyse(&facts, subject, options, &mut findings, interrupt);
    let counts = analysed.as_ref().map(|analysed| counts(&facts, analysed, &findings));
    let reasons = match &analysed {
        Some(analysed) => undecided(&facts, analysed, options),
        None => vec![Reason::Interrupted { key: None, explored: 0 }],
    };
    let (anomalies, found) = findings.finish();
    let verdict = match (anomalies.is_empty(), reasons.is_empty()) {
        (false, _) => Verdict::Invalid(anomalies),
        (true, false) => Verdict::Unknown(reasons),
        (true, true) => Verdict::Valid,
    };
    let delivery = counts.map(|counts| DeliveryReport {
        promise: options.promise,
        reached: counts.reached(),
        counts,
        found,
    });
    report(operations, facts.partitions.len() as u64, verdict, delivery)
}

/// What the analyses found beside anomalies, by partition.
struct Analysed {
    losses: Vec<Losses>,
    /// Of a queue only.
    given: Option<Vec<Given>>,
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
    go_on()?;
    polls::polls_out_of_order(facts, &positions, &losses, options, findings);
    sends::sends_out_of_order(facts, &losses, options.promise.unsettled_reads, findings);
    go_on()?;
    let members = Members::new(facts);
    committed::offsets_back(facts, &members, findings);
    let given =
        (subject == Subject::Queue).then(|| group::deliveries(facts, &members, &losses, options, findings));
    Some(Analysed { losses, given })
}

fn report(
    operations: &[Operation<Log>],
    keys: u64,
    verdict: Verdict,
    delivery: Option<DeliveryReport>,
) -> CheckReport {
    let failed =
        operations.iter().filter(|operation| matches!(operation.completion, Completion::Fail { .. }));
    CheckReport {
        verdict,
        keys,
        operations: operations.len() as u64,
        skipped: Skipped { failed: failed.count() as u64, ..Skipped::default() },
        statistics: Statistics::default(),
        delivery,
    }
}

fn counts(facts: &Facts<'_>, analysed: &Analysed, findings: &Findings) -> DeliveryCounts {
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
            match sent.fate {
                Fate::Acknowledged(_) => counts.acknowledged += 1,
                Fate::Failed => counts.failed += 1,
                Fate::Unknown => counts.unknown += 1,
            }
        }
        if let Some(given) = &analysed.given {
            counts.delivered += given[at].messages;
            counts.unacknowledged_delivered += given[at].unacknowledged;
            counts.deliveries += given[at].deliveries;
            counts.unseen += given[at].unseen;
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

/// What is left open.
fn undecided(facts: &Facts<'_>, analysed: &Analysed, options: &LogOptions) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for (at, partition) in facts.partitions.iter().enumerate() {
        let key = || Some(partition.key.clone());
        if let Some(value) = partition.repeated {
            reasons.push(Reason::RepeatedValue { key: key(), value: value.clone() });
        }
        let unseen = analysed.given.as_ref().map_or(analysed.losses[at].unseen, |given| given[at].unseen);
        // Where losses are allowed there is nothing to decide.
        if unseen > 0 && options.promise.loss == Allowed::No {
            reasons.push(Reason::Unseen { key: key(), messages: unseen });
        }
    }
    reasons
}
