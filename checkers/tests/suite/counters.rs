//! Counters: if every add is of 1 the checker agrees with the definition, and it never claims more elsewhere.

use std::sync::atomic::AtomicBool;

use duress_checkers::counter::check_counter;
use duress_checkers::verdict::{Anomaly, AnomalyKind, CheckReport, Reason, Verdict};
use duress_history::counter::{Counter, CounterOp};
use duress_history::{Completion, Consistency, Operation};
use objects::{Defect, Object, Shape, simulate};
use proptest::prelude::*;
use rand::RngExt;

use crate::{garbage, objects, oracle, words};

const STRICT: Consistency = Consistency::Linearizable;
const STALE: Consistency = Consistency::StaleReads;

fn check(operations: &[Operation<Counter>], promise: Consistency, settled: Option<u64>) -> CheckReport {
    check_counter(operations, promise, settled, &AtomicBool::new(false))
}

impl Object for Counter {
    type State = i64;

    fn is_read(&self) -> bool {
        matches!(self.op, CounterOp::Read(_))
    }

    fn changed(&self, state: &i64) -> i64 {
        let CounterOp::Add(delta) = self.op else { panic!("a read changes nothing") };
        state + delta
    }

    fn answered(&self, state: &i64) -> Self {
        Self { key: self.key.clone(), op: CounterOp::Read(Some(*state)) }
    }
}

const READ: Counter = Counter { key: None, op: CounterOp::Read(None) };

fn add(delta: i64) -> Counter {
    Counter { key: None, op: CounterOp::Add(delta) }
}

fn actions(deltas: impl Strategy<Value = i64> + 'static) -> impl Strategy<Value = Counter> {
    prop_oneof![deltas.prop_map(CounterOp::Add), (-2_i64..5).prop_map(|value| CounterOp::Read(Some(value)))]
        .prop_map(|op| Counter { key: None, op })
}

fn possible(operations: &[Operation<Counter>], start: i64, promise: Consistency) -> bool {
    match promise {
        Consistency::Linearizable => oracle::linearizable(operations, start),
        Consistency::StaleReads | Consistency::Eventual => oracle::explained(operations, start, &[]),
    }
}

fn shown(anomaly: &Anomaly, operations: &[Operation<Counter>]) -> Vec<Operation<Counter>> {
    let find = |index| operations.iter().find(|operation| operation.index == index).cloned();
    anomaly.operations.iter().map(|shown| find(shown.index).expect("a witness is of the history")).collect()
}

