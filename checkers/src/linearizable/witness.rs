//! A violation minimized, in sound ways.
//!
//! The rest of a history must still be impossible *because the whole is*: so each change may only allow more
//! linearizations, never fewer. Four do:
//! - leaving out everything after an event (an operation open there becomes one that may or may not happen);
//! - leaving out a read;
//! - turning an operation that happened into one that may have happened, and dropping it if its value is not
//!   observed (see [`super::crashed`]);
//! - leaving out everything that completed before some moment, assuming that the register then held *some*
//!   value; an operation open at that moment may happen until its completion, or may have happened before.
//!
//! Leaving out a write that completed is not among them: reads of its value would become impossible, and an
//! innocent operation would be blamed.

use std::cell::Cell;
use std::sync::atomic::AtomicUsize;

use super::call::{Call, Effect, Problem, Start};
use super::chains::Violation;
use super::search::{self, Decision};
use super::window::{self, relaxed, without_beginning};
use super::{Budget, Limits, crashed};

/// Each trial of shrinking may explore this many configurations; one that needs more is not made.
const TRIAL_CONFIGURATIONS_MAX: u64 = 1 << 17;

/// After so many calls and configurations looked at, a witness is small enough as it is.
const WORK_MAX: u64 = 50_000_000;

/// Memory for one trial.
const TRIAL_MEMORY_BYTES_MAX: usize = 256 << 20;

/// From this many operations on, a witness is tried without its beginning.
const LONG: usize = 6;

/// So many of the last operations are each tried as the beginning of a witness.
const CLOSE: usize = 32;

/// Returns a small witness of a violation of chains: operations, by invocation, that cannot be linearized;
/// those whose completion does not matter have none.
pub(crate) fn of_chain(problem: &Problem, violation: &Violation, limits: Limits<'_>) -> Problem {
    let mut producers = vec![None; problem.states as usize];
    let mut observers: Vec<Option<u32>> = vec![None; problem.states as usize];
    let completion = |number: u32| problem.calls[number as usize].complete.unwrap_or(u32::MAX);
    for (number, call) in problem.calls.iter().enumerate() {
        let number = number as u32;
        if let Some(value) = call.effect.produced() {
            producers[value as usize] = Some(number);
        }
        if let Some(value) = call.effect.observed() {
            let first = &mut observers[value as usize];
            *first =
                Some(first.map_or(number, |first| {
                    if completion(number) < completion(first) { number } else { first }
                }));
        }
    }
    // Each operation is kept with the one that it read from: without that, it would be impossible for another
    // reason. And one of unknown outcome is kept with one that saw its value: without that, nothing shows
    // that it happened.
    let mut numbers = violation.calls.clone();
    let mut work = violation.calls.clone();
    let mut taken = vec![false; problem.calls.len()];
    numbers.iter().for_each(|number| taken[*number as usize] = true);
    while let Some(number) = work.pop() {
        let call = &problem.calls[number as usize];
        let origin = call.effect.observed().and_then(|value| producers[value as usize]);
        let unknown = call.complete.is_none();
        let seen = call.effect.produced().filter(|_| unknown).and_then(|value| observers[value as usize]);
        for needed in origin.into_iter().chain(seen) {
            if !std::mem::replace(&mut taken[needed as usize], true) {
                numbers.push(needed);
                work.push(needed);
            }
        }
    }
    numbers.sort_unstable();
    let calls = numbers.iter().map(|number| problem.calls[*number as usize]).collect();
    let small = Problem { calls, ..*problem };
    let trial = Trial::new(limits);
    trial.shrink(if trial.is_impossible(&small) { small } else { problem.clone() })
}

/// Returns a small witness out of a problem that is impossible up to the event of rank `rank`, and possible
/// before it.
pub(crate) fn of_prefix(problem: &Problem, rank: u32, limits: Limits<'_>) -> Problem {
    let prefix = window::prefix(problem, rank);
    let trial = Trial::new(limits);
    // If the last operation is impossible all by itself, the others prove nothing.
    let others: Vec<usize> =
        (0..prefix.calls.len()).filter(|number| prefix.calls[*number].complete != Some(rank)).collect();
    let alone = without(&prefix, &others);
    if trial.is_impossible(&alone) {
        return trial.shrink(alone);
    }
    match trial.cut(&prefix, rank) {
        Some(cut) => trial.shrink(cut),
        None => trial.shrink(prefix),
    }
}

/// Tries whether relaxed problems are still impossible.
struct Trial<'a> {
    limits: Limits<'a>,
    /// Calls and configurations looked at so far.
    work: Cell<u64>,
}

impl<'a> Trial<'a> {
    fn new(limits: Limits<'a>) -> Self {
        Self { limits, work: Cell::new(0) }
    }

    /// Whether the search proves that `problem` cannot be linearized, quickly.
    fn is_impossible(&self, problem: &Problem) -> bool {
        let memory_bytes = AtomicUsize::new(0);
        let budget = Budget {
            configurations_max: TRIAL_CONFIGURATIONS_MAX.max(4 * problem.calls.len() as u64),
            memory_bytes_max: TRIAL_MEMORY_BYTES_MAX,
        };
        let limits =
            Limits { budget: &budget, memory_bytes: &memory_bytes, interrupt: self.limits.interrupt };
        if limits.interrupted() || self.work.get() > WORK_MAX {
            return false;
        }
        let (decision, explored) = search::search(problem, &crashed::reduce(problem), limits);
        self.work.set(self.work.get() + problem.calls.len() as u64 + explored);
        matches!(decision, Decision::Stuck { .. })
    }

