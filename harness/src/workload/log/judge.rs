//! The judgement of a log, by the promise about its partitions.

use std::sync::atomic::AtomicBool;

use duress_checkers::delivery::{Gaps, LogOptions as CheckOptions, check_log};
use duress_history::Operation;
use duress_history::log::Log;

use crate::judge::{Judgement, Question};
use crate::workload::delivery;

/// Judges the operations on a log.
pub fn judge(operations: &[Operation<Log>], question: &Question, interrupt: &AtomicBool) -> Judgement {
    let stored = question.promise.stored();
    let options =
        CheckOptions { promise: stored, gaps: Gaps::Never, acknowledged: delivery::acknowledged(stored) };
    delivery::judgement(check_log(operations, &options, interrupt), stored, "stored", "log")
}
