//! A dequeue that found nothing: was there a moment, while it was open, at which no element was certainly inside?
//!
//! Violation 4 of Henzinger, Sezgin and Vafeiadis, "Aspect-oriented linearizability proofs" (CONCUR 2013). An element is
//! certainly inside from the answer of its enqueue until the dequeue that gives it begins. Whatever the queue's order, it is empty
//! at no moment of these.
//!
//! Dequeues of unknown outcome may have taken out elements that no dequeue gave. Numbered by the answers of their enqueues,
//! and these dequeues by their invocations, the i-th element counts as inside until the i-th dequeue begins: at any moment of
//! that, at least i elements had gone in, and fewer than i dequeues had begun that can have taken them out.
//!
//! A moment is given as an index: it follows the invocations that have this index, or a lower one, and precedes its completions.

use std::sync::atomic::AtomicBool;

use super::elements::{Element, Elements, OPEN, Refused, Span, go_on};
use super::violation::Violation;

/// A time at which an element is certainly inside.
#[derive(Clone, Copy)]
struct Stay {
    from: u64,
    to: u64,
    /// Its place in the list of elements, and its number, from 1, among those that no dequeue gave.
    element: usize,
    number: usize,
}

/// Returns, for each dequeue that found nothing, the first moment at which the queue can have been empty.
///
/// Time O(n log n).
///
/// # Errors
/// [`Refused`]: violated by the first of them without such a moment.
pub(super) fn empty_moments(elements: &Elements, interrupt: &AtomicBool) -> Result<Vec<u64>, Refused> {
    if elements.empty.is_empty() {
        return Ok(Vec::new());
    }
    let stays = stays(elements);
    // Those that overlap, together: they leave no moment between them.
    let mut covered: Vec<(u64, u64)> = Vec::new();
    for stay in &stays {
        go_on(interrupt)?;
        match covered.last_mut().filter(|(_, to)| stay.from < *to) {
            Some((_, to)) => *to = (*to).max(stay.to),
            None => covered.push((stay.from, stay.to)),
        }
    }
    let moment = |empty: &Span| {
        go_on(interrupt)?;
        let before = covered.partition_point(|(from, _)| *from < empty.invoke);
        let (_, to) = before.checked_sub(1).map_or((0, 0), |at| covered[at]);
        let moment = empty.invoke.max(to);
        if moment > empty.complete { Err(not_empty(elements, &stays, *empty).into()) } else { Ok(moment) }
    };
    elements.empty.iter().map(moment).collect()
}

/// Returns the stays of all elements, by their beginning.
fn stays(elements: &Elements) -> Vec<Stay> {
    let mut stays: Vec<Stay> = elements
        .all
        .iter()
        .enumerate()
        .map(|(at, element)| Stay {
            from: element.inside_from(),
            to: element.inside_to(),
            element: at,
            number: 0,
        })
        .collect();
    stays.sort_by_key(|stay| stay.from);
    let mut number = 0;
    for stay in &mut stays {
        if elements.all[stay.element].dequeue.is_none() {
            stay.to = elements.open.get(number).map_or(stay.to, |open| open.invoke);
            number += 1;
            stay.number = number;
        }
    }
    stays.retain(|stay| stay.from < stay.to && stay.from != OPEN);
    stays
}

/// Returns the proof that some element was inside as long as the dequeue `empty` was open: as few elements as possible.
fn not_empty(elements: &Elements, stays: &[Stay], empty: Span) -> Violation {
    let mut stays = stays.iter().copied().peekable();
    let mut chain: Vec<Stay> = Vec::new();
    let (mut reached, mut next): (u64, Option<Stay>) = (empty.invoke, None);
    while reached <= empty.complete {
        while let Some(stay) = stays.next_if(|stay| stay.from < reached) {
            next = next.filter(|next| next.to >= stay.to).or(Some(stay));
        }
        let stay = next.take().expect("the stays cover the whole dequeue");
        assert!(stay.to >= reached, "the stays cover the whole dequeue");
        reached = stay.to;
        chain.push(stay);
    }
    let element = |stay: &Stay| elements.all[stay.element];
    // A count of elements is proved by all of these that have gone in, and by each dequeue that may have taken one of them.
    let count = chain.iter().map(|stay| stay.number).max().unwrap_or(0);
    let mut left: Vec<Element> =
        elements.all.iter().filter(|element| element.dequeue.is_none()).copied().collect();
    left.sort_by_key(Element::inside_from);
    left.truncate(count);
    let inside = chain.iter().filter(|stay| stay.number == 0).map(element).collect();
    let open = elements.open[..count.saturating_sub(1)].iter().map(|open| open.op).collect();
    Violation::NotEmpty { empty, inside, left, open }
}
