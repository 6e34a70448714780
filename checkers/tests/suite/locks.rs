//! Locks with an owner, against the definition tried out literally.

use std::sync::atomic::AtomicBool;

use duress_checkers::linearizable::Budget;
use duress_checkers::lock::{Reentry, check_owned_mutex};
use duress_checkers::verdict::{AnomalyKind, Reason, Verdict};
use duress_history::mutex::{Mutex, MutexOp};
use duress_history::{Operation, Process};
use proptest::collection::vec;
use proptest::prelude::*;
use small::Outcome;

use crate::{oracle, small, words};

const REENTRIES: [Reentry; 2] = [Reentry::Refused, Reentry::Allowed];

/// `0ia` invokes acquire, `0oa` completes it; `r` releases.
fn operations(words: &str) -> Vec<Operation<Mutex>> {
    let f = |operation: &str| if operation == "a" { "acquire" } else { "release" };
    words::operations(words, |operation, _| (f(operation), "null".to_owned()))
}

fn verdict(reentry: Reentry, operations: &[Operation<Mutex>]) -> Verdict {
    check_owned_mutex(operations, reentry, &Budget::default(), &AtomicBool::new(false)).verdict
}

/// Returns the kinds of anomalies: without and with re-entry.
fn kinds(words: &str) -> [Option<AnomalyKind>; 2] {
    REENTRIES
        .map(|reentry| verdict(reentry, &operations(words)).anomalies().first().map(|anomaly| anomaly.kind))
}

#[test]
fn the_owner_releases() {
    assert_eq!(kinds("0ia 0oa 0ir 0or 1ia 1oa"), [None, None]);
    assert_eq!(kinds("0ia 0oa 1ir 1or"), [Some(AnomalyKind::UnheldRelease); 2]);
    assert_eq!(kinds("0ia 0oa 1ia 1oa"), [Some(AnomalyKind::DoubleAcquire); 2]);
    assert_eq!(kinds("0ia 0oa 0ia 0oa 0ir 0or"), [Some(AnomalyKind::DoubleAcquire), None]);
    assert_eq!(
        kinds("0ia 0oa 0ia 0oa 0ir 0or 1ia 1oa"),
        [Some(AnomalyKind::DoubleAcquire), Some(AnomalyKind::DoubleAcquire)]
    );
    // A release of unknown outcome may have happened; an acquisition in progress waits for the release.
    assert_eq!(kinds("0ia 0oa 0ir 0?r 1ia 1oa"), [None, None]);
    assert_eq!(kinds("0ia 0oa 1ia 0ir 1oa 0or"), [None, None]);
    assert_eq!(kinds("0ia 0?a 1ia 1oa 2ia 2oa"), [Some(AnomalyKind::DoubleAcquire); 2]);
}

#[test]
fn a_witness_is_small() {
    let mut words = String::new();
    for at in 0..200 {
        let process = at % 3;
        words += &format!("{process}ia {process}oa {process}ir {process}or ");
    }
    words += "0ia 0oa 1ia 1oa 0ir 0or";
    let Verdict::Invalid(anomalies) = verdict(Reentry::Refused, &operations(&words)) else {
        panic!("two hold the lock")
    };
    assert_eq!(anomalies[0].operations.len(), 2, "{:#?}", anomalies[0]);
}

/// An operation as the definition has it.
#[derive(Clone)]
struct Tried {
    reentry: Reentry,
    process: Process,
    op: MutexOp,
}

impl oracle::Sequential for Tried {
    /// The process that holds the lock, as often as it acquired it.
    type Held = Vec<Process>;

    fn step(&self, held: &Vec<Process>) -> Option<Vec<Process>> {
        let mut held = held.clone();
        match (self.op, held.last()) {
            (MutexOp::Acquire, None) => held.push(self.process),
            (MutexOp::Acquire, Some(owner)) if self.reentry == Reentry::Allowed && *owner == self.process => {
                held.push(self.process);
            }
            (MutexOp::Release, Some(owner)) if *owner == self.process => drop(held.pop()),
            _ => return None,
        }
        Some(held)
    }

