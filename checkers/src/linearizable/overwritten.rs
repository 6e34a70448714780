//! A value that was gone, found without a search.
//!
//! Let an operation observe value v, and let t be the latest completion of all operations that produce v and were invoked
//! before the observer completed. When another operation, after which the register holds something else, was invoked
//! after t and completed before the observer was invoked, the history is impossible: v had been overwritten then, and could
//! not come back. It is impossible too where nothing produced v, and the register did not hold it at first.
//!
//! This is the simplest of the contradictions between zones of Gibbons and Korach ("Testing shared memories", 1997), for
//! values that come again. It needs no order of anything else, so it holds however many operations are open or crashed,
//! where a search may find no end.

use super::call::{Duty, Effect, Problem, Start, State};

/// When a required operation was invoked, and the value after it.
#[derive(Clone, Copy)]
struct Evidence {
    invoke: u32,
    value: State,
}

/// The rank of the first completion at which `problem` shows an observer of a value that was gone.
///
/// Time O(n log n) for n calls.
pub(super) fn first(problem: &Problem) -> Option<u32> {
    let calls = &problem.calls;
    let after = |effect: Effect| match effect {
        Effect::Read(value) | Effect::Write(value) | Effect::Cas(_, value) => value,
    };
    // By value, in the order of invocation: until when one of those invoked so far may take effect.
    let mut producers: Vec<(State, u32, u32)> = calls
        .iter()
        .filter_map(|call| Some((call.effect.produced()?, call.invoke, call.complete.unwrap_or(u32::MAX))))
        .collect();
    producers.sort_unstable();
    for at in 1..producers.len() {
        let (value, _, until) = producers[at - 1];
        if producers[at].0 == value {
            producers[at].2 = producers[at].2.max(until);
        }
    }
    let required = || {
        calls
            .iter()
            .filter(|call| call.duty == Duty::Required)
            .filter_map(|call| Some((call.complete?, call)))
    };
    let mut completed: Vec<(u32, Evidence)> = required()
        .map(|(complete, call)| (complete, Evidence { invoke: call.invoke, value: after(call.effect) }))
        .collect();
    completed.sort_unstable_by_key(|(complete, _)| *complete);
    // After each completion, the latest invoked of those completed, and the latest with another value.
    let mut latest: [Option<Evidence>; 2] = [None, None];
    let latests: Vec<[Option<Evidence>; 2]> = completed
        .iter()
        .map(|(_, evidence)| {
            let later = |one: Option<Evidence>| one.is_none_or(|one| one.invoke < evidence.invoke);
            latest = match latest {
                [Some(first), second] if first.value == evidence.value => {
                    [if later(Some(first)) { Some(*evidence) } else { Some(first) }, second]
                }
                [first, _] if later(first) => [Some(*evidence), first],
                [first, second] if later(second) => [first, Some(*evidence)],
                unchanged => unchanged,
            };
            latest
        })
        .collect();
    let is_gone = |complete: u32, invoke: u32, value: State| {
        let begun = producers.partition_point(|(other, invoke, _)| (*other, *invoke) < (value, complete));
        let until = begun.checked_sub(1).map(|at| producers[at]).filter(|(other, ..)| *other == value);
        // Without a producer, the register may have held it from the start, before everything.
        let until = until.map(|(_, _, until)| until);
        if until.is_none() && matches!(problem.start, Start::Known(state) if state != value) {
            return true;
        }
        let done = completed.partition_point(|(complete, _)| *complete < invoke);
        let Some(latest) = done.checked_sub(1).map(|at| latests[at]) else { return false };
        let gone = |other: &Evidence| other.value != value && until.is_none_or(|until| other.invoke > until);
        latest.iter().flatten().any(gone)
    };
    required()
        .filter(|(complete, call)| {
            call.effect.observed().is_some_and(|value| is_gone(*complete, call.invoke, value))
        })
        .map(|(complete, _)| complete)
        .min()
}
