//! The operations of a history in any vocabulary of registers and locks, in one form.

use duress_history::mutex::{Mutex, MutexOp};
use duress_history::register::{CasRegister, Register, RegisterOp};
use duress_history::{Completion, NodeId, Operation, Process, Scalar};
use rustc_hash::FxHashMap;

/// The action of an operation, as answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action<'a> {
    Read(Option<&'a Scalar>),
    /// Write this value, or, as a delete does, null.
    Write(Option<&'a Scalar>),
    Cas(Option<&'a Scalar>, &'a Scalar),
    Acquire,
    Release,
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Ok { index: u64, time: u64 },
    Fail { index: u64, time: u64 },
    Info { at: Option<(u64, u64)> },
}

/// An operation of any of the vocabularies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) process: Process,
    pub(crate) node: Option<&'a NodeId>,
    pub(crate) index: u64,
    pub(crate) time: u64,
    pub(crate) action: Action<'a>,
    pub(crate) end: End,
    pub(crate) error: Option<&'a str>,
    /// The index from which on it may take effect.
    pub(crate) since: Since,
    /// For a failed compare-and-set whose `action` is a read of the value found: its compared value, and the
    /// one it did not write.
    pub(crate) refused: Option<(Option<&'a Scalar>, &'a Scalar)>,
}

/// From when on an operation may take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// From its invocation.
    Invocation,
    /// From this event on, which is not after its invocation: it is a read that may return the value of that
    /// time.
    Earlier(u64),
}

impl Source<'_> {
    /// Returns the index of the event from which on it may take effect.
    pub(crate) fn since(&self) -> u64 {
        match self.since {
            Since::Invocation => self.index,
            Since::Earlier(index) => index,
        }
    }
}

/// The operations of a whole history.
#[derive(Clone, Copy)]
pub(crate) enum Recorded<'a> {
    Registers(&'a [Operation<Register>]),
    CasRegisters(&'a [Operation<CasRegister>]),
    Mutexes(&'a [Operation<Mutex>]),
}

/// Some operations of a history, by the event from which on they may take effect.
///
/// Each is made when it is asked for: together they would take more memory than the history.
#[derive(Clone)]
pub(crate) struct Sources<'a> {
    recorded: Recorded<'a>,
    /// Their places in the history.
    places: Vec<u32>,
    /// The event, by place, of those that may take effect before their invocation.
    earlier: FxHashMap<u32, u64>,
}

impl<'a> Sources<'a> {
    /// Returns the operations at `places` of `recorded`.
    pub(crate) fn new(recorded: Recorded<'a>, places: Vec<u32>) -> Self {
        Self::in_order(recorded, places).sorted()
    }

    /// Returns the operations at `places` of `recorded`, which are in order.
    pub(crate) fn in_order(recorded: Recorded<'a>, places: Vec<u32>) -> Self {
        Self { recorded, places, earlier: FxHashMap::default() }
    }

    /// Returns those of the operations whose numbers are `chosen`, with what they may take effect from.
    pub(crate) fn chosen(&self, chosen: impl IntoIterator<Item = (usize, Since)>) -> Self {
        let mut sources = Self::in_order(self.recorded, Vec::new());
        for (at, since) in chosen {
            sources.places.push(self.places[at]);
            if let Since::Earlier(index) = since {
                sources.earlier.insert(self.places[at], index);
            }
        }
        sources.sorted()
    }

    /// Puts them in order. Those of one event stay in the order in which they are.
    fn sorted(mut self) -> Self {
        // Mostly they are.
        if !self.iter().is_sorted_by_key(|source| source.since()) {
            let mut places = std::mem::take(&mut self.places);
            places.sort_by_key(|place| self.at(*place).since());
            self.places = places;
        }
        self
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Returns the operation of number `at`.
    pub(crate) fn get(&self, at: usize) -> Source<'a> {
        self.at(self.places[at])
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = Source<'a>> + ExactSizeIterator {
        self.places.iter().map(|place| self.at(*place))
    }

    /// Returns the operation at `place` of the history.
    fn at(&self, place: u32) -> Source<'a> {
        let since = match self.earlier.get(&place) {
            Some(index) => Since::Earlier(*index),
            None => Since::Invocation,
        };
        let place = place as usize;
        match self.recorded {
            Recorded::Registers(operations) => {
                source(&operations[place], since, |register| register_action(&register.op))
            }
            Recorded::CasRegisters(operations) => {
                source(&operations[place], since, |register| register_action(&register.op))
            }
            Recorded::Mutexes(operations) => source(&operations[place], since, |mutex| match mutex.op {
                MutexOp::Acquire => Action::Acquire,
                MutexOp::Release => Action::Release,
            }),
        }
    }
}

/// Returns the operation as its answer has it.
fn source<'a, A>(
    operation: &'a Operation<A>,
    since: Since,
    action: impl Fn(&'a A) -> Action<'a>,
) -> Source<'a> {
    let (answer, end, error) = match &operation.completion {
        Completion::Ok { index, time, answer } => (answer, End::Ok { index: *index, time: *time }, None),
        Completion::Fail { index, time, error } => (
            &operation.action,
            End::Fail { index: *index, time: *time },
            error.as_ref().map(|error| error.text.as_str()),
        ),
        Completion::Info { at, error } => {
            (&operation.action, End::Info { at: *at }, error.as_ref().map(|error| error.text.as_str()))
        }
    };
    let mut source = Source {
        process: operation.process,
        node: operation.node.as_ref(),
        index: operation.index,
        time: operation.time,
        action: action(answer),
        end,
        error,
        since,
        refused: None,
    };
    // A comparison that failed changed nothing, and reports the value found: it is a read.
    if let (Action::Cas(old, new), Completion::Fail { index, time, error: Some(error) }) =
        (source.action, &operation.completion)
        && let Some(saw) = &error.saw
    {
        source.action = Action::Read(saw.as_ref());
        source.end = End::Ok { index: *index, time: *time };
        source.refused = Some((old, new));
    }
    source
}

fn register_action(op: &RegisterOp) -> Action<'_> {
    match op {
        RegisterOp::Read(value) => Action::Read(value.as_ref()),
        RegisterOp::Write(value) => Action::Write(Some(value)),
        RegisterOp::Delete => Action::Write(None),
        RegisterOp::Cas { old, new } => Action::Cas(old.as_ref(), new),
    }
}
