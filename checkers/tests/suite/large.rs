//! Large histories: one answer made wrong is found and named, and no limit passes for a verdict.

use std::sync::atomic::AtomicBool;

use duress_checkers::linearizable::{Budget, Statistics, check_registers};
use duress_checkers::verdict::{AnomalyKind, CheckReport, Details, ObjectKind, Reason, Verdict};
use duress_history::register::{Register, RegisterOp};
use duress_history::{Assumed, Completion, Operation, Process, Scalar};
use simulation::{Defect, Shape, Values};

use crate::simulation;

const SHAPE: Shape = Shape {
    operations: 20_000,
    keys: 20,
    processes: 15,
    crashed_per_mille: 10,
    values: Values::Unique,
    defect: Defect::None,
};

fn check(operations: &[Operation<Register>], budget: &Budget) -> CheckReport {
    check_registers(operations, &Assumed::default(), budget, &AtomicBool::new(false))
}

fn statistics(report: &CheckReport) -> Statistics {
    match &report.details {
        Details::Registers(report) => report.statistics,
        other => panic!("registers have other details: {other:?}"),
    }
}

/// Returns the acknowledged writes of `key`, as index of completion and value.
fn writes(operations: &[Operation<Register>], key: &Scalar) -> Vec<(u64, u64, Scalar)> {
    operations
        .iter()
        .filter(|operation| operation.action.key == *key)
        .filter_map(|operation| match (&operation.completion, &operation.action.op) {
            (Completion::Ok { index, .. }, RegisterOp::Write(value)) => {
                Some((operation.index, *index, value.clone()))
            }
            _ => None,
        })
        .collect()
}

#[test]
fn one_stale_read_among_twenty_thousand_operations_is_named() {
    for seed in 0..20 {
        let mut operations = simulation::operations(seed, SHAPE);
        assert_eq!(check(&operations, &Budget::default()).verdict, Verdict::Valid, "seed {seed}");
        // A read in the second half gets the value of a write that was surely overwritten before the read began.
        let half = operations.len() / 2 + seed as usize * 100;
        let at = (half..operations.len())
            .find(|at| {
                let operation = &operations[*at];
                matches!(
                    &operation.completion,
                    Completion::Ok { answer: Register { op: RegisterOp::Read(Some(_)), .. }, .. }
                ) && writes(&operations, &operation.action.key).len() > 20
            })
            .expect("there is such a read");
        let key = operations[at].action.key.clone();
        let began = operations[at].index;
        let before: Vec<_> =
            writes(&operations, &key).into_iter().filter(|(_, completed, _)| *completed < began).collect();
        let (_, completed, stale) = &before[before.len() / 2];
        assert!(before.iter().any(|(invoked, ..)| invoked > completed), "another write follows it");
        if let Completion::Ok { answer, .. } = &mut operations[at].completion {
            answer.op = RegisterOp::Read(Some(stale.clone()));
        }
        let Verdict::Invalid(anomalies) = check(&operations, &Budget::default()).verdict else {
            panic!("seed {seed}: the stale read at index {began} was not found");
        };
        let [anomaly] = &anomalies[..] else { panic!("seed {seed}: {anomalies:#?}") };
        assert!(matches!(anomaly.kind, AnomalyKind::StaleRead | AnomalyKind::LostWrite), "{anomaly:#?}");
        assert_eq!(anomaly.object(ObjectKind::Key), Some(&key));
        assert!(anomaly.operations.iter().any(|shown| shown.index == began), "seed {seed}: {anomaly:#?}");
        assert!(anomaly.operations.len() <= 5, "seed {seed}: {anomaly:#?}");
    }
}

#[test]
fn thousands_of_crashed_operations_are_no_burden() {
    let crashed = Shape { crashed_per_mille: 400, keys: 2, ..SHAPE };
    for values in [Values::Unique, Values::Below(5)] {
        let operations = simulation::operations(7, Shape { values, ..crashed });
        let of_unknown_outcome = operations
            .iter()
            .filter(|operation| matches!(operation.completion, Completion::Info { .. }))
            .count();
        assert!(of_unknown_outcome > 4_000, "{of_unknown_outcome}");
        let report = check(&operations, &Budget::default());
        assert_eq!(report.verdict, Verdict::Valid, "{values:?}");
        assert!(statistics(&report).configurations < 200_000, "{:?}", statistics(&report));
    }
}

