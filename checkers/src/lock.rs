//! Locks with an owner: only the process that acquired a lock may release it; and locks that hand out fencing tokens.
//!
//! The owner is the process. A re-entrant lock may be acquired again by its owner, and is free when it was released as often.
//! The token of a fenced lock is greater than that of every acquisition before; an owner that acquires the lock again is answered
//! with the token that it has (`fences`). An acquisition whose token is not known may have had any.
//!
//! Each lock is decided on its own by the search (`sequential`), whose time and memory grow exponentially with the
//! number of operations that are open at once. An acquisition of unknown outcome that no operation of its process follows is left
//! out: had it taken the lock, nothing could have happened afterwards, so an order with it is as good without.
//!
//! A witness is made smaller by leaving out an acquisition with the release that is the next operation of its process: while
//! the lock was held so, nothing else happened to it.

mod fences;

use std::sync::atomic::{AtomicBool, AtomicUsize};

use duress_history::fenced_mutex::FencedMutex;
use duress_history::mutex::{Mutex, MutexOp};
use duress_history::{Completion, Operation, Payload, Process, Scalar};
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
    /// The token of an acquisition, where it is known.
    fence: Option<i64>,
}

/// A lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Held {
    /// The owner, and how often it holds the lock.
    by: Option<(u64, u32)>,
    /// The greatest token so far.
    fence: Option<i64>,
    /// Whether that is the owner's.
    is_owners: bool,
}

type Call = sequential::Call<Effect>;

impl Sequential for Effect {
    type State = Held;

    fn after(&self, held: &Held) -> Vec<Held> {
        let owner = self.process.0;
        let by = match (self.op, held.by) {
            (MutexOp::Acquire, None) => Some((owner, 1)),
            (MutexOp::Acquire, Some((other, times)))
                if other == owner && self.reentry == Reentry::Allowed =>
            {
                Some((owner, times + 1))
            }
            (MutexOp::Release, Some((other, 1))) if other == owner => None,
            (MutexOp::Release, Some((other, times))) if other == owner => Some((owner, times - 1)),
            _ => return Vec::new(),
        };
        let is_owners = by.is_some() && held.is_owners;
        match self.fence {
            None => vec![Held { by, is_owners, ..*held }],
            Some(_) if is_owners && self.fence == held.fence => vec![Held { by, ..*held }],
            Some(_) if !is_owners && self.fence > held.fence => {
                vec![Held { by, fence: self.fence, is_owners: true }]
            }
            Some(_) => Vec::new(),
        }
    }

    fn size(_: &Self::State) -> usize {
        0
    }
}

/// An operation on a lock, in the vocabularies with and without tokens.
trait Locking: Describe<Focus = ()> + Sync {
    fn mutex(&self) -> &Mutex;
    fn fence(&self) -> Option<i64>;
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
    check(operations, |lock, ops| check_lock(operations, lock, &calls(operations, ops, reentry), limits))
}

/// The same for locks that hand out fencing tokens.
///
/// A lock is also `Unknown` if it was acquired, and no token is known.
#[must_use]
pub fn check_fenced_mutex(
    operations: &[Operation<FencedMutex>],
    reentry: Reentry,
    budget: &Budget,
    interrupt: &AtomicBool,
) -> CheckReport {
    let memory_bytes = AtomicUsize::new(0);
    let limits = Limits { budget, memory_bytes: &memory_bytes, interrupt };
    check(operations, |lock, ops| {
        let fences = fences::check_fences(operations, lock, ops, reentry);
        let mut calls = calls(operations, ops, reentry);
        if fences.anomaly.is_some() {
            // Two owners at once say more than their tokens.
            calls.iter_mut().for_each(|call| call.effect.fence = None);
            let owners = check_lock(operations, lock, &calls, limits);
            return if owners.anomaly.is_some() { owners } else { fences };
        }
        let held = check_lock(operations, lock, &calls, limits);
        Answer { reason: held.reason.or(fences.reason), ..held }
    })
}

/// The same for locks that are leased: as a lease may expire, several processes may hold the lock, and a release may come too
/// late. Nothing but the tokens is promised; each is greater than that of every acquisition before, also by the same process.
///
/// Time O(n log n).
#[must_use]
pub fn check_fenced_lease(operations: &[Operation<FencedMutex>]) -> CheckReport {
    check(operations, |lock, ops| fences::check_fences(operations, lock, ops, Reentry::Refused))
}

