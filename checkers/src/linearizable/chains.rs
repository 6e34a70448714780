//! A near-linear algorithm for values that are each produced once.
//!
//! Gibbons and Korach ("Testing shared memories", 1997, section 4) for reads and writes, extended to compare-and-set.
//!
//! When each value has one producer, every answer identifies the operation it was read from. The *cluster* of
//! a value is its producer and the reads that saw it; in a linearization a cluster is contiguous, its
//! producer first. A compare-and-set observes the value of one cluster and begins the next, so clusters
//! linked by compare-and-sets are contiguous too, in that order: a *chain*. Chains begin with a write, or
//! with the initial value, and that chain comes before all others.
//!
//! Let f be the earliest completion in a chain and s its latest invocation. Real time puts chain X before chain Y
//! exactly when f(X) < s(Y): some operation of X completed before some operation of Y was invoked. The history is
//! linearizable when
//! 1. every value observed has a producer, or was the initial value;
//! 2. at most one compare-and-set observes each value, and following them never leads back;
//! 3. within a chain, no operation of a later cluster completed before one of an earlier cluster was invoked, and
//!    no read before its own producer was invoked;
//! 4. no two chains are each before the other.
//!
//! Each is necessary by the above. Together they suffice: a longer cycle of chains contains a shorter one (let Y have
//! the largest s in it; the chain before Y's predecessor is also before Y, so Y and its successor, which Y is before
//! and which is before something with a smaller s, are each before the other), so the chains can be put in order,
//! and within each the clusters, and within each the reads, by invocation.
//!
//! Crashed operations need no guessing: one whose value was observed took effect, any other can be dropped.

use super::call::{Effect, INITIAL, Problem, Start, State};
use super::crashed::{Reduced, position};

/// Operations, as numbers of calls, that together with the producers of all they observe cannot be linearized.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) calls: Vec<u32>,
}

/// An event of an operation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Moment {
    position: u32,
    /// `None` for the moment before the history, at which the first value came about.
    call: Option<u32>,
}

const BEFORE: Moment = Moment { position: 0, call: None };
const NEVER: Moment = Moment { position: u32::MAX, call: None };

/// The producer of a value and the reads that saw it, or several of them in a chain.
#[derive(Clone, Copy)]
struct Zone {
    /// f, the earliest completion.
    first_completion: Moment,
    /// s, the latest invocation.
    last_invocation: Moment,
}

impl Zone {
    const EMPTY: Self = Self { first_completion: NEVER, last_invocation: BEFORE };

    fn join(&mut self, other: Self) {
        self.first_completion = self.first_completion.min(other.first_completion);
        self.last_invocation = self.last_invocation.max(other.last_invocation);
    }
}

/// One value.
#[derive(Clone, Copy)]
struct Cluster {
    zone: Zone,
    producer: Option<u32>,
    /// The compare-and-set that observes the value.
    successor: Option<u32>,
    observed: Option<u32>,
}

/// Decides `problem`, whose reduction is `reduced`; `None` when some value has two producers.
///
/// Time O(n log n) for n calls.
pub(crate) fn check(problem: &Problem, reduced: &Reduced) -> Option<Result<(), Violation>> {
    if problem.start != Start::Known(INITIAL) {
        return None;
    }
    let empty = Cluster { zone: Zone::EMPTY, producer: None, successor: None, observed: None };
    let mut clusters = vec![empty; problem.states as usize];
    let grouped = reduced.groups.iter().flat_map(|group| group.calls.iter().copied());
    let numbers = || reduced.required.iter().map(|call| call.call).chain(grouped.clone());
    for number in numbers() {
        if let Some(value) = problem.calls[number as usize].effect.produced()
            && (value == INITIAL || clusters[value as usize].producer.replace(number).is_some())
        {
            return None;
        }
    }
    let mut found = Found { problem, best: None };
    for number in numbers() {
        let call = &problem.calls[number as usize];
        let home = match call.effect {
            Effect::Read(value) | Effect::Write(value) | Effect::Cas(_, value) => {
                &mut clusters[value as usize]
            }
        };
        let completion = call.complete.map_or(NEVER, |rank| moment(position(rank), number));
        home.zone.join(Zone {
            first_completion: completion,
            last_invocation: moment(position(call.invoke), number),
        });
        if let Some(value) = call.effect.observed() {
            let cluster = &mut clusters[value as usize];
            cluster.observed = Some(cluster.observed.map_or(number, |other| found.earlier(other, number)));
        }
        if let Effect::Cas(old, _) = call.effect
            && let Some(other) = clusters[old as usize].successor.replace(number)
        {
            found.violation(&[other, number]);
        }
        if let Effect::Read(value) = call.effect
            && let Some(producer) = clusters[value as usize].producer
        {
            let begun = position(problem.calls[producer as usize].invoke);
            if completion.position < begun {
                found.violation(&[number, producer]);
            }
        }
    }
    for (value, cluster) in clusters.iter().enumerate() {
        if let (None, Some(observer)) = (cluster.producer, cluster.observed)
            && value != INITIAL as usize
        {
            found.violation(&[observer]);
        }
    }
    if found.best.is_none() {
        let chains = link(problem, &clusters, &mut found);
        if found.best.is_none() {
            contradict(chains, &mut found);
        }
    }
    Some(match found.best {
        None => Ok(()),
        Some((_, calls)) => Err(Violation { calls }),
    })
}

