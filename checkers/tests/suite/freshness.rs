//! Freshness: the checker agrees with the definition read by read, stronger promises imply weaker ones, and a witness alone
//! breaks the promise.

#[allow(dead_code, reason = "replicas are not compared at the end here")]
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use duress_checkers::freshness::{Quantiles, ReadAges, WriteAge, check_freshness, read_ages};
use duress_checkers::linearizable::{Budget, check_registers};
use duress_checkers::verdict::{Anomaly, CheckReport, Reason, Verdict, WitnessStart};
use duress_history::event::{OpError, Timing};
use duress_history::register::{CasRegister, Register, RegisterOp};
use duress_history::{Assumed, Completion, Freshness, Initial, NilReads, Operation, Scalar};
use garbage::{garbage, register_action, unique_garbage};
use one_register::history;
use proptest::prelude::*;
use replicas::{Defect, Shape, simulate};

use crate::{garbage, one_register, replicas, words};

const PROMISES: [Freshness; 8] = [
    Freshness::Regular,
    Freshness::Safe,
    Freshness::Versions(0),
    Freshness::Versions(1),
    Freshness::Versions(2),
    Freshness::Age(Duration::from_nanos(25)),
    Freshness::Age(Duration::from_nanos(55)),
    Freshness::Written,
];

fn check(operations: &[Operation<Register>], promise: Freshness, assumed: &Assumed) -> CheckReport {
    check_freshness(operations, promise, assumed, Timing::Recorded, &AtomicBool::new(false))
}

/// An operation, as the definition speaks of it.
struct Defined {
    begun: (u64, u64),
    /// `None` for a write of unknown outcome.
    ended: Option<u64>,
    end_time: u64,
    saw: Option<Option<Scalar>>,
    /// The content that it gave the register; `Some(None)` for a delete, `None` for a read.
    wrote: Option<Option<Scalar>>,
}

fn defined(operations: &[Operation<Register>], assumed: &Assumed) -> Vec<Defined> {
    let acknowledged = |operation: &Operation<Register>| match &operation.completion {
        Completion::Fail { .. } => None,
        _ if operation.action.op == RegisterOp::Delete => Some(operation.index),
        Completion::Ok { index, answer, .. } if !matches!(answer.op, RegisterOp::Read(_)) => Some(*index),
        _ => None,
    };
    let written = operations.iter().filter_map(acknowledged).min().unwrap_or(u64::MAX);
    let mut all = Vec::new();
    for operation in operations {
        let (ended, end_time, op) = match &operation.completion {
            Completion::Ok { index, time, answer } => (Some(*index), *time, answer.op.clone()),
            Completion::Info { .. } => (None, 0, operation.action.op.clone()),
            Completion::Fail { index, time, error } => {
                match error.as_ref().and_then(|error| error.saw.clone()) {
                    Some(saw) => (Some(*index), *time, RegisterOp::Read(saw)),
                    None => continue,
                }
            }
        };
        let (mut saw, wrote) = match op {
            RegisterOp::Read(value) => (Some(value), None),
            RegisterOp::Write(value) => (None, Some(Some(value))),
            RegisterOp::Delete => (None, Some(None)),
            RegisterOp::Cas { old, new } if old.as_ref() == Some(&new) => (Some(old), None),
            RegisterOp::Cas { old, new } => (Some(old), Some(Some(new))),
        };
        saw = saw.filter(|_| ended.is_some());
        let is_read = wrote.is_none();
        if is_read && saw == Some(None) {
            if assumed.nil_reads == NilReads::Unknown {
                saw = None;
            } else if let (Initial::Known(Some(initial)), true) =
                (&assumed.initial, operation.index < written)
            {
                saw = Some(Some(initial.clone()));
            }
        }
        all.push(Defined { begun: (operation.index, operation.time), ended, end_time, saw, wrote });
    }
    all
}

/// The versions and the age of a read, if the register can have held its value, by trying out every candidate.
fn youngest(read: &Defined, all: &[Defined], initial: &Option<Scalar>) -> Option<(u64, u64)> {
    let saw = read.saw.as_ref().expect("it is a read");
    let writes = || all.iter().filter(|write| write.wrote.is_some());
    // The end of each candidate: `None` before everything.
    let mut candidates: Vec<Option<u64>> = writes()
        .filter(|write| write.wrote.as_ref() == Some(saw) && Some(write.begun.0) < read.ended)
        .map(|write| Some(write.ended.unwrap_or(u64::MAX)))
        .collect();
    candidates.extend((saw == initial).then_some(None));
    let age = |end: Option<u64>| {
        let between = |write: &&Defined| {
            end.is_none_or(|end| write.begun.0 > end) && write.ended.is_some_and(|end| end < read.begun.0)
        };
        let first = writes().filter(between).map(|write| write.end_time).min();
        (writes().filter(between).count() as u64, first.map_or(0, |first| read.begun.1 - first))
    };
    let ages: Vec<(u64, u64)> = candidates.into_iter().map(age).collect();
    Some((ages.iter().map(|age| age.0).min()?, ages.iter().map(|age| age.1).min()?))
}

