//! A violation minimized: fewer calls that are impossible too.

use std::sync::atomic::{AtomicBool, AtomicUsize};

use super::{Call, Decision, Sequential, Violation, decide};
use crate::linearizable::{Budget, Limits};

/// The budget of one trial of leaving something out; a trial that needs more is not made.
const TRIAL: Budget = Budget { configurations_max: 1 << 15, memory_bytes_max: 64 << 20 };

/// The number of trials for one witness; if they do not suffice, it is larger than it need be, and as true.
pub(crate) const TRIALS_MAX: usize = 1_000;

/// Returns an answer of `calls` that is surely impossible, if there is one and little is needed to find it.
pub(crate) fn trial<E: Sequential>(
    calls: &[Call<E>],
    start: &E::State,
    interrupt: &AtomicBool,
) -> Option<Violation<E::State>> {
    let memory_bytes = AtomicUsize::new(0);
    let limits = Limits { budget: &TRIAL, memory_bytes: &memory_bytes, interrupt };
    match decide(calls, start.clone(), None, limits).0 {
        Decision::Impossible(violation) => Some(violation),
        Decision::Possible | Decision::Undecided(_) => None,
    }
}

/// Returns fewer of `calls`, of which the answer of number `last` is impossible, that are impossible too from `start` on; and
/// the one that then cannot be explained.
///
/// Calls of one `group` may be left out together: an order that explains the whole must explain the rest as well.
/// Calls without a group stay. Calls that began after the impossible answer are left out, and operations that happened become
/// ones that may have happened, where that suffices.
pub(crate) fn shrink<E: Sequential, G: Ord>(
    calls: &[Call<E>],
    last: usize,
    start: &E::State,
    group: impl Fn(&Call<E>) -> Option<G>,
    interrupt: &AtomicBool,
) -> (Vec<Call<E>>, Call<E>) {
    let mut last = calls[last];
    let end = last.complete.unwrap_or(u64::MAX);
    let mut small: Vec<Call<E>> = calls
        .iter()
        .filter(|call| call.invoke <= end)
        .map(|call| Call { complete: call.complete.filter(|complete| *complete <= end), ..*call })
        .collect();
    let mut trials = 0;
    let mut attempt = |small: &mut Vec<Call<E>>, less: Vec<Call<E>>| {
        trials += 1;
        let violation = if trials > TRIALS_MAX { None } else { trial(&less, start, interrupt) };
        let Some(violation) = violation else { return false };
        last = less[violation.call];
        *small = less;
        true
    };
    let mut groups: Vec<G> = small.iter().filter_map(&group).collect();
    groups.sort_unstable();
    groups.dedup();
    // Half of the groups at once, then fewer.
    let mut some = groups.len().div_ceil(2);
    while some > 0 {
        let mut from = 0;
        while from < groups.len() {
            let to = (from + some).min(groups.len());
            let stays = |call: &&Call<E>| {
                group(call).is_none_or(|group| groups[from..to].binary_search(&group).is_err())
            };
            let less = small.iter().filter(stays).copied().collect();
            if attempt(&mut small, less) {
                groups.drain(from..to);
            } else {
                from = to;
            }
        }
        some = if some == 1 { 0 } else { some.div_ceil(2) };
    }
    for at in 0..small.len() {
        if small[at].complete.is_some() {
            let mut less = small.clone();
            less[at].complete = None;
            attempt(&mut small, less);
        }
    }
    (small, last)
}
