//! Transactions against their definitions, tried out literally on small histories.

mod definitions;
mod exhaustive;
mod kinds;
mod simulated;

use std::sync::atomic::AtomicBool;

use definitions::{Data, List, Register, Small};
use duress_checkers::transactions::{check_list_append, check_rw_register};
use duress_checkers::verdict::{CheckReport, Details, Reason, Verdict};
use duress_history::pairs::pair;
use duress_history::txn::{Act, Answer, Elements, Held, ListAppend, RwRegister, Txn};
use duress_history::{Assumed, Completion, ConsistencyModel, Operation, Scalar, jsonl};
use proptest::prelude::*;
use simulated::{Drawn, simulate};

use crate::store;

fn read<R: Answer>(lines: &str) -> Vec<Operation<Txn<R>>> {
    pair(jsonl::read_from::<Txn<R>>(lines.as_bytes()).expect("a history").events).expect("it pairs")
}

fn lists(operations: &[Operation<ListAppend>], promise: ConsistencyModel) -> CheckReport {
    check_list_append(operations, promise, &AtomicBool::new(false))
}

fn registers(operations: &[Operation<RwRegister>], promise: ConsistencyModel) -> CheckReport {
    check_rw_register(operations, promise, &Assumed::default(), &AtomicBool::new(false))
}

const MODELS: [ConsistencyModel; 8] = [
    ConsistencyModel::ReadCommitted,
    ConsistencyModel::ReadAtomic,
    ConsistencyModel::Causal,
    ConsistencyModel::SnapshotIsolation,
    ConsistencyModel::StrongSessionSnapshotIsolation,
    ConsistencyModel::Serializable,
    ConsistencyModel::StrongSessionSerializable,
    ConsistencyModel::StrictSerializable,
];

/// Holds the checker of one kind of data against the definitions.
fn agrees<D: Data, R: Answer>(
    history: &Small,
    check: impl Fn(&[Operation<Txn<R>>], ConsistencyModel) -> CheckReport,
) -> Result<(), TestCaseError> {
    let lines = history.lines::<D>();
    let operations = read::<R>(&lines);
    let kept = MODELS.map(|model| history.keeps::<D>(model));
    for (model, kept_it) in MODELS.into_iter().zip(kept) {
        let report = check(&operations, model);
        match &report.verdict {
            Verdict::Valid => prop_assert!(kept_it, "valid, but not {model}\n{lines}"),
            Verdict::Invalid(anomalies) => {
                prop_assert!(!kept_it, "{model} all the same\n{lines}{:#?}", anomalies[0]);
            }
            Verdict::Unknown(reasons) => {
                let reason = &reasons[0];
                let nothing =
                    matches!(reason, Reason::NothingObserved { .. } | Reason::NothingHappened { .. });
                let undecided = !kept_it && D::may_be_undecided(model);
                prop_assert!(nothing || undecided, "{model}: {kept_it}, but {reason}\n{lines}");
            }
        }
        // A refuted model is not kept, without regard to the promise.
        let Details::Transactions(details) = &report.details else { panic!("{:?}", report.details) };
        for (other, kept) in MODELS.into_iter().zip(kept) {
            let refuted = details.refuted.iter().any(|weakest| other.implies(*weakest));
            prop_assert!(!(kept && refuted), "{other} is kept, {:?}\n{lines}", details.found);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 700, ..ProptestConfig::default() })]

    #[test]
    fn lists_keep_what_the_definitions_say(drawn in any::<Drawn>()) {
        agrees::<List, Elements>(&simulate::<List>(&drawn), lists)?;
    }

    #[test]
    fn registers_keep_what_the_definitions_say(drawn in any::<Drawn>()) {
        agrees::<Register, Held>(&simulate::<Register>(&drawn), registers)?;
    }
}

/// Every history of two transactions of two operations, and of three of one.
#[test]
fn every_small_history_of_lists_keeps_what_the_definitions_say() {
    for lengths in [&[2, 2][..], &[1, 1, 1], &[2, 1, 1]] {
        exhaustive::every::<List>(lengths, &mut |history| {
            agrees::<List, Elements>(history, lists).unwrap_or_else(|error| panic!("{error}"));
        });
    }
}