/// Checks that an invalid history is impossible by the definition; and, if `exact`, the other way around. A
/// witness alone is impossible, from 0 or, if it begins with a read, from any value.
fn agree(operations: &[Operation<Counter>], promise: Consistency, exact: bool) -> Result<(), TestCaseError> {
    let expected = possible(operations, 0, promise);
    match check(operations, promise, None).verdict {
        Verdict::Valid => prop_assert!(expected || !exact, "valid, but no order is right"),
        Verdict::Unknown(reasons) => {
            let nothing =
                matches!(reasons[..], [Reason::NothingHappened { .. } | Reason::NothingObserved { .. }]);
            prop_assert!(nothing && expected, "not decided: {reasons:?}");
        }
        Verdict::Invalid(anomalies) => {
            prop_assert!(!expected, "invalid, but some order is right: {anomalies:#?}");
            for anomaly in &anomalies {
                words::assert_well_formed(anomaly);
                let alone = shown(anomaly, operations);
                let from_zero = anomaly.steps[0].sentence.starts_with("At first");
                let starts = if from_zero { 0..=0 } else { -20..=20 };
                for start in starts {
                    prop_assert!(!possible(&alone, start, promise), "possible from {start}: {anomaly:#?}");
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn garbage_counters_of_ones(operations in garbage::garbage(actions(Just(1)), 9)) {
        agree(&operations, STRICT, true)?;
        agree(&operations, STALE, true)?;
    }

    #[test]
    fn garbage_counters(operations in garbage::garbage(actions(-2_i64..3), 9)) {
        agree(&operations, STRICT, false)?;
        agree(&operations, STALE, false)?;
    }

    #[test]
    fn simulated_counters_of_ones(
        seed in any::<u64>(),
        operations in 1_usize..12,
        lagging in any::<bool>(),
        defect in prop_oneof![Just(Defect::None), Just(Defect::Lost), Just(Defect::Stale), Just(Defect::Refused), Just(Defect::Twice)],
        crashed_per_mille in 0_u32..400,
    ) {
        let shape = Shape { operations, processes: 4, nodes: 2, crashed_per_mille, reads_per_ten: 5, lagging, defect };
        let (operations, _) = simulate(seed, shape, |_, _| add(1), &READ);
        agree(&operations, STRICT, true)?;
        agree(&operations, STALE, true)?;
    }
}

const SHAPE: Shape = Shape {
    operations: 400,
    processes: 8,
    nodes: 3,
    crashed_per_mille: 10,
    reads_per_ten: 4,
    lagging: false,
    defect: Defect::None,
};

fn simulated(seed: u64, shape: Shape) -> (Vec<Operation<Counter>>, u64) {
    simulate(seed, shape, |random, _| add(random.random_range(-3..8)), &READ)
}

#[test]
fn counters_without_defect_are_valid() {
    for seed in 0..60 {
        let (operations, _) = simulated(seed, SHAPE);
        assert_eq!(check(&operations, STRICT, None).verdict, Verdict::Valid, "seed {seed}");
        let (operations, settled) = simulated(seed, Shape { lagging: true, ..SHAPE });
        assert_eq!(check(&operations, STALE, Some(settled)).verdict, Verdict::Valid, "seed {seed}");
    }
}

#[test]
fn every_defect_is_found() {
    use AnomalyKind::{Diverged, OutOfRange};
    for (defect, promise, found_min) in [
        (Defect::Lost, STRICT, 50),
        (Defect::Stale, STRICT, 55),
        (Defect::Refused, STRICT, 50),
        (Defect::Twice, STRICT, 50),
        (Defect::Lost, STALE, 25),
        (Defect::Stuck, STALE, 50),
        (Defect::AllStuck, STALE, 25),
    ] {
        let mut found = 0;
        for seed in 0..60 {
            let (operations, settled) = simulated(seed, Shape { defect, lagging: promise == STALE, ..SHAPE });
            let report = check(&operations, promise, Some(settled));
            found += u64::from(!report.verdict.anomalies().is_empty());
            for anomaly in report.verdict.anomalies() {
                words::assert_well_formed(anomaly);
                assert!(
                    [OutOfRange, Diverged].contains(&anomaly.kind),
                    "{defect:?}, seed {seed}: {anomaly:#?}"
                );
                assert!(anomaly.operations.len() <= 26, "{anomaly:#?}");
            }
        }
        println!("{defect:?} against {promise:?}: found in {found} of 60");
        assert!(found >= found_min, "{defect:?} against {promise:?}: found in {found} of 60");
    }
}

#[test]
fn one_changed_answer_is_found() {
    for seed in 0..40 {
        let (operations, _) = simulated(seed, SHAPE);
        let reads: Vec<usize> = (0..operations.len())
            .filter(|at| {
                matches!(
                    operations[*at].completion,
                    Completion::Ok { answer: Counter { op: CounterOp::Read(_), .. }, .. }
                )
            })
            .collect();
        let at = reads[seed as usize % reads.len()];
        for wrong in [-100_000, 100_000] {
            let mut operations = operations.clone();
            if let Completion::Ok { answer, .. } = &mut operations[at].completion {
                answer.op = CounterOp::Read(Some(wrong));
            }
            let index = operations[at].index;
            let report = check(&operations, STRICT, None);
            let [anomaly] = report.verdict.anomalies() else { panic!("seed {seed}: {:?}", report.verdict) };
            assert_eq!(
                anomaly.contradicting().map(|shown| shown.index),
                Some(index),
                "seed {seed}: {anomaly:#?}"
            );
        }
    }
}

/// `a7` adds 7; `r3` reads 3; see `words`. Each process speaks to a node of its own.
fn history(text: &str) -> Vec<Operation<Counter>> {
    words::adds_and_reads(text, str::to_owned)
}

#[track_caller]
fn expect(text: &str, promise: Consistency, settled: Option<u64>, expected: &str) {
    let report = check(&history(text), promise, settled);
    assert_eq!(words::answer(&report), expected, "{text}: {:#?}", report.verdict);
}

#[test]
fn bounds() {
    expect("0!a2 1!r2", STRICT, None, "valid");
    expect("0!a2 0!a3 1!r4", STRICT, None, "out-of-range(add 2; add 3; read -> 4)");
    expect("0!a2 1!r3", STRICT, None, "out-of-range(add 2; read -> 3)");
    // An add in progress may be in or not, and so may one that was never answered.
    expect("0ia2 1!r0 0oa2", STRICT, None, "valid");
    expect("0ia2 1!r2 0oa2", STRICT, None, "valid");
    expect("0ia2 1!r0 1!r2 0?a2", STRICT, None, "valid");
    // But it does not go again.
    expect("0ia2 1!r2 1!r0 0?a2", STRICT, None, "out-of-range(read -> 2; read -> 0)");
    // A failed add is not counted.
    expect("0ia2 0fa2 1!r2", STRICT, None, "out-of-range(read -> 2)");
    // A negative add may have been counted.
    expect("0ia-2 1!r-2 0oa-2", STRICT, None, "valid");
    expect("0!a-2 1!r0", STRICT, None, "out-of-range(add -2; read -> 0)");
    // 1 may be from the add that was never answered, or from the one that was; with the second, both are in.
    expect("0ia1 0?a1 1!r1 2!a1 1!r1", STRICT, None, "out-of-range(read -> 1; add 1; read -> 1)");
    expect("0ia1 0?a1 1!r1 2!a1 1!r2", STRICT, None, "valid");
}

#[test]
fn old_answers_are_tolerated_until_replicas_have_to_agree() {
    expect("0!a2 1!r2 1!r0", STALE, None, "valid");
    expect("0!a2 1!r3", STALE, None, "out-of-range(add 2; read -> 3)");
    expect("1!r2 0!a2", STALE, None, "out-of-range(read -> 2)");
    expect("0!a2 1!r2 2!r2", STALE, Some(2), "valid");
    expect("0!a2 1!r0 1!r2 2!r2", STALE, Some(2), "valid");
    expect("0!a2 1!r2 2!r0", STALE, Some(2), "diverged(read -> 2; read -> 0)");
    expect(
        "0!a2 1!r0 2!r0",
        STALE,
        Some(2),
        "out-of-range(add 2; read -> 0) | out-of-range(add 2; read -> 0)",
    );
    expect("0ia2 0?a2 1!r0 2!r2", STALE, Some(2), "valid");
    expect("0ia2 0?a2 1!r2 2!r0", STALE, Some(2), "diverged(read -> 2; read -> 0)");
}
