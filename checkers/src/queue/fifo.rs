//! First in, first out: did an element come out before another that had gone in before it?
//!
//! Violation 3 of Henzinger, Sezgin and Vafeiadis, "Aspect-oriented linearizability proofs" (CONCUR 2013), who prove that a
//! queue with unique values is linearizable if it has none of their violations (the others: `elements`, `inside`).
//!
//! An element has to be out, or on its way out, by its *deadline*: the earliest answer with an element that began to go in after
//! this one had gone in. Of the elements that no dequeue gave, each that has a deadline must have been taken out by a dequeue of
//! unknown outcome that began by then, each by another: the i-th of them by deadline by the i-th of these by invocation, if
//! it is possible at all. Elements that went in before such an element have the same deadline or an earlier one, so
//! taking these out suffices.

use std::sync::atomic::AtomicBool;

use super::elements::{Element, Elements, OPEN, Refused, go_on};
use super::inside::empty_moments;
use super::violation::Violation;

/// Decides whether the queue is right: whether it is linearizable. Time O(n log n).
///
/// # Errors
/// [`Refused`]: some histories with dequeues of unknown outcome and ones that found nothing are undecided.
pub(super) fn decide(elements: &Elements, interrupt: &AtomicBool) -> Result<(), Refused> {
    let mut moments = empty_moments(elements, interrupt)?;
    let mut by_end: Vec<(u64, usize)> =
        elements.all.iter().enumerate().map(|(at, element)| (element.inside_from(), at)).collect();
    by_end.sort_unstable();
    // From the last to the first: the earliest answer with an element whose enqueue began after that one's was answered.
    let mut later = elements.all.iter().rev().peekable();
    let mut overtaker: Option<Element> = None;
    let mut left: Vec<(u64, Element, Option<Element>)> = Vec::new();
    for (end, at) in by_end.iter().rev() {
        go_on(interrupt)?;
        while let Some(other) = later.next_if(|other| other.enqueue.invoke > *end) {
            overtaker = overtaker.filter(|before| before.out_by() <= other.out_by()).or(Some(*other));
        }
        let element = elements.all[*at];
        let deadline = overtaker.map_or(OPEN, |other| other.out_by());
        match (element.dequeue, overtaker) {
            (Some(dequeue), Some(other)) if deadline < dequeue.invoke => {
                return Err(Violation::Overtaken { pairs: vec![(element, other)], open: Vec::new() }.into());
            }
            (None, _) => left.push((deadline, element, overtaker)),
            (Some(_), _) => {}
        }
    }
    left.sort_by_key(|(deadline, ..)| *deadline);
    let begun = |number: usize| elements.open.get(number).map_or(OPEN, |open| open.invoke);
    if let Some(at) = (0..left.len()).find(|at| left[*at].0 < begun(*at)) {
        let pairs =
            left[..=at].iter().filter_map(|(_, element, other)| Some((*element, (*other)?))).collect();
        let open = elements.open[..at].iter().map(|open| open.op).collect();
        return Err(Violation::Overtaken { pairs, open }.into());
    }
    if left.is_empty() || moments.is_empty() {
        return Ok(());
    }
    // If the queue was empty at these moments, the elements that had gone in before the next one were out by then. Other
    // moments might do if these do not.
    moments.sort_unstable();
    let mut deadlines: Vec<u64> = left
        .iter()
        .map(|(deadline, element, _)| {
            let next = moments.partition_point(|moment| *moment <= element.inside_from());
            moments.get(next).map_or(*deadline, |moment| *deadline.min(moment))
        })
        .collect();
    deadlines.sort_unstable();
    let in_time = |(at, deadline): (usize, &u64)| begun(at) <= *deadline;
    if deadlines.iter().enumerate().all(in_time) { Ok(()) } else { Err(Refused::Undecided) }
}
