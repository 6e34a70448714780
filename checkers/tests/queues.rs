//! Queues, stacks and priority queues, against the definition tried out literally.

mod oracle;

use std::sync::atomic::AtomicBool;

use duress_checkers::linearizable::Budget;
use duress_checkers::queue::{Order, check_queue};
use duress_checkers::verdict::{AnomalyKind, Reason, Verdict};
use duress_history::pairs::pair;
use duress_history::total_queue::TotalQueue;
use duress_history::{Completion, Operation, Scalar, edn};
use proptest::collection::vec;
use proptest::prelude::*;

const ORDERS: [Order; 4] = [Order::Fifo, Order::Lifo, Order::Least, Order::Any];

/// `0ie1` invokes enqueue 1, `0oe1` completes it; `d` dequeues, `a` drains one element; `0?` is of unknown outcome. `_` is nil.
fn operations(words: &str) -> Vec<Operation<TotalQueue>> {
    let line = |word: &str| {
        let (process, rest) = word.split_at(1);
        let (op_type, rest) = rest.split_at(1);
        let (f, value) = rest.split_at(1);
        let op_type = match op_type {
            "i" => "invoke",
            "o" => "ok",
            "f" => "fail",
            _ => "info",
        };
        let (f, value) = match (f, value) {
            ("e", value) => ("enqueue", value.to_owned()),
            ("d", "_") => ("dequeue", "nil".to_owned()),
            ("d", value) => ("dequeue", value.to_owned()),
            (_, "_") if op_type == "ok" => ("drain", "[]".to_owned()),
            (_, "_") => ("drain", "nil".to_owned()),
            (_, value) => ("drain", format!("[{value}]")),
        };
        format!("{{:process {process} :type :{op_type} :f :{f} :value {value}}}\n")
    };
    let text: String = words.split_whitespace().map(line).collect();
    pair(edn::read_str::<TotalQueue>(&text).expect("a history").events).expect("it pairs")
}

fn verdict(order: Order, operations: &[Operation<TotalQueue>]) -> Verdict {
    check_queue(operations, order, &Budget::default(), &AtomicBool::new(false)).verdict
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

/// The queue as the definition has it: a dequeue of unknown outcome is tried with every element, and as one that found nothing.
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

/// Whether some order is right, whatever the dequeues of unknown outcome took out.
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
        || (1..4).any(|value| {
            let mut with = operations.to_vec();
            with[at].action = TotalQueue::Dequeue(Some(Scalar::Int(value)));
            possible(order, &with)
        })
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
            match verdict(order, &operations) {
                Verdict::Valid => prop_assert!(possible(order, &operations), "{:?} {:?}", order, words),
                Verdict::Unknown(reasons) => prop_assert!(
                    matches!(reasons[..], [Reason::NothingHappened { .. } | Reason::NothingObserved { .. }]),
                    "{:?}", reasons
                ),
                Verdict::Invalid(anomalies) => {
                    prop_assert!(!possible(order, &operations), "{:?} {:?}", order, words);
                    let is_shown = |operation: &&Operation<TotalQueue>| {
                        anomalies[0].operations.iter().any(|shown| shown.index == operation.index)
                    };
                    let witness: Vec<_> = operations.iter().filter(is_shown).cloned().collect();
                    prop_assert!(!possible(order, &witness), "{:#?}", anomalies);
                }
            }
        }
    }
}
