//! Facts about operations of unknown outcome that need no search.
//!
//! Such an operation may take effect at any time after its invocation, or never, so it stays possible for the rest of
//! the history, and a search that keeps thousands of them in mind does not end. Three facts thin them out exactly,
//! that is, without changing which prefixes of the history are linearizable.
//!
//! **Unobserved ones can be dropped.** Call a value *useful until t* when a completed operation that observes it
//! completes at t or later, or when a kept crashed compare-and-set observes it whose own new value is useful until t.
//! A crashed operation is kept only when it is invoked before the time until which its new value is useful. Proof
//! that the others can go: take a linearization with some of them in it, and of these the last one, x, with new value
//! v. The operation after it, if any, cannot observe v: a completed one that observes v and comes after x in the order
//! completes after x was invoked, so v would be useful long enough and x be kept; a kept crashed one would make v
//! useful for as long as its own new value, and had it been invoked later than that it would not have been kept; one
//! that is not kept would contradict that x is the last. So it is a write, or nothing, and does not care that x is
//! gone. Repeat.
//!
//! **A sole producer has a deadline.** When one crashed operation alone produces v, the register did not hold v from
//! the start, and some completed operation observed v, then the crashed one did take effect, before the first of its
//! observers completed: it is as good as completed there. If it is itself a compare-and-set, the same now holds
//! for the value it observed.
//!
//! **Equal ones are interchangeable.** Of crashed operations with one and the same effect, the one invoked first may
//! always be taken first: none has a deadline, so swapping two of them in a linearization gives another one. What
//! remains is grouped by effect, and a search need only count.

use super::call::{Call, Duty, Effect, Problem, Start, State};

/// Twice the rank of an event, so that a deadline fits before a completion.
pub(crate) type Position = u32;

/// Returns the position of the event of rank `rank`.
pub(crate) fn position(rank: u32) -> Position {
    2 * rank + 1
}

/// An operation that took effect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Required {
    pub(crate) effect: Effect,
    pub(crate) invoke: Position,
    /// By when it took effect: its completion, or just before that of its first observer.
    pub(crate) deadline: Position,
    pub(crate) duty: Duty,
    /// The position of its call in the problem.
    pub(crate) call: u32,
}

/// Crashed operations with one and the same effect that remain in question.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) effect: Effect,
    /// Positions of their invocations, rising.
    pub(crate) invokes: Vec<Position>,
    /// The positions of their calls in the problem, in the same order.
    pub(crate) calls: Vec<u32>,
}

/// A problem after the three reductions.
#[derive(Clone, Debug)]
pub(crate) struct Reduced {
    /// By invocation.
    pub(crate) required: Vec<Required>,
    /// By effect.
    pub(crate) groups: Vec<Group>,
    /// How many crashed operations were dropped.
    pub(crate) unobserved: u64,
}

/// The facts about one value.
#[derive(Clone, Copy, Default)]
struct Usefulness {
    /// The latest completion of its observers; 0 when it is not needed.
    until: Position,
    /// The earliest completion of its observers that must take effect, when there are any.
    first: Option<Position>,
    producers: u32,
    /// The last crashed producer seen; the sole one where `producers` is 1.
    crashed_producer: Option<u32>,
}

