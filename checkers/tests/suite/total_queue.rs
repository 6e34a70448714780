//! Each anomaly of a queue is found, and near misses pass.
//!
//! A history is written as words: `0!e7` enqueues 7 and is answered, `0?e7` is of unknown outcome, `0fe7` fails; `d7` dequeues
//! 7, `d_` nothing; `x7,8` drains 7 and 8. `0ie7 … 0oe7` are two events.

use duress_checkers::total_queue::check_total_queue;
use duress_checkers::verdict::{Details, Verdict};
use duress_history::pairs::pair;
use duress_history::total_queue::TotalQueue;
use duress_history::{Completion, Delivery, Operation, Scalar, edn};
use proptest::collection::vec;
use proptest::prelude::*;

fn operations(words: &str) -> Vec<Operation<TotalQueue>> {
    let mut text = String::new();
    for word in words.split_whitespace() {
        let (process, rest) = word.split_at(1);
        let (op_type, rest) = rest.split_at(1);
        let (f, value) = rest.split_at(1);
        let (f, asked, answered) = match f {
            "e" => ("enqueue", value.to_owned(), value.to_owned()),
            "d" => ("dequeue", "nil".to_owned(), value.replace('_', "nil")),
            _ => ("drain", "nil".to_owned(), format!("[{}]", value.replace(['_', ','], " "))),
        };
        let mut event = |op_type: &str, value: &str| {
            text += &format!("{{:process {process} :type :{op_type} :f :{f} :value {value}}}\n");
        };
        match op_type {
            "i" => event("invoke", &asked),
            "o" => event("ok", &answered),
            ended => {
                event("invoke", &asked);
                match ended {
                    "!" => event("ok", &answered),
                    "f" => event("fail", &asked),
                    _ => event("info", &asked),
                }
            }
        }
    }
    pair(edn::read_str::<TotalQueue>(&text).expect("a history").events).expect("it pairs")
}

#[track_caller]
fn check(words: &str, promise: Delivery, expected: &str) {
    let report = check_total_queue(&operations(words), promise);
    let found = match &report.verdict {
        Verdict::Valid => "valid".to_owned(),
        Verdict::Unknown(_) => "unknown".to_owned(),
        Verdict::Invalid(anomalies) => {
            let told = |anomaly: &duress_checkers::Anomaly| {
                let shown: Vec<&str> = anomaly.operations.iter().map(|shown| shown.action.as_str()).collect();
                format!("{}({})", anomaly.kind, shown.join("; "))
            };
            anomalies.iter().map(told).collect::<Vec<_>>().join(" | ")
        }
    };
    assert_eq!(found, expected, "{words}: {:#?}", report.verdict);
}

#[test]
fn everything_that_went_in_comes_out() {
    check("0!e1 0!e2 1!d2 1!x1", Delivery::AT_LEAST_ONCE, "valid");
    check("0!e1 0?e2 0fe3 1!x1", Delivery::AT_LEAST_ONCE, "valid");
    check("0!e1 0!e1 1!d1 1!x1", Delivery::EXACTLY_ONCE, "valid");
    check("0!e1 0!e2 1!x2", Delivery::AT_LEAST_ONCE, "lost(enqueue 1; drain -> 1 other values)");
    check("0!e1 0!e1 1!d1 1!x_", Delivery::AT_LEAST_ONCE, "lost(enqueue 1; dequeue -> 1; drain -> nothing)");
    check("0!e1 0!e2 1!x2", Delivery::AT_MOST_ONCE, "valid");
}

