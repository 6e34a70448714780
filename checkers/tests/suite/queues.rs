//! Queues, stacks and priority queues, against the definition tried out literally.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

use duress_checkers::linearizable::Budget;
use duress_checkers::queue::{Order, check_queue};
use duress_checkers::verdict::{AnomalyKind, Details, Reason, Verdict};
use duress_history::total_queue::TotalQueue;
use duress_history::{Completion, Operation, Scalar};
use proptest::collection::vec;
use proptest::prelude::*;
use queue_simulation::{Shape, simulate};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use small::Outcome;

use crate::{oracle, queue_simulation, small, words};

const ORDERS: [Order; 4] = [Order::Fifo, Order::Lifo, Order::Least, Order::Any];

/// `0ie1` invokes enqueue 1, `0oe1` completes it; `d` dequeues, `a` drains one element. `_` is nil.
fn operations(words: &str) -> Vec<Operation<TotalQueue>> {
    words::operations(words, |operation, is_ok| match operation.split_at(1) {
        ("e", value) => ("enqueue", value.to_owned()),
        ("d", "_") => ("dequeue", "null".to_owned()),
        ("d", value) => ("dequeue", value.to_owned()),
        (_, "_") if is_ok => ("drain", "[]".to_owned()),
        (_, "_") => ("drain", "null".to_owned()),
        (_, value) => ("drain", format!("[{value}]")),
    })
}

fn verdict(order: Order, operations: &[Operation<TotalQueue>]) -> Verdict {
    check_queue(operations, order, &Budget::default(), &AtomicBool::new(false)).verdict
}

/// Whether the queue is decided without the search.
fn is_near_linear(order: Order, operations: &[Operation<TotalQueue>]) -> bool {
    let report = check_queue(operations, order, &Budget::default(), &AtomicBool::new(false));
    let Details::Registers(details) = report.details else { panic!("queues have no such details") };
    details.statistics.keys_by_chains == 1
}

/// Returns the same history after one in which a value goes in and comes out twice: what the search decides.
fn with_a_repeated_value(operations: &[Operation<TotalQueue>]) -> Vec<Operation<TotalQueue>> {
    let mut all = self::operations("0!e-1 0!d-1 0!e-1 0!d-1");
    let start = 2 * all.len() as u64;
    let later = |operation: &Operation<TotalQueue>| {
        let mut operation = operation.clone();
        operation.index += start;
        if let Completion::Ok { index, .. } | Completion::Fail { index, .. } = &mut operation.completion {
            *index += start;
        }
        operation
    };
    all.extend(operations.iter().map(later));
    all
}

/// Returns in which orders the history is right.
fn right(words: &str) -> Vec<Order> {
    let operations = operations(words);
    ORDERS.into_iter().filter(|order| verdict(*order, &operations) == Verdict::Valid).collect()
}

#[test]
fn each_kind_of_queue_gives_what_comes_next() {
    use Order::{Any, Fifo, Least, Lifo};
    assert_eq!(right("0ie2 0oe2 0ie1 0oe1 1id_ 1od2 1id_ 1od1"), [Fifo, Any]);
    assert_eq!(right("0ie1 0oe1 0ie2 0oe2 1id_ 1od2 1id_ 1od1"), [Lifo, Any]);
    assert_eq!(right("0ie2 0oe2 0ie1 0oe1 0ie3 0oe3 1id_ 1od1 1id_ 1od2 1id_ 1od3"), [Least, Any]);
    assert_eq!(right("0ie1 0oe1 1id_ 1od1 1id_ 1od1"), []);
    assert_eq!(right("0ie1 1ie2 0oe1 1oe2 1id_ 1od2 1id_ 1od1"), [Fifo, Lifo, Any]);
    assert_eq!(right("0ie1 0oe1 1id_ 1od_ 0id_ 0od1"), []);
    assert_eq!(right("1id_ 0ie1 0oe1 1od_ 0id_ 0od1"), ORDERS);
    // One of unknown outcome may have taken the first out; a drain takes what it takes while it is open.
    assert_eq!(right("0ie1 0oe1 0ie2 0oe2 1id_ 1?d_ 2id_ 2od2"), ORDERS);
    assert_eq!(right("0ie1 0oe1 0ie2 0oe2 1ia_ 1oa1 2id_ 2od2"), [Fifo, Least, Any]);
    assert_eq!(right("0ie1 0oe1 0ie2 0oe2 1ia_ 1?a_ 2id_ 2od_"), ORDERS);
}

