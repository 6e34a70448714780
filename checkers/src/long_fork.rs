//! Long fork: did two reads see two writes in opposite orders?
//!
//! An anomaly that parallel snapshot isolation allows, and snapshot isolation forbids: one read sees the write of x and not that of y,
//! another sees the write of y and not that of x. As in Jepsen's `long-fork`, each key is written once, by a transaction of
//! its own, and each read is of a group of keys.
//!
//! The reads of one group, in the order of how many keys they saw written, must each have seen all that the one
//! before saw: if neighbours did, all did.
//!
//! Departures: a value that was never written, or only by a transaction that failed, is reported too, and a key that was written more than once is left out, with a
//! reason. So are, with a reason, transactions that read and write, and keys that are in more than one group.

use std::collections::BTreeMap;

use duress_history::pairs::Completion;
use duress_history::txn::{Act, Held, Micro, RwRegister};
use duress_history::{Allowed, ConsistencyModel, Operation, Scalar};
use rustc_hash::FxHashMap;

use crate::delivery::happened;
use crate::findings::Findings;
use crate::verdict::{Anomaly, AnomalyKind, CheckReport, Object, ObjectKind, Reason, RelationKind, Role};
use crate::witness::{Op, Witness, say};

/// The keys that an answered read saw written, in order.
struct Seen<'a> {
    op: Op,
    keys: Vec<&'a Scalar>,
}

/// Whether `model` forbids long forks: two anti-dependencies that are not adjacent, and that are of items.
fn forbids_forks(model: ConsistencyModel) -> bool {
    model.implies(ConsistencyModel::SnapshotIsolation) || model.implies(ConsistencyModel::RepeatableRead)
}

/// Checks that the reads among `operations`, which are in order of invocation, fit one order of the writes, if `model`
/// promises that.
///
/// Time O(micro-operations · log n).
#[must_use]
pub fn check_long_fork(operations: &[Operation<RwRegister>], model: ConsistencyModel) -> CheckReport {
    let mut reasons: Vec<Reason> = Vec::new();
    let promised = forbids_forks(model);
    if !promised {
        let what = format!("{model} promises nothing about long forks: snapshot-isolation does, and more");
        reasons.push(Reason::NotExamined { what });
    }
    let writes = writes(operations, &mut reasons);
    let mut findings = Findings::new(move |kind| match kind {
        AnomalyKind::LongFork => Allowed::from(!promised),
        AnomalyKind::AbortedRead => Allowed::from(!model.implies(ConsistencyModel::ReadCommitted)),
        _ => Allowed::No,
    });
    let mut groups: BTreeMap<Vec<&Scalar>, Vec<Seen<'_>>> = BTreeMap::new();
    let mut mixed = 0;
    for (op, operation) in operations.iter().enumerate() {
        let Completion::Ok { answer, .. } = &operation.completion else { continue };
        let writing = answer.micros.iter().filter(|micro| matches!(micro.act, Act::Write(_))).count();
        if writing > 0 {
            mixed += u64::from(answer.micros.len() > 1);
            continue;
        }
        let (mut group, mut keys): (Vec<&Scalar>, Vec<&Scalar>) = (Vec::new(), Vec::new());
        for Micro { key, act } in &answer.micros {
            let Some(write) = writes.get(key) else {
                unwritten(operations, op as Op, (key, act), None, &mut findings);
                continue;
            };
            // A key that was written twice is in no group.
            let Some((value, writer)) = write else { continue };
            group.push(key);
            match act {
                Act::Read(Some(Held(Some(read)))) if read == *value => {
                    match &operations[*writer as usize].completion {
                        Completion::Fail { .. } => {
                            aborted(operations, op as Op, (key, read), *writer, &mut findings)
                        }
                        Completion::Ok { .. } | Completion::Info { .. } => keys.push(key),
                    }
                }
                _ => unwritten(operations, op as Op, (key, act), Some(*writer), &mut findings),
            }
        }
        for list in [&mut group, &mut keys] {
            list.sort_unstable();
            list.dedup();
        }
        groups.entry(group).or_default().push(Seen { op: op as Op, keys });
    }
    if mixed > 0 {
        let what =
            format!("{mixed} transactions are neither one write nor only reads, and were not compared");
        reasons.push(Reason::NotExamined { what });
    }
    let mut grouped: FxHashMap<&Scalar, usize> = FxHashMap::default();
    groups.keys().flatten().for_each(|key| *grouped.entry(key).or_default() += 1);
    if let Some(key) = grouped.iter().filter(|(_, groups)| **groups > 1).map(|(key, _)| *key).min() {
        let what = format!("{key} is in reads of different keys, and such reads were not compared");
        reasons.push(Reason::NotExamined { what });
    }
    let reads = groups.values().map(Vec::len).sum::<usize>() as u64;
    for reads in groups.values_mut() {
        reads.sort_by_key(|seen| seen.keys.len());
        for pair in reads.windows(2) {
            let missed = |one: &Seen<'_>, other: &Seen<'_>| {
                one.keys.iter().find(|key| other.keys.binary_search(key).is_err()).map(|key| (*key).clone())
            };
            if let (Some(x), Some(y)) = (missed(&pair[0], &pair[1]), missed(&pair[1], &pair[0])) {
                findings.add(AnomalyKind::LongFork, || {
                    let writer = |key: &Scalar| writes[key].map(|(_, op)| op);
                    fork(operations, [(pair[0].op, &x, writer(&x)), (pair[1].op, &y, writer(&y))])
                });
            }
        }
    }
    findings.report(groups.len(), operations.len(), (happened(operations), reads), reasons)
}

