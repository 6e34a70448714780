//! Spaces operations evenly in time.

use std::time::Duration;

use duress_history::{Event, NemesisAct, Payload};

use super::{Context, Generator, Next};

/// Lets an operation of `inner` begin every `period`, whether or not earlier ones have ended.
///
/// An operation that is due while every process is busy begins as soon as one is free, and those after it keep their
/// times: a slow target meets a burst, as it would in front of real users.
#[derive(Debug)]
pub struct Stagger<G> {
    inner: G,
    period: Duration,
    due: Duration,
}

impl<G> Stagger<G> {
    /// Spaces `inner` by one over `rate_hz`, which is positive and finite.
    pub fn new(inner: G, rate_hz: f64) -> Self {
        Self { inner, period: Duration::from_secs_f64(1.0 / rate_hz), due: Duration::ZERO }
    }
}

impl<A: Payload, G: Generator<A>> Generator<A> for Stagger<G> {
    fn next(&mut self, context: &Context) -> Next<A> {
        if context.now < self.due {
            return Next::At(self.due);
        }
        let next = self.inner.next(context);
        if matches!(next, Next::Op(_)) {
            self.due += self.period;
        }
        next
    }

    fn update(&mut self, event: &Event<A>) {
        self.inner.update(event);
    }

    fn nemesis(&mut self, now: Duration, act: &NemesisAct) {
        self.inner.nemesis(now, act);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use duress_history::Process;

    use crate::workload::register::RegisterOptions;
    use crate::workload::register::mix::RegisterMix;

    #[test]
    fn operations_are_due_one_period_apart_and_catch_up() {
        let at = |ms| Context { now: Duration::from_millis(ms), slot: 0, slots: 1, process: Process(0) };
        let mut stagger = Stagger::new(RegisterMix::new(RegisterOptions::default(), 1), 100.0);
        assert!(matches!(stagger.next(&at(0)), Next::Op(_)));
        assert_eq!(stagger.next(&at(3)), Next::At(Duration::from_millis(10)));
        for _ in 0..3 {
            assert!(matches!(stagger.next(&at(35)), Next::Op(_)));
        }
        assert_eq!(stagger.next(&at(35)), Next::At(Duration::from_millis(40)));
    }
}
