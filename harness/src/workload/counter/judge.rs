//! The judgement of counters, by their promise.

use std::sync::atomic::AtomicBool;

use duress_checkers::counter::check_counter;
use duress_checkers::verdict::Details;
use duress_history::counter::Counter;
use duress_history::{Consistency, Operation};

use crate::judge::{Judgement, Question};
use crate::workload::objects::{settled, words};

/// Judges the operations on counters.
pub fn judge(operations: &[Operation<Counter>], question: &Question, interrupt: &AtomicBool) -> Judgement {
    let promise = question.promise.consistency();
    let report = check_counter(operations, promise, settled(operations, question), interrupt);
    let findings = match &report.details {
        Details::Counter(found) => vec![format!(
            "{} adds were acknowledged, {} failed, {} are of unknown outcome; {} reads",
            found.acknowledged, found.failed, found.unknown, found.reads
        )],
        _ => Vec::new(),
    };
    let holds = match promise {
        Consistency::Linearizable => "every read lies in the range that adds allow",
        Consistency::StaleReads | Consistency::Eventual => {
            "every read lies in the range of an earlier time, and replicas came to agree"
        }
    };
    words("counter", promise, holds, findings, report)
}