/// The value and the transaction by which a key was written; `None` if there are two.
type Writes<'a> = FxHashMap<&'a Scalar, Option<(&'a Scalar, Op)>>;

/// Returns the write of each key; one that failed is among them.
fn writes<'a>(operations: &'a [Operation<RwRegister>], reasons: &mut Vec<Reason>) -> Writes<'a> {
    let mut writes: Writes<'a> = FxHashMap::default();
    for (op, operation) in operations.iter().enumerate() {
        for Micro { key, act } in &operation.action.micros {
            let Act::Write(value) = act else { continue };
            let repeated = |write: &mut Option<(&'a Scalar, Op)>| {
                if write.take().is_some() {
                    reasons.push(Reason::RepeatedWrite { key: Some(key.clone()), value: value.clone() });
                }
            };
            writes.entry(key).and_modify(repeated).or_insert(Some((value, op as Op)));
        }
    }
    writes
}

/// Reports the answer `act` of `read` for `key`, which is not the value of its write, unless it is nil.
fn unwritten(
    operations: &[Operation<RwRegister>],
    read: Op,
    (key, act): (&Scalar, &Act<Held>),
    writer: Option<Op>,
    findings: &mut Findings,
) {
    let Act::Read(Some(Held(Some(value)))) = act else { return };
    findings.add(AnomalyKind::PhantomRead, || {
        let objects = vec![Object::new(ObjectKind::Key, key)];
        let roles = [(read, Role::Read)].into_iter().chain(writer.map(|op| (op, Role::Write)));
        let witness = Witness::of(objects, operations, &vec![key.clone()], roles);
        let summary = format!("{} saw {value} in {key}, which no transaction wrote", witness.named(read));
        let why = match writer {
            Some(writer) => say(format!("Only {} writes {key}.", witness.named(writer)), &[writer]),
            None => say(format!("No transaction writes {key}."), &[read]),
        };
        witness.anomaly(AnomalyKind::PhantomRead, read, summary, vec![why])
    });
}

/// Reports that `read` saw the value that a transaction which failed was to write.
fn aborted(
    operations: &[Operation<RwRegister>],
    read: Op,
    (key, value): (&Scalar, &Scalar),
    writer: Op,
    findings: &mut Findings,
) {
    findings.add(AnomalyKind::AbortedRead, || {
        let objects = vec![Object::new(ObjectKind::Key, key)];
        let roles = [(read, Role::Read), (writer, Role::Write)];
        let witness = Witness::of(objects, operations, &vec![key.clone()], roles);
        let (seen, failed) = (witness.named(read), witness.named(writer));
        let summary = format!("{seen} saw {value} in {key}, whose write failed");
        let why = say(format!("{failed} failed, so {value} was never in {key}."), &[writer]).relates(
            RelationKind::WriteRead,
            writer,
            read,
        );
        witness.anomaly(AnomalyKind::AbortedRead, read, summary, vec![why])
    });
}

/// Returns the witness of two reads, each with the key that only it saw written, and the transaction that wrote that.
fn fork(
    operations: &[Operation<RwRegister>],
    [(one, x, x_write), (other, y, y_write)]: [(Op, &Scalar, Option<Op>); 2],
) -> Anomaly {
    let writes = || [x_write, y_write].into_iter().flatten();
    let roles =
        [(one, Role::Read), (other, Role::Read)].into_iter().chain(writes().map(|op| (op, Role::Write)));
    let objects = [x, y].map(|key| Object::new(ObjectKind::Key, key)).to_vec();
    let witness = Witness::of(objects, operations, &vec![x.clone(), y.clone()], roles);
    let step = |read: Op, seen: (&Scalar, Option<Op>), missed: (&Scalar, Option<Op>)| {
        let sentence = format!(
            "{} saw the write of {}, and not that of {}: the first took effect before the second.",
            witness.named(read),
            seen.0,
            missed.0
        );
        let mut step = say(sentence, &[read]);
        if let (Some(seen), Some(missed)) = (seen.1, missed.1) {
            step = step.relates(RelationKind::WriteRead, seen, read).relates(
                RelationKind::ReadWrite,
                read,
                missed,
            );
        }
        step
    };
    let steps = vec![
        step(one, (x, x_write), (y, y_write)),
        step(other, (y, y_write), (x, x_write)),
        say("So each of the two writes took effect before the other.", &[one, other]),
    ];
    let summary = format!(
        "{} and {} saw the writes of {x} and {y} in opposite orders",
        witness.named(one),
        witness.named(other)
    );
    witness.anomaly(AnomalyKind::LongFork, other, summary, steps)
}
