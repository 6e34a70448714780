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
use crate::verdict::{CheckReport, Reason};
use crate::witness::Op;
use elements::{Elements, Refused};
use model::{Call, Effect, Kind};

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
    let mut answer = Answer { algorithm: Algorithm::NearLinear, ..Answer::default() };
    match decided(operations, order, interrupt) {
        Ok(observed) => answer.observed = observed,
        Err(Refused::Violated(violation)) => answer.anomaly = Some(violation.anomaly(operations)),
        Err(Refused::Undecided) => answer = search(operations, order, budget, interrupt),
        Err(Refused::Interrupted) => {
            answer.reason = Some(Reason::Interrupted { key: None, explored: 0, reached: None });
        }
    }
    let happened = |operation: &&Operation<TotalQueue>| matches!(operation.completion, Completion::Ok { .. });
    answer.happened = operations.iter().filter(happened).count() as u64;
    report(vec![answer], operations.len(), Asked::Yes)
}

/// Decides in near-linear time whether a queue is right; returns how many answers show its state.
///
/// # Errors
/// [`Refused`].
fn decided(
    operations: &[Operation<TotalQueue>],
    order: Order,
    interrupt: &AtomicBool,
) -> Result<u64, Refused> {
    if order == Order::Least {
        return Err(Refused::Undecided);
    }
    let elements = Elements::of(operations, interrupt)?;
    if order == Order::Fifo {
        fifo::decide(&elements, interrupt)?;
    } else {
        inside::empty_moments(&elements, interrupt)?;
    }
    if order == Order::Lifo {
        if !elements.open.is_empty() {
            return Err(Refused::Undecided);
        }
        stack::decide(&elements.all, interrupt)?;
    }
    Ok(elements.observed)
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

#[cfg(test)]
mod tests {
    use duress_history::{Process, Scalar};

    use super::*;

    #[test]
    fn each_step_looks_at_the_interrupt() {
        let answers = [
            TotalQueue::Enqueue(Scalar::Int(1)),
            TotalQueue::Dequeue(Some(Scalar::Int(1))),
            TotalQueue::Dequeue(None),
        ];
        let operation = |(index, answer): (u64, &TotalQueue)| Operation {
            process: Process(0),
            node: None,
            index: 2 * index,
            time: 2 * index,
            action: answer.clone(),
            completion: Completion::Ok { index: 2 * index + 1, time: 2 * index + 1, answer: answer.clone() },
        };
        let operations: Vec<_> = (0..).zip(&answers).map(operation).collect();
        let [go_on, stop] = [false, true].map(AtomicBool::new);
        let elements = Elements::of(&operations, &go_on).expect("nothing is wrong with them");
        let is_interrupted = |result: Result<(), Refused>| matches!(result, Err(Refused::Interrupted));
        assert!(is_interrupted(Elements::of(&operations, &stop).map(drop)));
        assert!(is_interrupted(fifo::decide(&elements, &stop)));
        assert!(is_interrupted(inside::empty_moments(&elements, &stop).map(drop)));
        assert!(is_interrupted(stack::decide(&elements.all, &stop)));
        let elements = Elements { empty: Vec::new(), ..elements };
        assert!(is_interrupted(fifo::decide(&elements, &stop)));
        assert!(fifo::decide(&elements, &go_on).is_ok() && stack::decide(&elements.all, &go_on).is_ok());
    }
}
