//! Queues, stacks and priority queues: is there one order of all operations, agreeing with real time, in which every dequeue
//! gives the element that comes next?
//!
//! The order in which elements come out is the [`Order`]. A dequeue that was answered null found the queue empty. One of unknown
//! outcome may have taken out an element, which is lost then; a failed operation did not happen. A drain is a dequeue of each
//! of its elements, in no order, at any moments while it was open; the moment at which it found the queue empty is not looked
//! at.
//!
//! If no value went in twice, a queue, a stack or a bag is decided in near-linear time, from the elements and the operations that
//! put them in and took them out. Otherwise deciding this is NP-hard in general, and the search (`sequential`) takes time and
//! memory that grow exponentially with the number of operations that are open at once. The search also decides priority queues, stacks
//! with pops of unknown outcome that may have taken out an element, and the few queues that `fifo` leaves open.
//!
//! In reading order: `elements`: what the history says about each element; `inside`, `fifo`, `stack` (with `cover`): what may
//! be wrong; `violation`: the proof of it; `model`: the queue as a sequential object, for the search; `witness`: a violation
//! that the search found minimized, and explained.

mod cover;
mod elements;
mod fifo;
mod inside;
mod model;
mod stack;
mod violation;
mod witness;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use duress_history::total_queue::TotalQueue;
use duress_history::{Completion, Operation, Scalar};

use crate::linearizable::{Budget, Limits};
use crate::sequential::{Algorithm, Answer, Asked, Decision, decide, report};
use crate::verdict::CheckReport;
use crate::witness::Op;
use elements::{Elements, Refused};
use model::{Call, Effect, Kind};
use violation::Violation;

/// The element that comes out next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The one that came in first: a queue.
    Fifo,
    /// The one that came in last: a stack.
    Lifo,
    /// The least, in the order of [`Scalar`]: a priority queue.
    Least,
    /// Any: a bag.
    Any,
}

impl fmt::Display for Order {
    /// Writes the element, as the object of a sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fifo => "the element that came in first",
            Self::Lifo => "the element that came in last",
            Self::Least => "the least element",
            Self::Any => "an element that is there",
        })
    }
}

/// Checks the one queue of `operations`, which are in order of invocation; it is empty at first.
///
/// `interrupt` may be set at any time; a queue that is not decided then is `Unknown`.
#[must_use]
pub fn check_queue(
    operations: &[Operation<TotalQueue>],
    order: Order,
    budget: &Budget,
    interrupt: &AtomicBool,
) -> CheckReport {
    let answer = unique(operations, order).unwrap_or_else(|| search(operations, order, budget, interrupt));
    let happened = |operation: &&Operation<TotalQueue>| matches!(operation.completion, Completion::Ok { .. });
    let happened = operations.iter().filter(happened).count() as u64;
    report(vec![Answer { happened, ..answer }], operations.len(), Asked::Yes)
}

/// Decides a queue in near-linear time; `None` if that is not possible.
fn unique(operations: &[Operation<TotalQueue>], order: Order) -> Option<Answer> {
    if order == Order::Least {
        return None;
    }
    let (observed, violation) = match Elements::of(operations) {
        Err(Refused::Repeated) => return None,
        Err(Refused::Violated(violation)) => (0, Err(violation)),
        Ok(elements) => (elements.observed, decided(&elements, order)?),
    };
    let anomaly = violation.err().map(|violation| violation.anomaly(operations));
    Some(Answer { anomaly, observed, algorithm: Algorithm::NearLinear, ..Answer::default() })
}

/// Decides whether a queue is right from its `elements`; `None` if that is not possible.
fn decided(elements: &Elements, order: Order) -> Option<Result<(), Violation>> {
    match order {
        Order::Fifo => fifo::decide(elements).transpose(),
        Order::Any => Some(inside::empty_moments(elements).map(drop)),
        Order::Least => None,
        Order::Lifo => match inside::empty_moments(elements) {
            Err(violation) => Some(Err(violation)),
            Ok(_) if elements.open.is_empty() => Some(stack::decide(&elements.all)),
            Ok(_) => None,
        },
    }
}

