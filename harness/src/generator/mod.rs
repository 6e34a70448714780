//! Generators: what clients are asked to do, and when.
//!
//! A generator is pure: it is asked for the [`Generator::next`] operation at a time it is told, and is told of every event
//! through [`Generator::update`]. It reads no clock and no entropy but its seed's, so the same seed gives the same
//! sequence of operations, whatever the target's speed: which process gets an operation is the runner's business.
//!
//! - [`register::RegisterMix`]: reads, writes and compare-and-sets over a rotating set of keys;
//! - [`final_reads::FinalReads`]: reads of every key, each until it is answered;
//! - combinators: [`limit::TimeLimit`], [`stagger::Stagger`].

pub mod final_reads;
pub mod limit;
pub mod register;
pub mod stagger;

use std::time::Duration;

use duress_history::{Event, Payload};

/// What a generator answers when it is asked for an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next<A> {
    /// Do this now.
    Op(A),
    /// Ask again at this time, or after an event.
    At(Duration),
    /// Ask again after an event.
    Pending,
    /// Nothing will ever come again.
    Done,
}

/// Proposes operations.
pub trait Generator<A: Payload> {
    /// The next operation, `now` being the time since clients began.
    fn next(&mut self, now: Duration) -> Next<A>;

    /// Takes note of an event: an invocation that began or a completion.
    fn update(&mut self, event: &Event<A>);
}
