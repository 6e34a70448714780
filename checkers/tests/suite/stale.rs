//! Stale reads: the checker agrees with the definition, replicas that agree are never blamed, and every
//! defect is found.

use std::sync::atomic::AtomicBool;

use duress_checkers::linearizable::{Budget, check_registers};
use duress_checkers::stale_reads::check_stale_reads;
use duress_checkers::verdict::{Anomaly, AnomalyKind, CheckReport, Details, Reason, Verdict, WitnessStart};
use duress_history::register::{CasRegister, Register, RegisterOp};
use duress_history::{Assumed, Completion, Initial, NodeId, Operation, Scalar};
use garbage::{garbage, register_action, unique_garbage};
use oracle::explained;
use proptest::prelude::*;
use replicas::{Defect, Shape, simulate};

use crate::{garbage, one_register, oracle, replicas, words};

fn check(operations: &[Operation<Register>], settled: Option<u64>) -> CheckReport {
    check_stale_reads(operations, &Assumed::default(), settled, &Budget::default(), &AtomicBool::new(false))
}

/// Returns the operations on one key, each sent to the node of its process.
fn on_one_key(operations: Vec<Operation<CasRegister>>, nodes: u64) -> Vec<Operation<Register>> {
    let keyed = |action: CasRegister| Register { key: Scalar::from("x"), op: action.op };
    let node = |operation: &Operation<_>| Some(NodeId::new(format!("n{}", operation.process.0 % nodes)));
    operations
        .into_iter()
        .map(|operation| Operation { node: node(&operation), ..operation.map(keyed) })
        .collect()
}

fn shows_nothing(reasons: &[Reason]) -> bool {
    matches!(reasons, [Reason::NothingHappened { .. } | Reason::NothingObserved { .. }])
}

/// Returns the operations that `anomaly` shows.
fn shown(anomaly: &Anomaly, operations: &[Operation<Register>]) -> Vec<Operation<Register>> {
    let find = |index| operations.iter().find(|operation| operation.index == index).cloned();
    anomaly.operations.iter().map(|shown| find(shown.index).expect("a witness is of the history")).collect()
}

/// Checks that the verdict is the definition's, and that a witness alone is impossible by the definition.
fn agree(operations: &[Operation<Register>]) -> Result<(), TestCaseError> {
    let expected = explained(operations, None, &[]);
    match check(operations, None).verdict {
        Verdict::Valid => prop_assert!(expected, "valid, but no order is right"),
        Verdict::Unknown(reasons) => {
            prop_assert!(expected && shows_nothing(&reasons), "not decided: {reasons:?}")
        }
        Verdict::Invalid(anomalies) => {
            prop_assert!(!expected, "invalid, but some order is right: {anomalies:#?}");
            let [anomaly] = &anomalies[..] else { panic!("one register has one anomaly: {anomalies:#?}") };
            words::assert_well_formed(anomaly);
            let alone = shown(anomaly, operations);
            // A step for each read states that its value had not been there before.
            let reads = alone.iter().filter_map(|operation| match &operation.completion {
                Completion::Ok { answer: Register { op: RegisterOp::Read(value), .. }, .. } => {
                    Some(value.clone())
                }
                _ => None,
            });
            let reads: Vec<Option<Scalar>> = reads.collect();
            let any = (-1..12).map(|value| Some(Scalar::Int(value))).chain([None]);
            let starts = match anomaly.start.as_ref().expect("a witness of a register says where it starts") {
                WitnessStart::Initial(value) => vec![value.clone()],
                WitnessStart::Any => any.filter(|start| !reads.contains(start)).collect(),
            };
            for start in starts {
                prop_assert!(!explained(&alone, start.clone(), &[]), "possible from {start:?}: {anomaly:#?}");
            }
        }
    }
    Ok(())
}

/// Returns the last read of each node in the final phase, by index.
fn last_reads(operations: &[Operation<Register>], settled: u64) -> Vec<u64> {
    let mut last: Vec<(&NodeId, u64)> = Vec::new();
    for operation in operations.iter().filter(|operation| operation.index >= settled) {
        let (Completion::Ok { answer, .. }, Some(node)) = (&operation.completion, &operation.node) else {
            continue;
        };
        if matches!(answer.op, RegisterOp::Read(_)) {
            last.retain(|(other, _)| *other != node);
            last.push((node, operation.index));
        }
    }
    last.into_iter().map(|(_, index)| index).collect()
}

