//! Generators: what clients are asked to do, and when.
//!
//! A generator is pure: it is asked for the [`Generator::next`] operation at a time it is told, and is told of every event
//! through [`Generator::update`]. It reads no clock and no entropy but its seed's, so the same seed gives the same
//! sequence of operations, whatever the target's speed. It may be choosy about who does them: it is told which process is
//! free, and may leave it free.
//!
//! - [`register::RegisterMix`]: reads, writes and compare-and-sets over a rotating set of keys;
//! - [`final_reads::FinalReads`]: reads of every key, each until it is answered;
//! - combinators: [`limit::TimeLimit`], [`stagger::Stagger`].

pub mod final_reads;
pub mod limit;
pub mod register;
pub mod stagger;

use std::time::Duration;

use duress_history::{Event, Payload, Process};

/// What a generator is told when it is asked for an operation.
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

/// What a generator answers when it is asked for an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next<A> {
    /// Do this now.
    Op(A),
    /// Nothing for anybody before this time: ask again then, or after an event.
    At(Duration),
    /// Nothing for this process: ask for others, and again after an event. It is also asked again a few times a second.
    Pending,
    /// Nothing will ever come again.
    Done,
}

/// Proposes operations.
pub trait Generator<A: Payload> {
    /// The next operation for the process that `context` names.
    fn next(&mut self, context: &Context) -> Next<A>;

    /// Takes note of an event: an invocation that began or a completion.
    fn update(&mut self, event: &Event<A>);
}

impl<A: Payload, G: Generator<A>> Generator<A> for &mut G {
    fn next(&mut self, context: &Context) -> Next<A> {
        (**self).next(context)
    }

    fn update(&mut self, event: &Event<A>) {
        (**self).update(event);
    }
}