/// Decides a queue by the search.
fn search(
    operations: &[Operation<TotalQueue>],
    order: Order,
    budget: &Budget,
    interrupt: &AtomicBool,
) -> Answer {
    let (calls, values) = calls(operations, order);
    let shows = |call: &&Call| call.complete.is_some() && !matches!(call.effect.kind, Kind::Enqueue(_));
    let memory_bytes = AtomicUsize::new(0);
    let limits = Limits { budget, memory_bytes: &memory_bytes, interrupt };
    let (decision, explored) = decide(&calls, Vec::new(), None, limits);
    let observed = calls.iter().filter(shows).count() as u64;
    let mut answer = Answer { explored, observed, ..Answer::default() };
    match decision {
        Decision::Possible => {}
        Decision::Impossible(violation) => {
            let parts = (&calls[..], &values[..]);
            answer.anomaly = Some(witness::anomaly(operations, order, parts, violation.call, interrupt));
        }
        Decision::Undecided(reason) => answer.reason = Some(reason),
    }
    answer
}

/// Returns what `operations` did, or may have done, to the queue; and the value of each element.
///
/// An enqueue of unknown outcome, whose element no dequeue is known to have given, is left out: if it is part of
/// an order that explains the rest, so is the order without it, and without the dequeue that may have taken it out.
fn calls(operations: &[Operation<TotalQueue>], order: Order) -> (Vec<Call>, Vec<&Scalar>) {
    let known: Vec<(Op, &TotalQueue, Option<u64>)> = operations
        .iter()
        .enumerate()
        .filter_map(|(op, operation)| match &operation.completion {
            Completion::Ok { index, answer, .. } => Some((op as Op, answer, Some(*index))),
            Completion::Info { .. } => Some((op as Op, &operation.action, None)),
            Completion::Fail { .. } => None,
        })
        .collect();
    let mut given: Vec<&Scalar> = known
        .iter()
        .flat_map(|(_, action, _)| match action {
            TotalQueue::Dequeue(Some(value)) => std::slice::from_ref(value),
            TotalQueue::Drain(Some(values)) => values,
            TotalQueue::Enqueue(_) | TotalQueue::Dequeue(None) | TotalQueue::Drain(None) => &[],
        })
        .collect();
    given.sort_unstable();
    let is_in = |(_, action, complete): &&(Op, &TotalQueue, Option<u64>)| match action {
        TotalQueue::Enqueue(value) => complete.is_some() || given.binary_search(&value).is_ok(),
        TotalQueue::Dequeue(_) | TotalQueue::Drain(_) => false,
    };
    let enqueued: Vec<(Op, &TotalQueue, Option<u64>)> = known.iter().filter(is_in).copied().collect();
    // A dequeue of unknown outcome can only have taken out one of the others.
    let lost = enqueued.len().saturating_sub(given.len());
    let mut values = given.clone();
    values.extend(enqueued.iter().filter_map(|(_, action, _)| match action {
        TotalQueue::Enqueue(value) => Some(value),
        TotalQueue::Dequeue(_) | TotalQueue::Drain(_) => None,
    }));
    values.sort_unstable();
    values.dedup();
    let element = |value: &Scalar| values.partition_point(|other| *other < value) as u32;
    let mut calls = Vec::with_capacity(known.len());
    for (op, action, complete) in &known {
        let invoke = operations[*op as usize].index;
        let mut add = |kind| {
            calls.push(Call { effect: Effect { order, kind }, invoke, complete: *complete, op: *op });
        };
        match action {
            TotalQueue::Enqueue(value) => {
                if is_in(&&(*op, *action, *complete)) {
                    add(Kind::Enqueue(element(value)));
                }
            }
            TotalQueue::Dequeue(Some(value)) => add(Kind::Dequeue(element(value))),
            TotalQueue::Drain(Some(drained)) => {
                drained.iter().for_each(|value| add(Kind::Dequeue(element(value))));
            }
            TotalQueue::Dequeue(None) if complete.is_some() => add(Kind::Empty),
            TotalQueue::Dequeue(None) if lost > 0 => add(Kind::DequeueAny),
            TotalQueue::Dequeue(None) => {}
            // It took out something, or everything that was there.
            TotalQueue::Drain(None) if complete.is_none() => (0..lost).for_each(|_| add(Kind::DequeueAny)),
            TotalQueue::Drain(None) => {}
        }
    }
    (calls, values)
}