/// If replicas with the same value explain the last reads, no anomaly is reported.
fn never_blamed(operations: &[Operation<Register>], settled: u64) -> Result<(), TestCaseError> {
    let report = check(operations, Some(settled));
    if explained(operations, None, &last_reads(operations, settled)) {
        prop_assert!(report.verdict.anomalies().is_empty(), "{:#?}", report.verdict);
    } else if !explained(operations, None, &[]) {
        prop_assert!(!report.verdict.anomalies().is_empty(), "{:#?}", report.verdict);
    }
    report.verdict.anomalies().iter().for_each(words::assert_well_formed);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn garbage_registers(operations in garbage(register_action(), 9)) {
        agree(&on_one_key(operations, 3))?;
    }

    #[test]
    fn garbage_registers_with_unique_values(operations in unique_garbage()) {
        agree(&on_one_key(operations, 3))?;
    }

    #[test]
    fn replicas_that_agree_are_never_blamed(operations in garbage(register_action(), 9), settled in 0_u64..16) {
        never_blamed(&on_one_key(operations, 2), settled)?;
    }

    #[test]
    fn replicas_that_agree_are_never_blamed_for_unique_values(operations in unique_garbage(), settled in 0_u64..16) {
        never_blamed(&on_one_key(operations, 2), settled)?;
    }
}

const SHAPE: Shape = Shape {
    operations: 400,
    keys: 3,
    processes: 9,
    nodes: 3,
    crashed_per_mille: 20,
    values_below: 0,
    defect: Defect::None,
};

#[test]
fn simulated_replicas_without_defect_are_valid() {
    for seed in 0..150 {
        for values_below in [0, 5, 40] {
            let simulated = simulate(seed, Shape { values_below, ..SHAPE });
            let report = check(&simulated.operations, Some(simulated.settled));
            assert_eq!(report.verdict, Verdict::Valid, "seed {seed}, values below {values_below}");
            let Details::Registers(details) = report.details else { panic!("registers have other details") };
            let convergence = details.convergence.expect("replicas were compared");
            assert_eq!((convergence.replicas.len(), convergence.compared), (3, 3), "seed {seed}");
        }
    }
    // They are not linearizable: otherwise there would be nothing to tolerate.
    let simulated = simulate(1, SHAPE);
    let strict = check_registers(
        &simulated.operations,
        &Assumed::default(),
        &Budget::default(),
        &AtomicBool::new(false),
    );
    assert!(matches!(strict.verdict, Verdict::Invalid(_)), "{:?}", strict.verdict);
}

#[test]
fn every_defect_is_found_and_named() {
    use AnomalyKind::{AbortedRead, Diverged, LostUpdate, LostWrite, Nonlinearizable, PhantomRead, StaleCas};
    // A single one may have no consequence: a write that is lost is often overwritten at once.
    for (defect, kinds, found_min) in [
        (Defect::LostWrite, &[LostWrite, Nonlinearizable, StaleCas, LostUpdate][..], 40),
        (Defect::StaleCas, &[LostUpdate, StaleCas, Nonlinearizable, LostWrite][..], 95),
        (Defect::Phantom, &[PhantomRead][..], 80),
        (Defect::Aborted, &[AbortedRead, Nonlinearizable][..], 80),
        (Defect::Stuck, &[Diverged][..], 45),
        (Defect::AllStuck, &[LostWrite][..], 60),
    ] {
        let mut found = 0;
        for seed in 0..100 {
            let simulated = simulate(seed, Shape { defect, ..SHAPE });
            let report = check(&simulated.operations, Some(simulated.settled));
            let anomalies = report.verdict.anomalies();
            found += u64::from(!anomalies.is_empty());
            for anomaly in anomalies {
                words::assert_well_formed(anomaly);
                assert!(kinds.contains(&anomaly.kind), "{defect:?}, seed {seed}: {anomaly:#?}");
            }
        }
        println!("{defect:?}: found in {found} of 100");
        assert!(found >= found_min, "{defect:?}: found in {found} of 100");
    }
}

