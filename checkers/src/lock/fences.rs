//! Do the fencing tokens of a lock grow in the order of its acquisitions?
//!
//! They do, as far as real time goes, exactly if no two acquisitions have one token, and none has a smaller one than another
//! that ended before it began: the acquisitions in the order of their tokens then agree with real time. Found in O(n log n).
//!
//! Kleppmann: "How to do distributed locking", 2016 (fencing tokens).

use duress_history::{Completion, Operation, Process, Scalar};
use rustc_hash::FxHashMap;

use super::{Locking, MutexOp, Reentry};
use crate::sequential::{Algorithm, Answer};
use crate::verdict::{Anomaly, AnomalyKind, Object, ObjectKind, Reason, RelationKind, Role};
use crate::witness::{Op, Witness, say};

/// An acquisition that was answered with a token.
#[derive(Clone, Copy)]
struct Acquired {
    fence: i64,
    process: Process,
    /// The indices of its events.
    invoke: u64,
    complete: u64,
    op: Op,
}

/// Checks the tokens of the operations `ops` on one lock, of `operations`. With re-entry, one process may be answered with a
/// token repeatedly; whether it held the lock all the time is not decided here.
pub(super) fn check_fences<A: Locking>(
    operations: &[Operation<A>],
    lock: Option<&Scalar>,
    ops: &[Op],
    reentry: Reentry,
) -> Answer {
    let (mut happened, mut acquisitions) = (0, 0);
    let mut acquired: Vec<Acquired> = Vec::new();
    for op in ops {
        let operation = &operations[*op as usize];
        let Completion::Ok { index, answer, .. } = &operation.completion else { continue };
        happened += 1;
        if answer.mutex().op == MutexOp::Release {
            continue;
        }
        acquisitions += 1;
        let Some(fence) = answer.fence() else { continue };
        let (process, invoke) = (operation.process, operation.index);
        acquired.push(Acquired { fence, process, invoke, complete: *index, op: *op });
    }
    let what = lock.map_or_else(String::new, |lock| format!("key {lock}: "));
    let reason = (acquisitions > 0 && acquired.is_empty()).then(|| Reason::NotExamined {
        what: format!("{what}no acquisition was answered with a fencing token (its `value`)"),
    });
    let pair = repeated(&acquired, reentry).or_else(|| smaller(&acquired));
    let anomaly = pair.map(|(one, other)| anomaly(operations, lock, one, other));
    let (algorithm, observed) = (Algorithm::NearLinear, happened);
    Answer { anomaly, reason, algorithm, happened, observed, ..Answer::default() }
}

/// Returns two acquisitions with the same token.
fn repeated(acquired: &[Acquired], reentry: Reentry) -> Option<(Acquired, Acquired)> {
    let mut first: FxHashMap<i64, Acquired> = FxHashMap::default();
    acquired.iter().find_map(|other| {
        let one = *first.entry(other.fence).or_insert(*other);
        let is_own = reentry == Reentry::Allowed && one.process == other.process;
        (one.op != other.op && !is_own).then_some((one, *other))
    })
}

/// Returns an acquisition, and one that began after its end and has a smaller token.
fn smaller(acquired: &[Acquired]) -> Option<(Acquired, Acquired)> {
    let mut ended = acquired.to_vec();
    ended.sort_unstable_by_key(|one| one.complete);
    let mut ended = ended.into_iter().peekable();
    let mut greatest: Option<Acquired> = None;
    acquired.iter().find_map(|other| {
        while let Some(one) = ended.next_if(|one| one.complete < other.invoke) {
            greatest = Some(greatest.filter(|greatest| greatest.fence >= one.fence).unwrap_or(one));
        }
        greatest.filter(|one| one.fence > other.fence).map(|one| (one, *other))
    })
}

/// Returns the witness that the token of `other` is not greater than that of `one`.
fn anomaly<A: Locking>(
    operations: &[Operation<A>],
    lock: Option<&Scalar>,
    one: Acquired,
    other: Acquired,
) -> Anomaly {
    let objects: Vec<Object> = lock.map(|lock| Object::new(ObjectKind::Key, lock)).into_iter().collect();
    let roles = [(one.op, Role::Acquire), (other.op, Role::Read)];
    let witness = Witness::of(objects, operations, &(), roles);
    let of = |one: &Acquired| format!("{} of process {}", witness.named(one.op), one.process);
    let about = [one.op, other.op];
    let (summary, steps) = if one.fence == other.fence {
        let summary = format!("{} and {} have the same fencing token", of(&one), of(&other));
        let why = format!(
            "{} and {} were both answered with the token {}, and one of them came after the other: its token must be greater.",
            witness.label(one.op),
            witness.label(other.op),
            one.fence
        );
        (summary, vec![say(why, &about)])
    } else {
        let summary =
            format!("{} has a smaller fencing token than {}, which came before", of(&other), of(&one));
        let why = format!(
            "So the token of {} must be greater than {}, and it is {}.",
            witness.label(other.op),
            one.fence,
            other.fence
        );
        let why = say(why, &about).relates(RelationKind::WriteRead, one.op, other.op);
        (summary, vec![witness.before(one.op, other.op), why])
    };
    witness.anomaly(AnomalyKind::NonmonotonicFence, other.op, summary, steps)
}
