//! The elements of a queue into which each went at most once, and the operations that put them in and took them out.

use std::sync::atomic::{AtomicBool, Ordering};

use duress_history::total_queue::TotalQueue;
use duress_history::{Completion, Operation, Scalar};
use rustc_hash::FxHashMap;

use super::violation::Violation;
use crate::witness::Op;

/// The indices of an operation's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) op: Op,
    pub(super) invoke: u64,
    /// [`OPEN`] if the outcome is unknown.
    pub(super) complete: u64,
}

/// The completion of an operation that may take effect at any time after its invocation.
pub(super) const OPEN: u64 = u64::MAX;

/// The invocation of a dequeue that is not in the history: after every event, and before [`OPEN`].
pub(super) const NEVER: u64 = u64::MAX - 1;

/// An element that went in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element {
    pub(super) enqueue: Span,
    /// The dequeue that gave it, if one did.
    pub(super) dequeue: Option<Span>,
}

impl Element {
    /// Returns the index from which it is certainly inside.
    pub(super) fn inside_from(&self) -> u64 {
        self.enqueue.complete
    }

    /// Returns the index to which it is certainly inside, from [`Element::inside_from`] on: there is no such time if this is not
    /// the greater one.
    pub(super) fn inside_to(&self) -> u64 {
        self.dequeue.map_or(NEVER, |dequeue| dequeue.invoke)
    }

    /// Takes note of a dequeue that gave it; returns why that cannot be.
    fn take_out(&mut self, dequeue: Span) -> Option<Violation> {
        if self.enqueue.invoke > dequeue.complete {
            return Some(Violation::OutOfNothing { dequeue: dequeue.op });
        }
        let first = self.dequeue.replace(dequeue)?.op;
        Some(Violation::Twice { enqueue: self.enqueue.op, first, second: dequeue.op })
    }

    /// Returns the index at which it has certainly come out.
    pub(super) fn out_by(&self) -> u64 {
        self.dequeue.map_or(OPEN, |dequeue| dequeue.complete)
    }
}

/// The history of a queue, by element.
#[derive(Debug, Default)]
pub(super) struct Elements {
    /// The elements, by the invocation of their enqueue. One whose enqueue is of unknown outcome is among them if a dequeue gave it.
    pub(super) all: Vec<Element>,
    /// The dequeues that found nothing, by invocation.
    pub(super) empty: Vec<Span>,
    /// The dequeues of unknown outcome, by invocation: each may have taken out one of the elements that none gave. A drain is
    /// there as often as there are such elements. None if every element was given.
    pub(super) open: Vec<Span>,
    /// How many answers show the queue's state.
    pub(super) observed: u64,
}

/// Why a queue was not found to be right in near-linear time.
#[derive(Debug)]
pub(super) enum Refused {
    /// It is wrong, in any order of its operations.
    Violated(Violation),
    /// Only a search decides.
    Undecided,
    /// The check has to end.
    Interrupted,
}

impl From<Violation> for Refused {
    fn from(violation: Violation) -> Self {
        Self::Violated(violation)
    }
}

/// Refuses to go on if `interrupt` is set.
pub(super) fn go_on(interrupt: &AtomicBool) -> Result<(), Refused> {
    if interrupt.load(Ordering::Relaxed) { Err(Refused::Interrupted) } else { Ok(()) }
}

impl Elements {
    /// Reads `operations`, which are in order of invocation. Time O(operations).
    ///
    /// # Errors
    /// [`Refused`]: undecided if a value went in, or may have gone in, more than once; violated if an element came out without
    /// having gone in, or twice, which is wrong in any order.
    pub(super) fn of(operations: &[Operation<TotalQueue>], interrupt: &AtomicBool) -> Result<Self, Refused> {
        let mut elements = Self::default();
        // Copies of the values: looking one up then touches the table alone.
        let mut by_value: FxHashMap<Scalar, u32> =
            FxHashMap::with_capacity_and_hasher(operations.len() / 2, Default::default());
        let (mut open, mut drain): (Vec<Span>, Option<Span>) = (Vec::new(), None);
        // Values whose dequeue began before their enqueue did.
        let mut early: Vec<(&Scalar, Span)> = Vec::new();
        let mut wrong: Option<Violation> = None;
        for (op, operation) in operations.iter().enumerate() {
            go_on(interrupt)?;
            let Some(span) = span(op, operation) else { continue };
            let given = match (&operation.action, &operation.completion) {
                (TotalQueue::Enqueue(value), _) => {
                    if by_value.insert(value.clone(), elements.all.len() as u32).is_some() {
                        return Err(Refused::Undecided);
                    }
                    elements.all.push(Element { enqueue: span, dequeue: None });
                    continue;
                }
                (_, Completion::Ok { answer: TotalQueue::Dequeue(Some(value)), .. }) => {
                    std::slice::from_ref(value)
                }
                (_, Completion::Ok { answer: TotalQueue::Drain(Some(values)), .. }) => values,
                (_, Completion::Ok { answer: TotalQueue::Dequeue(None), .. }) => {
                    elements.observed += 1;
                    elements.empty.push(span);
                    continue;
                }
                (TotalQueue::Dequeue(_), Completion::Info { .. }) => {
                    open.push(span);
                    continue;
                }
                (TotalQueue::Drain(_), Completion::Info { .. }) => {
                    drain.get_or_insert(span);
                    continue;
                }
                _ => continue,
            };
            elements.observed += given.len() as u64;
            for value in given {
                match by_value.get(value) {
                    Some(at) => wrong = wrong.or(elements.all[*at as usize].take_out(span)),
                    None => early.push((value, span)),
                }
            }
        }
        for (value, dequeue) in early {
            let violation = match by_value.get(value) {
                Some(at) => elements.all[*at as usize].take_out(dequeue),
                None => Some(Violation::OutOfNothing { dequeue: dequeue.op }),
            };
            wrong = wrong.or(violation);
        }
        if let Some(violation) = wrong {
            return Err(violation.into());
        }
        elements.all.retain(|element| element.dequeue.is_some() || element.enqueue.complete != OPEN);
        let left = elements.all.iter().filter(|element| element.dequeue.is_none()).count();
        if left > 0 {
            open.extend(drain.iter().flat_map(|drain| std::iter::repeat_n(*drain, left)));
            open.sort_unstable_by_key(|dequeue| dequeue.invoke);
            elements.open = open;
        }
        Ok(elements)
    }
}

/// Returns the span of an operation that happened or may have happened.
fn span(op: usize, operation: &Operation<TotalQueue>) -> Option<Span> {
    let invoke = operation.index;
    let complete = match operation.completion {
        // An event that claims the index of its invocation follows it.
        Completion::Ok { index, .. } => index.max(invoke),
        Completion::Info { .. } => OPEN,
        Completion::Fail { .. } => return None,
    };
    Some(Span { op: op as Op, invoke, complete })
}
