//! Generators: the clients' next operations, and when.
//!
//! A generator is pure: it is asked for the [`Generator::next`] operation of a free process, at a given time,
//! and sees every event through [`Generator::update`]. It reads no clock and no entropy but its seed's, and
//! may leave a process free. In the main phase the written and compared values never depend on answers: the
//! same seed writes the same sequence of values, whatever the target's speed.
//!
//! Each workload has its own in its folder; here are the combinators that all share: [`limit::TimeLimit`],
//! [`stagger::Stagger`] and [`rhythm::Rhythm`].

pub mod limit;
pub mod rhythm;
pub mod stagger;

use std::time::Duration;

use duress_history::{Event, NemesisAct, Payload, Process};

/// The random stream that workloads draw from, apart from the schedule's.
pub const WORKLOAD_STREAM: u64 = 2;

/// The context of a generator that is asked for an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The time since clients began.
    pub now: Duration,
    /// The free process's place among those that live at a time; its successors keep it.
    pub slot: usize,
    /// How many processes live at a time.
    pub slots: usize,
    /// The free process, which would do the operation.
    pub process: Process,
}

/// The answer of a generator that is asked for an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next<A> {
    /// Do this now.
    Op(A),
    /// No process has an operation before this time: ask again then, or after an event.
    At(Duration),
    /// This process has no operation: ask for others, and again after an event. It is also asked again a few
    /// times a second.
    Pending,
    /// No operation will ever follow.
    Done,
}

/// Proposes operations.
pub trait Generator<A: Payload> {
    /// Returns the next operation for the process that `context` names.
    fn next(&mut self, context: &Context) -> Next<A>;

    /// Takes note of an event: an invocation that began or a completion.
    fn update(&mut self, event: &Event<A>);

    /// Records an action of the nemesis, done or imminent, at this time.
    fn nemesis(&mut self, _now: Duration, _act: &NemesisAct) {}
}

/// No operations.
#[derive(Clone, Copy, Debug)]
pub struct Nothing;

impl<A: Payload> Generator<A> for Nothing {
    fn next(&mut self, _: &Context) -> Next<A> {
        Next::Done
    }

    fn update(&mut self, _: &Event<A>) {}
}

impl<A: Payload, G: Generator<A> + ?Sized> Generator<A> for &mut G {
    fn next(&mut self, context: &Context) -> Next<A> {
        (**self).next(context)
    }

    fn update(&mut self, event: &Event<A>) {
        (**self).update(event);
    }

    fn nemesis(&mut self, now: Duration, act: &NemesisAct) {
        (**self).nemesis(now, act);
    }
}
