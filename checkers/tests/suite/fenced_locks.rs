//! Locks that hand out fencing tokens, against the definition tried out literally.

use std::sync::atomic::AtomicBool;

use duress_checkers::CheckReport;
use duress_checkers::linearizable::Budget;
use duress_checkers::lock::{Reentry, check_fenced_lease, check_fenced_mutex};
use duress_checkers::verdict::{AnomalyKind, Reason, Verdict};
use duress_history::fenced_mutex::FencedMutex;
use duress_history::mutex::{Mutex, MutexOp};
use duress_history::{Completion, Operation, Process};
use proptest::collection::vec;
use proptest::prelude::*;
use small::Outcome;

use crate::{oracle, small, words};

/// The promise of a lock, besides its tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Exclusive(Reentry),
    Lease,
}

const KINDS: [Kind; 3] = [Kind::Exclusive(Reentry::Refused), Kind::Exclusive(Reentry::Allowed), Kind::Lease];

/// `0ia` invokes acquire, `0oa5` answers it with token 5, `0oa` without; `r` releases.
fn operations(words: &str) -> Vec<Operation<FencedMutex>> {
    words::operations(words, |operation, is_ok| {
        let (op, token) = operation.split_at(1);
        let f = if op == "a" { "acquire" } else { "release" };
        (f, if is_ok && !token.is_empty() { token.to_owned() } else { "null".to_owned() })
    })
}

fn report(kind: Kind, operations: &[Operation<FencedMutex>]) -> CheckReport {
    match kind {
        Kind::Exclusive(reentry) => {
            check_fenced_mutex(operations, reentry, &Budget::default(), &AtomicBool::new(false))
        }
        Kind::Lease => check_fenced_lease(operations),
    }
}

/// Asserts the answers of the three kinds of locks.
fn answers(words: &str, expected: [&str; 3]) {
    let operations = operations(words);
    let answers = KINDS.map(|kind| words::answer(&report(kind, &operations)));
    assert_eq!(answers, expected, "{words}");
}

#[test]
fn tokens_grow() {
    answers("0ia 0oa1 0ir 0or 1ia 1oa2", ["valid"; 3]);
    let smaller = "nonmonotonic-fence(acquire -> 2; acquire -> 1)";
    answers("0ia 0oa2 0ir 0or 1ia 1oa1", [smaller; 3]);
    let repeated = "nonmonotonic-fence(acquire -> 2; acquire -> 2)";
    answers("0ia 0oa2 0ir 0or 1ia 1oa2", [repeated; 3]);
    answers("0ia 1ia 0oa2 0ir 1oa2 0or", [repeated; 3]);
    // Many lie between them.
    let between: String = (1..100).map(|at| format!("2ia 2oa{} 2ir 2or ", at + 7)).collect();
    answers(&format!("{between} 0ia 0oa7 0ir 0or"), ["nonmonotonic-fence(acquire -> 106; acquire -> 7)"; 3]);
}

#[test]
fn only_a_lease_can_be_lost() {
    let both = "double-acquire(acquire -> 1; acquire -> 2)";
    answers("0ia 0oa1 1ia 1oa2", [both, both, "valid"]);
    let unheld = "unheld-release(acquire -> 1; release)";
    answers("0ia 0oa1 1ir 1or", [unheld, unheld, "valid"]);
}

#[test]
fn an_owner_that_acquires_again_has_the_same_token() {
    let double = "double-acquire(acquire -> 1; acquire -> 2)";
    let grown = "nonmonotonic-fence(acquire -> 1; acquire -> 2)";
    answers("0ia 0oa1 0ia 0oa2", [double, grown, "valid"]);
    let repeated = "nonmonotonic-fence(acquire -> 1; acquire -> 1)";
    // Two owners say more than two tokens that are the same.
    let twice = "double-acquire(acquire -> 1; acquire -> 1)";
    answers("0ia 0oa1 0ia 0oa1 0ir 0or 0ir 0or 1ia 1oa2", [twice, "valid", repeated]);
    let released = "nonmonotonic-fence(acquire -> 1; release; acquire -> 1)";
    answers("0ia 0oa1 0ir 0or 0ia 0oa1", [repeated, released, repeated]);
}

