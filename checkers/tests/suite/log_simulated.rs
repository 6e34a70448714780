//! Simulated logs: one that keeps its promises is valid, one defect is found under its name, and counts are the truth.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;

use duress_checkers::delivery::{Acknowledged, DeliveryReport, Gaps, LogOptions, check_log, check_queue};
use duress_checkers::verdict::{AnomalyKind, CheckReport, Verdict};
use duress_history::log::{Log, Start};
use duress_history::pairs::pair;
use duress_history::{Delivery, Operation, jsonl};
use log_simulation::{Commit, Consumers, Defect, Shape, Simulated, simulate};

use crate::log_simulation;

pub const SHAPE: Shape = Shape {
    operations: 300,
    partitions: 3,
    processes: 6,
    crashed_per_mille: 20,
    consumers: Consumers::Log,
    offsets: true,
    defect: Defect::None,
};

const QUEUE: Shape = Shape { consumers: Consumers::Queue(Commit::After), ..SHAPE };

fn delivery(report: &CheckReport) -> &DeliveryReport {
    report.details.delivery().expect("logs are checked for delivery")
}

fn options(promise: Delivery) -> LogOptions {
    LogOptions { promise, gaps: Gaps::Never, acknowledged: Acknowledged::Readable }
}

fn check(simulated: &Simulated, consumers: Consumers, options: &LogOptions) -> CheckReport {
    let never = AtomicBool::new(false);
    match consumers {
        Consumers::Log => check_log(&simulated.operations, options, &never),
        Consumers::Queue(_) => check_queue(&simulated.operations, options, &never),
    }
}

/// Whether Readable or Appended, with offsets or without: a correct log has no findings.
#[test]
fn a_log_that_keeps_its_promises_is_valid() {
    for seed in 0..SEEDS {
        for offsets in [true, false] {
            for acknowledged in [Acknowledged::Readable, Acknowledged::Appended] {
                let simulated = simulate(seed, Shape { offsets, ..SHAPE });
                let options = LogOptions { acknowledged, ..options(Delivery::EXACTLY_ONCE) };
                let report = check(&simulated, SHAPE.consumers, &options);
                assert_eq!(
                    report.verdict,
                    Verdict::Valid,
                    "seed {seed}, {acknowledged:?}, offsets {offsets}"
                );
                let delivery = delivery(&report);
                assert_eq!(delivery.reached, Some(Delivery::EXACTLY_ONCE), "seed {seed}: {delivery:?}");
                let there: usize = simulated.logs.iter().map(|log| log.iter().flatten().count()).sum();
                assert_eq!(delivery.counts.delivered, there as u64, "seed {seed}: everything was read");
            }
        }
    }
}

#[test]
fn a_queue_that_commits_after_delivery_delivers_at_least_once() {
    let mut again = 0;
    for seed in 0..SEEDS {
        let simulated = simulate(seed, QUEUE);
        let report = check(&simulated, QUEUE.consumers, &options(Delivery::AT_LEAST_ONCE));
        assert_eq!(report.verdict, Verdict::Valid, "seed {seed}");
        let counts = delivery(&report).counts;
        assert_eq!((counts.lost, counts.undelivered, counts.unseen), (0, 0, 0), "seed {seed}");
        again += counts.redelivered;
    }
    assert!(again > 0, "crashes make members deliver again");
}

#[test]
fn a_queue_that_commits_before_delivery_delivers_at_most_once() {
    let shape = Shape { consumers: Consumers::Queue(Commit::Before), ..QUEUE };
    let mut undelivered = 0;
    for seed in 0..SEEDS {
        let simulated = simulate(seed, shape);
        let report = check(&simulated, shape.consumers, &options(Delivery::AT_MOST_ONCE));
        assert_eq!(report.verdict, Verdict::Valid, "seed {seed}");
        let counts = delivery(&report).counts;
        assert_eq!((counts.lost, counts.redelivered, counts.unseen), (0, 0, 0), "seed {seed}");
        undelivered += counts.undelivered;
    }
    assert!(undelivered > 0, "crashes lose committed messages");
}