    fn is_read(&self) -> bool {
        false
    }
}

fn possible(reentry: Reentry, operations: &[Operation<Mutex>]) -> bool {
    let tried = |operation: &Operation<Mutex>| {
        let process = operation.process;
        operation.clone().map(|action| Tried { reentry, process, op: action.op })
    };
    oracle::linearizable(&operations.iter().map(tried).collect::<Vec<_>>(), Vec::new())
}

/// Asserts that the verdict is that of the definition, and that the witness of a violation is one by itself.
fn agrees(reentry: Reentry, operations: &[Operation<Mutex>]) {
    let is_possible = possible(reentry, operations);
    match verdict(reentry, operations) {
        Verdict::Valid => assert!(is_possible, "{reentry:?} {operations:?}"),
        Verdict::Unknown(reasons) => {
            assert!(is_possible, "{reentry:?} {operations:?}");
            assert!(matches!(reasons[..], [Reason::NothingHappened { .. }]), "{reasons:?}");
        }
        Verdict::Invalid(anomalies) => {
            assert!(!is_possible, "{reentry:?} {operations:?}");
            words::assert_well_formed(&anomalies[0]);
            let is_shown = |operation: &&Operation<Mutex>| {
                anomalies[0].operations.iter().any(|shown| shown.index == operation.index)
            };
            let witness: Vec<_> = operations.iter().filter(is_shown).cloned().collect();
            assert!(!possible(reentry, &witness), "{anomalies:#?}");
        }
    }
}

#[test]
fn the_definition_says_the_same_of_all_small_histories() {
    let mut choices: Vec<(Mutex, Outcome<Mutex>)> = Vec::new();
    for op in [MutexOp::Acquire, MutexOp::Release] {
        let action = Mutex { lock: None, op };
        choices.extend([(action.clone(), Outcome::Ok(action.clone())), (action, Outcome::Info)]);
    }
    let mut histories = 0;
    let mut check = |operations: &[Operation<Mutex>]| {
        histories += 1;
        REENTRIES.into_iter().for_each(|reentry| agrees(reentry, operations));
    };
    small::histories(&[2, 2], &choices, &mut check);
    small::histories(&[3, 1], &choices, &mut check);
    // A failed operation is as good as none: fewer operations show that.
    for op in [MutexOp::Acquire, MutexOp::Release] {
        choices.push((Mutex { lock: None, op }, Outcome::Fail));
    }
    small::histories(&[1, 1, 1], &choices, &mut check);
    small::histories(&[2, 1], &choices, &mut check);
    assert!(histories > 5_000, "{histories}");
}

#[test]
fn what_was_not_decided_is_unknown() {
    // Each process holds the lock for a while, or may have.
    let mut words = String::new();
    (0..70).for_each(|at| words += &format!("{at}ia {at}?a {at}ir {at}?r "));
    let of = |words: &str, budget: Budget, interrupted: bool| {
        let interrupt = AtomicBool::new(interrupted);
        match check_owned_mutex(&operations(words), Reentry::Refused, &budget, &interrupt).verdict {
            Verdict::Unknown(mut reasons) if reasons.len() == 1 => reasons.remove(0),
            verdict => panic!("{verdict:?}"),
        }
    };
    let all = Budget::default();
    assert!(matches!(of(&words, all, false), Reason::TooManyOpen { open_max: 128, .. }));
    let words = format!("{}90!a", &words[..words.len() / 2]);
    assert!(matches!(of(&words, all, true), Reason::Interrupted { .. }));
    assert!(matches!(of(&words, Budget { memory_bytes_max: 1 << 20, ..all }, false), Reason::Memory { .. }));
    let few = Budget { configurations_max: 100, ..all };
    assert!(matches!(of(&words, few, false), Reason::Configurations { .. }));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn the_definition_says_the_same(moves in vec((0_usize..3, any::<bool>(), 0_u32..10), 1..24)) {
        let operations = operations(&words::of_moves(&moves, |_, _, _| String::new()));
        for reentry in REENTRIES {
            agrees(reentry, &operations);
        }
    }
}
