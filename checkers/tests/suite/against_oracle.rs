//! The checker agrees with the definition, on histories small enough to try the definition out.

use std::sync::atomic::AtomicBool;

use duress_checkers::linearizable::{Budget, check_cas_register, check_mutex, check_registers};
use duress_checkers::verdict::{Anomaly, CheckReport, Details, Reason, Verdict, WitnessStart};
use duress_history::mutex::{Mutex, MutexOp};
use duress_history::register::{CasRegister, Register, RegisterOp};
use duress_history::{Assumed, Completion, Initial, NilReads, Operation, Scalar};
use garbage::{garbage, register_action, unique_garbage};
use proptest::prelude::*;
use simulation::{Defect, Shape, Values};

use crate::{garbage, oracle, simulation, witness};

fn check(operations: &[Operation<CasRegister>], initial: Initial) -> CheckReport {
    let assumed = Assumed { initial, ..Assumed::default() };
    check_cas_register(operations, &assumed, &Budget::default(), &AtomicBool::new(false))
}

/// Returns the operations that `anomaly` shows.
fn shown<A: Clone>(anomaly: &Anomaly, operations: &[Operation<A>]) -> Vec<Operation<A>> {
    let index = |operation: &Operation<A>| operation.index;
    anomaly
        .operations
        .iter()
        .map(|shown| {
            let at = operations.iter().position(|operation| index(operation) == shown.index);
            operations[at.expect("a witness is made of the history's own operations")].clone()
        })
        .collect()
}

/// Returns why a history proves nothing: clients read the register, and no operation succeeded, or none that
/// shows its value.
fn nothing_shown(operations: &[Operation<CasRegister>]) -> Vec<Reason> {
    let asks = |operation: &Operation<CasRegister>| matches!(operation.action.op, RegisterOp::Read(_));
    if !operations.is_empty() && !operations.iter().any(asks) {
        return Vec::new();
    }
    let ok: Vec<&CasRegister> = operations
        .iter()
        .filter_map(|operation| match &operation.completion {
            Completion::Ok { answer, .. } => Some(answer),
            _ => None,
        })
        .collect();
    let observes = |action: &&CasRegister| match &action.op {
        RegisterOp::Read(_) | RegisterOp::Cas { .. } => true,
        RegisterOp::Write(_) | RegisterOp::Delete => false,
    };
    match (ok.len() as u64, ok.iter().any(observes)) {
        (0, _) => vec![Reason::NothingHappened { operations: operations.len() as u64 }],
        (happened, false) => vec![Reason::NothingObserved { happened }],
        (_, true) => Vec::new(),
    }
}

/// Checks that the verdict is the definition's, and that a witness alone is impossible by the definition.
fn agree(operations: &[Operation<CasRegister>], initial: Initial) -> Result<(), TestCaseError> {
    let anything = || (-1..12).map(|value| Some(Scalar::Int(value))).chain([None]).collect();
    let held: Vec<Option<Scalar>> = match &initial {
        Initial::Known(value) => vec![value.clone()],
        Initial::Any => anything(),
    };
    // A register is empty as long as nothing was written, whatever its initial value.
    let unwritten = |operation: &Operation<CasRegister>| match (&initial, &operation.completion) {
        (Initial::Known(Some(value)), Completion::Ok { index, time, answer })
            if answer.op == RegisterOp::Read(None) && operation.index < written(operations) =>
        {
            let answer = CasRegister::from(RegisterOp::Read(Some(value.clone())));
            Operation {
                completion: Completion::Ok { index: *index, time: *time, answer },
                ..operation.clone()
            }
        }
        _ => operation.clone(),
    };
    let observed: Vec<_> = operations.iter().map(unwritten).collect();
    let expected = held.into_iter().any(|held| oracle::linearizable(&observed, held));
    match check(operations, initial.clone()).verdict {
        Verdict::Valid => {
            prop_assert!(expected, "valid, but no order is right");
            prop_assert_eq!(nothing_shown(operations), []);
        }
        Verdict::Unknown(reasons) => {
            prop_assert!(reasons == nothing_shown(operations), "not decided: {reasons:?}");
            prop_assert!(expected, "what was not read cannot be wrong");
        }
        Verdict::Invalid(anomalies) => {
            prop_assert!(!expected, "invalid, but some order is right: {anomalies:#?}");
            prop_assert_eq!(anomalies.len(), 1);
            let anomaly = &anomalies[0];
            prop_assert!(!anomaly.steps.is_empty() && !anomaly.operations.is_empty());
            witness::assert_well_formed(anomaly);
            let shown_alone = shown(anomaly, &observed);
            let starts = match anomaly.start.as_ref().expect("a witness of a register says where it starts") {
                WitnessStart::Initial(value) => vec![value.clone()],
                WitnessStart::Any => anything(),
            };
            for start in starts {
                let possible = oracle::linearizable(&shown_alone, start.clone());
                prop_assert!(!possible, "the witness is possible from {:?}: {:#?}", start, anomaly);
            }
        }
    }
    Ok(())
}

