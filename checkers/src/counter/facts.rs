//! The facts of a history, by counter: its adds and its reads.

use duress_history::counter::{Counter, CounterOp};
use duress_history::{Completion, NodeId, Operation, Scalar};
use rustc_hash::FxHashMap;

use crate::replicas::Replicas;
use crate::witness::{Describe, Op};

/// One add that happened, or may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Add {
    pub(super) op: Op,
    pub(super) delta: i128,
    /// Index of its invocation.
    pub(super) begun: u64,
    /// Index of its acknowledgement; `None` when it may take effect at any time, or never.
    pub(super) acknowledged: Option<u64>,
}

/// One read that was answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read<'a> {
    pub(super) op: Op,
    pub(super) node: Option<&'a NodeId>,
    /// Index of its invocation.
    pub(super) index: u64,
    /// From when on it may have taken effect: its invocation, or, where it may be old, the beginning.
    pub(super) since: u64,
    /// Index of its answer.
    pub(super) answered: u64,
    pub(super) value: i128,
    /// Whether it is the last at a replica that has to agree with the others.
    pub(super) is_last: bool,
}

/// The facts of one counter.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) operations: &'a [Operation<Counter>],
    pub(super) key: Option<&'a Scalar>,
    /// By invocation, without those that failed.
    pub(super) adds: Vec<Add>,
    /// By invocation.
    pub(super) reads: Vec<Read<'a>>,
}

impl<'a> Facts<'a> {
    /// Returns the counters of `operations`, by key.
    pub(super) fn by_key(operations: &'a [Operation<Counter>]) -> Vec<Self> {
        let mut places: FxHashMap<Option<&Scalar>, usize> = FxHashMap::default();
        let mut counters: Vec<Self> = Vec::new();
        for (op, operation) in operations.iter().enumerate() {
            let key = operation.action.key.as_ref();
            let place = *places.entry(key).or_insert_with(|| {
                counters.push(Self { operations, key, adds: Vec::new(), reads: Vec::new() });
                counters.len() - 1
            });
            counters[place].operation(op as Op, operation);
        }
        counters.sort_by_key(|counter| counter.key);
        counters
    }

    fn operation(&mut self, op: Op, operation: &'a Operation<Counter>) {
        let begun = operation.index;
        match (operation.action.op, &operation.completion) {
            (CounterOp::Add(_), Completion::Fail { .. }) => {}
            (CounterOp::Add(delta), completion) => {
                let acknowledged = match completion {
                    // A completion cannot come before its invocation, whatever a file says.
                    Completion::Ok { index, .. } => Some((*index).max(begun)),
                    Completion::Fail { .. } | Completion::Info { .. } => None,
                };
                self.adds.push(Add { op, delta: delta.into(), begun, acknowledged });
            }
            (
                CounterOp::Read(_),
                Completion::Ok { index, answer: Counter { op: CounterOp::Read(Some(value)), .. }, .. },
            ) => self.reads.push(Read {
                op,
                node: operation.node.as_ref(),
                index: begun,
                since: begun,
                answered: (*index).max(begun),
                value: (*value).into(),
                is_last: false,
            }),
            (CounterOp::Read(_), _) => {}
        }
    }

    /// Takes every read for one that may be old, but the last ones at the replicas that have to agree; how many those are.
    pub(super) fn may_be_old(&mut self, replicas: Option<&Replicas<'a>>) -> usize {
        let last = replicas.map_or_else(Vec::new, |replicas| {
            replicas.last(self.key, self.reads.iter().map(|read| (read.node, read.index, ())))
        });
        for read in &mut self.reads {
            read.is_last = last.iter().any(|(_, index, ())| *index == read.index);
            if !read.is_last {
                read.since = 0;
            }
        }
        last.len()
    }

    /// Returns the counter, as sentences speak of it.
    pub(super) fn subject(&self) -> String {
        self.key.map_or_else(|| "the counter".to_owned(), Scalar::to_string)
    }
}

impl Describe for Counter {
    type Focus = ();

    fn describe(&self, (): &()) -> String {
        match self.op {
            CounterOp::Add(delta) => format!("add {delta}"),
            CounterOp::Read(None) => "read".to_owned(),
            CounterOp::Read(Some(value)) => format!("read -> {value}"),
        }
    }
}