#[test]
fn a_witness_is_small() {
    // Forty elements come out in order, and then two in the opposite order.
    let mut words = String::new();
    for at in 10..50 {
        words += &format!("0ie{at} 0oe{at} 1id_ 1od{at} ");
    }
    words += "0ie1 0oe1 0ie2 0oe2 1id_ 1od2 1id_ 1od1 ";
    for at in 50..90 {
        words += &format!("0ie{at} 0oe{at} 1id_ 1od{at} ");
    }
    let Verdict::Invalid(anomalies) = verdict(Order::Fifo, &operations(&words)) else {
        panic!("1 comes before 2")
    };
    let shown: Vec<&str> = anomalies[0].operations.iter().map(|shown| shown.action.as_str()).collect();
    assert_eq!(shown[..3], ["enqueue 1", "enqueue 2", "dequeue -> 2"], "{:#?}", anomalies[0]);
    assert!(anomalies[0].operations.len() <= 4, "{:#?}", anomalies[0]);
    assert_eq!(anomalies[0].kind, AnomalyKind::Nonlinearizable);
    let Verdict::Invalid(anomalies) = verdict(Order::Any, &operations("0ie1 0oe1 1id_ 1od2")) else {
        panic!("2 was never put in")
    };
    assert_eq!(anomalies[0].kind, AnomalyKind::PhantomRead);
    assert_eq!(anomalies[0].operations.len(), 1);
}

/// An operation as the definition has it.
#[derive(Clone)]
struct Tried {
    order: Order,
    action: TotalQueue,
}

impl oracle::Sequential for Tried {
    type Held = Vec<Scalar>;

    fn step(&self, held: &Vec<Scalar>) -> Option<Vec<Scalar>> {
        let mut held = held.clone();
        let wanted = match &self.action {
            TotalQueue::Enqueue(value) => {
                held.push(value.clone());
                return Some(held);
            }
            TotalQueue::Dequeue(None) => return held.is_empty().then_some(held),
            TotalQueue::Dequeue(Some(value)) => value,
            TotalQueue::Drain(_) => unreachable!("the moves have no drains"),
        };
        let next = match self.order {
            Order::Fifo => held.first(),
            Order::Lifo => held.last(),
            Order::Least => held.iter().min(),
            Order::Any => held.iter().find(|value| *value == wanted),
        };
        if next != Some(wanted) {
            return None;
        }
        let mut places = (0..held.len()).filter(|at| held[*at] == *wanted);
        let at = if self.order == Order::Lifo { places.next_back() } else { places.next() };
        held.remove(at?);
        Some(held)
    }

    fn is_read(&self) -> bool {
        false
    }
}

/// Returns the values that were to go in.
fn enqueued(operations: &[Operation<TotalQueue>]) -> impl Iterator<Item = Scalar> {
    let value = |operation: &Operation<TotalQueue>| match &operation.action {
        TotalQueue::Enqueue(value) => Some(value.clone()),
        TotalQueue::Dequeue(_) | TotalQueue::Drain(_) => None,
    };
    operations.iter().filter_map(value).collect::<BTreeSet<Scalar>>().into_iter()
}

/// Whether some order is right: each dequeue of unknown outcome is tried with every element, and left out.
fn possible(order: Order, operations: &[Operation<TotalQueue>]) -> bool {
    let unknown = operations.iter().position(|operation| {
        matches!(
            (&operation.action, &operation.completion),
            (TotalQueue::Dequeue(None), Completion::Info { .. })
        )
    });
    let Some(at) = unknown else {
        let tried =
            |operation: &Operation<TotalQueue>| operation.clone().map(|action| Tried { order, action });
        return oracle::linearizable(&operations.iter().map(tried).collect::<Vec<_>>(), Vec::new());
    };
    let mut without = operations.to_vec();
    without.remove(at);
    possible(order, &without)
        || enqueued(operations).any(|value| {
            let mut with = operations.to_vec();
            with[at].action = TotalQueue::Dequeue(Some(value));
            possible(order, &with)
        })
}