#[test]
fn what_may_still_be_there_is_unknown() {
    check("0!e1", Delivery::AT_LEAST_ONCE, "unknown");
    check("0!e1 1!d_", Delivery::AT_LEAST_ONCE, "unknown");
    check("0!e1 1!d1 1!x_ 0!e2", Delivery::AT_LEAST_ONCE, "unknown");
    // It is unknown which of the two came out.
    check("0!e1 1ix 0!e1 1ox_ 2!d1", Delivery::AT_LEAST_ONCE, "unknown");
    // The dequeue without an answer may have taken it.
    check("0!e1 2?d_ 1!x_", Delivery::AT_LEAST_ONCE, "unknown");
    check("0!e1 2?x_ 1!x_", Delivery::AT_LEAST_ONCE, "unknown");
    check(
        "0!e1 0!e2 2?d_ 1!x_",
        Delivery::AT_LEAST_ONCE,
        "lost(enqueue 1; enqueue 2; dequeue; drain -> nothing)",
    );
}

#[test]
fn out_of_nothing() {
    check("0!e1 1!d2 1!x1", Delivery::AT_LEAST_ONCE, "never-sent(dequeue -> 2)");
    check("1!d1 0!e1 1!x_", Delivery::AT_MOST_ONCE, "never-sent(dequeue -> 1)");
    check("0fe1 1!d1 1!x_", Delivery::AT_LEAST_ONCE, "aborted-read(enqueue 1; dequeue -> 1)");
    check("0?e1 1!d1 1!x_", Delivery::AT_LEAST_ONCE, "valid");
    check("0!e1 1!d1 2!d1 1!x_", Delivery::AT_LEAST_ONCE, "valid");
    check("0!e1 1!d1 2!d1 1!x_", Delivery::EXACTLY_ONCE, "duplicate(enqueue 1; dequeue -> 1; dequeue -> 1)");
    check("0fe1 1!x_", Delivery::AT_LEAST_ONCE, "valid");
    check("0fe1 1fd_", Delivery::AT_LEAST_ONCE, "unknown");
}

/// Whether some explanation of the history loses nothing: by brute force over which of the operations of
/// unknown outcome took which value. Operations here follow one another, and the last one drains.
fn may_have_kept_all(operations: &[Operation<TotalQueue>]) -> bool {
    let mut acknowledged: Vec<&Scalar> = Vec::new();
    let (mut open, mut out): (usize, Vec<&Scalar>) = (0, Vec::new());
    for operation in operations {
        match (&operation.action, &operation.completion) {
            (TotalQueue::Enqueue(value), Completion::Ok { .. }) => acknowledged.push(value),
            (TotalQueue::Dequeue(_), Completion::Info { .. }) => open += 1,
            (_, Completion::Ok { answer: TotalQueue::Dequeue(Some(value)), .. }) => out.push(value),
            (_, Completion::Ok { answer: TotalQueue::Drain(Some(values)), .. }) => out.extend(values),
            _ => {}
        }
    }
    for value in out {
        if let Some(at) = acknowledged.iter().position(|other| *other == value) {
            acknowledged.swap_remove(at);
        }
    }
    acknowledged.len() <= open
}

proptest! {
    #[test]
    fn losses_are_found_where_there_must_be_one(
        steps in vec((0_usize..4, 0_i64..5), 0..14),
        drained in vec(0_i64..5, 0..4),
    ) {
        let words: Vec<String> = steps
            .iter()
            .map(|(kind, value)| match kind {
                0 | 1 => format!("0!e{value}"),
                2 => format!("1!d{value}"),
                _ => "2?d_".to_owned(),
            })
            .collect();
        let drained: Vec<String> = drained.iter().map(i64::to_string).collect();
        let drained = if drained.is_empty() { "_".to_owned() } else { drained.join(",") };
        let operations = operations(&format!("{} 3!x{drained}", words.join(" ")));
        let report = check_total_queue(&operations, Delivery::AT_LEAST_ONCE);
        let Details::Delivery(details) = &report.details else { panic!("a queue has other details") };
        prop_assert_eq!(details.counts.lost == 0, may_have_kept_all(&operations));
        let lost = report.verdict.anomalies().iter().any(|anomaly| anomaly.kind.name() == "lost");
        prop_assert_eq!(lost, details.counts.lost > 0);
    }
}
