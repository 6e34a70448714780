//! Internal properties: the two algorithms agree, the prefix is the shortest, the witness is minimal.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use proptest::collection::vec;
use proptest::prelude::*;

use super::call::{Call, Duty, Effect, INITIAL, Problem, Start, State};
use super::search::{self, Decision};
use super::{Budget, Limits, chains, crashed, deferred, overwritten};
use super::{window, witness};

const BUDGET: Budget = Budget { configurations_max: 1 << 20, memory_bytes_max: 1 << 28 };

fn with_limits<T>(run: impl FnOnce(Limits<'_>) -> T) -> T {
    let (memory_bytes, interrupt) = (AtomicUsize::new(0), AtomicBool::new(false));
    run(Limits { budget: &BUDGET, memory_bytes: &memory_bytes, interrupt: &interrupt })
}

fn decide(problem: &Problem) -> Decision {
    with_limits(|limits| search::search(problem, &crashed::reduce(problem), limits).0)
}

fn possible(problem: &Problem) -> bool {
    match decide(problem) {
        Decision::Linearizable => true,
        Decision::Stuck { .. } => false,
        Decision::Undecided { why, .. } => panic!("{why:?} on {problem:?}"),
    }
}

/// Whether `problem` can be linearized by its definition: every order is tried.
fn defined(problem: &Problem) -> bool {
    let starts: Vec<State> = match problem.start {
        Start::Known(state) => vec![state],
        Start::Any => (0..=problem.states).collect(),
    };
    let mut tried = HashSet::new();
    starts.into_iter().any(|state| extends(&problem.calls, 0, state, &mut tried))
}

fn extends(calls: &[Call], taken: u32, state: State, tried: &mut HashSet<(u32, State)>) -> bool {
    let has = |at: usize| taken >> at & 1 == 1;
    let owed = |at: usize| !has(at) && calls[at].duty == Duty::Required && calls[at].complete.is_some();
    if !(0..calls.len()).any(owed) {
        return true;
    }
    if !tried.insert((taken, state)) {
        return false;
    }
    let bound = (0..calls.len()).filter(|at| owed(*at)).filter_map(|at| calls[at].complete).min();
    let begun = (0..calls.len()).filter(|at| has(*at)).map(|at| calls[at].invoke).max();
    (0..calls.len()).any(|at| {
        let Call { effect, invoke, complete, .. } = calls[at];
        !has(at)
            && bound.is_some_and(|bound| invoke < bound)
            && complete.is_none_or(|complete| begun.is_none_or(|begun| begun < complete))
            && effect.observed().is_none_or(|value| value == state)
            && extends(calls, taken | 1 << at, effect.produced().unwrap_or(state), tried)
    })
}

/// `problem` without what completed before some moment, on a register that holds some value.
fn end(problem: &Problem, from: prop::sample::Index) -> Problem {
    if problem.calls.is_empty() {
        return problem.clone();
    }
    window::without_beginning(problem, problem.calls[from.index(problem.calls.len())].invoke)
}

/// Generates calls at random times; those whose number is odd may be crashed.
fn problem(effects: Vec<Effect>, times: Vec<(u8, u8, bool)>) -> Problem {
    let mut events: Vec<(u16, bool, usize)> = Vec::new();
    let mut calls = Vec::new();
    for (source, (effect, (begin, length, crash))) in effects.into_iter().zip(times).enumerate() {
        if crash && effect.produced().is_none() {
            continue;
        }
        events.push((begin.into(), false, calls.len()));
        if !crash {
            events.push((u16::from(begin) + u16::from(length), true, calls.len()));
        }
        calls.push(Call { effect, invoke: 0, complete: None, duty: Duty::Required, source: source as u32 });
    }
    events.sort_unstable();
    for (rank, (_, completion, number)) in events.into_iter().enumerate() {
        if completion {
            calls[number].complete = Some(rank as u32);
        } else {
            calls[number].invoke = rank as u32;
        }
    }
    calls.sort_unstable_by_key(|call| call.invoke);
    Problem { calls, states: 12, start: Start::Known(INITIAL) }
}

fn times() -> impl Strategy<Value = Vec<(u8, u8, bool)>> {
    vec((0_u8..24, 1_u8..8, proptest::bool::weighted(0.2)), 14)
}

fn repeated() -> impl Strategy<Value = Problem> {
    let effect = prop_oneof![
        3 => (0_u32..3).prop_map(Effect::Read),
        2 => (0_u32..3).prop_map(Effect::Write),
        2 => (0_u32..3, 1_u32..3).prop_map(|(old, step)| Effect::Cas(old, (old + step) % 3)),
    ];
    (vec(effect, 1..14), times()).prop_map(|(effects, times)| problem(effects, times))
}

/// Long compare-and-sets, and few other operations.
fn mostly_sets() -> impl Strategy<Value = Problem> {
    let effect = prop_oneof![
        1 => (0_u32..4).prop_map(Effect::Read),
        2 => (0_u32..4).prop_map(Effect::Write),
        3 => (0_u32..4, 1_u32..4).prop_map(|(old, step)| Effect::Cas(old, (old + step) % 4)),
    ];
    let times = vec((0_u8..24, 1_u8..24, proptest::bool::weighted(0.05)), 14);
    (vec(effect, 1..14), times).prop_map(|(effects, times)| problem(effects, times))
}

/// Whether `problem` is found linearizable with all its compare-and-sets held.
fn placed_last(problem: &Problem) -> bool {
    let reduced = crashed::reduce(problem);
    let sets = |at: &usize| matches!(reduced.required[*at].effect, Effect::Cas(..));
    let held: Vec<usize> = (0..reduced.required.len()).filter(sets).collect();
    with_limits(|limits| deferred::linearizes(problem, &reduced, &held, 1 << 16, limits).0)
}

/// Every history of two operations, of reads and writes, one after the other, and of two compare-and-sets that are open
/// for any of their moments, or three that stay open to the end.
#[test]
fn what_is_placed_last_is_right_on_all_small_histories() {
    let others: Vec<Effect> = (0..2).flat_map(|value| [Effect::Read(value), Effect::Write(value)]).collect();
    let sets = [Effect::Cas(0, 1), Effect::Cas(1, 0), Effect::Cas(0, 2)];
    let spans: Vec<(u16, u16)> = (0..5).flat_map(|from| (from + 1..6).map(move |to| (from, to))).collect();
    let to_the_end: Vec<(u16, u16)> = spans.iter().copied().filter(|(_, to)| *to == 5).collect();
    let (mut placed, mut possible) = (0, 0);
    for (count, spans) in [(2, &spans), (3, &to_the_end)] {
        let size = sets.len() * spans.len();
        let one = |code: usize| (sets[code % sets.len()], spans[code / sets.len() % spans.len()]);
        for code in 0..others.len().pow(2) * size.pow(count) {
            let (pair, mut code) = (code % others.len().pow(2), code / others.len().pow(2));
            // They are open from 10 to 15 and from 20 to 25; a span begins and ends before, between or after those times.
            let (first, second) = (others[pair % others.len()], others[pair / others.len()]);
            let mut timed = vec![(first, 10, 15), (second, 20, 25)];
            for number in 0..count as u16 {
                let (effect, (from, to)) = one(code % size);
                timed.push((effect, 6 * from + number, 6 * to + 2 + number));
                code /= size;
            }
            let problem = timed_problem(&timed);
            let (found, right) = (placed_last(&problem), defined(&problem));
            assert!(!found || right, "{problem:?}");
            placed += usize::from(found);
            possible += usize::from(right);
        }
    }
    assert!(placed * 10 > possible * 7, "{placed} of {possible} possible ones were placed");
}

/// Effects with the times of their invocations and completions.
fn timed_problem(timed: &[(Effect, u16, u16)]) -> Problem {
    let mut events: Vec<(u16, bool, usize)> = Vec::new();
    for (number, (_, from, to)) in timed.iter().enumerate() {
        events.extend([(*from, false, number), (*to, true, number)]);
    }
    events.sort_unstable();
    let rank = |number: usize, completion: bool| {
        events.iter().position(|event| (event.1, event.2) == (completion, number)).map(|rank| rank as u32)
    };
    let mut calls: Vec<Call> = timed
        .iter()
        .enumerate()
        .map(|(number, (effect, ..))| Call {
            effect: *effect,
            invoke: rank(number, false).expect("each has both events"),
            complete: rank(number, true),
            duty: Duty::Required,
            source: number as u32,
        })
        .collect();
    calls.sort_unstable_by_key(|call| call.invoke);
    Problem { calls, states: 4, start: Start::Known(INITIAL) }
}

fn unique() -> impl Strategy<Value = Problem> {
    let producers = vec(proptest::option::of(0_u32..8), 1..8);
    let reads = vec(0_u32..8, 0..7);
    (producers, reads, times(), any::<prop::sample::Index>()).prop_map(|(producers, reads, times, turn)| {
        let produce = |(at, old): (usize, Option<u32>)| {
            let new = at as u32 + 1;
            old.filter(|old| *old != new).map_or(Effect::Write(new), |old| Effect::Cas(old, new))
        };
        let mut effects: Vec<Effect> = producers.into_iter().enumerate().map(produce).collect();
        effects.extend(reads.into_iter().map(Effect::Read));
        let turn = turn.index(effects.len());
        effects.rotate_left(turn);
        problem(effects, times)
    })
}

/// Returns the prefix of `problem` up to the event of rank `rank`.
fn prefix(problem: &Problem, rank: u32) -> Problem {
    let calls = problem
        .calls
        .iter()
        .filter(|call| call.invoke <= rank)
        .map(|call| Call { complete: call.complete.filter(|complete| *complete <= rank), ..*call });
    let calls = calls.filter(|call| call.complete.is_some() || call.effect.produced().is_some()).collect();
    Problem { calls, ..*problem }
}

/// No single completed call of the witness can be relaxed, and every crashed one may have been observed.
fn minimal(witness: &Problem) -> Result<(), TestCaseError> {
    prop_assert!(!possible(witness), "the witness is possible: {:?}", witness);
    for at in (0..witness.calls.len()).filter(|at| witness.calls[*at].complete.is_some()) {
        let mut calls = witness.calls.clone();
        if calls[at].effect.produced().is_some() {
            calls[at].complete = None;
        } else {
            calls.remove(at);
        }
        let relaxed = Problem { calls, ..*witness };
        prop_assert!(possible(&relaxed), "{:?} is not needed in {:?}", witness.calls[at], witness);
    }
    prop_assert_eq!(crashed::reduce(witness).unobserved, 0);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn the_search_agrees_with_the_definition(
        problem in prop_oneof![repeated(), unique()],
        from in any::<prop::sample::Index>(),
    ) {
        prop_assert_eq!(possible(&problem), defined(&problem));
        let end = end(&problem, from);
        prop_assert_eq!(possible(&end), defined(&end), "{:?}", end);
    }

    #[test]
    fn what_is_placed_last_agrees_with_the_definition(problem in mostly_sets()) {
        if placed_last(&problem) {
            prop_assert!(defined(&problem));
        }
    }

    #[test]
    fn chains_agree_with_the_search(problem in unique()) {
        let reduced = crashed::reduce(&problem);
        let Some(answer) = chains::check(&problem, &reduced) else {
            return Err(TestCaseError::reject("not unique"));
        };
        prop_assert_eq!(answer.is_ok(), possible(&problem), "{:?}", answer);
        if let Err(violation) = answer {
            minimal(&with_limits(|limits| witness::of_chain(&problem, &violation, limits)))?;
        }
    }

    #[test]
    fn the_search_stops_at_the_shortest_impossible_prefix(problem in prop_oneof![repeated(), unique()]) {
        if let Decision::Stuck { rank } = decide(&problem) {
            prop_assert!(!possible(&prefix(&problem, rank)), "not impossible up to {rank}");
            // A search that stalls may end with what was overwritten, wherever that shows.
            if let Some(before) = rank.checked_sub(1)
                && overwritten::first(&problem) != Some(rank)
            {
                prop_assert!(possible(&prefix(&problem, before)), "impossible before {rank}");
            }
        }
    }

    #[test]
    fn a_prefix_said_to_be_right_is(problem in repeated(), configurations_max in 1_u64..40) {
        let budget = Budget { configurations_max, ..BUDGET };
        let (memory_bytes, interrupt) = (AtomicUsize::new(0), AtomicBool::new(false));
        let limits = Limits { budget: &budget, memory_bytes: &memory_bytes, interrupt: &interrupt };
        let (decision, _) = search::search(&problem, &crashed::reduce(&problem), limits);
        if let Decision::Undecided { rank, .. } = decision
            && let Some(before) = rank.checked_sub(1)
        {
            prop_assert!(defined(&prefix(&problem, before)), "impossible before {rank}");
        }
    }

    #[test]
    fn a_witness_of_the_search_is_minimal(problem in prop_oneof![repeated(), unique()]) {
        if let Decision::Stuck { rank } = decide(&problem) {
            minimal(&with_limits(|limits| witness::of_prefix(&problem, rank, limits)))?;
        }
    }
}
