//! Registers under sequential and causal consistency, against the definition tried out literally.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use duress_checkers::transactions::check_registers_by_model;
use duress_checkers::verdict::{CheckReport, Reason, Verdict};
use duress_history::pairs::Completion;
use duress_history::register::{Register, RegisterOp};
use duress_history::{Assumed, ConsistencyModel, OpError, Operation, Scalar};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use registers::operations;

use crate::registers;

const SEQUENTIAL: ConsistencyModel = ConsistencyModel::StrongSessionSerializable;
const CAUSAL: ConsistencyModel = ConsistencyModel::Causal;

fn check(operations: &[Operation<Register>], promise: ConsistencyModel) -> CheckReport {
    check_registers_by_model(operations, promise, &Assumed::default(), &AtomicBool::new(false))
}

/// Whether the history is sequentially consistent, and whether it is causally consistent.
fn kept(text: &str) -> [bool; 2] {
    [SEQUENTIAL, CAUSAL].map(|promise| match check(&operations(text), promise).verdict {
        Verdict::Valid => true,
        Verdict::Invalid(_) => false,
        Verdict::Unknown(reasons) => panic!("{text}: {reasons:?}"),
    })
}

#[test]
fn the_textbook_examples() {
    for (text, expected, why) in [
        ("0!wx1 1!rx_", [true, true], "an old value, for another process"),
        ("0!wx1 0!rx_", [false, false], "a process does not see its own write"),
        ("0!wx1 0!wx2 1!rx2 1!rx1", [false, false], "reads go back"),
        ("0!wx1 1!wy1 0!ry_ 1!rx_", [false, true], "two processes that miss each other's write"),
        ("0!wx1 1!rx1 1!wy1 2!ry1 2!rx_", [false, false], "an effect is seen before its cause"),
        ("0!wx1 1!wx2 2!rx1 2!rx2 3!rx2 3!rx1", [false, false], "two concurrent writes in two orders"),
        (
            "0!wx1 1!rx1 1!wx2 2!rx2 2!rx1",
            [false, false],
            "a write and one that follows it, in the wrong order",
        ),
        ("0!wx1 1!cx12 2!rx2 0!rx1", [true, true], "a compare-and-set that another has not seen yet"),
        ("0!wx1 1!cx12 2!cx13", [false, true], "two compare-and-sets of one value"),
        ("0iwx1 0?wx1 1!rx1", [true, true], "a write of unknown outcome that took effect"),
        ("0icx12 0?cx12 1!rx_", [true, true], "a compare-and-set of unknown outcome that did not"),
        ("0icx12 0?cx12 1!rx2", [false, false], "one that replaced what was never there"),
        ("3!wx1 0icx12 0?cx12 1icx13 1?cx13 2!rx2 2!rx3", [false, true], "two of one value that took effect"),
        ("0icx12 0?cx12 1icx23 1?cx23 2!rx3", [false, false], "one that replaced what another one left"),
    ] {
        assert_eq!(kept(text), expected, "{text}: {why}");
    }
}

/// Whether some order of all operations explains every answer and has those of each process in their order. A write of
/// unknown outcome took effect at any moment after those before it, or never. A compare-and-set that failed is a read of what it
/// saw.
fn has_an_order(operations: &[Operation<Register>]) -> bool {
    fn search(
        operations: &[Operation<Register>],
        left: &mut Vec<usize>,
        state: &BTreeMap<Scalar, Scalar>,
    ) -> bool {
        if left.iter().all(|at| !matches!(operations[*at].completion, Completion::Ok { .. })) {
            return true;
        }
        for place in 0..left.len() {
            let operation = &operations[left[place]];
            let is_next = left[..place].iter().all(|before| operations[*before].process != operation.process);
            if !is_next {
                continue;
            }
            let mut after = state.clone();
            let action = match &operation.completion {
                Completion::Ok { answer, .. } => answer,
                Completion::Fail { .. } | Completion::Info { .. } => &operation.action,
            };
            let fits = match &action.op {
                RegisterOp::Read(value) => state.get(&action.key) == value.as_ref(),
                RegisterOp::Write(value) => {
                    after.insert(action.key.clone(), value.clone());
                    true
                }
                RegisterOp::Delete => {
                    after.remove(&action.key);
                    true
                }
                RegisterOp::Cas { old, new } => {
                    after.insert(action.key.clone(), new.clone());
                    state.get(&action.key) == old.as_ref()
                }
            };
            if fits {
                let taken = left.remove(place);
                let found = search(operations, left, &after);
                left.insert(place, taken);
                if found {
                    return true;
                }
            }
        }
        false
    }
    let mut known = operations.to_vec();
    known.retain_mut(|operation| {
        let Completion::Fail { index, time, error } = &operation.completion else { return true };
        let Some(saw) = error.as_ref().and_then(|error| error.saw.clone()) else { return false };
        let answer = Register { op: RegisterOp::Read(saw), ..operation.action.clone() };
        operation.completion = Completion::Ok { index: *index, time: *time, answer };
        true
    });
    let mut left = (0..known.len()).collect();
    search(&known, &mut left, &BTreeMap::new())
}

#[test]
fn sequential_consistency_is_what_the_definition_says() {
    let (mut valid, mut invalid) = (0, 0);
    for seed in 0..5000 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut text = String::new();
        let mut written = 0;
        let mut processes = [0, 1, 2];
        for _ in 0..random.random_range(2..8) {
            let client = random.random_range(0..3);
            let process = processes[client];
            let key = ["x", "y"][random.random_range(0..2)];
            let word = match random.random_range(0..5) {
                0 | 1 => {
                    written += 1;
                    format!("{process}!w{key}{written} ")
                }
                2 if written > 0 => {
                    let old = random.random_range(1..=written);
                    written += 1;
                    format!("{process}!c{key}{old}{written} ")
                }
                _ => match random.random_range(0..=written) {
                    0 => format!("{process}!r{key}_ "),
                    value => format!("{process}!r{key}{value} "),
                },
            };
            // Every other history has writes of unknown outcome, and failed ones.
            let ended = match random.random_range(0..6) {
                0 if seed % 2 == 0 => "?",
                1 if seed % 2 == 0 => "f",
                _ => "!",
            };
            if ended == "!" || word.contains("!r") {
                text.push_str(&word);
                continue;
            }
            text.push_str(&word.replace('!', "i"));
            text.push_str(&word.replace('!', ended));
            if ended == "?" {
                processes[client] += 3;
            }
        }
        let mut operations = operations(&text);
        for operation in &mut operations {
            if let Completion::Fail { error, .. } = &mut operation.completion
                && matches!(operation.action.op, RegisterOp::Cas { .. })
                && random.random()
            {
                let saw = random.random_range(0..=written);
                let saw = Some((saw > 0).then_some(Scalar::Int(saw)));
                *error = Some(Box::new(OpError { kind: None, text: "differs".to_owned(), saw }));
            }
        }
        let expected = has_an_order(&operations);
        match check(&operations, SEQUENTIAL).verdict {
            Verdict::Valid => assert!(expected, "seed {seed}: {operations:?} has no order"),
            Verdict::Invalid(_) => assert!(!expected, "seed {seed}: {operations:?} has an order"),
            Verdict::Unknown(reasons) => {
                let nothing =
                    matches!(reasons[..], [Reason::NothingHappened { .. } | Reason::NothingObserved { .. }]);
                assert!(nothing && expected, "seed {seed}: {text}: {reasons:?}");
            }
        }
        *if expected { &mut valid } else { &mut invalid } += 1;
    }
    assert!(valid > 300 && invalid > 300, "{valid} valid, {invalid} invalid");
}