fn is_overlapped(read: &Defined, all: &[Defined]) -> bool {
    let overlaps = |write: &&Defined| {
        write.wrote.is_some()
            && write.begun.0 != read.begun.0
            && Some(write.begun.0) < read.ended
            && write.ended.is_none_or(|end| end > read.begun.0)
    };
    all.iter().find(overlaps).is_some()
}

fn keeps(all: &[Defined], promise: Freshness, initial: &Option<Scalar>) -> bool {
    all.iter().filter(|read| read.saw.is_some()).all(|read| {
        let young = youngest(read, all, initial);
        match promise {
            Freshness::Regular => young.is_some_and(|(versions, _)| versions == 0),
            Freshness::Safe => is_overlapped(read, all) || young.is_some_and(|(versions, _)| versions == 0),
            Freshness::Versions(most) => young.is_some_and(|(versions, _)| versions <= most),
            Freshness::Age(most) => young.is_some_and(|(_, age)| Duration::from_nanos(age) <= most),
            Freshness::Written => young.is_some(),
        }
    })
}

/// Whether the promise is kept, by its definition: from some initial value, where it is not known.
fn kept(operations: &[Operation<Register>], promise: Freshness, assumed: &Assumed) -> bool {
    let all = defined(operations, assumed);
    match &assumed.initial {
        Initial::Known(initial) => keeps(&all, promise, initial),
        Initial::Any => {
            let seen: BTreeSet<Option<Scalar>> = all.iter().filter_map(|read| read.saw.clone()).collect();
            let any = seen.into_iter().chain([Some(Scalar::from("none of them"))]);
            any.into_iter().any(|initial| keeps(&all, promise, &initial))
        }
    }
}

/// The measurement, by its definition.
fn measured(operations: &[Operation<Register>], initial: &Option<Scalar>) -> (u64, Vec<(u64, u64)>) {
    let all = defined(operations, &Assumed::default());
    let reads: Vec<&Defined> = all.iter().filter(|read| read.saw.is_some()).collect();
    let ages = reads.iter().filter_map(|read| youngest(read, &all, initial)).filter(|age| age.0 > 0);
    (reads.len() as u64, ages.collect())
}

/// The reads by the age of the newest write, by its definition: histories here are shorter than a second.
fn by_write_age(operations: &[Operation<Register>]) -> Vec<WriteAge> {
    let all = defined(operations, &Assumed::default());
    let mut counts: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for read in all.iter().filter(|read| read.saw.is_some()) {
        let writes = all.iter().filter(|write| write.wrote.is_some());
        let ended = writes.filter(|write| write.ended.is_some_and(|end| end < read.begun.0));
        let newest = ended.max_by_key(|write| write.ended).map(|write| write.end_time);
        let (Some(newest), Some((versions, _))) = (newest, youngest(read, &all, &None)) else { continue };
        let after_ms = (read.begun.1 - newest) / 1_000_000;
        let below_ms = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].into_iter().find(|below| after_ms < *below);
        let (reads, old) = counts.entry(below_ms.expect("less than a second") * 1_000_000).or_default();
        (*reads, *old) = (*reads + 1, *old + u64::from(versions > 0));
    }
    let range = |(below, (reads, old))| WriteAge { below_ns: Some(below), reads, old };
    counts.into_iter().map(range).collect()
}

fn quantiles(mut values: Vec<u64>) -> Option<Quantiles> {
    values.sort_unstable();
    let share = |least: f64| {
        let below = |value: u64| values.iter().filter(|other| **other <= value).count() as f64;
        values.iter().copied().find(|value| below(*value) >= least * values.len() as f64)
    };
    Some(Quantiles { p50: share(0.5)?, p99: share(0.99)?, max: share(1.0)? })
}

/// Checks that a witness alone breaks the promise.
fn proves(anomaly: &Anomaly, operations: &[Operation<Register>], promise: Freshness, assumed: &Assumed) {
    words::assert_well_formed(anomaly);
    let is_shown = |operation: &&Operation<Register>| {
        anomaly.operations.iter().any(|shown| shown.index == operation.index)
    };
    let alone: Vec<Operation<Register>> = operations.iter().filter(is_shown).cloned().collect();
    assert_eq!(alone.len(), anomaly.operations.len(), "{anomaly:#?}");
    let is_kept = match anomaly.start.as_ref().expect("a witness of a register says where it starts") {
        // Nil is understood as in the whole history.
        WitnessStart::Initial(initial) => {
            let mut all = defined(operations, assumed);
            all.retain(|one| alone.iter().any(|shown| shown.index == one.begun.0));
            keeps(&all, promise, initial)
        }
        WitnessStart::Any => kept(&alone, promise, &Assumed { initial: Initial::Any, ..assumed.clone() }),
    };
    assert!(!is_kept, "{promise} is kept by {anomaly:#?}");
}