/// Asserts that the verdict is that of the definition, and that the witness of a violation is one by itself.
fn agrees(order: Order, operations: &[Operation<TotalQueue>]) {
    let is_possible = possible(order, operations);
    match verdict(order, operations) {
        Verdict::Valid => assert!(is_possible, "{order:?} {operations:?}"),
        Verdict::Unknown(reasons) => {
            assert!(is_possible, "{order:?} {operations:?}");
            let expected =
                matches!(reasons[..], [Reason::NothingHappened { .. } | Reason::NothingObserved { .. }]);
            assert!(expected, "{reasons:?}");
        }
        Verdict::Invalid(anomalies) => {
            assert!(!is_possible, "{order:?} {operations:?}");
            words::assert_well_formed(&anomalies[0]);
            let is_shown = |operation: &&Operation<TotalQueue>| {
                anomalies[0].operations.iter().any(|shown| shown.index == operation.index)
            };
            let witness: Vec<_> = operations.iter().filter(is_shown).cloned().collect();
            assert!(!possible(order, &witness), "{anomalies:#?}");
        }
    }
}

/// Returns the value that the first operation is about that is about one.
fn first_value(operations: &[Operation<TotalQueue>]) -> Option<i64> {
    operations.iter().find_map(|operation| {
        let known = match &operation.completion {
            Completion::Ok { answer, .. } => answer,
            Completion::Fail { .. } | Completion::Info { .. } => &operation.action,
        };
        match known {
            TotalQueue::Enqueue(Scalar::Int(value)) | TotalQueue::Dequeue(Some(Scalar::Int(value))) => {
                Some(*value)
            }
            _ => None,
        }
    })
}

/// Compares the checker with the definition on every small history.
fn agrees_on_all_small_histories(order: Order) {
    let enqueue = |value: i64| TotalQueue::Enqueue(Scalar::Int(value));
    let dequeue = |value: Option<i64>| TotalQueue::Dequeue(value.map(Scalar::Int));
    let mut choices = vec![
        (enqueue(1), Outcome::Ok(enqueue(1))),
        (enqueue(2), Outcome::Ok(enqueue(2))),
        (dequeue(None), Outcome::Ok(dequeue(Some(1)))),
        (dequeue(None), Outcome::Ok(dequeue(Some(2)))),
        (dequeue(None), Outcome::Ok(dequeue(None))),
        (dequeue(None), Outcome::Info),
    ];
    let mut histories = 0;
    let mut check = |operations: &[Operation<TotalQueue>]| {
        // Only a priority queue tells 1 from 2: for other orders, a history with the two exchanged is the same.
        if order == Order::Least || first_value(operations) != Some(2) {
            histories += 1;
            agrees(order, operations);
        }
    };
    small::histories(&[2, 2], &choices, &mut check);
    // A failed operation is as good as none: fewer operations show that.
    choices.extend([
        (enqueue(1), Outcome::Fail),
        (enqueue(2), Outcome::Fail),
        (dequeue(None), Outcome::Fail),
    ]);
    choices.extend([(enqueue(1), Outcome::Info), (enqueue(2), Outcome::Info)]);
    small::histories(&[1, 1, 1], &choices, &mut check);
    small::histories(&[2, 1], &choices, &mut check);
    assert!(histories > 10_000, "{histories}");
}

#[test]
fn a_queue_is_right_in_all_small_histories() {
    agrees_on_all_small_histories(Order::Fifo);
}

#[test]
fn a_stack_is_right_in_all_small_histories() {
    agrees_on_all_small_histories(Order::Lifo);
}

#[test]
fn a_priority_queue_is_right_in_all_small_histories() {
    agrees_on_all_small_histories(Order::Least);
}

#[test]
fn a_bag_is_right_in_all_small_histories() {
    agrees_on_all_small_histories(Order::Any);
}

/// Many enqueues are in progress at once, and then the elements come out in some order.
fn enqueues_at_once(count: usize) -> Vec<Operation<TotalQueue>> {
    let mut words = String::new();
    (0..count).for_each(|at| words += &format!("{at}ie{at} "));
    (0..count).for_each(|at| words += &format!("{at}oe{at} "));
    (0..count).for_each(|at| words += &format!("0id_ 0od{} ", at * 3 % count));
    operations(&words)
}