/// Seventy compare-and-sets of five values wait for a node that is paused, and take effect one after the other
/// when it resumes, before the last read.
#[test]
fn compare_and_sets_that_wait_to_the_end_are_no_burden() {
    for seed in 0..10 {
        let one = Shape { operations: 1_000, keys: 1, processes: 5, crashed_per_mille: 0, ..SHAPE };
        let mut operations = simulation::operations(seed, Shape { values: Values::Below(5), ..one });
        let last = operations.iter().map(|operation| match operation.completion {
            Completion::Ok { index, .. } => index.max(operation.index),
            _ => operation.index,
        });
        let mut index = last.max().expect("there are operations");
        let key = operations[0].action.key.clone();
        let mut add = |operations: &mut Vec<Operation<Register>>, invoked: Option<u64>, op: RegisterOp| {
            index += 2;
            let action = Register { key: key.clone(), op };
            operations.push(Operation {
                index: invoked.unwrap_or(index - 1),
                process: Process(1_000_000 + index),
                completion: Completion::Ok { index, time: index, answer: action.clone() },
                action,
                ..operations[0].clone()
            });
        };
        let value = |at: u64| Scalar::Int((at % 5) as i64);
        add(&mut operations, None, RegisterOp::Write(value(seed)));
        let mut held = seed;
        // Steps of 1 to 4 lead on from the last value.
        for number in 0..70 {
            let next = held + 1 + (number * number + seed) % 4;
            let began = operations[(number * 7) as usize].index;
            add(&mut operations, Some(began), RegisterOp::Cas { old: Some(value(held)), new: value(next) });
            held = next;
        }
        add(&mut operations, None, RegisterOp::Read(Some(value(held))));
        operations.sort_by_key(|operation| operation.index);
        let report = check(&operations, &Budget::default());
        assert_eq!(report.verdict, Verdict::Valid, "seed {seed}");
        assert!(statistics(&report).configurations < 10_000, "seed {seed}: {:?}", statistics(&report));
        // A budget that does not suffice is not exceeded by the attempt to place them last.
        let little = Budget { configurations_max: 10, ..Budget::default() };
        let Verdict::Unknown(reasons) = check(&operations, &little).verdict else {
            panic!("ten configurations do not suffice, seed {seed}")
        };
        assert!(matches!(reasons[..], [Reason::Configurations { explored: ..20, .. }]), "{reasons:?}");
    }
}

#[test]
fn what_was_not_decided_is_unknown_and_says_which_key() {
    let operations = simulation::operations(3, Shape { values: Values::Below(3), keys: 2, ..SHAPE });
    let few = Budget { configurations_max: 100, ..Budget::default() };
    let Verdict::Unknown(reasons) = check(&operations, &few).verdict else { panic!("100 are too few") };
    assert_eq!(reasons.len(), 2);
    assert!(matches!(&reasons[0], Reason::Configurations { key: Some(key), .. } if *key == Scalar::Int(0)));
    assert!(reasons[0].to_string().contains("key 0 was not decided"), "{}", reasons[0]);
    for reason in &reasons {
        let Reason::Configurations { key: Some(key), reached: Some(reached), .. } = reason else {
            panic!("{reason:?}")
        };
        assert!(0 < reached.completed && reached.completed < reached.of, "{reached:?}");
        let prefix: Vec<_> = operations.iter().filter(|operation| operation.action.key == *key).collect();
        let completed = prefix.iter().filter(|operation| {
            matches!(operation.completion, Completion::Ok { index, .. } if index <= reached.index)
        });
        assert_eq!(completed.count() as u64, reached.completed);
    }

    let little = Budget { memory_bytes_max: 4_096, ..Budget::default() };
    let Verdict::Unknown(reasons) = check(&operations, &little).verdict else {
        panic!("4 kB are too little")
    };
    assert!(
        reasons.iter().all(|reason| matches!(reason, Reason::Memory { bytes_max: 4_096, .. })),
        "{reasons:?}"
    );

    let report =
        check_registers(&operations, &Assumed::default(), &Budget::default(), &AtomicBool::new(true));
    let Verdict::Unknown(reasons) = &report.verdict else { panic!("stopped before it began") };
    assert!(
        reasons.iter().all(|reason| matches!(reason, Reason::Interrupted { explored: 0, .. })),
        "{reasons:?}"
    );
    assert_eq!(statistics(&report).configurations, 0);
}

