//! Locks with an owner: only the process that acquired a lock may release it.
//!
//! The owner is the process. A re-entrant lock may be acquired again by its owner, and is free when it was released as often.
//! Each lock is decided on its own by the search (`sequential`), whose time and memory grow exponentially with the
//! number of operations that are open at once. An acquisition of unknown outcome that no operation of its process follows is left
//! out: had it taken the lock, nothing could have happened afterwards, so an order with it is as good without.
//!
//! A witness is made smaller by leaving out an acquisition with the release that is the next operation of its process: while
//! the lock was held so, nothing else happened to it.

use std::sync::atomic::{AtomicBool, AtomicUsize};

use duress_history::mutex::{Mutex, MutexOp};
use duress_history::{Completion, Operation, Process, Scalar};
use rayon::prelude::*;
use rustc_hash::FxHashMap;

use crate::linearizable::{Budget, Limits};
use crate::sequential::{self, Answer, Asked, Decision, Sequential, by_key, decide, report};
use crate::verdict::{Anomaly, AnomalyKind, CheckReport, Object, ObjectKind, RelationKind, Role};
use crate::witness::{Describe, Op, Witness, say};

/// Whether the owner of a lock may acquire it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reentry {
    /// It must release it first.
    Refused,
    /// It may, and releases it as often.
    Allowed,
}

/// An operation of one process on a lock.
#[derive(Clone, Copy, Debug)]
struct Effect {
    reentry: Reentry,
    process: Process,
    op: MutexOp,
}

type Call = sequential::Call<Effect>;

impl Sequential for Effect {
    /// The owner, and how often it holds the lock.
    type State = Option<(u64, u32)>;

    fn after(&self, held: &Self::State) -> Vec<Self::State> {
        let owner = self.process.0;
        match (self.op, *held) {
            (MutexOp::Acquire, None) => vec![Some((owner, 1))],
            (MutexOp::Acquire, Some((other, times)))
                if other == owner && self.reentry == Reentry::Allowed =>
            {
                vec![Some((owner, times + 1))]
            }
            (MutexOp::Release, Some((other, 1))) if other == owner => vec![None],
            (MutexOp::Release, Some((other, times))) if other == owner => vec![Some((owner, times - 1))],
            _ => Vec::new(),
        }
    }

    fn size(_: &Self::State) -> usize {
        0
    }
}

/// Checks each lock of `operations`, which are in order of invocation; it is free at first.
///
/// `interrupt` may be set at any time; locks not decided then are `Unknown`.
#[must_use]
pub fn check_owned_mutex(
    operations: &[Operation<Mutex>],
    reentry: Reentry,
    budget: &Budget,
    interrupt: &AtomicBool,
) -> CheckReport {
    let memory_bytes = AtomicUsize::new(0);
    let limits = Limits { budget, memory_bytes: &memory_bytes, interrupt };
    let answers = by_key(operations, |action| action.lock.as_ref())
        .par_iter()
        .map(|(lock, ops)| check_lock(operations, *lock, &calls(operations, ops, reentry), limits))
        .collect();
    report(answers, operations.len(), Asked::Yes)
}

/// Returns what the operations `ops` on one lock did, or may have done.
fn calls(operations: &[Operation<Mutex>], ops: &[Op], reentry: Reentry) -> Vec<Call> {
    let latest: FxHashMap<Process, Op> =
        ops.iter().map(|op| (operations[*op as usize].process, *op)).collect();
    ops.iter()
        .filter_map(|op| {
            let operation = &operations[*op as usize];
            let (process, action) = (operation.process, operation.action.op);
            let complete = match &operation.completion {
                Completion::Ok { index, .. } => Some(*index),
                Completion::Fail { .. } => return None,
                Completion::Info { .. } if action == MutexOp::Acquire && latest[&process] == *op => {
                    return None;
                }
                Completion::Info { .. } => None,
            };
            let effect = Effect { reentry, process, op: action };
            Some(Call { effect, invoke: operation.index, complete, op: *op })
        })
        .collect()
}

fn check_lock(
    operations: &[Operation<Mutex>],
    lock: Option<&Scalar>,
    calls: &[Call],
    limits: Limits<'_>,
) -> Answer {
    let (decision, explored) = decide(calls, None, lock, limits);
    let happened = calls.iter().filter(|call| call.complete.is_some()).count() as u64;
    // Each answer shows whether the lock was free.
    let mut answer = Answer { explored, happened, observed: happened, ..Answer::default() };
    match decision {
        Decision::Possible => {}
        Decision::Impossible(violation) => {
            answer.anomaly = Some(anomaly(operations, lock, calls, violation.call, limits.interrupt));
        }
        Decision::Undecided(reason) => answer.reason = Some(reason),
    }
    answer
}

/// Returns the witness of the impossible answer of call `last`.
fn anomaly(
    operations: &[Operation<Mutex>],
    lock: Option<&Scalar>,
    calls: &[Call],
    last: usize,
    interrupt: &AtomicBool,
) -> Anomaly {
    // The number of the acquisition, for it and for the release that follows it in its process.
    let mut pairs: FxHashMap<Op, Op> = FxHashMap::default();
    let mut latest: FxHashMap<Process, &Call> = FxHashMap::default();
    for call in calls {
        let acquired =
            latest.insert(call.effect.process, call).filter(|before| before.effect.op == MutexOp::Acquire);
        if let (MutexOp::Release, Some(acquired)) = (call.effect.op, acquired)
            && acquired.complete.is_some()
            && call.complete.is_some()
        {
            pairs.extend([(call.op, acquired.op), (acquired.op, acquired.op)]);
        }
    }
    let group = |call: &Call| pairs.get(&call.op).copied();
    let (small, last) = sequential::shrink(calls, last, &None, group, interrupt);
    let role = |call: &Call| match call.effect.op {
        _ if call.op == last.op => Role::Read,
        MutexOp::Acquire => Role::Write,
        MutexOp::Release => Role::Overwrite,
    };
    let objects: Vec<Object> = lock.map(|lock| Object::new(ObjectKind::Key, lock)).into_iter().collect();
    let witness = Witness::of(objects, operations, &(), small.iter().map(|call| (call.op, role(call))));
    let process = |call: &Call| format!("{} of process {}", witness.named(call.op), call.effect.process);
    let mut steps = vec![say("At first the lock is free.", &[])];
    for pair in small.windows(2) {
        if pair[0].complete.is_some_and(|complete| complete < pair[1].invoke) {
            steps.push(witness.before(pair[0].op, pair[1].op));
        }
    }
    let about: Vec<Op> = small.iter().map(|call| call.op).collect();
    let (kind, problem) = match last.effect.op {
        MutexOp::Acquire => (AnomalyKind::DoubleAcquire, "the lock cannot have been free"),
        MutexOp::Release => (AnomalyKind::UnheldRelease, "its process cannot have held the lock"),
    };
    let summary = format!("{} succeeded, although {problem}", process(&last));
    let mut conclusion = say(
        format!(
            "In every order of these operations that agrees with real time, {problem} when {} took effect.",
            process(&last)
        ),
        &about,
    );
    for call in small.iter().filter(|call| call.op != last.op && call.effect.op == MutexOp::Acquire) {
        conclusion = conclusion.relates(RelationKind::WriteRead, call.op, last.op);
    }
    steps.push(conclusion);
    witness.anomaly(kind, last.op, summary, steps)
}

impl Describe for Mutex {
    type Focus = ();

    fn describe(&self, (): &()) -> String {
        match self.op {
            MutexOp::Acquire => "acquire".to_owned(),
            MutexOp::Release => "release".to_owned(),
        }
    }
}