#[test]
fn a_token_that_was_not_seen_says_nothing() {
    answers("0ia 0?a 1ia 1oa2 1ir 1or 1ia 1oa3", ["valid"; 3]);
    answers("0ia 0oa 0ir 0or 1ia 1oa3", ["valid"; 3]);
    let unseen = "unknown: no acquisition was answered with a fencing token (its `value`)";
    answers("0ia 0oa 0ir 0or", [unseen; 3]);
}

#[test]
fn owners_may_contradict_tokens() {
    // The two overlap, but the first must release the lock before the second holds it.
    let owned = "nonmonotonic-fence(acquire -> 5; acquire -> 3; release)";
    answers("0ia 1ia 0oa5 0ir 1oa3 0or", [owned, owned, "valid"]);
}

#[test]
fn the_witness_of_a_long_history_is_small() {
    let mut words = String::new();
    for at in 0..20_000 {
        let process = at % 3;
        words += &format!("{process}ia {process}oa{at} {process}ir {process}or ");
    }
    words += "0ia 0oa20000 1ia 1oa20001 0ir 0or";
    let both = "double-acquire(acquire -> 20000; acquire -> 20001)";
    answers(&words, [both, both, "valid"]);
}

/// An operation as the definition has it.
#[derive(Clone)]
struct Tried {
    kind: Kind,
    process: Process,
    action: FencedMutex,
}

/// The acquisitions that were not released, the latest last, and all tokens so far.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
struct Past {
    held: Vec<(Process, Option<i64>)>,
    tokens: Vec<i64>,
}

impl oracle::Sequential for Tried {
    type Held = Past;

    fn step(&self, past: &Past) -> Option<Past> {
        let mut past = past.clone();
        let is_own = past.held.iter().all(|(owner, _)| *owner == self.process);
        let is_again = !past.held.is_empty();
        match (self.action.mutex.op, self.kind) {
            (MutexOp::Acquire, Kind::Exclusive(reentry)) => {
                let allowed = !is_again || is_own && reentry == Reentry::Allowed;
                let known = past.held.iter().find_map(|(_, token)| *token);
                let fits = match (self.action.fence, known) {
                    (None, _) => true,
                    (Some(token), Some(known)) => token == known,
                    (Some(token), None) => past.tokens.iter().all(|before| *before < token),
                };
                if !(allowed && fits) {
                    return None;
                }
                past.held.push((self.process, self.action.fence.or(known)));
            }
            (MutexOp::Acquire, Kind::Lease) => {
                let token = self.action.fence;
                if token.is_some_and(|token| past.tokens.iter().any(|before| *before >= token)) {
                    return None;
                }
            }
            (MutexOp::Release, Kind::Exclusive(_)) => {
                let token = past.held.iter().find_map(|(_, token)| *token);
                past.held.pop().filter(|_| is_own)?;
                // The token is the owner's until the lock is free.
                past.held.iter_mut().for_each(|(_, held)| *held = token);
            }
            (MutexOp::Release, Kind::Lease) => {}
        }
        past.tokens.extend(self.action.fence);
        Some(past)
    }

    fn is_read(&self) -> bool {
        false
    }
}

fn possible(kind: Kind, operations: &[Operation<FencedMutex>]) -> bool {
    let tried = |operation: &Operation<FencedMutex>| {
        let process = operation.process;
        operation.clone().map(|action| Tried { kind, process, action })
    };
    oracle::linearizable(&operations.iter().map(tried).collect::<Vec<_>>(), Past::default())
}