    /// Returns a short end of `problem`, whose last event has rank `last`, that is impossible whatever came
    /// before.
    ///
    /// It tries each of the last beginnings in turn, and before those ever longer ends.
    fn cut(&self, problem: &Problem, last: u32) -> Option<Problem> {
        let mut beginnings: Vec<u32> =
            problem.calls.iter().map(|call| call.invoke).filter(|invoke| *invoke <= last).collect();
        beginnings.sort_unstable_by(|one, other| other.cmp(one));
        let doubling =
            std::iter::successors(Some(2 * CLOSE), |at| Some(2 * at)).take_while(|at| *at < beginnings.len());
        let tried = (0..beginnings.len().min(CLOSE)).chain(doubling).chain(beginnings.len().checked_sub(1));
        for at in tried {
            let end = without_beginning(problem, beginnings[at]);
            if self.is_impossible(&end) {
                return Some(end);
            }
            if self.limits.interrupted() {
                break;
            }
        }
        None
    }

    /// Shrinks `problem` until no single relaxation of a completed operation keeps it impossible.
    ///
    /// If shrinking takes too long or is interrupted, the witness is larger than necessary, and as true.
    fn shrink(&self, mut problem: Problem) -> Problem {
        let last =
            |problem: &Problem| problem.calls.iter().filter_map(|call| call.complete).max().unwrap_or(0);
        // A long chain of compare-and-sets holds together: only without its beginning does it become short.
        if problem.calls.len() > 2 * CLOSE
            && let Some(cut) = self.cut(&problem, last(&problem))
        {
            problem = cut;
        }
        let mut problem = self.relax(problem);
        while problem.calls.len() > LONG || problem.start == Start::Any {
            let Some(cut) = self.cut(&problem, last(&problem)) else { break };
            let cut = self.relax(cut);
            if cut.calls.len() >= problem.calls.len() {
                break;
            }
            problem = cut;
        }
        problem
    }

    /// Leaves out reads, then writes that no other call shows, and then relaxes the others too. Reads first: a write that was
    /// acknowledged says more than a read that happened to see it. What others show last: without its end, it is still one
    /// operation of the witness, and may need another.
    fn relax(&self, problem: Problem) -> Problem {
        let problem =
            self.minimize(observed_only(&problem), |_, call| matches!(call.effect, Effect::Read(_)));
        let problem = self.minimize(problem, |problem, call| {
            call.effect
                .produced()
                .is_none_or(|value| problem.calls.iter().all(|other| other.effect.observed() != Some(value)))
        });
        self.minimize(problem, |_, _| true)
    }

    /// Relaxes calls that are `eligible`: large parts at once, then smaller ones, down to single ones, until
    /// no more can be relaxed.
    ///
    /// This is the delta debugging of Zeller and Hildebrandt (TSE 2002).
    fn minimize(&self, mut problem: Problem, eligible: impl Fn(&Problem, &Call) -> bool) -> Problem {
        let completed = |problem: &Problem| -> Vec<usize> {
            let counts = |call: &Call| call.complete.is_some() && eligible(problem, call);
            (0..problem.calls.len()).filter(|number| counts(&problem.calls[*number])).collect()
        };
        let mut part = completed(&problem).len().div_ceil(2);
        while part > 0 {
            let (mut shrunk, mut from) = (false, 0);
            loop {
                let numbers = completed(&problem);
                if from >= numbers.len() {
                    break;
                }
                let chosen = &numbers[from..(from + part).min(numbers.len())];
                let candidate = without(&problem, chosen);
                if self.is_impossible(&candidate) {
                    problem = observed_only(&candidate);
                    shrunk = true;
                } else {
                    from += part;
                }
            }
            if part > 1 {
                part = part.div_ceil(2);
            } else if !shrunk {
                part = 0;
            }
        }
        problem
    }
}

/// `problem` with the calls `chosen`, rising, relaxed.
fn without(problem: &Problem, chosen: &[usize]) -> Problem {
    let calls =
        problem.calls.iter().enumerate().filter_map(|(number, call)| match chosen.binary_search(&number) {
            Ok(_) => relaxed(&Call { complete: None, ..*call }),
            Err(_) => Some(*call),
        });
    Problem { calls: calls.collect(), ..*problem }
}

/// `problem` without the crashed calls that no answer can show.
fn observed_only(problem: &Problem) -> Problem {
    let reduced = crashed::reduce(problem);
    let grouped = reduced.groups.iter().flat_map(|group| group.calls.iter().copied());
    let mut kept: Vec<u32> = reduced.required.iter().map(|call| call.call).chain(grouped).collect();
    kept.sort_unstable();
    Problem { calls: kept.iter().map(|number| problem.calls[*number as usize]).collect(), ..*problem }
}
