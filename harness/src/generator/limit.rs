//! Ends a generator at a time.

use std::time::Duration;

use duress_history::{Event, Payload};

use super::{Generator, Next};

/// Passes `inner` through until `limit`.
#[derive(Debug)]
pub struct TimeLimit<G> {
    inner: G,
    limit: Duration,
}

impl<G> TimeLimit<G> {
    /// Ends `inner` once the time since clients began reaches `limit`.
    pub fn new(inner: G, limit: Duration) -> Self {
        Self { inner, limit }
    }
}

impl<A: Payload, G: Generator<A>> Generator<A> for TimeLimit<G> {
    fn next(&mut self, now: Duration) -> Next<A> {
        if now >= self.limit {
            return Next::Done;
        }
        match self.inner.next(now) {
            Next::At(at) => Next::At(at.min(self.limit)),
            Next::Pending => Next::At(self.limit),
            other => other,
        }
    }

    fn update(&mut self, event: &Event<A>) {
        self.inner.update(event);
    }
}
