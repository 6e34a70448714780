//! Queues as sequential objects.

use super::Order;
use crate::sequential::{self, Sequential};

/// An operation on a queue, with its answer.
pub(super) type Call = sequential::Call<Effect>;

/// An element, numbered by value.
pub(super) type Element = u32;

/// The effect of an operation on a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Effect {
    pub(super) order: Order,
    pub(super) kind: Kind,
}

/// The effect, whatever the queue's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Enqueue(Element),
    Dequeue(Element),
    /// A dequeue whose answer is unknown: it may have taken any element out that could come out.
    DequeueAny,
    /// A dequeue that found nothing.
    Empty,
}

impl Kind {
    /// Returns the element that it is about.
    pub(super) fn element(self) -> Option<Element> {
        match self {
            Self::Enqueue(element) | Self::Dequeue(element) => Some(element),
            Self::DequeueAny | Self::Empty => None,
        }
    }
}

impl Order {
    /// Returns the places in `held` of the elements that may come out next.
    fn next(self, held: &[Element]) -> std::ops::Range<usize> {
        let last = held.len().saturating_sub(1);
        match self {
            _ if held.is_empty() => 0..0,
            Self::Fifo | Self::Least => 0..1,
            Self::Lifo => last..held.len(),
            Self::Any => 0..held.len(),
        }
    }
}

impl Sequential for Effect {
    /// The elements: in the order in which they came in; sorted if that does not matter.
    type State = Vec<Element>;

    fn after(&self, held: &Vec<Element>) -> Vec<Vec<Element>> {
        let without = |at: usize| [&held[..at], &held[at + 1..]].concat();
        let mut next = self.order.next(held);
        match self.kind {
            Kind::Enqueue(element) => {
                let at = match self.order {
                    Order::Fifo | Order::Lifo => held.len(),
                    Order::Least | Order::Any => held.partition_point(|other| *other <= element),
                };
                vec![[&held[..at], &[element], &held[at..]].concat()]
            }
            Kind::Dequeue(element) => next.find(|at| held[*at] == element).map(without).into_iter().collect(),
            Kind::DequeueAny => next
                .filter(|at| *at == 0 || held[*at - 1] != held[*at] || self.order != Order::Any)
                .map(without)
                .collect(),
            Kind::Empty => {
                if held.is_empty() {
                    vec![Vec::new()]
                } else {
                    Vec::new()
                }
            }
        }
    }

    fn size(held: &Vec<Element>) -> usize {
        size_of_val(&held[..])
    }
}
