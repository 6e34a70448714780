//! Operations: invocations paired with their completions.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::event::{Event, OpError, OpType, Payload, Process};
use crate::node::NodeId;

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completion<A> {
    /// It happened between its invocation and this event.
    Ok {
        /// Index of the completing event.
        index: u64,
        /// Its time, nanoseconds since the run began.
        time: u64,
        /// The answer.
        answer: A,
    },
    /// It certainly did not happen.
    Fail {
        /// Index of the completing event.
        index: u64,
        /// Its time, nanoseconds since the run began.
        time: u64,
        /// The reason given.
        error: Option<Box<OpError>>,
    },
    /// It may happen at any time after its invocation, or never. Without an event when the history ends before.
    Info {
        /// Index and time of the completing event, if there is one.
        at: Option<(u64, u64)>,
        /// The reason given.
        error: Option<Box<OpError>>,
    },
}

/// One operation of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation<A> {
    /// The process that invoked it.
    pub process: Process,
    /// The node it was sent to.
    pub node: Option<NodeId>,
    /// Index of the invocation.
    pub index: u64,
    /// Time of the invocation, nanoseconds since the run began.
    pub time: u64,
    /// The request.
    pub action: A,
    /// How it ended.
    pub completion: Completion<A>,
}

impl<A: Payload> Operation<A> {
    /// Returns the same operation without its values, but for its `f`: what figures are made of.
    #[must_use]
    pub fn outline(&self) -> Operation<&'static str> {
        let completion = match &self.completion {
            Completion::Ok { index, time, answer } => {
                Completion::Ok { index: *index, time: *time, answer: answer.f() }
            }
            Completion::Fail { index, time, error } => {
                Completion::Fail { index: *index, time: *time, error: error.clone() }
            }
            Completion::Info { at, error } => Completion::Info { at: *at, error: error.clone() },
        };
        let Self { process, node, index, time, action, .. } = self;
        Operation {
            process: *process,
            node: node.clone(),
            index: *index,
            time: *time,
            action: action.f(),
            completion,
        }
    }
}

impl<A> Operation<A> {
    /// Returns the same operation in another vocabulary.
    pub fn map<B>(self, action: impl Fn(A) -> B) -> Operation<B> {
        let Self { process, node, index, time, action: asked, completion } = self;
        let completion = match completion {
            Completion::Ok { index, time, answer } => Completion::Ok { index, time, answer: action(answer) },
            Completion::Fail { index, time, error } => Completion::Fail { index, time, error },
            Completion::Info { at, error } => Completion::Info { at, error },
        };
        Operation { process, node, index, time, action: action(asked), completion }
    }
}

/// A history in which events do not pair.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PairError {
    /// Two operations of one process overlap.
    #[error(
        "process {process} invokes at index {index} while its operation of index {open} is still open: \
         a process does one thing at a time"
    )]
    Overlap {
        /// The process.
        process: Process,
        /// The second invocation.
        index: u64,
        /// The first.
        open: u64,
    },
    /// A completion without its invocation.
    #[error("process {process} completes at index {index} an operation that it never invoked")]
    NotInvoked {
        /// The process.
        process: Process,
        /// The completion.
        index: u64,
    },
    /// A completion of something else than was invoked.
    #[error(
        "process {process} completes at index {index} something else than it invoked at index {invoked}: \
         {completion} after {invocation}"
    )]
    Mismatch {
        /// The process.
        process: Process,
        /// The completion.
        index: u64,
        /// The invocation.
        invoked: u64,
        /// The invocation.
        invocation: String,
        /// The completion.
        completion: String,
    },
}

/// Pairs every invocation in `events`, which are in index order, with its completion; in order of invocation.
///
/// The events make room for the operations as these are made: both together take hardly more memory than the events did.
/// Time O(events).
///
/// # Errors
/// [`PairError`] when the events of a process do not alternate.
pub fn pair<A: Payload>(mut events: Vec<Event<A>>) -> Result<Vec<Operation<A>>, PairError> {
    let count = alternate(&events)?;
    // From the last to the first, since only the end of a vector can be given back.
    let mut operations: VecDeque<Operation<A>> = VecDeque::with_capacity(count);
    let mut completions: FxHashMap<Process, Event<A>> = FxHashMap::default();
    let step = STEP_MIN.max(events.len() / STEPS);
    while let Some(event) = events.pop() {
        if event.op_type != OpType::Invoke {
            completions.insert(event.process, event);
            continue;
        }
        let completion = match completions.remove(&event.process) {
            None => Completion::Info { at: None, error: None },
            Some(Event { index, time, op_type, action, error, .. }) => match op_type {
                OpType::Ok => Completion::Ok { index, time, answer: action },
                OpType::Fail => Completion::Fail { index, time, error },
                OpType::Info | OpType::Invoke => Completion::Info { at: Some((index, time)), error },
            },
        };
        let Event { index, time, process, action, node, .. } = event;
        operations.push_front(Operation { process, node, index, time, action, completion });
        if events.capacity() - events.len() >= step {
            events.shrink_to_fit();
        }
    }
    Ok(operations.into())
}

/// In so many steps the memory of events is given back, each of so many events.
const STEPS: usize = 16;
const STEP_MIN: usize = 1 << 14;

/// Returns how many operations `events` are of.
fn alternate<A: Payload>(events: &[Event<A>]) -> Result<usize, PairError> {
    let mut count = 0;
    let mut open: FxHashMap<Process, &Event<A>> = FxHashMap::default();
    for event in events {
        let Event { index, process, .. } = *event;
        if event.op_type == OpType::Invoke {
            count += 1;
            if let Some(open) = open.insert(process, event) {
                return Err(PairError::Overlap { process, index, open: open.index });
            }
            continue;
        }
        let Some(invoked) = open.remove(&process) else {
            return Err(PairError::NotInvoked { process, index });
        };
        if !invoked.action.completed_by(&event.action) {
            return Err(PairError::Mismatch {
                process,
                index,
                invoked: invoked.index,
                invocation: format!("{:?}", invoked.action),
                completion: format!("{:?}", event.action),
            });
        }
    }
    Ok(count)
}
