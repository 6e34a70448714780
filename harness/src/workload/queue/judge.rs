//! The judgement of a queue, by the promise about consumed messages.

use std::sync::atomic::AtomicBool;

use duress_checkers::delivery::{Gaps, LogOptions as CheckOptions, check_queue};
use duress_history::Operation;
use duress_history::log::Log;

use crate::judge::{Judgement, Question};
use crate::workload::delivery;

/// Judges the operations on a queue.
pub fn judge(operations: &[Operation<Log>], question: &Question, interrupt: &AtomicBool) -> Judgement {
    let consumed = question.promise.consumed();
    let options = CheckOptions {
        promise: consumed,
        gaps: Gaps::Never,
        acknowledged: delivery::acknowledged(question.promise.stored()),
    };
    delivery::judgement(check_queue(operations, &options, interrupt), consumed, "consumed", "queue")
}