/// The words of `one_register`. Each process speaks to a node of its own.
fn history(text: &str) -> Vec<Operation<Register>> {
    words::on_own_nodes(one_register::history(text))
}

#[track_caller]
fn expect(text: &str, settled: Option<u64>, expected: &str) {
    let report = check(&history(text), settled);
    assert_eq!(words::answer(&report), expected, "{text}: {:#?}", report.verdict);
}

#[test]
fn old_answers_are_tolerated() {
    expect("0!w1 0!w2 1!r1 1!r_ 1!r2 1!r1", None, "valid");
    // Even of a write that is still in progress, and then of the value before.
    expect("0iw1 1!r1 1!r_ 0?w1", None, "valid");
    // And by a compare-and-set that is seen before its answer.
    expect("0!w1 1ic1:2 2!r2 2!r1 1oc1:2", None, "valid");
}

#[test]
fn a_delete_is_a_write_of_nothing() {
    expect("0!w1 1!r1 0!d 1!r1 1!r_ 1!r1", None, "valid");
    expect("0!w1 0!d 1!r_ 2!r_", Some(4), "valid");
    expect("0!w1 0!d 1!r_ 2!r1", Some(4), "diverged(read -> null; read -> 1)");
    expect("0!w1 0!d 1!r1 2!r1", Some(4), "lost-write(delete; read -> 1)");
    // Also where it is not known what was there at first.
    let any = Assumed { initial: Initial::Any, ..Assumed::default() };
    let checked = |text: &str| {
        check_stale_reads(&history(text), &any, None, &Budget::default(), &AtomicBool::new(false)).verdict
    };
    assert_eq!(checked("0!w1 1!r1 0!d 0!w2 1!r2 1!r_ 1!r1"), Verdict::Valid);
}

#[test]
fn answers_from_nowhere_are_not() {
    expect("0!w1 1!r9", None, "phantom-read(read -> 9)");
    expect("0iw1 0fw1 1!r1", None, "aborted-read(write 1; read -> 1)");
    expect("1!r1 0!w1", None, "future-read(read -> 1; write 1)");
    expect("1ir_ 0!w1 1or1", None, "valid");
}

#[test]
fn writes_are_linearizable() {
    expect("0!w1 3!r1 1ic1:2 2ic1:3 1oc1:2 2oc1:3", None, "lost-update(write 1; cas 1 -> 2; cas 1 -> 3)");
    expect("0!w1 3!r1 0!w2 1!c1:3", None, "stale-cas(write 1; write 2; cas 1 -> 3)");
    expect("0!w1 3!r1 0iw2 1!c1:3 0ow2", None, "valid");
}

#[test]
fn a_read_shows_that_a_write_had_taken_effect() {
    // 2 was there before the compare-and-set of 1 began, and 1 had been before it.
    expect("0!w1 1iw2 2!r2 3!c1:3 1ow2", None, "stale-cas(write 1; write 2; read -> 2; cas 1 -> 3)");
    expect("0!w1 1iw2 3!c1:3 2!r2 1ow2", None, "valid");
    // The same holds for an operation that was never answered.
    expect("0!w1 1iw2 2!r2 3!c1:3 1?w2", None, "stale-cas(write 1; write 2; read -> 2; cas 1 -> 3)");
    // Either of two may have brought 2.
    expect(
        "0!w1 1iw2 4iw2 2!r2 3!c1:3 1?w2 4ow2",
        None,
        "nonlinearizable(write 2; write 2; read -> 2; cas 1 -> 3)",
    );
    expect("0!w1 1iw2 4iw2 2!r2 3!c2:3 4ow2 5!r2 3!c2:4 1?w2", None, "valid");
}

