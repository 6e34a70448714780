//! Ends a generator at a time.

use std::time::Duration;

use duress_history::{Event, NemesisAct, Payload};

use super::{Context, Generator, Next};

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
    fn next(&mut self, context: &Context) -> Next<A> {
        if context.now >= self.limit {
            return Next::Done;
        }
        match self.inner.next(context) {
            Next::At(at) => Next::At(at.min(self.limit)),
            other => other,
        }
    }

    fn update(&mut self, event: &Event<A>) {
        self.inner.update(event);
    }

    fn nemesis(&mut self, now: Duration, act: &NemesisAct) {
        self.inner.nemesis(now, act);
    }
}