/// Has `check_lock` check each lock.
fn check<A: Locking>(
    operations: &[Operation<A>],
    check_lock: impl Fn(Option<&Scalar>, &[Op]) -> Answer + Sync,
) -> CheckReport {
    let answers = by_key(operations, |action| action.mutex().lock.as_ref())
        .par_iter()
        .map(|(lock, ops)| check_lock(*lock, ops))
        .collect();
    report(answers, operations.len(), Asked::Yes)
}

/// Returns what the operations `ops` on one lock did, or may have done.
fn calls<A: Locking>(operations: &[Operation<A>], ops: &[Op], reentry: Reentry) -> Vec<Call> {
    let latest: FxHashMap<Process, Op> =
        ops.iter().map(|op| (operations[*op as usize].process, *op)).collect();
    ops.iter()
        .filter_map(|op| {
            let operation = &operations[*op as usize];
            let (process, action) = (operation.process, operation.action.mutex().op);
            let (complete, fence) = match &operation.completion {
                Completion::Ok { index, answer, .. } => (Some(*index), answer.fence()),
                Completion::Fail { .. } => return None,
                Completion::Info { .. } if action == MutexOp::Acquire && latest[&process] == *op => {
                    return None;
                }
                Completion::Info { .. } => (None, None),
            };
            let effect = Effect { reentry, process, op: action, fence };
            Some(Call { effect, invoke: operation.index, complete, op: *op })
        })
        .collect()
}

fn check_lock<A: Locking>(
    operations: &[Operation<A>],
    lock: Option<&Scalar>,
    calls: &[Call],
    limits: Limits<'_>,
) -> Answer {
    let (decision, explored) = decide(calls, Held::default(), lock, limits);
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
fn anomaly<A: Locking>(
    operations: &[Operation<A>],
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
    let start = Held::default();
    let few = few(calls, last, group, interrupt);
    let (calls, last) = few.as_ref().map_or((calls, last), |(calls, last)| (calls, *last));
    let (small, shown) = sequential::shrink(calls, last, &start, group, interrupt);
    // Whether the owners alone are impossible, whatever the tokens.
    let mut owned = Some(shown);
    if small.iter().any(|call| call.effect.fence.is_some()) {
        let unfenced = |call: &Call| Call { effect: Effect { fence: None, ..call.effect }, ..*call };
        let calls: Vec<Call> = small.iter().map(unfenced).collect();
        owned = sequential::trial(&calls, &start, interrupt).map(|violation| calls[violation.call]);
    }
    let last = owned.unwrap_or(shown);
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
    let (kind, problem) = match (owned, last.effect.op) {
        (None, _) => (
            AnomalyKind::NonmonotonicFence,
            "the owner does not fit, or a token is not greater than one before",
        ),
        (Some(_), MutexOp::Acquire) => (AnomalyKind::DoubleAcquire, "the lock cannot have been free"),
        (Some(_), MutexOp::Release) => (AnomalyKind::UnheldRelease, "its process cannot have held the lock"),
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

/// Returns the latest of `calls`, as few as are impossible too, and the number of the one that cannot be explained; `None` if
/// little does not suffice. A long history is too much for [`shrink`](sequential::shrink), which tries nearly all of it first.
///
/// Calls without a group stay, and a group, which is named by its first operation, is left out as a whole.
fn few(
    calls: &[Call],
    last: usize,
    group: impl Fn(&Call) -> Option<Op>,
    interrupt: &AtomicBool,
) -> Option<(Vec<Call>, usize)> {
    let end = calls[last].complete?;
    let begun = calls.partition_point(|call| call.invoke <= end);
    let counts = std::iter::successors(Some(16), |count| Some(4 * count));
    counts.take_while(|count| *count < begun).find_map(|count| {
        let from = calls[begun - count].op;
        let stays = |call: &&Call| group(call).is_none_or(|first| first >= from);
        let few: Vec<Call> = calls[..begun].iter().filter(stays).copied().collect();
        let violation = sequential::trial(&few, &Held::default(), interrupt)?;
        Some((few, violation.call))
    })
}

impl Locking for Mutex {
    fn mutex(&self) -> &Mutex {
        self
    }

    fn fence(&self) -> Option<i64> {
        None
    }
}

impl Locking for FencedMutex {
    fn mutex(&self) -> &Mutex {
        &self.mutex
    }

    fn fence(&self) -> Option<i64> {
        self.fence
    }
}

impl Describe for Mutex {
    type Focus = ();

    fn describe(&self, (): &()) -> String {
        self.f().to_owned()
    }
}

impl Describe for FencedMutex {
    type Focus = ();

    fn describe(&self, (): &()) -> String {
        match self.fence {
            Some(token) => format!("{} -> {token}", self.f()),
            None => self.f().to_owned(),
        }
    }
}