#[test]
fn what_was_not_decided_is_unknown() {
    let in_order =
        |order, operations: &[Operation<TotalQueue>], budget: Budget, interrupted: bool| match check_queue(
            operations,
            order,
            &budget,
            &AtomicBool::new(interrupted),
        )
        .verdict
        {
            Verdict::Unknown(mut reasons) if reasons.len() == 1 => reasons.remove(0),
            verdict => panic!("{verdict:?}"),
        };
    let of = |operations: &[Operation<TotalQueue>], budget, interrupted| {
        in_order(Order::Fifo, operations, budget, interrupted)
    };
    let (all, many) = (Budget::default(), with_a_repeated_value(&enqueues_at_once(10)));
    for order in ORDERS {
        let reason = in_order(order, &enqueues_at_once(10), all, true);
        let Reason::Interrupted { explored, .. } = reason else { panic!("{order:?}: {reason:?}") };
        assert_eq!(explored > 0, order == Order::Least, "{order:?}: only the search explores");
    }
    assert!(matches!(of(&many, Budget { memory_bytes_max: 1 << 20, ..all }, false), Reason::Memory { .. }));
    let reason = of(&many, Budget { configurations_max: 100, ..all }, false);
    assert!(matches!(reason, Reason::Configurations { explored: 101, .. }), "{reason:?}");

    // A hundred enqueues that are over are not open; those of unknown outcome and seen elements stay open.
    let mut words = String::new();
    (0..100).for_each(|at| words += &format!("0!e{at} 0id_ 0od{at} "));
    let before = with_a_repeated_value(&operations(&words));
    (0..128).for_each(|at| words += &format!("{}ie1 {}?e1 ", 10 + at, 10 + at));
    let with_one_more = with_a_repeated_value(&operations(&format!("{words} 0id_ 0od_")));
    let Reason::TooManyOpen { open_max: 128, reached, .. } = of(&with_one_more, all, false) else {
        panic!("129 operations are open at once")
    };
    assert_eq!((reached.completed, reached.of), (204, 205));
    assert_eq!(verdict(Order::Fifo, &before), Verdict::Valid);
    assert_eq!(before.iter().filter(|operation| operation.index <= reached.index).count(), 204);
    let said = of(&with_one_more, all, false).to_string();
    assert!(said.starts_with("more than 128 operations are open at once"), "{said}");
    assert!(
        said.ends_with("204 of 205 completed operations, those up to index 407, fit one order"),
        "{said}"
    );
}

