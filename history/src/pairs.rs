//! Operations: invocations paired with their completions.

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
        /// What was answered.
        answer: A,
    },
    /// It certainly did not happen.
    Fail {
        /// Index of the completing event.
        index: u64,
        /// Its time, nanoseconds since the run began.
        time: u64,
        /// The reason given.
        error: Option<OpError>,
    },
    /// It may happen at any time after its invocation, or never. Without an event when the history ends before.
    Info {
        /// Index and time of the completing event, if there is one.
        at: Option<(u64, u64)>,
        /// The reason given.
        error: Option<OpError>,
    },
}

/// One operation of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation<A> {
    /// Who invoked it.
    pub process: Process,
    /// The node it was sent to.
    pub node: Option<NodeId>,
    /// Index of the invocation.
    pub index: u64,
    /// Time of the invocation, nanoseconds since the run began.
    pub time: u64,
    /// What was asked.
    pub action: A,
    /// How it ended.
    pub completion: Completion<A>,
}

impl<A> Operation<A> {
    /// The same operation in another vocabulary.
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
        /// What was invoked.
        invocation: String,
        /// What was completed.
        completion: String,
    },
}

/// Pairs every invocation in `events`, which are in index order, with its completion; in order of invocation.
///
/// Time O(events).
///
/// # Errors
/// [`PairError`] when the events of a process do not alternate.
pub fn pair<A: Payload>(events: impl IntoIterator<Item = Event<A>>) -> Result<Vec<Operation<A>>, PairError> {
    let events = events.into_iter();
    let mut operations: Vec<Operation<A>> = Vec::with_capacity(events.size_hint().0 / 2 + 1);
    let mut open: FxHashMap<Process, usize> = FxHashMap::default();
    for event in events {
        let process = event.process;
        if event.op_type == OpType::Invoke {
            if let Some(at) = open.insert(process, operations.len()) {
                let open = operations[at].index;
                return Err(PairError::Overlap { process, index: event.index, open });
            }
            operations.push(Operation {
                process,
                node: event.node,
                index: event.index,
                time: event.time,
                action: event.action,
                completion: Completion::Info { at: None, error: None },
            });
            continue;
        }
        let Some(at) = open.remove(&process) else {
            return Err(PairError::NotInvoked { process, index: event.index });
        };
        let operation = &mut operations[at];
        if !operation.action.completed_by(&event.action) {
            return Err(PairError::Mismatch {
                process,
                index: event.index,
                invoked: operation.index,
                invocation: format!("{:?}", operation.action),
                completion: format!("{:?}", event.action),
            });
        }
        let (index, time) = (event.index, event.time);
        operation.completion = match event.op_type {
            OpType::Ok => Completion::Ok { index, time, answer: event.action },
            OpType::Fail => Completion::Fail { index, time, error: event.error },
            OpType::Info | OpType::Invoke => Completion::Info { at: Some((index, time)), error: event.error },
        };
    }
    Ok(operations)
}
