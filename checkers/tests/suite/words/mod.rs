//! Histories written as words, one or two events each: process, type, operation; and verdicts as strings.
//!
//! `0i` invokes, `0o` completes, `0f` fails, `0?` is of unknown outcome; `0!` invokes and completes at once.
//! The operation follows, in the reader's own notation.

use crate::witness;

pub use witness::assert_well_formed;

use std::fmt::Write as _;

use duress_checkers::verdict::{Anomaly, CheckReport, Verdict};
use duress_history::pairs::pair;
use duress_history::{NodeId, Operation, Payload, jsonl};

/// Returns words for the `moves` of three processes, each a process, one of two operations `a` and `r`, and a number that says how
/// the operation ends: 0 leaves its outcome unknown, 1 and 2 let it fail. `more` returns what follows an operation that ends, given
/// its letter, whether it is answered, and the number of its move.
///
/// A process that does not know an outcome is retired, as in Jepsen.
pub fn of_moves(moves: &[(usize, bool, u32)], mut more: impl FnMut(char, bool, usize) -> String) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut open: [Option<char>; 3] = [None; 3];
    let mut retired = [false; 3];
    for (at, &(process, is_first, ends)) in moves.iter().enumerate() {
        if retired[process] {
            continue;
        }
        match open[process].take() {
            None => {
                let f = if is_first { 'a' } else { 'r' };
                words.push(format!("{process}i{f}"));
                open[process] = Some(f);
            }
            Some(f) => {
                let ended = match ends {
                    0 => '?',
                    1 | 2 => 'f',
                    _ => 'o',
                };
                retired[process] = ends == 0;
                words.push(format!("{process}{ended}{f}{}", more(f, ended == 'o', at)));
            }
        }
    }
    words.join(" ")
}

/// Lets each process of `operations` speak to a node of its own.
pub fn on_own_nodes<A>(mut operations: Vec<Operation<A>>) -> Vec<Operation<A>> {
    for operation in &mut operations {
        operation.node = Some(NodeId::new(format!("n{}", operation.process)));
    }
    operations
}

/// Parses `words` into operations on an object that are an add, `a7`, or a read with the JSON that `answer` returns for the rest of
/// its word. Each process speaks to a node of its own.
pub fn adds_and_reads<A: Payload>(words: &str, answer: impl Fn(&str) -> String) -> Vec<Operation<A>> {
    on_own_nodes(operations(words, |operation, ok| match operation.split_at(1) {
        ("a", added) => ("add", added.to_owned()),
        ("r", answered) if ok => ("read", answer(answered)),
        ("r", _) => ("read", "null".to_owned()),
        (other, _) => panic!("no operation {other}"),
    }))
}

/// Parses `words` into operations; a millisecond passes from event to event.
///
/// `operation` returns `f` and the JSON of `value` for the part after the type; its argument tells whether
/// the event is an `ok`.
pub fn operations<A: Payload>(
    words: &str,
    operation: impl Fn(&str, bool) -> (&'static str, String),
) -> Vec<Operation<A>> {
    let mut lines = String::new();
    let mut at = 0_u64;
    for word in words.split_whitespace() {
        let digits = word.find(|next: char| !next.is_ascii_digit()).expect("a type");
        let (process, rest) = word.split_at(digits);
        let (op_type, rest) = rest.split_at(1);
        let types: &[&str] = match op_type {
            "i" => &["invoke"],
            "o" => &["ok"],
            "f" => &["fail"],
            "?" => &["info"],
            "!" => &["invoke", "ok"],
            other => panic!("no type {other}"),
        };
        for op_type in types {
            let (f, value) = operation(rest, *op_type == "ok");
            let time = at * 1_000_000;
            writeln!(
                lines,
                "{{\"index\":{at},\"time\":{time},\"process\":{process},\"type\":\"{op_type}\",\"f\":\"{f}\",\"value\":{value}}}"
            )
            .expect("writing to a string cannot fail");
            at += 1;
        }
    }
    let history =
        jsonl::read_from::<A>(lines.as_bytes()).unwrap_or_else(|error| panic!("{lines}: {error:?}"));
    pair(history.events).unwrap_or_else(|error| panic!("{words}: {error}"))
}

/// `valid`, `unknown`, or every anomaly with what its witness shows.
pub fn answer(report: &CheckReport) -> String {
    let described = |anomaly: &Anomaly| {
        assert_well_formed(anomaly);
        let shown: Vec<&str> = anomaly.operations.iter().map(|shown| shown.action.as_str()).collect();
        format!("{}({})", anomaly.kind, shown.join("; "))
    };
    match &report.verdict {
        Verdict::Valid => "valid".to_owned(),
        Verdict::Unknown(reasons) => {
            let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
            format!("unknown: {}", reasons.join("; "))
        }
        Verdict::Invalid(anomalies) => anomalies.iter().map(described).collect::<Vec<String>>().join(" | "),
    }
}
