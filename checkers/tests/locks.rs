//! Locks with an owner, against the definition tried out literally.

mod oracle;

use std::sync::atomic::AtomicBool;

use duress_checkers::linearizable::Budget;
use duress_checkers::lock::{Reentry, check_owned_mutex};
use duress_checkers::verdict::{AnomalyKind, Reason, Verdict};
use duress_history::mutex::{Mutex, MutexOp};
use duress_history::pairs::pair;
use duress_history::{Operation, Process, edn};
use proptest::collection::vec;
use proptest::prelude::*;

/// `0ia` invokes acquire, `0oa` completes it; `r` releases; `0?` is of unknown outcome, `0f` failed.
fn operations(words: &str) -> Vec<Operation<Mutex>> {
    let line = |word: &str| {
        let (process, rest) = word.split_at(1);
        let (op_type, f) = rest.split_at(1);
        let op_type = match op_type {
            "i" => "invoke",
            "o" => "ok",
            "f" => "fail",
            _ => "info",
        };
        let f = if f == "a" { "acquire" } else { "release" };
        format!("{{:process {process} :type :{op_type} :f :{f} :value nil}}\n")
    };
    let text: String = words.split_whitespace().map(line).collect();
    pair(edn::read_str::<Mutex>(&text).expect("a history").events).expect("it pairs")
}

fn verdict(reentry: Reentry, operations: &[Operation<Mutex>]) -> Verdict {
    check_owned_mutex(operations, reentry, &Budget::default(), &AtomicBool::new(false)).verdict
}

/// Returns the kinds of anomalies: without and with re-entry.
fn kinds(words: &str) -> [Option<AnomalyKind>; 2] {
    [Reentry::Refused, Reentry::Allowed]
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
    /// Who holds it, once for each time.
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn the_definition_says_the_same(moves in vec((0_usize..3, any::<bool>(), 0_u32..10), 1..24)) {
        // A process that does not know the outcome is retired, as in Jepsen, and another takes its place.
        let mut words: Vec<String> = Vec::new();
        let mut open: [Option<char>; 3] = [None; 3];
        let mut retired = [false; 3];
        for (process, is_acquire, ends) in moves {
            if retired[process] {
                continue;
            }
            match open[process].take() {
                None => {
                    let f = if is_acquire { 'a' } else { 'r' };
                    words.push(format!("{process}i{f}"));
                    open[process] = Some(f);
                }
                Some(f) => {
                    let ended = match ends { 0 => '?', 1 | 2 => 'f', _ => 'o' };
                    retired[process] = ends == 0;
                    words.push(format!("{process}{ended}{f}"));
                }
            }
        }
        let operations = operations(&words.join(" "));
        for reentry in [Reentry::Refused, Reentry::Allowed] {
            match verdict(reentry, &operations) {
                Verdict::Valid => prop_assert!(possible(reentry, &operations)),
                Verdict::Unknown(reasons) => {
                    prop_assert!(matches!(reasons[..], [Reason::NothingHappened { .. }]), "{:?}", reasons);
                }
                Verdict::Invalid(anomalies) => {
                    prop_assert!(!possible(reentry, &operations), "{:?} {:?}", reentry, words);
                    let is_shown = |operation: &&Operation<Mutex>| {
                        anomalies[0].operations.iter().any(|shown| shown.index == operation.index)
                    };
                    let witness: Vec<_> = operations.iter().filter(is_shown).cloned().collect();
                    prop_assert!(!possible(reentry, &witness), "{:#?}", anomalies);
                }
            }
        }
    }
}