#[test]
fn a_dequeue_without_an_answer_is_not_shown_as_one_that_found_nothing() {
    // It took out the element, or the one that found nothing began too early.
    let Verdict::Invalid(anomalies) = verdict(Order::Fifo, &operations("0!e1 0!e2 1id_ 1?d_ 2id_ 2od_"))
    else {
        panic!("one of two elements is left")
    };
    let shown: Vec<&str> = anomalies[0].operations.iter().map(|shown| shown.action.as_str()).collect();
    assert_eq!(shown, ["enqueue 1", "enqueue 2", "dequeue", "dequeue -> nothing"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn the_definition_says_the_same(moves in vec((0_usize..3, any::<bool>(), 0_i64..4, 0_u32..12), 1..18)) {
        // Each process does one thing at a time; the answers are made up, from a few elements.
        let mut words: Vec<String> = Vec::new();
        let mut open: [Option<String>; 3] = [const { None }; 3];
        for (process, is_enqueue, value, ends) in moves {
            match open[process].take() {
                None => {
                    let asked = if is_enqueue { format!("e{}", value.max(1)) } else { "d_".to_owned() };
                    words.push(format!("{process}i{asked}"));
                    open[process] = Some(asked);
                }
                Some(asked) => {
                    let answered = match (asked.as_str(), value) {
                        ("d_", 1..) if ends > 1 => format!("d{value}"),
                        _ => asked,
                    };
                    let ended = match ends { 0 => '?', 1 => 'f', _ => 'o' };
                    words.push(format!("{process}{ended}{answered}"));
                }
            }
        }
        let operations = operations(&words.join(" "));
        for order in ORDERS {
            agrees(order, &operations);
        }
    }
}

/// Returns a history in which no value goes in twice, and answers are made up.
fn made_up(random: &mut ChaCha8Rng) -> Vec<Operation<TotalQueue>> {
    let processes = random.random_range(2..5);
    let mut open: Vec<Option<String>> = vec![None; processes];
    let (mut words, mut next, mut left) = (String::new(), 1, vec![1]);
    for _ in 0..random.random_range(6..26) {
        let process = random.random_range(0..processes);
        let word = match open[process].take() {
            None => {
                let asked = if next < 6 && random.random_bool(0.5) {
                    left.push(next);
                    next += 1;
                    format!("e{}", next - 1)
                } else {
                    "d_".to_owned()
                };
                open[process] = Some(asked.clone());
                format!("i{asked}")
            }
            Some(asked) => match random.random_range(0..20) {
                0 => format!("?{asked}"),
                1 => format!("f{asked}"),
                2.. if asked == "d_" && !left.is_empty() && random.random_bool(0.8) => {
                    // Mostly what has not come out yet.
                    let value = left[random.random_range(0..left.len())];
                    left.retain(|other| *other != value || random.random_bool(0.05));
                    format!("od{value}")
                }
                _ => format!("o{asked}"),
            },
        };
        words += &format!("{process}{word} ");
    }
    operations(&words)
}

const DECIDED: [Order; 3] = [Order::Fifo, Order::Lifo, Order::Any];

/// Makes one answer of `operations` another: two dequeues exchange theirs, one finds nothing, or one is of unknown outcome.
fn mutate(operations: &mut [Operation<TotalQueue>], random: &mut ChaCha8Rng) {
    let is_dequeue = |at: &usize| matches!(operations[*at].action, TotalQueue::Dequeue(_));
    let dequeues: Vec<usize> = (0..operations.len()).filter(is_dequeue).collect();
    if dequeues.len() < 4 {
        return;
    }
    let at = random.random_range(0..dequeues.len() - 3);
    let (one, other) = (dequeues[at], dequeues[at + random.random_range(1..4)]);
    let answer = |at: usize| match &operations[at].completion {
        Completion::Ok { answer, .. } => Some(answer.clone()),
        Completion::Fail { .. } | Completion::Info { .. } => None,
    };
    let (Some(first), Some(second)) = (answer(one), answer(other)) else { return };
    let mut set = |at: usize, new: TotalQueue| {
        if let Completion::Ok { answer, .. } = &mut operations[at].completion {
            *answer = new;
        }
    };
    match random.random_range(0..4) {
        0 => operations[one].completion = Completion::Info { at: None, error: None },
        1 => set(one, TotalQueue::Dequeue(None)),
        _ => {
            set(one, second);
            set(other, first);
        }
    }
}

#[test]
fn unique_values_are_decided_as_the_definition_says() {
    let mut near_linear = [[0; 2]; 3];
    for seed in 0..2_000 {
        let random = &mut ChaCha8Rng::seed_from_u64(seed);
        for (number, order) in DECIDED.into_iter().enumerate() {
            let operations = match seed % 3 {
                0 => made_up(random),
                _ => {
                    let (operations, processes) = (random.random_range(6..17), random.random_range(2..5));
                    let shape = Shape { operations, processes, order, crashed_per_mille: 60 };
                    let mut operations = simulate(seed, shape);
                    (0..seed % 3).for_each(|_| mutate(&mut operations, random));
                    operations
                }
            };
            let is_unknown = |operation: &&Operation<TotalQueue>| {
                matches!(operation.action, TotalQueue::Dequeue(_))
                    && matches!(operation.completion, Completion::Info { .. })
            };
            // The definition tries each of these with each value.
            if operations.iter().filter(is_unknown).count() < 4 {
                agrees(order, &operations);
                if is_near_linear(order, &operations) {
                    let invalid = matches!(verdict(order, &operations), Verdict::Invalid(_));
                    near_linear[number][usize::from(invalid)] += 1;
                }
            }
        }
    }
    assert!(near_linear.iter().flatten().all(|count| *count > 150), "{near_linear:?}");
}

#[test]
fn unique_values_are_right_in_all_small_histories() {
    let enqueue = |value: i64| TotalQueue::Enqueue(Scalar::Int(value));
    let mut choices: Vec<(TotalQueue, Outcome<TotalQueue>)> = Vec::new();
    for value in 1..4 {
        choices.push((enqueue(value), Outcome::Ok(enqueue(value))));
        let answer = TotalQueue::Dequeue(Some(Scalar::Int(value)));
        choices.push((TotalQueue::Dequeue(None), Outcome::Ok(answer)));
    }
    choices.push((TotalQueue::Dequeue(None), Outcome::Ok(TotalQueue::Dequeue(None))));
    let mut histories = 0;
    let mut check = |operations: &[Operation<TotalQueue>]| {
        let values = operations.iter().filter_map(|operation| match operation.action {
            TotalQueue::Enqueue(Scalar::Int(value)) => Some(value),
            _ => None,
        });
        // The values are named in the order in which they go in: every other history is one of these.
        if values.enumerate().all(|(at, value)| value == at as i64 + 1) {
            histories += 1;
            DECIDED.into_iter().for_each(|order| {
                agrees(order, operations);
                assert!(is_near_linear(order, operations), "{order:?} {operations:?}");
            });
        }
    };
    small::histories(&[2, 2], &choices, &mut check);
    small::histories(&[3, 1], &choices, &mut check);
    assert!(histories > 10_000, "{histories}");
}

#[test]
fn unique_values_are_decided_as_the_search_does() {
    let mut counts = [[0; 2]; 3];
    let search = Budget { configurations_max: 20_000, ..Budget::default() };
    for seed in 0..150 {
        let random = &mut ChaCha8Rng::seed_from_u64(seed);
        for (number, order) in DECIDED.into_iter().enumerate() {
            let operations = random.random_range(20..60);
            let shape = Shape { operations, processes: 3, order, crashed_per_mille: 10 };
            let mut operations = simulate(seed, shape);
            (0..seed % 3).for_each(|_| mutate(&mut operations, random));
            let found = verdict(order, &operations);
            let searched =
                check_queue(&with_a_repeated_value(&operations), order, &search, &AtomicBool::new(false));
            let invalid = match searched.verdict {
                Verdict::Valid => false,
                Verdict::Invalid(_) => true,
                Verdict::Unknown(_) => continue,
            };
            assert_eq!(matches!(found, Verdict::Invalid(_)), invalid, "{order:?} {operations:?}");
            if is_near_linear(order, &operations) {
                counts[number][usize::from(invalid)] += 1;
            }
        }
    }
    assert!(counts.iter().flatten().all(|count| *count > 10), "{counts:?}");
}

#[test]
fn one_wrong_answer_among_many_thousands_is_named() {
    for order in DECIDED {
        let shape = Shape { operations: 20_000, processes: 10, order, crashed_per_mille: 0 };
        let right = simulate(1, shape);
        assert_eq!(verdict(order, &right), Verdict::Valid, "{order:?}");
        let dequeues: Vec<usize> = (right.len() / 2..right.len())
            .filter(|at| {
                matches!(right[*at].completion, Completion::Ok { answer: TotalQueue::Dequeue(Some(_)), .. })
            })
            .collect();
        // One finds nothing, while there is something.
        let mut wrong = right.clone();
        let Completion::Ok { answer, .. } = &mut wrong[dequeues[7]].completion else {
            panic!("it was answered")
        };
        *answer = TotalQueue::Dequeue(None);
        let Verdict::Invalid(anomalies) = verdict(order, &wrong) else { panic!("{order:?}: not found") };
        let shown = &anomalies[0].operations;
        assert!(shown.len() <= 12, "{order:?}: {shown:#?}");
        words::assert_well_formed(&anomalies[0]);
        // Two of them, far apart, give what the other should.
        let mut wrong = right;
        let (one, other) = (dequeues[20], dequeues[1_000]);
        let first = wrong[one].completion.clone();
        let second = wrong[other].completion.clone();
        for (at, answered) in [(one, second), (other, first)] {
            let (Completion::Ok { answer, .. }, Completion::Ok { answer: new, .. }) =
                (&mut wrong[at].completion, answered)
            else {
                panic!("it was answered")
            };
            *answer = new;
        }
        let Verdict::Invalid(anomalies) = verdict(order, &wrong) else { panic!("{order:?}: not found") };
        assert!(anomalies[0].operations.len() <= 12, "{order:?}: {:#?}", anomalies[0]);
        words::assert_well_formed(&anomalies[0]);
    }
}