#[test]
fn replicas_come_to_agree() {
    let settled = Some(4);
    expect("0!w1 0!w2 1!r2 2!r2", settled, "valid");
    expect("0!w1 0!w2 1!r1 1!r2 2!r2", settled, "valid");
    expect("0!w1 0!w2 1!r2 2!r1", settled, "diverged(read -> 2; read -> 1)");
    expect("0!w1 0!w2 1!r1 2!r1", settled, "lost-write(write 1; write 2; read -> 1)");
    // A write of unknown outcome may take effect between the two.
    expect("0!w1 0iw2 0?w2 1!r1 2!r2", settled, "valid");
    // But not once it has been seen, as no operation brings the earlier value back.
    expect("0!w1 0iw2 0?w2 1!r2 2!r1", settled, "diverged(read -> 2; read -> 1)");
    // At the same time, either may have been first.
    expect("0!w1 0iw2 0?w2 1ir_ 2ir_ 1or2 2or1", settled, "valid");
    // Before the final phase replicas need not agree.
    expect("0!w1 0!w2 1!r2 2!r1", None, "valid");
}

#[test]
fn what_replicas_did_not_say_is_not_decided() {
    // Node 3 was read before, and may have the write.
    expect(
        "0!w1 3!r1 0!w2 1!r1 2!r1",
        Some(6),
        "unknown: key x was not decided: the replicas that answered at the end lack an acknowledged write, and n3 did not answer",
    );
    expect("0!w1 3!r1 0!w2 1!r2 2!r2", Some(6), "valid");
    expect(
        "0!w1 1!r1 2!r1",
        Some(6),
        "unknown: no key was read at two replicas at the end, of 0 that answered: whether replicas agree is not known",
    );
}

#[test]
fn an_answer_before_a_replica_fell_silent_is_not_its_last_word() {
    // It might have caught up.
    expect(
        "0!w1 0!w2 1!r2 2!r1 2ir_ 2fr_",
        Some(4),
        "unknown: no key was read at two replicas at the end, of 2 that answered: whether replicas agree is not known",
    );
    expect("0!w1 0!w2 1!r2 2ir_ 2fr_ 2!r1", Some(4), "diverged(read -> 2; read -> 1)");
}

/// One answer of a history without defect, changed: what that makes of it must be found.
#[test]
fn one_changed_answer_is_found() {
    for seed in 0..40 {
        let simulated = simulate(seed, SHAPE);
        let (operations, settled) = (simulated.operations, simulated.settled);
        let read = |operation: &Operation<Register>| match &operation.completion {
            Completion::Ok { index, answer: Register { key, op: RegisterOp::Read(Some(value)) }, .. } => {
                Some((*index, key.clone(), value.clone()))
            }
            _ => None,
        };
        let reads: Vec<usize> = (0..operations.len()).filter(|at| read(&operations[*at]).is_some()).collect();
        let at = reads[(seed as usize * 7) % (reads.len() / 2)];
        let (answered, key, value) = read(&operations[at]).expect("it is a read");

        // Its answer comes from a later write only.
        let later =
            operations.iter().find_map(|operation| match (&operation.action.op, &operation.completion) {
                (RegisterOp::Write(value), Completion::Ok { .. })
                    if operation.index > answered && operation.action.key == key =>
                {
                    Some(value.clone())
                }
                _ => None,
            });
        let mut changed = operations.clone();
        let Completion::Ok { answer, .. } = &mut changed[at].completion else { panic!("it was answered") };
        answer.op = RegisterOp::Read(Some(later.expect("something is written in the second half")));
        assert_eq!(kinds(&check(&changed, Some(settled))), [AnomalyKind::FutureRead], "seed {seed}");

        // The value that it saw comes from a failed operation.
        let mut changed = operations.clone();
        let writes = |operation: &&mut Operation<Register>| match &operation.action.op {
            RegisterOp::Write(new) | RegisterOp::Cas { new, .. } => {
                *new == value && operation.action.key == key
            }
            RegisterOp::Read(_) | RegisterOp::Delete => false,
        };
        let writer = changed.iter_mut().find(writes).expect("what was read was written");
        writer.completion = Completion::Fail { index: writer.index + 1, time: writer.time, error: None };
        assert_eq!(kinds(&check(&changed, Some(settled))), [AnomalyKind::AbortedRead], "seed {seed}");
    }
}

fn kinds(report: &CheckReport) -> Vec<AnomalyKind> {
    report.verdict.anomalies().iter().map(|anomaly| anomaly.kind).collect()
}