#[test]
fn every_small_history_of_registers_keeps_what_the_definitions_say() {
    for lengths in [&[2, 2][..], &[1, 1, 1], &[2, 1, 1]] {
        exhaustive::every::<Register>(lengths, &mut |history| {
            agrees::<Register, Held>(history, registers).unwrap_or_else(|error| panic!("{error}"));
        });
    }
}

/// Many simulated histories are valid and many are not: otherwise the comparison would prove little.
#[test]
fn simulations_are_of_both_kinds() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut valid, mut invalid, mut unknown) = (0, 0, 0);
    for _ in 0..600 {
        let drawn = any::<Drawn>().new_tree(&mut runner).expect("a draw").current();
        let history = simulate::<Register>(&drawn);
        let operations = read::<Held>(&history.lines::<Register>());
        match registers(&operations, ConsistencyModel::Serializable).verdict {
            Verdict::Valid => valid += 1,
            Verdict::Invalid(_) => invalid += 1,
            Verdict::Unknown(_) => unknown += 1,
        }
    }
    assert!(
        valid > 100 && invalid > 60 && unknown < 200,
        "{valid} valid, {invalid} invalid, {unknown} unknown"
    );
}

const fn shape(clients: u64, seed: u64) -> store::Shape {
    store::Shape { transactions: 3_000, clients, crashed_per_mille: 10, keys: 5, writes_per_key: 32, seed }
}

/// The histories of an atomic store are found valid.
#[test]
fn a_store_without_faults_is_strict_serializable() {
    let never = AtomicBool::new(false);
    for (clients, seed) in [(3, 1), (10, 2), (30, 3), (90, 4)] {
        let lists = store::simulate::<Elements>(&shape(clients, seed));
        let report = check_list_append(&lists, ConsistencyModel::StrictSerializable, &never);
        assert_eq!(report.verdict, Verdict::Valid, "{clients} clients");
        let registers = store::simulate::<Held>(&shape(clients, seed));
        for model in ConsistencyModel::ALL {
            let report = check_rw_register(&registers, model, &Assumed::default(), &never);
            assert_eq!(report.verdict, Verdict::Valid, "{clients} clients, {model}");
        }
    }
}

/// One read of a long history is made to miss what had been acknowledged long before: a witness of few transactions shows it.
#[test]
fn one_stale_read_in_a_long_history_is_shown_by_few() {
    let never = AtomicBool::new(false);
    let mut registers = store::simulate::<Held>(&shape(10, 4));
    let mut old: std::collections::HashMap<Scalar, (u64, Scalar)> = std::collections::HashMap::new();
    let mut planted = false;
    for (at, operation) in registers.iter_mut().enumerate() {
        let begin = operation.index;
        let Completion::Ok { answer, index, .. } = &mut operation.completion else { continue };
        let (end, micros) = (*index, &mut answer.micros);
        if at > 1_500 && !planted && micros.len() == 1 {
            let key = micros[0].key.clone();
            if let (Act::Read(Some(Held(Some(held)))), Some((since, value))) =
                (&mut micros[0].act, old.get(&key))
                && *since + 100 < begin
                && held != value
            {
                *held = value.clone();
                planted = true;
            }
        }
        for micro in &*micros {
            if let Act::Write(value) = &micro.act {
                old.entry(micro.key.clone()).or_insert((end, value.clone()));
            }
        }
    }
    assert!(planted, "some read comes long after a write of its key");
    let report =
        check_rw_register(&registers, ConsistencyModel::StrictSerializable, &Assumed::default(), &never);
    let anomalies = report.verdict.anomalies();
    assert!(!anomalies.is_empty(), "{:?}", report.verdict);
    for anomaly in anomalies {
        assert!(anomaly.operations.len() <= 10, "{anomaly:#?}");
    }
}
