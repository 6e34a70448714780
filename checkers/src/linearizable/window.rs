//! The last operations before the search got stuck, tried alone.
//!
//! A search that finds no way past a completion goes back through everything before it, and that may take for
//! ever. But most violations show in the last few operations, whatever the register held before. So the end
//! of the history counts as a history of its own, on a register with an arbitrary initial value, in which the
//! operations open at its beginning may have taken effect before: that allows everything the whole allows,
//! and more. When it is impossible, so is the whole.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::call::{Call, Duty, Problem, Start};
use super::search::{Decision, Extent};
use super::{Budget, Limits, crashed, search};

/// Ends of so many operations are tried.
const LENGTHS: [usize; 4] = [4, 16, 64, 256];

/// Whether some end of `problem`, of what comes up to the event of rank `rank`, is impossible; also says how many
/// configurations were explored. Each end may take `configurations_max`.
pub(super) fn refutes(
    problem: &Problem,
    rank: u32,
    configurations_max: u64,
    limits: Limits<'_>,
) -> (bool, u64) {
    let budget = Budget { configurations_max, memory_bytes_max: limits.budget.memory_bytes_max };
    let limits = Limits { budget: &budget, ..limits };
    let last = problem.calls.partition_point(|call| call.invoke <= rank);
    let of = |length: usize| Some(problem.calls[last.checked_sub(length)?].invoke);
    let Some(widest) = LENGTHS.into_iter().rev().find_map(of) else { return (false, 0) };
    let calls = problem.calls[..last].iter();
    let calls = calls.filter_map(|call| before(call, rank)).filter_map(|call| since(&call, widest));
    let widest = Problem { calls: calls.collect(), start: Start::Any, ..*problem };
    let mut explored = 0;
    for from in LENGTHS.into_iter().map_while(of) {
        let memory_bytes = AtomicUsize::new(limits.memory_bytes.load(Ordering::Relaxed));
        let limits = Limits { memory_bytes: &memory_bytes, ..limits };
        let end = without_beginning(&widest, from);
        let (decision, more) = search::search_to(Extent::Part, &end, &crashed::reduce(&end), limits);
        explored += more;
        if matches!(decision, Decision::Stuck { .. }) {
            return (true, explored);
        }
    }
    (false, explored)
}

/// `problem` up to the event of rank `rank`.
pub(super) fn prefix(problem: &Problem, rank: u32) -> Problem {
    let calls = problem.calls.iter().filter_map(|call| before(call, rank));
    Problem { calls: calls.collect(), ..*problem }
}

/// `problem` without what completed before the event of rank `from`, on a register that holds some value.
pub(super) fn without_beginning(problem: &Problem, from: u32) -> Problem {
    let calls = problem.calls.iter().filter_map(|call| since(call, from));
    Problem { calls: calls.collect(), start: Start::Any, ..*problem }
}

/// Returns `call` as a history that ends with the event of rank `rank` shows it, if it does.
fn before(call: &Call, rank: u32) -> Option<Call> {
    let complete = call.complete.filter(|complete| *complete <= rank);
    (call.invoke <= rank).then_some(Call { complete, ..*call }).as_ref().and_then(relaxed)
}

/// Returns `call`, unless it is a read that never completed.
pub(super) fn relaxed(call: &Call) -> Option<Call> {
    (call.complete.is_some() || call.effect.produced().is_some()).then_some(*call)
}

/// Returns `call` as a history that begins with the event of rank `from` shows it, if it does.
fn since(call: &Call, from: u32) -> Option<Call> {
    match call.complete {
        Some(complete) if complete < from => None,
        Some(_) if call.invoke < from && call.effect.produced().is_none() => None,
        Some(_) if call.invoke < from => Some(Call { duty: Duty::Optional, ..*call }),
        _ => Some(*call),
    }
}
