//! What is left of a run that was shrunk, in a few lines that a colleague can act on.

use std::fmt::Write as _;

use crate::plan::Plan;
use crate::trial::Trial;

/// Faults that are told one by one; of more, there is a count.
const FAULTS_MAX: usize = 8;

/// The cluster and its load, the faults in order of time, and what was found.
#[must_use]
pub fn story(plan: &Plan, found: Option<&Trial>) -> String {
    let mut text = format!(
        "{} ({}) on {} nodes; {} processes do `{}` for {:.1} s\n",
        plan.target,
        plan.settings.mode,
        plan.nodes.len(),
        plan.concurrency,
        plan.workload.name,
        plan.time_limit().as_secs_f64()
    );
    for fault in plan.schedule.iter().take(FAULTS_MAX) {
        let seconds = |ms: u64| ms as f64 / 1000.0;
        let _ = writeln!(
            text,
            "{:>6.1} s to {:.1} s: {}",
            seconds(fault.start_ms),
            seconds(fault.stop_ms),
            fault.fault
        );
    }
    if let Some(more) = plan.schedule.len().checked_sub(FAULTS_MAX).filter(|more| *more > 0) {
        let _ = writeln!(text, "       and {more} more faults");
    }
    for found in found.map(Trial::anomalies).unwrap_or_default() {
        let at = found.at_s.map(|at| format!("{at:>6.1} s: ")).unwrap_or_default();
        let _ = writeln!(text, "{at}{}: {}", found.kind.name(), found.summary);
    }
    text
}
