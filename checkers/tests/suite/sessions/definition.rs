//! Session guarantees by their definition: visible sets and orders of writes, tried out.

use std::collections::BTreeMap;

use duress_history::pairs::Completion;
use duress_history::register::{Register, RegisterOp};
use duress_history::{Assumed, Initial, NilReads, Operation, Scalar, SessionGuarantee, SessionGuarantees};

use SessionGuarantee::{MonotonicReads, MonotonicWrites, ReadYourWrites, WritesFollowReads};

/// An act of a session, as the definition has it.
#[derive(Clone, Debug)]
pub struct Act {
    session: (u64, usize),
    /// Its place in the history; a compare-and-set reads before it writes.
    place: (usize, bool),
    key: Scalar,
    /// For a read, the write that it returned.
    returned: Option<usize>,
}

impl Act {
    fn is_before(&self, other: &Self) -> bool {
        self.session == other.session && self.place < other.place
    }
}

/// The reads and the writes of a history.
pub struct Execution {
    pub reads: Vec<Act>,
    pub writes: Vec<Act>,
}

/// Returns the reads and writes of a history: `Err(false)` if its values are impossible, `Err(true)` if they do not say which
/// write was read.
pub fn execution(operations: &[Operation<Register>], assumed: &Assumed) -> Result<Execution, bool> {
    let mut infos: BTreeMap<u64, usize> = BTreeMap::new();
    let (mut reads, mut writes) = (Vec::new(), Vec::new());
    for (at, operation) in operations.iter().enumerate() {
        let session = (operation.process.0, infos.get(&operation.process.0).copied().unwrap_or_default());
        let (end, took_effect, saw) = match &operation.completion {
            Completion::Ok { index, .. } => (*index, Some(true), None),
            Completion::Fail { error, index, .. } => {
                (*index, Some(false), error.as_ref().and_then(|error| error.saw.clone()))
            }
            Completion::Info { .. } => {
                *infos.entry(operation.process.0).or_default() += 1;
                (u64::MAX, None, None)
            }
        };
        let answer = match &operation.completion {
            Completion::Ok { answer, .. } => answer,
            _ => &operation.action,
        };
        let (read, written) = match &answer.op {
            RegisterOp::Read(value) => (took_effect.is_some().then(|| value.clone()), None),
            RegisterOp::Write(value) => (None, Some(value.clone())),
            RegisterOp::Delete => unreachable!("a deleted register is undecided"),
            RegisterOp::Cas { old, new } => (Some(old.clone()), Some(new.clone())),
        };
        let act = |write| Act { session, place: (at, write), key: answer.key.clone(), returned: None };
        match (saw, took_effect) {
            (Some(saw), _) => reads.push((act(false), saw, end)),
            (None, Some(false)) => {}
            (None, _) => {
                reads.extend(
                    read.filter(|_| took_effect.is_some() || written.is_some())
                        .map(|it| (act(false), it, end)),
                );
            }
        }
        // A failed operation wrote nothing.
        let written = written.filter(|_| took_effect != Some(false));
        writes.extend(written.map(|value| (act(true), value, took_effect, operation.index)));
    }
    // Operations of unknown outcome took effect if their value was read, by one that did.
    let mut effective: Vec<bool> =
        writes.iter().map(|(_, _, took_effect, _)| *took_effect == Some(true)).collect();
    let of_same = |read: &Act| writes.iter().position(|(write, ..)| write.place.0 == read.place.0);
    loop {
        let before = effective.clone();
        for (read, value, _) in reads.iter().filter(|(read, ..)| of_same(read).is_none_or(|at| before[at])) {
            for (at, (write, written, took_effect, _)) in writes.iter().enumerate() {
                effective[at] |=
                    took_effect.is_none() && write.key == read.key && *value == Some(written.clone());
            }
        }
        if before == effective {
            break;
        }
    }
    reads.retain(|(read, ..)| of_same(read).is_none_or(|at| effective[at]));
    reads.retain(|(_, value, _)| value.is_some() || assumed.nil_reads == NilReads::Observed);
    let mut initial: BTreeMap<Scalar, Option<Scalar>> = BTreeMap::new();
    let mut execution = Execution { reads: Vec::new(), writes: Vec::new() };
    let numbers: Vec<usize> = (0..writes.len()).filter(|at| effective[*at]).collect();
    execution.writes = numbers.iter().map(|at| writes[*at].0.clone()).collect();
    let mut is_open = false;
    for (mut read, value, end) in reads {
        read.returned = numbers.iter().position(|at| {
            let (write, written, ..) = &writes[*at];
            write.key == read.key && value.as_ref() == Some(written)
        });
        match read.returned {
            Some(at) if end < writes[numbers[at]].3 => match assumed.initial {
                Initial::Any => is_open = true,
                Initial::Known(_) => return Err(false),
            },
            Some(_) => {}
            None => {
                let known = match &assumed.initial {
                    Initial::Known(known) => known.clone(),
                    Initial::Any => initial.entry(read.key.clone()).or_insert(value.clone()).clone(),
                };
                if value != known {
                    return Err(false);
                }
            }
        }
        execution.reads.push(read);
    }
    if is_open { Err(true) } else { Ok(execution) }
}