/// Returns the possible names of each defect. To a group whose offset came to hold nothing, a message that
/// was never appended and one that was never delivered look the same.
fn names(defect: Defect) -> &'static [AnomalyKind] {
    match defect {
        Defect::None => &[],
        Defect::LoseAcknowledged => &[AnomalyKind::LostWrite, AnomalyKind::Undelivered],
        Defect::Truncate => &[AnomalyKind::LostWrite],
        Defect::AppendTwice => &[AnomalyKind::Duplicate],
        Defect::Phantom => &[AnomalyKind::NeverSent],
        Defect::AppendRefused => &[AnomalyKind::AbortedRead],
        Defect::SkipWithin => &[AnomalyKind::IntPollSkip],
        Defect::SkipBetween => &[AnomalyKind::PollSkip],
        Defect::PollBack => &[AnomalyKind::NonmonotonicPoll],
        Defect::Overtake => {
            &[AnomalyKind::Reordered, AnomalyKind::NonmonotonicSend, AnomalyKind::IntNonmonotonicSend]
        }
        Defect::WrongOffset => &[AnomalyKind::InconsistentOffsets],
        Defect::CommitLost => &[AnomalyKind::CommittedOffsetBack],
        Defect::CommitAhead => &[AnomalyKind::Undelivered],
    }
}

/// Returns the kinds that a report's verdict names.
fn kinds(report: &CheckReport) -> Vec<AnomalyKind> {
    match &report.verdict {
        Verdict::Invalid(anomalies) => anomalies.iter().map(|anomaly| anomaly.kind).collect(),
        Verdict::Valid | Verdict::Unknown(_) => Vec::new(),
    }
}

const SEEDS: u64 = 40;

/// Every seed in which `defect` happens and shows must be found, except as many as `missed_max`.
fn hunt(defect: Defect, shape: Shape, promise: Delivery, missed_max: u64) {
    let (mut happened, mut missed) = (0, Vec::new());
    for seed in 0..SEEDS {
        let simulated = simulate(seed, Shape { defect, ..shape });
        if !simulated.happened {
            continue;
        }
        happened += 1;
        let found = kinds(&check(&simulated, shape.consumers, &options(promise)));
        if !found.iter().any(|kind| names(defect).contains(kind)) {
            missed.push((seed, found));
        }
    }
    assert!(happened > SEEDS / 2, "{defect:?} happened {happened} times");
    assert!(
        missed.len() as u64 <= missed_max,
        "{defect:?}, missed {} of {happened}: {missed:?}",
        missed.len()
    );
}

#[test]
fn every_defect_of_a_log_is_found_under_its_name() {
    let strict = Delivery::EXACTLY_ONCE;
    for defect in [
        Defect::LoseAcknowledged,
        Defect::AppendTwice,
        Defect::Phantom,
        Defect::AppendRefused,
        Defect::SkipWithin,
        Defect::SkipBetween,
        Defect::PollBack,
        Defect::WrongOffset,
    ] {
        hunt(defect, SHAPE, strict, 0);
    }
    // Both messages cut off may have been sent with unknown outcome, and never read.
    hunt(Defect::Truncate, SHAPE, strict, 1);
    // Everything that was overtaken may have been sent at the same time.
    hunt(Defect::Overtake, SHAPE, strict, 1);
}

#[test]
fn losses_are_found_where_acknowledgements_tell_no_offsets() {
    hunt(Defect::LoseAcknowledged, Shape { offsets: false, ..SHAPE }, Delivery::EXACTLY_ONCE, 0);
    let queue = Shape { offsets: false, ..QUEUE };
    hunt(Defect::LoseAcknowledged, queue, Delivery::AT_LEAST_ONCE, 0);
}

#[test]
fn every_defect_of_a_queue_is_found_under_its_name() {
    for defect in [Defect::CommitLost, Defect::CommitAhead, Defect::LoseAcknowledged, Defect::AppendRefused] {
        hunt(defect, QUEUE, Delivery::AT_LEAST_ONCE, 0);
    }
}

