//! Compare-and-sets that only wait: decided last, as edges of a graph.
//!
//! While a node is paused, dozens of compare-and-sets of its clients stay open. Each could take effect at many
//! moments, and a search that chooses one for each does not end, although nearly every choice is right. So here
//! they are *held*: the search need not take them, and takes only those that lead to a value that another
//! operation observes. When the search comes to the end, the others are placed where they leave no trace: just
//! before a write that took effect, the register held a value that was overwritten, and a trail of
//! compare-and-sets may begin at it. The same is true of the last value. Counting shows whether such trails
//! use all of them ([`Graph`], by Euler). If the counts are not right, trails of those operations that were open
//! earlier or later are placed there first, to correct them.
//!
//! A trail does not disturb the search's own order: whatever the search inserts before a write (`search`) begins
//! with a write, so the trail fits between the overwritten value and that insertion, and no operation observed the
//! overwritten value after that moment. Operations that are all open at one moment, the completion of the first of
//! them, are placed together: after the last of their invocations, and before that completion. Such ranges of two
//! groups do not overlap.
//!
//! If all are placed, there is a linearization. If not, the question is open.

use rustc_hash::FxHashMap;

use super::Limits;
use super::call::{Duty, Effect, Problem, Start, State};
use super::crashed::Reduced;
use super::search::{Decision, Extent, Search};
use super::trails::Graph;
use super::walk::Walk;

/// A compare-and-set waits if it is open for more than so many times the median of all operations.
const TIMES_LONGER: u32 = 16;

/// A compare-and-set waits only if it is open for more than so many events.
const POSITIONS_MIN: u32 = 128;

/// The search decides on its own where fewer compare-and-sets wait.
const HELD_MIN: usize = 8;

/// Returns the required compare-and-sets of `reduced` that wait long, as positions in `required`; none if they are few.
pub(super) fn waiting(reduced: &Reduced) -> Vec<usize> {
    let mut lengths: Vec<u32> = reduced.required.iter().map(|call| call.deadline - call.invoke).collect();
    if lengths.len() < HELD_MIN {
        return Vec::new();
    }
    let middle = lengths.len() / 2;
    let (_, median, _) = lengths.select_nth_unstable(middle);
    let long = POSITIONS_MIN.max(median.saturating_mul(TIMES_LONGER));
    let held: Vec<usize> = (0..reduced.required.len())
        .filter(|at| {
            let call = &reduced.required[*at];
            call.deadline - call.invoke > long
                && call.duty == Duty::Required
                && matches!(call.effect, Effect::Cas(..))
        })
        .collect();
    if held.len() < HELD_MIN { Vec::new() } else { held }
}

/// Returns whether `problem` surely has a linearization, found with `held` (positions in `required` of `reduced`) placed last;
/// also says how many configurations were explored, at most `explored_max`.
pub(super) fn linearizes(
    problem: &Problem,
    reduced: &Reduced,
    held: &[usize],
    explored_max: u64,
    limits: Limits<'_>,
) -> (bool, u64) {
    let Start::Known(start) = problem.start else { return (false, 0) };
    let mut relaxed = reduced.clone();
    for at in held {
        relaxed.required[*at].duty = Duty::Optional;
    }
    let walk = Walk::new(&relaxed);
    let mut search = Search::new(&walk, problem, &relaxed.groups, start, 0, limits);
    (search.extent, search.explored_max) = (Extent::Deferred, search.explored_max.min(explored_max));
    let decision = search.run();
    (decision == Decision::Linearizable, search.explored)
}

/// Returns whether the compare-and-sets that `search` left out on its way to the end can all be placed.
pub(super) fn places_all(search: &Search<'_>) -> bool {
    let call = |number: u32| &search.walk.calls[number as usize];
    let mut left = search.left_out.clone();
    left.sort_unstable_by_key(|number| call(*number).complete);
    while let Some(first) = left.first() {
        let until = call(*first).complete;
        let (group, rest): (Vec<u32>, Vec<u32>) =
            left.into_iter().partition(|number| call(*number).invoke < until);
        if !places(search, &group, until, rest.is_empty()) {
            return false;
        }
        left = rest;
    }
    true
}

/// Returns whether `group` can be placed before the event `until`, at which the first of it completes; the `last` group also at
/// the last value.
fn places(search: &Search<'_>, group: &[u32], until: u32, last: bool) -> bool {
    let edge = |number: &u32| {
        let call = &search.walk.calls[*number as usize];
        match call.effect {
            Effect::Cas(old, new) => Edge { invoke: call.invoke, complete: call.complete, old, new },
            Effect::Read(_) | Effect::Write(_) => unreachable!("compare-and-sets alone are held"),
        }
    };
    let mut edges: Vec<Edge> = group.iter().map(edge).collect();
    let begun = edges.iter().map(|edge| edge.invoke).max().unwrap_or(0);
    let (before, after) =
        search.overwritten.split_at(search.overwritten.partition_point(|(at, _)| *at <= begun));
    let (after, later) = after.split_at(after.partition_point(|(at, _)| *at <= until));
    let counts = |edges: &[Edge]| {
        let mut graph = Graph::default();
        edges.iter().for_each(|edge| graph.edge(edge.old, edge.new));
        for (_, value) in after {
            graph.begins_in_the_past(*value);
        }
        if last && search.touched <= until {
            graph.begins_in_the_past(search.state);
        }
        graph.has_trails(None)
    };
    counts(&edges) || {
        balance(&mut edges, before);
        if last {
            balance(&mut edges, later);
        }
        counts(&edges)
    }
}

/// A held compare-and-set.
#[derive(Clone, Copy)]
struct Edge {
    invoke: u32,
    complete: u32,
    old: State,
    new: State,
}

/// Takes trails away from `edges` that can begin at one of `overwritten`, and lead from a value out of which
/// more edges go than come in to one of which the opposite is true.
fn balance(edges: &mut Vec<Edge>, overwritten: &[(u32, State)]) {
    let mut surplus: FxHashMap<State, i64> = FxHashMap::default();
    for edge in edges.iter() {
        *surplus.entry(edge.old).or_default() += 1;
        *surplus.entry(edge.new).or_default() -= 1;
    }
    let begun = edges.iter().map(|edge| edge.invoke).min().unwrap_or(u32::MAX);
    for (at, start) in &overwritten[overwritten.partition_point(|(at, _)| *at <= begun)..] {
        if surplus.get(start).is_none_or(|surplus| *surplus <= 0) {
            continue;
        }
        // The vertices in the order in which they are reached, each with the edge that led there.
        let mut reached: Vec<(State, Option<(usize, usize)>)> = vec![(*start, None)];
        let (mut next, mut end) = (0, None);
        while next < reached.len() && end.is_none() {
            let from = reached[next].0;
            for (number, edge) in edges.iter().enumerate() {
                if edge.old == from
                    && (edge.invoke + 1..=edge.complete).contains(at)
                    && reached.iter().all(|(value, _)| *value != edge.new)
                {
                    reached.push((edge.new, Some((next, number))));
                    if surplus[&edge.new] < 0 {
                        end = Some(reached.len() - 1);
                        break;
                    }
                }
            }
            next += 1;
        }
        let Some(mut vertex) = end else { continue };
        *surplus.entry(*start).or_default() -= 1;
        *surplus.entry(reached[vertex].0).or_default() += 1;
        let mut trail = Vec::new();
        while let Some((from, edge)) = reached[vertex].1 {
            trail.push(edge);
            vertex = from;
        }
        trail.sort_unstable();
        for edge in trail.into_iter().rev() {
            edges.swap_remove(edge);
        }
    }
}
