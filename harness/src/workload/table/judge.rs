//! The judgement of a table, by the promise about its log.

use std::sync::atomic::AtomicBool;

use duress_checkers::table::{TableOptions as CheckOptions, check_table};
use duress_history::Operation;
use duress_history::table::Table;

use crate::judge::{Judgement, Question};
use crate::workload::delivery;

/// Judges the operations on a table.
pub fn judge(operations: &[Operation<Table>], question: &Question, interrupt: &AtomicBool) -> Judgement {
    let stored = question.promise.stored();
    let options = CheckOptions { promise: stored };
    delivery::judgement(check_table(operations, &options, interrupt), stored, "kept", "table")
}
