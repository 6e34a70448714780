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
        property: promise.name().to_owned(),
        holds: "the transactions fit an order that the model allows".to_owned(),
        broken,
        checked: format!("{} transactions on {} keys", report.operations, report.keys),
        findings,
        model: format!("{} --promise {promise}", R::NAME),
        report,
        times: Times::default(),
        copy: None,
    }
}