fn moment(position: u32, call: u32) -> Moment {
    Moment { position, call: Some(call) }
}

/// The violation that shows earliest in the history.
struct Found<'a> {
    problem: &'a Problem,
    best: Option<(u32, Vec<u32>)>,
}

impl Found<'_> {
    /// Returns when `number` is known to have taken effect; if it never completed, when it was invoked.
    fn shown(&self, number: u32) -> u32 {
        let call = &self.problem.calls[number as usize];
        call.complete.unwrap_or(call.invoke)
    }

    fn earlier(&self, one: u32, other: u32) -> u32 {
        if self.shown(one) <= self.shown(other) { one } else { other }
    }

    fn violation(&mut self, calls: &[u32]) {
        let shown = calls.iter().map(|call| self.shown(*call)).max().unwrap_or(0);
        if self.best.as_ref().is_none_or(|(best, _)| shown < *best) {
            self.best = Some((shown, calls.to_vec()));
        }
    }

    fn moments(&mut self, moments: &[Moment]) {
        let calls: Vec<u32> = moments.iter().filter_map(|moment| moment.call).collect();
        self.violation(&calls);
    }
}

/// Follows compare-and-sets from each beginning; one zone for each chain.
fn link(problem: &Problem, clusters: &[Cluster], found: &mut Found<'_>) -> Vec<Zone> {
    let mut chains = Vec::new();
    let mut visited = vec![false; clusters.len()];
    let effect = |number: u32| problem.calls[number as usize].effect;
    for head in 0..clusters.len() {
        let begins = match clusters[head].producer {
            Some(producer) => matches!(effect(producer), Effect::Write(_)),
            None => head == INITIAL as usize,
        };
        if !begins {
            continue;
        }
        let mut chain = clusters[head].zone;
        visited[head] = true;
        let mut at = head;
        while let Some(next) = clusters[at].successor.and_then(|cas| effect(cas).produced()) {
            at = next as usize;
            visited[at] = true;
            let zone = clusters[at].zone;
            if zone.first_completion < chain.last_invocation {
                found.moments(&[zone.first_completion, chain.last_invocation]);
            }
            chain.join(zone);
        }
        if head == INITIAL as usize {
            chain.first_completion = BEFORE;
        }
        if chain.last_invocation != BEFORE {
            chains.push(chain);
        }
    }
    // Every cluster begins a chain or is the successor of one, so one not reached is on a cycle, or hangs on one.
    if let Some(lost) = (0..clusters.len()).find(|at| !visited[*at] && clusters[*at].producer.is_some()) {
        found.violation(&cycle(problem, clusters, lost as State));
    }
    chains
}

/// Returns the compare-and-sets of the cycle that `value` is on or hangs on.
fn cycle(problem: &Problem, clusters: &[Cluster], value: State) -> Vec<u32> {
    let before = |value: State| {
        let producer = clusters[value as usize].producer?;
        Some((producer, problem.calls[producer as usize].effect.observed()?))
    };
    let mut at = value;
    // As many steps back as there are values surely end on the cycle.
    for _ in 0..clusters.len() {
        at = before(at).map_or(at, |(_, old)| old);
    }
    let mut calls = Vec::new();
    let on = at;
    while let Some((producer, old)) = before(at) {
        calls.push(producer);
        at = old;
        if at == on {
            break;
        }
    }
    calls
}

/// Looks for two chains that are each before the other.
///
/// A chain is *forward* when f < s. Two forward ones contradict each other exactly when they overlap; a backward one
/// contradicts a forward one exactly when it lies inside; two backward ones never do.
fn contradict(mut chains: Vec<Zone>, found: &mut Found<'_>) {
    let blame = |one: Zone, other: Zone, found: &mut Found<'_>| {
        found.moments(&[
            one.first_completion,
            one.last_invocation,
            other.first_completion,
            other.last_invocation,
        ]);
    };
    chains.sort_unstable_by_key(|chain| chain.first_completion);
    let (forward, backward): (Vec<Zone>, Vec<Zone>) =
        chains.into_iter().partition(|chain| chain.first_completion < chain.last_invocation);
    let mut furthest: Option<Zone> = None;
    for chain in &forward {
        if let Some(other) = furthest {
            if chain.first_completion < other.last_invocation {
                blame(other, *chain, found);
            }
            if chain.last_invocation < other.last_invocation {
                continue;
            }
        }
        furthest = Some(*chain);
    }
    // If forward ones overlap there is a violation already, and no second is needed.
    for chain in &backward {
        let after = forward.partition_point(|other| other.first_completion < chain.last_invocation);
        if let Some(other) = after.checked_sub(1).map(|at| forward[at])
            && chain.first_completion < other.last_invocation
        {
            blame(*chain, other, found);
        }
    }
}