/// Asserts that the verdict is that of the definition, and that the witness of a violation is one by itself; returns the
/// verdict.
fn agrees(kind: Kind, operations: &[Operation<FencedMutex>]) -> Verdict {
    let is_possible = possible(kind, operations);
    let verdict = report(kind, operations).verdict;
    match &verdict {
        Verdict::Valid => assert!(is_possible, "{kind:?} {operations:?}"),
        Verdict::Unknown(reasons) => {
            assert!(is_possible, "{kind:?} {operations:?}");
            let expected = |reason: &Reason| {
                matches!(reason, Reason::NothingHappened { .. } | Reason::NotExamined { .. })
            };
            assert!(reasons.iter().all(expected), "{reasons:?}");
        }
        Verdict::Invalid(anomalies) => {
            assert!(!is_possible, "{kind:?} {operations:?}");
            words::assert_well_formed(&anomalies[0]);
            let is_shown = |operation: &&Operation<FencedMutex>| {
                anomalies[0].operations.iter().any(|shown| shown.index == operation.index)
            };
            let witness: Vec<_> = operations.iter().filter(is_shown).cloned().collect();
            assert!(!possible(kind, &witness), "{anomalies:#?}");
            if anomalies[0].kind != AnomalyKind::NonmonotonicFence {
                let unfenced = |action: FencedMutex| FencedMutex { fence: None, ..action };
                let owners: Vec<_> = witness.into_iter().map(|operation| operation.map(unfenced)).collect();
                assert!(!possible(kind, &owners), "the tokens take part: {anomalies:#?}");
            }
        }
    }
    verdict
}

/// Returns the operations with tokens below `fences`, and how they end.
fn choices(fences: i64) -> Vec<(FencedMutex, Outcome<FencedMutex>)> {
    let operation = |op, fence| FencedMutex { mutex: Mutex { lock: None, op }, fence, lease_ms: None };
    let acquire = operation(MutexOp::Acquire, None);
    let release = operation(MutexOp::Release, None);
    let mut choices = vec![
        (release.clone(), Outcome::Ok(release.clone())),
        (release, Outcome::Info),
        (acquire.clone(), Outcome::Info),
        (acquire.clone(), Outcome::Fail),
        (acquire.clone(), Outcome::Ok(acquire.clone())),
    ];
    choices.extend(
        (0..fences).map(|fence| (acquire.clone(), Outcome::Ok(operation(MutexOp::Acquire, Some(fence))))),
    );
    choices
}

#[test]
fn the_definition_says_the_same_of_all_small_histories() {
    let mut histories = 0;
    let mut check = |operations: &[Operation<FencedMutex>]| {
        histories += 1;
        KINDS.into_iter().for_each(|kind| drop(agrees(kind, operations)));
    };
    small::histories(&[1, 1, 1], &choices(3), &mut check);
    small::histories(&[2, 1], &choices(3), &mut check);
    small::histories(&[4], &choices(2), &mut check);
    assert!(histories > 5_000, "{histories}");
}

/// A lock that works: who holds it, and the last token.
#[derive(Default)]
struct Lock {
    owner: Option<usize>,
    token: i64,
}

/// Returns the history of such a lock, of `processes` that acquire it and release it. Each step is a process and whether the
/// outcome of its operation becomes unknown; the process has another number then. If `is_leased`, the lock may be lost.
fn recorded(steps: &[(usize, u32)], processes: usize, is_leased: bool) -> Vec<Operation<FencedMutex>> {
    enum At {
        Idle,
        Asked(bool),
        Took(bool, i64),
    }
    let mut lock = Lock::default();
    let mut at: Vec<At> = (0..processes).map(|_| At::Idle).collect();
    let mut numbers: Vec<usize> = (0..processes).collect();
    let mut words: Vec<String> = Vec::new();
    for (process, chance) in steps {
        let process = process % processes;
        let number = numbers[process];
        at[process] = match &at[process] {
            At::Idle => {
                let acquires = lock.owner != Some(process);
                words.push(format!("{number}i{}", if acquires { "a" } else { "r" }));
                At::Asked(acquires)
            }
            At::Asked(true) if lock.owner.is_some() && !(is_leased && *chance < 300) => At::Asked(true),
            At::Asked(false) if lock.owner != Some(process) => {
                words.push(format!("{number}fr"));
                At::Idle
            }
            At::Asked(acquires) => {
                lock.owner = acquires.then_some(process);
                lock.token += i64::from(*acquires) * i64::from(1 + chance % 3);
                At::Took(*acquires, lock.token)
            }
            At::Took(acquires, token) => {
                let op = if *acquires { "a" } else { "r" };
                if *chance < 60 && !*acquires {
                    words.push(format!("{number}?{op}"));
                    numbers[process] += processes;
                } else {
                    words.push(format!(
                        "{number}o{op}{}",
                        if *acquires { token.to_string() } else { String::new() }
                    ));
                }
                At::Idle
            }
        };
    }
    operations(&words.join(" "))
}