/// Returns the index of the event that first acknowledged a write, or before which a delete began.
fn written(operations: &[Operation<CasRegister>]) -> u64 {
    let acknowledged = operations.iter().filter_map(|operation| match &operation.completion {
        Completion::Fail { .. } => None,
        _ if operation.action.op == RegisterOp::Delete => Some(operation.index),
        Completion::Ok { index, answer, .. } if !matches!(answer.op, RegisterOp::Read(_)) => Some(*index),
        _ => None,
    });
    acknowledged.min().unwrap_or(u64::MAX)
}

fn lock_action() -> impl Strategy<Value = Mutex> {
    prop_oneof![Just(MutexOp::Acquire), Just(MutexOp::Release)].prop_map(|op| Mutex { lock: None, op })
}

fn as_one_register(operations: Vec<Operation<Register>>) -> Vec<Operation<CasRegister>> {
    operations.into_iter().map(|operation| operation.map(|action| CasRegister::from(action.op))).collect()
}

fn shapes() -> impl Strategy<Value = Shape> {
    let values = prop_oneof![Just(Values::Unique), Just(Values::Below(2)), Just(Values::Below(4))];
    let defects = prop_oneof![
        Just(Defect::None),
        Just(Defect::StaleRead),
        Just(Defect::LostWrite),
        Just(Defect::StaleCas)
    ];
    (1_usize..26, 1_u64..6, 0_u32..400, values, defects).prop_map(
        |(operations, processes, crashed_per_mille, values, defect)| Shape {
            operations,
            keys: 1,
            processes,
            crashed_per_mille,
            values,
            defect,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn garbage_registers(operations in garbage(register_action(), 9)) {
        agree(&operations, Initial::default())?;
    }

    #[test]
    fn garbage_registers_with_an_initial_value(operations in garbage(register_action(), 9)) {
        agree(&operations, Initial::Known(Some(Scalar::Int(1))))?;
    }

    #[test]
    fn garbage_registers_with_any_initial_value(operations in garbage(register_action(), 9)) {
        agree(&operations, Initial::Any)?;
    }

    #[test]
    fn reads_that_do_not_know_say_nothing(operations in garbage(register_action(), 9)) {
        let says = |operation: &&Operation<CasRegister>| {
            !matches!(&operation.completion, Completion::Ok { answer, .. } if answer.op == RegisterOp::Read(None))
        };
        let saying: Vec<_> = operations.iter().filter(says).cloned().collect();
        let assumed = Assumed { nil_reads: NilReads::Unknown, ..Assumed::default() };
        let report = check_cas_register(&operations, &assumed, &Budget::default(), &AtomicBool::new(false));
        prop_assert_eq!(report.verdict.anomalies().is_empty(), oracle::linearizable(&saying, None));
        let Details::Registers(details) = report.details else { panic!("registers have other details") };
        prop_assert_eq!(details.skipped.empty_reads, (operations.len() - saying.len()) as u64);
    }

    #[test]
    fn garbage_registers_with_unique_values(operations in unique_garbage()) {
        agree(&operations, Initial::default())?;
    }

    #[test]
    fn simulated_registers(seed in any::<u64>(), shape in shapes()) {
        agree(&as_one_register(simulation::operations(seed, shape)), Initial::default())?;
    }

    #[test]
    fn simulated_registers_without_defect_are_valid(seed in any::<u64>(), shape in shapes()) {
        let shape = Shape { defect: Defect::None, operations: shape.operations * 20, keys: 3, ..shape };
        let operations = simulation::operations(seed, shape);
        let report = check_registers(&operations, &Assumed::default(), &Budget::default(), &AtomicBool::new(false));
        let observed = as_one_register(operations);
        match nothing_shown(&observed) {
            nothing if nothing.is_empty() => prop_assert_eq!(report.verdict, Verdict::Valid),
            nothing => prop_assert_eq!(report.verdict, Verdict::Unknown(nothing)),
        }
    }

    #[test]
    fn garbage_locks(operations in garbage(lock_action(), 9)) {
        let expected = oracle::linearizable(&operations, false);
        match check_mutex(&operations, &Budget::default(), &AtomicBool::new(false)).verdict {
            Verdict::Valid => prop_assert!(expected),
            Verdict::Unknown(reasons) => {
                let happened = operations.iter().any(|operation| matches!(operation.completion, Completion::Ok { .. }));
                let nothing = Reason::NothingHappened { operations: operations.len() as u64 };
                prop_assert!(!happened && reasons == [nothing], "not decided: {reasons:?}");
            }
            Verdict::Invalid(anomalies) => {
                prop_assert!(!expected, "{anomalies:#?}");
                let shown_alone = shown(&anomalies[0], &operations);
                let starts = match anomalies[0].start.as_ref().expect("a witness of a lock says where it starts") {
                    WitnessStart::Initial(_) => vec![false],
                    WitnessStart::Any => vec![false, true],
                };
                for start in starts {
                    prop_assert!(!oracle::linearizable(&shown_alone, start), "{anomalies:#?}");
                }
            }
        }
    }
}