/// Whether `visible`, by read and write, and the order of writes `places` are an execution with the guarantees.
pub fn is_kept(it: &Execution, set: SessionGuarantees, visible: &[Vec<bool>], places: &[usize]) -> bool {
    let (reads, writes) = (&it.reads, &it.writes);
    let returns = |(read, sees): (&Act, &Vec<bool>)| {
        let seen = (0..writes.len()).filter(|at| sees[*at] && writes[*at].key == read.key);
        seen.max_by_key(|at| places[*at]) == read.returned
    };
    reads.iter().zip(visible).all(returns)
        && is_closed(it, set, visible)
        && (0..writes.len()).all(|one| {
            (0..writes.len()).all(|other| {
                let own = set.has(MonotonicWrites) && writes[one].is_before(&writes[other]);
                let follows = set.has(WritesFollowReads)
                    && reads
                        .iter()
                        .zip(visible)
                        .any(|(read, sees)| sees[one] && read.is_before(&writes[other]));
                places[one] < places[other] || !(own || follows)
            })
        })
}

/// Whether everything is visible that has to be.
fn is_closed(it: &Execution, set: SessionGuarantees, visible: &[Vec<bool>]) -> bool {
    demanded(it, set, visible).iter().all(|(read, write)| visible[*read][*write])
}

/// Returns the pairs of a read and a write that has to be visible to it by the guarantees, given those that are.
fn demanded(it: &Execution, set: SessionGuarantees, visible: &[Vec<bool>]) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    for (at, read) in it.reads.iter().enumerate() {
        for (write, act) in it.writes.iter().enumerate() {
            let own = set.has(ReadYourWrites) && act.is_before(read);
            let earlier = |(other, sees): (&Act, &Vec<bool>)| sees[write] && other.is_before(read);
            let seen = set.has(MonotonicReads) && it.reads.iter().zip(visible).any(earlier);
            let with = (0..it.writes.len()).filter(|later| visible[at][*later]).any(|later| {
                let follows =
                    |(other, sees): (&Act, &Vec<bool>)| sees[write] && other.is_before(&it.writes[later]);
                (set.has(MonotonicWrites) && act.is_before(&it.writes[later]))
                    || (set.has(WritesFollowReads) && it.reads.iter().zip(visible).any(follows))
            });
            if own || seen || with || read.returned == Some(write) {
                pairs.push((at, write));
            }
        }
    }
    pairs
}

/// Returns every order of `count` writes, as the place of each.
pub fn orders(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let with_last =
        |order: Vec<usize>| (0..count).map(move |at| [&order[..at], &[count - 1], &order[at..]].concat());
    // The inverse of every order is an order too.
    orders(count - 1).into_iter().flat_map(with_last).collect()
}

/// Whether some order of the writes, with the least visible sets, is an execution.
pub fn has_an_execution(it: &Execution, set: SessionGuarantees, orders: &[Vec<usize>]) -> bool {
    let mut visible = vec![vec![false; it.writes.len()]; it.reads.len()];
    while !is_closed(it, set, &visible) {
        for (read, write) in demanded(it, set, &visible) {
            visible[read][write] = true;
        }
    }
    orders.iter().any(|places| is_kept(it, set, &visible, places))
}