#[test]
fn counts_are_the_truth() {
    for seed in 0..SEEDS {
        for defect in [Defect::LoseAcknowledged, Defect::Truncate] {
            let simulated = simulate(seed, Shape { defect, ..SHAPE });
            let there: BTreeSet<i64> =
                simulated.logs.iter().flat_map(|log| log.iter().flatten().copied()).collect();
            let acknowledged = simulated.acknowledged();
            let gone = acknowledged.difference(&there).count() as u64;
            let report = check(&simulated, SHAPE.consumers, &options(Delivery::EXACTLY_ONCE));
            let counts = delivery(&report).counts;
            assert_eq!(counts.acknowledged, acknowledged.len() as u64);
            match defect {
                Defect::LoseAcknowledged => assert_eq!(counts.lost, gone, "seed {seed}"),
                // A message that was read and then cut off is lost too.
                _ => assert!(counts.lost >= gone, "seed {seed}: {counts:?}, {gone} are gone"),
            }
        }
    }
}

#[test]
fn a_history_read_back_from_its_file_is_the_same() {
    let simulated = simulate(7, Shape { defect: Defect::Truncate, ..SHAPE });
    let mut text = Vec::new();
    for event in &simulated.events {
        serde_json::to_writer(&mut text, event).expect("an event has a line");
        text.push(b'\n');
    }
    let read = jsonl::read_from::<Log>(&text[..]).expect("a history");
    assert_eq!(pair(read.events).expect("they pair"), simulated.operations);
}

/// Whether `operations` alone show an anomaly of `kind`.
fn shows(operations: &[Operation<Log>], consumers: Consumers, kind: AnomalyKind) -> bool {
    let simulated =
        Simulated { events: Vec::new(), operations: operations.to_vec(), happened: false, logs: Vec::new() };
    let promise = Delivery::EXACTLY_ONCE;
    kinds(&check(&simulated, consumers, &options(promise))).contains(&kind)
}

/// Every witness alone shows its anomaly. Without any one of its operations it shows it no more, unless that is a poll
/// of a consumer that began at the beginning or sought its place: without it, that consumer has left out even more; or an
/// assignment, which is shown because it happened: without it, the consumer never said how it consumes, and keeps its place.
#[test]
fn witnesses_are_whole_and_minimal() {
    let mut checked: BTreeMap<AnomalyKind, u32> = BTreeMap::new();
    let log = [
        Defect::LoseAcknowledged,
        Defect::Truncate,
        Defect::AppendTwice,
        Defect::Phantom,
        Defect::AppendRefused,
        Defect::SkipWithin,
        Defect::SkipBetween,
        Defect::PollBack,
        Defect::Overtake,
        Defect::WrongOffset,
    ];
    let queue = [Defect::CommitLost, Defect::CommitAhead, Defect::LoseAcknowledged, Defect::None];
    let shapes = log.iter().map(|defect| Shape { defect: *defect, ..SHAPE });
    let shapes = shapes.chain(queue.iter().map(|defect| Shape { defect: *defect, ..QUEUE }));
    for shape in shapes {
        for seed in 0..8 {
            let simulated = simulate(seed, shape);
            let report = check(&simulated, shape.consumers, &options(Delivery::EXACTLY_ONCE));
            let Verdict::Invalid(anomalies) = report.verdict else { continue };
            for anomaly in anomalies {
                let named = |operation: &&Operation<Log>| {
                    anomaly.operations.iter().any(|shown| shown.index == operation.index)
                };
                let witness: Vec<Operation<Log>> =
                    simulated.operations.iter().filter(named).cloned().collect();
                assert_eq!(witness.len(), anomaly.operations.len());
                assert!(shows(&witness, shape.consumers, anomaly.kind), "seed {seed}: {anomaly:#?}");
                *checked.entry(anomaly.kind).or_default() += 1;
                let placed = witness.iter().any(|operation| {
                    matches!(operation.action, Log::Assign { from: Start::Beginning, .. } | Log::Seek(_))
                });
                for left_out in 0..witness.len() {
                    let mut rest = witness.clone();
                    let without = rest.remove(left_out);
                    if shows(&rest, shape.consumers, anomaly.kind) {
                        let excused = match without.action {
                            Log::Poll(_) => placed,
                            Log::Assign { .. } => true,
                            _ => false,
                        };
                        assert!(excused, "seed {seed}, without {without:?}: {anomaly:#?}");
                    }
                }
            }
        }
    }
    println!("witnesses checked: {checked:?}");
    assert!(checked.len() >= 12, "{checked:?}");
}