fn agree(operations: &[Operation<Register>], assumed: &Assumed) {
    let mut regular = None;
    for promise in PROMISES {
        let expected = kept(operations, promise, assumed);
        match check(operations, promise, assumed).verdict {
            Verdict::Valid => assert!(expected, "{promise}: valid, but it is broken"),
            Verdict::Unknown(reasons) => {
                let nothing = |reason: &Reason| {
                    matches!(reason, Reason::NothingHappened { .. } | Reason::NothingObserved { .. })
                };
                assert!(expected && reasons.iter().all(nothing), "{promise}: {reasons:?}");
            }
            Verdict::Invalid(anomalies) => {
                assert!(!expected, "{promise}: {anomalies:#?}");
                anomalies.iter().for_each(|anomaly| proves(anomaly, operations, promise, assumed));
            }
        }
        // The first of them implies the others.
        let regular = *regular.get_or_insert(expected);
        assert!(!regular || expected, "{promise} is broken by what is regular");
    }
    let strict = check_registers(operations, assumed, &Budget::default(), &AtomicBool::new(false));
    assert!(strict.verdict != Verdict::Valid || regular == Some(true), "linearizable, and not regular");
    if *assumed == Assumed::default() {
        let (reads, ages) = measured(operations, &None);
        let (versions, nanos): (Vec<u64>, Vec<u64>) = ages.into_iter().unzip();
        let expected = ReadAges {
            reads,
            old: versions.len() as u64,
            versions: quantiles(versions),
            age_ns: quantiles(nanos),
            by_write_age: by_write_age(operations),
        };
        let no = AtomicBool::new(false);
        assert_eq!(read_ages(operations, assumed, Timing::Recorded, &no), Some(expected));
    }
}

/// Puts the operations on one key; some compare-and-sets that failed say what they saw.
fn on_one_key(operations: Vec<Operation<CasRegister>>) -> Vec<Operation<Register>> {
    let keyed = |action: CasRegister| Register { key: Scalar::from("x"), op: action.op };
    let mut operations: Vec<Operation<Register>> =
        operations.into_iter().map(|operation| operation.map(keyed)).collect();
    for operation in &mut operations {
        if let (RegisterOp::Cas { new, .. }, Completion::Fail { error, .. }) =
            (&operation.action.op, &mut operation.completion)
            && operation.process.0 % 2 == 0
        {
            let saw = Some(Some(new.clone()));
            *error = Some(Box::new(OpError { kind: None, text: "refused".to_owned(), saw }));
        }
    }
    operations
}

fn assumptions() -> impl Strategy<Value = Assumed> {
    let initial = prop_oneof![
        4 => Just(Initial::Known(None)),
        1 => Just(Initial::Known(Some(Scalar::Int(0)))),
        2 => Just(Initial::Any),
    ];
    let nil_reads = prop_oneof![3 => Just(NilReads::Observed), 1 => Just(NilReads::Unknown)];
    (initial, nil_reads).prop_map(|(initial, nil_reads)| Assumed { initial, nil_reads })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn garbage_registers(operations in garbage(register_action(), 10), assumed in assumptions()) {
        agree(&on_one_key(operations), &assumed);
    }

    #[test]
    fn garbage_registers_with_unique_values(operations in unique_garbage(), assumed in assumptions()) {
        agree(&on_one_key(operations), &assumed);
    }
}

const SHAPE: Shape = Shape {
    operations: 150,
    keys: 1,
    processes: 6,
    nodes: 3,
    crashed_per_mille: 20,
    values_below: 0,
    defect: Defect::None,
};

/// Replicas that lag, and one answer changed to any other value.
#[test]
fn mutated_histories_of_replicas() {
    for seed in 0..60 {
        let values_below = [0, 12][seed as usize % 2];
        let mut operations = simulate(seed, Shape { values_below, ..SHAPE }).operations;
        agree(&operations, &Assumed::default());
        let reads = operations.iter_mut().filter_map(|operation| match &mut operation.completion {
            Completion::Ok { answer: Register { op: RegisterOp::Read(value), .. }, .. } => Some(value),
            _ => None,
        });
        let mut reads: Vec<&mut Option<Scalar>> = reads.collect();
        let at = seed as usize * 7 % reads.len();
        *reads[at] = Some(Scalar::Int(seed as i64 * 5 % 60));
        agree(&operations, &Assumed::default());
    }
}

