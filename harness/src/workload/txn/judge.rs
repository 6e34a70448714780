//! The judgement of transactions, by the consistency model that they are promised.

use std::sync::atomic::AtomicBool;

use duress_checkers::CheckReport;
use duress_checkers::transactions::{check_list_append, check_rw_register};
use duress_checkers::verdict::Details;
use duress_history::txn::{Answer, Elements, Held, Txn};
use duress_history::{ConsistencyModel, Operation};

use crate::judge::{Judgement, Question, Times};

/// A kind of transactions that can be judged.
pub trait TxnModel: Answer {
    /// The operations, the end of a run, and the check: a few lines.
    const DESCRIPTION: &'static str;

    /// Checks transactions against the question's promise.
    fn check(operations: &[Operation<Txn<Self>>], question: &Question, interrupt: &AtomicBool)
    -> CheckReport;
}

impl TxnModel for Elements {
    const DESCRIPTION: &'static str = "\
transactions on lists by key: append, and read of the whole list
Each element appended to a list is unique; a key is left for a fresh one after --operations-per-key operations; at the end
transactions read every key once more through every node.
Checked: does some order that the promised consistency model allows explain every answer?";

    fn check(
        operations: &[Operation<Txn<Self>>],
        question: &Question,
        interrupt: &AtomicBool,
    ) -> CheckReport {
        check_list_append(operations, question.promise.transactions(), interrupt)
    }
}

impl TxnModel for Held {
    const DESCRIPTION: &'static str = "\
transactions on registers by key: read and write, each value written once
A key is left for a fresh one after --operations-per-key operations; at the end transactions read every key once more
through every node.
Checked: does some order that the promised consistency model allows explain every answer?";

    fn check(
        operations: &[Operation<Txn<Self>>],
        question: &Question,
        interrupt: &AtomicBool,
    ) -> CheckReport {
        check_rw_register(operations, question.promise.transactions(), &question.assumed, interrupt)
    }
}

/// Judges transactions.
pub fn judge<R: TxnModel>(
    operations: &[Operation<Txn<R>>],
    question: &Question,
    interrupt: &AtomicBool,
) -> Judgement {
    let promise = question.promise.transactions();
    let report = R::check(operations, question, interrupt);
    words(report, promise.name(), "transactions", R::NAME)
}

/// Returns the words for a check of `model`, whose operations are called `what`, against the promise called `promise`.
pub fn words(report: CheckReport, promise: &str, what: &str, model: &str) -> Judgement {
    let mut findings = Vec::new();
    let mut broken = format!("not {promise}");
    if let Details::Transactions(details) = &report.details {
        let names = |models: &[ConsistencyModel]| {
            models.iter().map(|model| model.name()).collect::<Vec<_>>().join(", ")
        };
        let counts: Vec<String> =
            details.found.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        if !counts.is_empty() {
            broken = format!("not {promise}: {}", counts.join(", "));
            let left = match names(&details.left) {
                left if left.is_empty() => "nothing".to_owned(),
                left => left,
            };
            findings.push(format!(
                "found: {}; that refutes {}, and what implies it; the strongest left: {left}",
                counts.join(", "),
                names(&details.refuted)
            ));
        }
    }
    Judgement {
        property: promise.to_owned(),
        holds: format!("the {what} fit an order that the model allows"),
        broken,
        checked: format!("{} {what} on {} keys", report.operations, report.keys),
        findings,
        model: format!("{model} --promise {promise}"),
        report,
        times: Times::default(),
        copy: None,
    }
}

#[cfg(test)]
mod tests {
    use duress_checkers::Verdict;
    use duress_history::jsonl::read_from;
    use duress_history::pairs::pair;
    use duress_history::{Assumed, Initial, Promise};

    use super::*;

    /// Judges the events of these processes, types and values against what `question` assumes and promises.
    fn judged<R: TxnModel>(events: &[(u32, &str, String)], question: &Question) -> Judgement {
        let line = |(process, op_type, value): &(u32, &str, String)| {
            format!("{{\"process\":{process},\"type\":\"{op_type}\",\"f\":\"txn\",\"value\":{value}}}\n")
        };
        let lines: String = events.iter().map(line).collect();
        let events = read_from::<Txn<R>>(lines.as_bytes()).unwrap().events;
        judge(&pair(events).unwrap(), question, &AtomicBool::new(false))
    }

    /// Judges two transactions at once, each of which read the key that the other wrote, before that. An object is
    /// `empty` at first, and `one` after a write of 1.
    fn is_judged_by_its_promise<R: TxnModel>(empty: &str, one: &str) {
        let txn = |reads: &str, seen: &str, writes: &str| {
            format!(r#"[["r","{reads}",{seen}],["{}","{writes}",1]]"#, R::WRITE)
        };
        let reads = |seen: &str| format!(r#"[["r","x",{seen}],["r","y",{seen}]]"#);
        let events = [
            (0, "invoke", txn("x", "null", "y")),
            (1, "invoke", txn("y", "null", "x")),
            (0, "ok", txn("x", empty, "y")),
            (1, "ok", txn("y", empty, "x")),
            (2, "invoke", reads("null")),
            (2, "ok", reads(one)),
        ];
        let judged = |promise| {
            let promise = Promise::named(promise).unwrap();
            judged::<R>(&events, &Question { promise, ..Question::default() })
        };
        let strict = judged("strict-serializable");
        assert!(matches!(strict.report.verdict, Verdict::Invalid(_)), "{:?}", strict.report);
        assert!(strict.broken.contains("G2-item"), "{}", strict.broken);
        assert_eq!(strict.model, format!("{} --promise strict-serializable", R::NAME));
        let snapshots = judged("snapshot-isolation");
        assert_eq!(snapshots.report.verdict, Verdict::Valid, "{:?}", snapshots.report);
        assert_eq!(snapshots.property, "snapshot-isolation");
        assert_eq!(snapshots.checked, "3 transactions on 2 keys");
    }

    #[test]
    fn what_the_promise_allows_is_no_anomaly() {
        is_judged_by_its_promise::<Elements>("[]", "[1]");
        is_judged_by_its_promise::<Held>("null", "1");
    }

    #[test]
    fn a_promise_about_something_else_leaves_the_strongest() {
        let question = Question { promise: Promise::STALE_READS, ..Question::default() };
        let read = |seen: &str| format!(r#"[["r","x",{seen}]]"#);
        let events = [(0, "invoke", read("null")), (0, "ok", read("[]"))];
        assert_eq!(judged::<Elements>(&events, &question).property, "strict-serializable");
    }

    #[test]
    fn registers_hold_what_is_assumed() {
        let read = |seen: &str| format!(r#"[["r","x",{seen}]]"#);
        let events = [(0, "invoke", read("null")), (0, "ok", read("7"))];
        let verdict = |initial| {
            let assumed = Assumed { initial, ..Assumed::default() };
            judged::<Held>(&events, &Question { assumed, ..Question::default() }).report.verdict
        };
        assert!(matches!(verdict(Initial::default()), Verdict::Invalid(_)));
        assert_eq!(verdict("7".parse().unwrap()), Verdict::Valid);
    }
}
