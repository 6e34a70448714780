//! The judgement of sets, by their promise.

use std::sync::atomic::AtomicBool;

use duress_checkers::set::{SetReport, check_set};
use duress_checkers::verdict::Details;
use duress_history::set::Set;
use duress_history::{Consistency, Operation};

use crate::judge::{Judgement, Question};
use crate::workload::objects::{settled, words};

/// Judges the operations on sets.
pub fn judge(operations: &[Operation<Set>], question: &Question, interrupt: &AtomicBool) -> Judgement {
    let promise = question.promise.consistency();
    let report = check_set(operations, promise, settled(operations, question), interrupt);
    let findings = match &report.details {
        Details::Set(details) => findings(details),
        _ => Vec::new(),
    };
    let holds = match promise {
        Consistency::Linearizable => "every answer has exactly the elements added by then",
        Consistency::StaleReads => {
            "every answer has a prefix of the added elements, and replicas came to agree"
        }
        Consistency::Eventual => {
            "every answer has added elements only, and replicas came to have all of them"
        }
    };
    words("set", promise, holds, findings, report)
}

/// Returns the outcomes of the elements.
fn findings(report: &SetReport) -> Vec<String> {
    let counts = report.counts;
    let mut lines = vec![format!(
        "{} elements: {} acknowledged, {} refused, {} unknown, of which {} were added; {} lost, {} stale, {} never read",
        counts.added,
        counts.acknowledged,
        counts.failed,
        counts.unknown,
        counts.recovered,
        counts.lost,
        counts.stale,
        counts.never_read
    )];
    lines.extend(report.missing.map(|missing| {
        let ms = |ns: u64| ns as f64 / 1e6;
        format!(
            "{} known elements were missing for a time: {:.1} ms (p50), {:.1} ms (p99), {:.1} ms (max)",
            missing.elements,
            ms(missing.p50_ns),
            ms(missing.p99_ns),
            ms(missing.max_ns)
        )
    }));
    lines
}