#[track_caller]
fn expect(text: &str, promise: &str, expected: &str) {
    let promise = promise.parse().expect("a promise");
    let report = check(&history(text), promise, &Assumed::default());
    assert_eq!(words::answer(&report), expected, "{text}: {:#?}", report.verdict);
}

#[test]
fn an_inversion_of_new_and_old_is_regular_and_not_linearizable() {
    // Two reads one after the other during a write: the first sees the new value, the second the old one.
    let inversion = "0!w1 0iw2 1!r2 1!r1 0ow2";
    expect(inversion, "regular", "valid");
    let strict = check_registers(
        &history(inversion),
        &Assumed::default(),
        &Budget::default(),
        &AtomicBool::new(false),
    );
    assert!(matches!(strict.verdict, Verdict::Invalid(_)), "{:?}", strict.verdict);
}

#[test]
fn a_safe_read_may_return_anything_during_a_write() {
    let garbled = "0!w1 0iw2 1!r9 1!r_ 0ow2 1!r2";
    expect(garbled, "safe", "valid");
    expect(garbled, "regular", "phantom-read(read -> 9) | stale-read(write 1; read -> null)");
    expect("0!w1 0!w2 1!r1", "safe", "stale-read(write 1; write 2; read -> 1)");
    // A write of unknown outcome goes on; one that failed does not.
    expect("0!w1 0!w2 2iw3 2?w3 1!r1", "safe", "valid");
    expect("0!w1 0!w2 2iw3 2fw3 1!r1", "safe", "stale-read(write 1; write 2; read -> 1)");
}

#[test]
fn versions_are_counted_between_the_write_and_the_read() {
    let two = "0!w1 0!w2 0!w3 1!r1";
    expect(two, "bounded-staleness=2", "valid");
    expect(two, "bounded-staleness=1", "stale-read(write 1; write 2; write 3; read -> 1)");
    expect(two, "regular", "stale-read(write 1; write 3; read -> 1)");
    // A write that is concurrent with the one that was read, or with the read, is none.
    expect("0iw1 2iw2 0ow1 2ow2 1ir1 0!w3 1or1", "regular", "valid");
    expect("0!w1 0iw2 0?w2 1!r1", "regular", "valid");
    // Written again, it is as young as that.
    expect("0!w1 0!w2 0!w1 0!w3 1!r1", "bounded-staleness=1", "valid");
    expect("0!w1 1!r_", "bounded-staleness=1", "valid");
    expect("0!w1 1!c_:2", "regular", "stale-cas(write 1; cas null -> 2)");
    expect("0iw1 0fw1 1!r1", "bounded-staleness=9", "aborted-read(write 1; read -> 1)");
    expect("1!r1 0!w1", "bounded-staleness=9", "future-read(read -> 1; write 1)");
}

#[test]
fn ages_are_counted_from_the_first_write_that_replaced_the_value() {
    // A millisecond passes from event to event: 2 was there at 3 ms, and the read began at 8 ms.
    let five = "0!w1 0!w2 0!w3 0!w4 1!r1";
    expect(five, "bounded-staleness=5ms", "valid");
    expect(five, "bounded-staleness=4ms", "stale-read(write 1; write 2; write 4; read -> 1)");
    let ages = |interrupt: bool| {
        read_ages(&history(five), &Assumed::default(), Timing::Recorded, &AtomicBool::new(interrupt))
    };
    assert_eq!(ages(true), None, "it was interrupted");
    let ages = ages(false).expect("it was not");
    assert_eq!(
        ages.to_string(),
        "old reads: 1 of 1 (100.0 %); versions up to 3 (p50 3, p99 3), age up to 5.00 ms (p50 5.00 ms, p99 5.00 ms)"
    );
}

#[test]
fn without_times_there_are_no_ages() {
    let check = |text: &str, promise: &str| {
        let promise = promise.parse().expect("a promise");
        let interrupt = AtomicBool::new(false);
        check_freshness(&history(text), promise, &Assumed::default(), Timing::Incomplete, &interrupt).verdict
    };
    let old = "0!w1 0!w2 1!r1";
    assert_eq!(
        check(old, "bounded-staleness=1h"),
        Verdict::Unknown(vec![Reason::NoTimes { key: Some(Scalar::from("x")) }])
    );
    assert!(matches!(check(old, "bounded-staleness=0"), Verdict::Invalid(_)));
    assert_eq!(check("0!w1 0!w2 1!r2", "bounded-staleness=1h"), Verdict::Valid);
    let no = AtomicBool::new(false);
    let ages = read_ages(&history(old), &Assumed::default(), Timing::Incomplete, &no);
    assert_eq!(ages.map(|ages| (ages.old, ages.age_ns)), Some((1, None)));
}