/// Returns the places of the acquisitions that have tokens.
fn fenced(operations: &[Operation<FencedMutex>]) -> Vec<usize> {
    let has_token = |at: &usize| matches!(&operations[*at].completion, Completion::Ok { answer, .. } if answer.fence.is_some());
    (0..operations.len()).filter(has_token).collect()
}

fn fence(operation: &mut Operation<FencedMutex>) -> &mut Option<i64> {
    let Completion::Ok { answer, .. } = &mut operation.completion else { panic!("it was answered") };
    &mut answer.fence
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn the_definition_says_the_same(moves in vec((0_usize..3, any::<bool>(), 0_u32..10, -2_i64..7), 1..22)) {
        let tokens: Vec<i64> = moves.iter().map(|(.., more)| *more).collect();
        let moves: Vec<(usize, bool, u32)> =
            moves.into_iter().map(|(process, is_acquire, ends, _)| (process, is_acquire, ends)).collect();
        let mut token = 10;
        let words = words::of_moves(&moves, |f, is_ok, at| {
            token += tokens[at].min(1);
            let known = f == 'a' && is_ok && tokens[at] < 6;
            if known { token.to_string() } else { String::new() }
        });
        let operations = operations(&words);
        KINDS.into_iter().for_each(|kind| drop(agrees(kind, &operations)));
    }

    #[test]
    fn one_changed_token_of_a_lock_that_works_is_judged_by_the_definition(
        steps in vec((0_usize..4, 0_u32..1000), 8..44),
        processes in 2_usize..4,
        is_leased in any::<bool>(),
        which in any::<prop::sample::Index>(),
        by in -3_i64..4,
    ) {
        let mut operations = recorded(&steps, processes, is_leased);
        let fenced = fenced(&operations);
        if let (false, true) = (fenced.is_empty(), operations.len() <= 20) {
            let at = *which.get(&fenced);
            fence(&mut operations[at]).iter_mut().for_each(|token| *token += by);
            KINDS.into_iter().for_each(|kind| drop(agrees(kind, &operations)));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_lock_that_works_is_valid_and_two_swapped_tokens_are_found(
        steps in vec((0_usize..5, 0_u32..1000), 400),
        processes in 2_usize..6,
        is_leased in any::<bool>(),
        which in any::<prop::sample::Index>(),
    ) {
        let mut operations = recorded(&steps, processes, is_leased);
        let kinds = if is_leased { &KINDS[2..] } else { &KINDS[..] };
        for kind in kinds {
            prop_assert_eq!(report(*kind, &operations).verdict, Verdict::Valid, "{:?}", kind);
        }
        let fenced = fenced(&operations);
        let (one, other) = (*which.get(&fenced), fenced[fenced.len() - 1]);
        let Completion::Ok { index, .. } = operations[one].completion else { panic!("it was answered") };
        prop_assume!(index < operations[other].index);
        let (first, last) = (*fence(&mut operations[one]), *fence(&mut operations[other]));
        *fence(&mut operations[one]) = last;
        *fence(&mut operations[other]) = first;
        for (place, kind) in KINDS.into_iter().enumerate() {
            let Verdict::Invalid(anomalies) = report(kind, &operations).verdict else { panic!("{kind:?}") };
            // Without a lease, two owners that take turns without a release are an anomaly as well, and the first to be named.
            if is_leased && place < 2 && anomalies[0].kind == AnomalyKind::DoubleAcquire {
                continue;
            }
            prop_assert_eq!(anomalies[0].kind, AnomalyKind::NonmonotonicFence);
            prop_assert_eq!(anomalies[0].operations.len(), 2);
        }
    }
}