/// Applies the three reductions to `problem`.
///
/// Time O(calls + crashed compare-and-sets × values they chain through).
pub(crate) fn reduce(problem: &Problem) -> Reduced {
    let calls = &problem.calls;
    let mut values = vec![Usefulness::default(); problem.states as usize];
    for call in calls {
        if let (Some(value), Some(complete)) = (call.effect.observed(), call.complete) {
            let (value, complete) = (&mut values[value as usize], position(complete));
            value.until = value.until.max(complete);
            if call.duty == Duty::Required {
                value.first = Some(value.first.map_or(complete, |first| first.min(complete)));
            }
        }
    }
    let crashed: Vec<u32> =
        (0..calls.len() as u32).filter(|at| calls[*at as usize].complete.is_none()).collect();
    extend_usefulness(calls, &crashed, &mut values);
    let kept = |call: &Call, values: &[Usefulness]| {
        call.effect.produced().is_some_and(|value| position(call.invoke) < values[value as usize].until)
    };

    for (at, call) in calls.iter().enumerate() {
        let Some(value) = call.effect.produced() else { continue };
        if call.complete.is_none() {
            if !kept(call, &values) {
                continue;
            }
            values[value as usize].crashed_producer = Some(at as u32);
        }
        values[value as usize].producers += 1;
    }
    if let Start::Known(state) = problem.start {
        values[state as usize].producers += 1;
    } else {
        // The register may have held any value at first: no operation is a sole producer.
        values.iter_mut().for_each(|value| value.producers += 1);
    }
    let deadlines = deadlines(calls, &crashed, &mut values);

    let mut reduced =
        Reduced { required: Vec::with_capacity(calls.len()), groups: Vec::new(), unobserved: 0 };
    let mut remaining: Vec<(Effect, Position, u32)> = Vec::new();
    let mut next_crashed = 0;
    for (at, call) in calls.iter().enumerate() {
        let invoke = position(call.invoke);
        let deadline = match call.complete {
            Some(complete) => Some(position(complete)),
            None => {
                next_crashed += 1;
                deadlines[next_crashed - 1]
            }
        };
        if let Some(deadline) = deadline {
            // One that never completed has a deadline because it did take effect.
            let duty = if call.complete.is_some() { call.duty } else { Duty::Required };
            reduced.required.push(Required { effect: call.effect, invoke, deadline, duty, call: at as u32 });
        } else if kept(call, &values) {
            remaining.push((call.effect, invoke, at as u32));
        } else {
            reduced.unobserved += 1;
        }
    }
    remaining.sort_unstable_by_key(|(effect, invoke, _)| (effect.produced(), effect.observed(), *invoke));
    for (effect, invoke, call) in remaining {
        match reduced.groups.last_mut() {
            Some(group) if group.effect == effect => {
                group.invokes.push(invoke);
                group.calls.push(call);
            }
            _ => reduced.groups.push(Group { effect, invokes: vec![invoke], calls: vec![call] }),
        }
    }
    reduced
}

/// Carries usefulness backwards through crashed compare-and-sets, until it no longer changes.
fn extend_usefulness(calls: &[Call], crashed: &[u32], values: &mut [Usefulness]) {
    // By new value, so that a value that became useful for longer finds those that produce it.
    let mut by_new: Vec<(State, State, Position)> = crashed
        .iter()
        .filter_map(|at| match calls[*at as usize] {
            Call { effect: Effect::Cas(old, new), invoke, .. } => Some((new, old, position(invoke))),
            _ => None,
        })
        .collect();
    by_new.sort_unstable();
    let mut work: Vec<State> = by_new.iter().map(|(new, ..)| *new).collect();
    work.dedup();
    while let Some(value) = work.pop() {
        let until = values[value as usize].until;
        let start = by_new.partition_point(|(new, ..)| *new < value);
        for (_, old, invoke) in by_new[start..].iter().take_while(|(new, ..)| *new == value) {
            let old_until = &mut values[*old as usize].until;
            if *invoke < until && *old_until < until {
                *old_until = until;
                work.push(*old);
            }
        }
    }
}

/// Returns the deadline of each crashed operation that has one, in the order of `crashed`.
fn deadlines(calls: &[Call], crashed: &[u32], values: &mut [Usefulness]) -> Vec<Option<Position>> {
    let mut deadlines = vec![None; crashed.len()];
    let mut work: Vec<u32> = crashed.to_vec();
    while let Some(at) = work.pop() {
        let call = &calls[at as usize];
        let Some(value) = call.effect.produced() else { continue };
        let Usefulness { producers, crashed_producer, first, .. } = values[value as usize];
        let (1, true, Some(first)) = (producers, crashed_producer == Some(at), first) else { continue };
        // Positions of completions are odd; just before one is the even position below it.
        let deadline = first & !1;
        if deadline < position(call.invoke) {
            // The first observer completed before it was invoked: a violation, left for the search to find there.
            continue;
        }
        let place = crashed.binary_search(&at).expect("`at` comes from `crashed`, which is rising");
        if deadlines[place].is_some_and(|known| known <= deadline) {
            continue;
        }
        deadlines[place] = Some(deadline);
        if let Effect::Cas(old, _) = call.effect {
            let old = &mut values[old as usize];
            old.first = Some(old.first.map_or(deadline, |first| first.min(deadline)));
            work.extend(old.crashed_producer);
        }
    }
    deadlines
}