#[test]
fn an_anomaly_outranks_what_was_not_decided() {
    let anomaly = {
        let mut operations =
            simulation::operations(1, Shape { operations: 200, keys: 1, crashed_per_mille: 0, ..SHAPE });
        for operation in &mut operations {
            if let Completion::Ok { answer: Register { op: RegisterOp::Read(value), .. }, .. } =
                &mut operation.completion
            {
                *value = Some(Scalar::from("never written"));
            }
        }
        check(&operations, &Budget::default()).verdict
    };
    assert!(matches!(&anomaly, Verdict::Invalid(found) if found[0].kind == AnomalyKind::PhantomRead));
    let unknown = Verdict::Unknown(vec![Reason::Interrupted { key: None, explored: 1, reached: None }]);
    assert_eq!(anomaly.clone().merge(unknown.clone()), anomaly);
    assert_eq!(unknown.clone().merge(anomaly.clone()), anomaly);
    assert_eq!(Verdict::Valid.merge(unknown.clone()), unknown);
    assert_eq!(Verdict::Valid.merge(Verdict::Valid), Verdict::Valid);
}

#[test]
fn reports_are_the_same_every_time_and_survive_being_saved() {
    let operations = simulation::operations(5, Shape { defect: Defect::StaleRead, ..SHAPE });
    let report = check(&operations, &Budget::default());
    assert!(matches!(&report.verdict, Verdict::Invalid(anomalies) if anomalies.len() > 5));
    assert_eq!(check(&operations, &Budget::default()), report);
    let saved = serde_json::to_string(&report).expect("a report is data");
    assert_eq!(serde_json::from_str::<CheckReport>(&saved).expect("it reads back"), report);
}

#[test]
fn a_stale_read_at_the_end_of_a_long_chain_has_a_short_witness() {
    let operation = |at: u64, op: RegisterOp| Operation {
        process: Process(0),
        node: None,
        index: 2 * at,
        time: at,
        action: Register { key: Scalar::from("x"), op: op.clone() },
        completion: Completion::Ok {
            index: 2 * at + 1,
            time: at,
            answer: Register { key: Scalar::from("x"), op },
        },
    };
    let long = 100_000;
    let value = |at: u64| Scalar::Int(at as i64);
    let mut operations = vec![operation(0, RegisterOp::Write(value(0)))];
    operations.extend(
        (1..long).map(|at| operation(at, RegisterOp::Cas { old: Some(value(at - 1)), new: value(at) })),
    );
    assert_eq!(check(&operations, &Budget::default()).verdict, Verdict::Valid);
    operations.push(operation(long, RegisterOp::Read(Some(value(long / 2)))));
    let Verdict::Invalid(anomalies) = check(&operations, &Budget::default()).verdict else {
        panic!("half of the chain was missed");
    };
    assert_eq!(anomalies[0].kind, AnomalyKind::StaleRead);
    assert_eq!(anomalies[0].operations.len(), 2, "{:#?}", anomalies[0]);
}

#[test]
fn absurd_operations_do_not_panic() {
    let operations = simulation::operations(2, Shape { operations: 300, keys: 1, ..SHAPE });
    let mut absurd = operations.clone();
    for (at, operation) in absurd.iter_mut().enumerate() {
        // Indices that coincide, fall, and end at the very top.
        operation.index = if at % 3 == 0 { u64::MAX } else { (300 - at as u64) / 4 };
        if let Completion::Ok { index, .. } = &mut operation.completion {
            *index = if at % 5 == 0 { 0 } else { u64::MAX };
        }
    }
    let report = check(&absurd, &Budget::default());
    assert_eq!(report.keys, 1);
}

