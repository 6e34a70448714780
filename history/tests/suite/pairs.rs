//! Invocations find their completions, and what does not pair is refused.

use duress_history::jsonl;
use duress_history::pairs::{Completion, Operation, PairError, pair};
use duress_history::register::{CasRegister, RegisterOp};
use duress_history::{Process, Scalar};

/// `process type action`, one event a word: `0iw1` invokes write 1, `0ow1` completes it; `r` reads, `_` is null.
fn paired(words: &str) -> Result<Vec<Operation<CasRegister>>, PairError> {
    let lines: Vec<String> = words
        .split_whitespace()
        .map(|word| {
            let (process, rest) = word.split_at(1);
            let (op_type, rest) = rest.split_at(1);
            let (f, value) = rest.split_at(1);
            let op_type = match op_type {
                "i" => "invoke",
                "o" => "ok",
                "f" => "fail",
                _ => "info",
            };
            let f = if f == "r" { "read" } else { "write" };
            let value = value.replace('_', "null");
            format!("{{\"process\":{process},\"type\":\"{op_type}\",\"f\":\"{f}\",\"value\":{value}}}\n")
        })
        .collect();
    let history = jsonl::read_from::<CasRegister>(lines.concat().as_bytes()).expect("a history");
    pair(history.events)
}

#[test]
fn overlapping_operations_of_different_processes_pair() {
    let operations = paired("0iw1 1ir_ 0ow1 1or1 0ir_").expect("they pair");
    assert_eq!(operations.iter().map(|operation| operation.index).collect::<Vec<_>>(), [0, 1, 4]);
    let answer = CasRegister::from(RegisterOp::Read(Some(Scalar::Int(1))));
    assert_eq!(operations[1].completion, Completion::Ok { index: 3, time: 0, answer });
    assert_eq!(operations[2].completion, Completion::Info { at: None, error: None }, "never completed");
}

#[test]
fn failures_and_unknown_outcomes_are_kept_apart() {
    let operations = paired("0iw1 0fw1 1iw2 1?w2").expect("they pair");
    assert!(matches!(operations[0].completion, Completion::Fail { index: 1, .. }));
    assert!(matches!(operations[1].completion, Completion::Info { at: Some((3, _)), .. }));
}

#[test]
fn what_does_not_alternate_is_refused() {
    assert_eq!(paired("0iw1 0iw2"), Err(PairError::Overlap { process: Process(0), index: 1, open: 0 }));
    assert_eq!(paired("0iw1 0ow1 0ow1"), Err(PairError::NotInvoked { process: Process(0), index: 2 }));
    assert!(matches!(paired("0iw1 0ow2"), Err(PairError::Mismatch { index: 1, invoked: 0, .. })));
    assert!(matches!(paired("0iw1 0or1"), Err(PairError::Mismatch { .. })));
}
