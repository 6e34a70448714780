//! The judgement of a stream, by the promise about processed messages.

use std::sync::atomic::AtomicBool;

use duress_checkers::stream::{StreamOptions as CheckOptions, check_stream};
use duress_history::Operation;
use duress_history::stream::Stream;

use crate::judge::{Judgement, Question};
use crate::workload::delivery;

/// Judges the operations on a stream.
pub fn judge(operations: &[Operation<Stream>], question: &Question, interrupt: &AtomicBool) -> Judgement {
    let processed = question.promise.consumed();
    let options = CheckOptions { promise: processed };
    delivery::judgement(check_stream(operations, &options, interrupt), processed, "processed", "stream")
}