#[test]
fn many_processes_are_no_burden() {
    for (processes, crashed_per_mille, values) in [(30, 0, 5), (50, 0, 5), (10, 10, 5), (10, 50, 20)] {
        let values = Values::Below(values);
        let shape = Shape { operations: 3_000, keys: 1, processes, crashed_per_mille, values, ..SHAPE };
        let report = check(&simulation::operations(11, shape), &Budget::default());
        assert_eq!(report.verdict, Verdict::Valid, "{shape:?}");
        assert!(statistics(&report).configurations < 30_000, "{shape:?}: {:?}", statistics(&report));

        let mut operations = simulation::operations(11, shape);
        make_stale(&mut operations);
        let report = check(&operations, &Budget::default());
        let Verdict::Invalid(anomalies) = &report.verdict else { panic!("{shape:?}: {:?}", report.verdict) };
        assert!(anomalies[0].operations.len() <= 12, "{shape:?}: {anomalies:#?}");
        assert!(statistics(&report).configurations < 100_000, "{shape:?}: {:?}", statistics(&report));
    }
}

/// Makes a read of the second half answer a value that was surely gone: every write of it that had begun was over before
/// another one began, which was over before the read began.
fn make_stale(operations: &mut [Operation<Register>]) {
    let spans: Vec<(u64, u64, Scalar)> = operations
        .iter()
        .filter_map(|operation| {
            let end = match operation.completion {
                Completion::Ok { index, .. } => index,
                Completion::Info { .. } => u64::MAX,
                Completion::Fail { .. } => return None,
            };
            match &operation.action.op {
                RegisterOp::Read(_) | RegisterOp::Delete => None,
                RegisterOp::Write(value) | RegisterOp::Cas { new: value, .. } => {
                    Some((operation.index, end, value.clone()))
                }
            }
        })
        .collect();
    let gone = |value: &Scalar, began: u64, answered: u64| {
        let until = spans.iter().filter(|(begin, _, other)| other == value && *begin < answered);
        let until = until.map(|(_, end, _)| *end).max();
        let after = |(begin, end, other): &&(u64, u64, Scalar)| {
            other != value && Some(*begin) > until && *end < began
        };
        until.is_some() && spans.iter().any(|span| after(&span))
    };
    for operation in operations.iter_mut().skip(1_500) {
        if let Completion::Ok { index, answer: Register { op: RegisterOp::Read(read), .. }, .. } =
            &mut operation.completion
            && let Some((_, _, value)) =
                spans.iter().find(|(_, _, value)| gone(value, operation.index, *index))
        {
            *read = Some(value.clone());
            return;
        }
    }
    panic!("no value was ever gone");
}

#[test]
fn compare_and_sets_that_stay_open_to_the_end_need_no_search() {
    let operation = |process: u64, index: u64, end: u64, op: RegisterOp| Operation {
        process: Process(process),
        node: None,
        index,
        time: index,
        action: Register { key: Scalar::from("x"), op: op.clone() },
        completion: Completion::Ok { index: end, time: end, answer: Register { key: Scalar::from("x"), op } },
    };
    let value = |at: u64| Scalar::Int(at as i64);
    let waiting = 70;
    // Each takes effect before another write is made, and is not seen.
    let old = |at: u64| at * at % 5;
    let mut operations: Vec<Operation<Register>> = (0..waiting)
        .map(|at| {
            let op = RegisterOp::Cas { old: Some(value(old(at))), new: value((old(at) + 1 + at % 4) % 5) };
            operation(100 + at, at, 10_000 + at, op)
        })
        .collect();
    for at in 0..500 {
        let begin = waiting + 4 * at;
        operations.push(operation(0, begin, begin + 1, RegisterOp::Write(value(old(at)))));
        operations.push(operation(0, begin + 2, begin + 3, RegisterOp::Read(Some(value(old(at))))));
    }
    let report = check(&operations, &Budget::default());
    assert_eq!(report.verdict, Verdict::Valid);
    assert!(statistics(&report).configurations < 2_000, "{:?}", statistics(&report));
    // None of them can find a value that was never there.
    operations[40].action.op = RegisterOp::Cas { old: Some(value(9)), new: value(1) };
    let action = operations[40].action.clone();
    if let Completion::Ok { answer, .. } = &mut operations[40].completion {
        *answer = action;
    }
    let report = check(&operations, &Budget::default());
    assert!(matches!(report.verdict, Verdict::Invalid(_)), "{:?}", report.verdict);
}
