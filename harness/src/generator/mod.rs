//! Generators: what clients are asked to do, and when.
//!
//! A generator is pure: it is asked for the [`Generator::next`] operation for a process that is free, at a time that it is
//! told, and is told of every event through [`Generator::update`]. It reads no clock and no entropy but its seed's, and may
//! leave a process free. In the main phase what is written, and what is compared with, never depends on answers: the same
//! seed writes the same sequence of values, whatever the target's speed.
//!
//! - [`register::RegisterMix`]: reads, writes and compare-and-sets over a rotating set of keys;
//!   [`final_reads::FinalReads`]: reads of every key, each until it is answered;
//! - [`log::LogMix`]: sends and polls by consumers that come and go; [`final_polls::FinalPolls`]: everything once more;
//! - [`queue::QueueMix`]: some send, a group consumes; [`drain::Drain`]: until nothing is left;
//! - [`table::TableMix`]: puts and deletes over a few keys; [`final_table::FinalTable`]: what remains;
//! - combinators: [`limit::TimeLimit`], [`stagger::Stagger`].

pub mod drain;
pub mod final_polls;
pub mod final_reads;
pub mod final_table;
pub mod limit;
pub mod log;
pub mod queue;
pub mod register;
pub mod stagger;
pub mod table;

use std::time::Duration;

use duress_history::{Event, Payload, Process};

/// The random stream that workloads draw from, apart from the schedule's.
const WORKLOAD_STREAM: u64 = 2;

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
