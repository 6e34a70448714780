//! A violation minimized, in sound ways, and explained in sentences.
//!
//! The rest must still be impossible because the whole is, so each change may only allow more orders:
//! - leaving out what began after the answer that cannot be explained;
//! - leaving out everything about some element: an order that explains the whole explains the rest, since each
//!   kind of queue treats the other elements as if that one had never been there (two elements are tried first);
//! - leaving out a dequeue that found nothing;
//! - turning an operation that happened into one that may have happened.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use duress_history::total_queue::TotalQueue;
use duress_history::{Operation, Scalar};

use super::Order;
use super::model::{Call, Element, Kind};
use crate::sequential;
use crate::verdict::{Anomaly, AnomalyKind, RelationKind, Role};
use crate::witness::{Op, Witness, say};

/// Returns the witness of the impossible answer of call `last`.
pub(super) fn anomaly(
    operations: &[Operation<TotalQueue>],
    order: Order,
    (calls, values): (&[Call], &[&Scalar]),
    last: usize,
    interrupt: &AtomicBool,
) -> Anomaly {
    // The operations on an element go together; each dequeue that found nothing goes alone.
    let group = |call: &Call| match call.effect.kind {
        Kind::Enqueue(element) | Kind::Dequeue(element) => Some((element, 0)),
        Kind::Empty => Some((Element::MAX, call.op)),
        Kind::DequeueAny => None,
    };
    let pair = pair(calls, calls[last].effect.kind, interrupt);
    let (calls, last) = pair.as_ref().map_or((calls, last), |(calls, last)| (&calls[..], *last));
    let (small, last) = sequential::shrink(calls, last, &Vec::new(), group, interrupt);
    let role = |call: &Call| match call.effect.kind {
        _ if call.op == last.op => Role::Read,
        Kind::Enqueue(_) => Role::Write,
        Kind::Dequeue(_) | Kind::DequeueAny | Kind::Empty => Role::Evidence,
    };
    let elements = small.iter().filter_map(|call| call.effect.kind.element());
    let focus: Vec<Scalar> = elements.map(|element| values[element as usize].clone()).collect();
    let roles = small.iter().map(|call| (call.op, role(call)));
    let witness = Witness::of(Vec::new(), operations, &focus, roles);
    let named = witness.named(last.op);
    let is_in = |call: &&Call| matches!(call.effect.kind, Kind::Enqueue(_));
    let enqueues = || small.iter().filter(is_in);
    let element = last.effect.kind.element();
    let came_in = enqueues().any(|call| call.effect.kind.element() == element);
    let mut steps = vec![say("At first the queue is empty.", &[])];
    let mut by_invocation: Vec<&Call> = small.iter().collect();
    by_invocation.sort_by_key(|call| call.invoke);
    for pair in by_invocation.windows(2) {
        if pair[0].complete.is_some_and(|complete| complete < pair[1].invoke) && pair[0].op != pair[1].op {
            steps.push(witness.before(pair[0].op, pair[1].op));
        }
    }
    let about: Vec<Op> = small.iter().map(|call| call.op).collect();
    let (kind, summary) = match last.effect.kind {
        Kind::Dequeue(_) if !came_in => (
            AnomalyKind::PhantomRead,
            format!("{named} gave an element that no enqueue can have put in by then"),
        ),
        Kind::Dequeue(_) => (
            AnomalyKind::Nonlinearizable,
            format!("{named} did not give {order}, in whatever order the operations took effect"),
        ),
        Kind::Empty => (
            AnomalyKind::Nonlinearizable,
            format!("{named} found nothing, although the queue cannot have been empty"),
        ),
        Kind::Enqueue(_) | Kind::DequeueAny => {
            (AnomalyKind::Nonlinearizable, format!("{named} fits no order of the operations"))
        }
    };
    let mut conclusion = say(
        format!(
            "In every order of these operations that agrees with real time, and in which each dequeue gives {order}, there is no \
             place for {named}."
        ),
        &about,
    );
    for call in enqueues().filter(|call| call.effect.kind.element() == element && call.op != last.op) {
        conclusion = conclusion.relates(RelationKind::WriteRead, call.op, last.op);
    }
    steps.push(conclusion);
    witness.anomaly(kind, last.op, summary, steps)
}

/// Returns the calls about the element of `kind` and one other, and the number of the one that cannot be explained, if two
/// elements suffice for that.
fn pair(calls: &[Call], kind: Kind, interrupt: &AtomicBool) -> Option<(Vec<Call>, usize)> {
    let element = kind.element()?;
    let mut by_element: BTreeMap<Option<Element>, Vec<Call>> = BTreeMap::new();
    for call in calls.iter().filter(|call| call.effect.kind != Kind::Empty) {
        by_element.entry(call.effect.kind.element()).or_default().push(*call);
    }
    let own = by_element.get(&Some(element))?;
    let lost = by_element.get(&None).map_or(&[][..], |lost| lost);
    by_element.iter().filter(|(other, _)| other.is_some()).find_map(|(other, calls)| {
        let others = if *other == Some(element) { &[][..] } else { &calls[..] };
        let some = [own, others, lost].concat();
        let violation = sequential::trial(&some, &Vec::new(), interrupt)?;
        Some((some, violation.call))
    })
}
