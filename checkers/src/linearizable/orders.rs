//! Why no order of a witness's operations fits: each that can be begun is followed to where it ends.

use super::call::{Call, Duty, Effect, Problem, Start, State};
use super::explain::{Case, step};
use crate::witness::Statement;

/// As many beginnings are followed; a witness with more is cut short.
const STEPS_MAX: usize = 24;

/// A beginning of an order.
struct Beginning {
    /// In the order taken.
    taken: Vec<usize>,
    /// How many of those had taken effect before the witness begins.
    earlier: usize,
    /// The register's value then; `None` while it is unknown.
    state: Option<State>,
}

/// Returns one step for each beginning that cannot be continued, and one that says what follows.
pub(super) fn refute(case: &Case<'_>) -> Vec<Statement> {
    let calls = &case.problem.calls;
    let start = match case.problem.start {
        Start::Known(state) => Some(state),
        Start::Any => None,
    };
    let mut steps = Vec::new();
    let mut known: Vec<(Vec<usize>, Option<State>)> = Vec::new();
    let mut work = beginnings(&case.problem, start);
    while let Some(beginning) = work.pop() {
        let mut set = beginning.taken.clone();
        set.sort_unstable();
        let configuration = (set, beginning.state);
        if known.contains(&configuration) {
            continue;
        }
        known.push(configuration);
        if steps.len() == STEPS_MAX {
            steps.push(step("Every other order ends in the same way, as the search has established.", &[]));
            return steps;
        }
        let next = candidates(&case.problem, &beginning.taken);
        let (fitting, failing): (Vec<usize>, Vec<usize>) =
            next.iter().partition(|at| fits(&calls[**at], beginning.state));
        if failing.is_empty() && fitting.is_empty() {
            // Never for a true witness: an order that takes everything is a linearization.
            continue;
        }
        if fitting.is_empty() {
            steps.push(dead_end(case, &beginning, &failing));
        }
        for at in fitting.into_iter().rev() {
            let mut taken = beginning.taken.clone();
            taken.push(at);
            let state = match calls[at].effect {
                Effect::Read(value) | Effect::Write(value) | Effect::Cas(_, value) => Some(value),
            };
            work.push(Beginning { taken, earlier: beginning.earlier, state });
        }
    }
    steps.push(step("There is no other order to try.", &[]));
    steps
}

/// Returns one for each choice of the operations that may have taken effect before.
fn beginnings(problem: &Problem, state: Option<State>) -> Vec<Beginning> {
    let mut beginnings = vec![Beginning { taken: Vec::new(), earlier: 0, state }];
    for (at, _) in problem.calls.iter().enumerate().filter(|(_, call)| call.duty == Duty::Optional) {
        if beginnings.len() > STEPS_MAX {
            break;
        }
        let with = |beginning: &Beginning| {
            let taken: Vec<usize> = beginning.taken.iter().copied().chain([at]).collect();
            Beginning { earlier: taken.len(), taken, state }
        };
        beginnings.extend(beginnings.iter().map(with).collect::<Vec<_>>());
    }
    beginnings
}

/// Whether `call` can take effect in `state`.
fn fits(call: &Call, state: Option<State>) -> bool {
    match (call.effect.observed(), state) {
        (Some(observed), Some(state)) => observed == state,
        _ => true,
    }
}

/// Returns the operations that can come next: not taken, and without an untaken one that completed before
/// they began.
fn candidates(problem: &Problem, taken: &[usize]) -> Vec<usize> {
    let left = || (0..problem.calls.len()).filter(|at| !taken.contains(at));
    let bound = left().filter_map(|at| problem.calls[at].complete).min();
    left().filter(|at| bound.is_none_or(|bound| problem.calls[*at].invoke < bound)).collect()
}

/// `After A, B the register holds 7; next must come C (read -> 3), which saw 3.`
fn dead_end(case: &Case<'_>, beginning: &Beginning, failing: &[usize]) -> Statement {
    let calls = &case.problem.calls;
    let name = |at: &usize| case.named(*at);
    let (earlier, taken) = beginning.taken.split_at(beginning.earlier);
    let earlier: Vec<String> = earlier.iter().map(name).collect();
    let names: Vec<String> = taken.iter().map(name).collect();
    let held = beginning.state.map_or_else(|| "some value".to_owned(), |state| case.value(state));
    let holds = if case.is_lock() { "is" } else { "holds" };
    let then = if names.is_empty() {
        format!("At the beginning {} {holds} {held}", case.subject())
    } else {
        format!("After {}, {} {holds} {held}", names.join(", then "), case.subject())
    };
    let then = match earlier[..] {
        [] => then,
        _ => format!(
            "If {} took effect earlier: {}{}",
            earlier.join(" and "),
            then[..1].to_lowercase(),
            &then[1..]
        ),
    };
    let whys: Vec<String> = failing
        .iter()
        .map(|at| {
            let needs = calls[*at].effect.observed().map_or_else(String::new, |value| case.value(value));
            let verb = if case.is_lock() { "needs it" } else { "needs" };
            format!("{} {verb} {needs}", case.named(*at))
        })
        .collect();
    let mut labels = beginning.taken.clone();
    labels.extend_from_slice(failing);
    step(format!("{then}; no possible next operation fits: {}.", whys.join("; ")), &labels)
}
