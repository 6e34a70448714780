//! Tables that differ from the fold.
//!
//! Let `w` be the record of a key `k` with the highest offset in a partition, among those that were
//! acknowledged or read before a read `R` of the partition began, and let `R` have read beyond it. Then `R`
//! must have `w`, or a later record of `k`, unless `w` is a deletion and `R` has no record of `k` at all.
//!
//! - *Table diverged*: the record of `k` in `R` comes before `w` and gives `k` a value, which it no longer
//!   had.
//! - *Latest lost*: no record in `R` gives `k` a value, and `w` does.
//!
//! It is not an anomaly when a record of `k` may lie beyond the end of `R`, so that compaction removed `w`
//! for its sake: one that is known to lie there and whose write began before `R` was answered; or that of a
//! write of `k` that began before then, and whose place is unknown. This last excuse ends when an operation
//! that began after `R` was answered received an end that `R` had reached, or read to the very same end.
//!
//! A difference that may be excused in the last read of a partition is left open, and so is every
//! acknowledged write beyond the end of the last read.

use duress_history::log::Offset;
use duress_history::table::{PartitionRead, TableRecord};
use duress_history::{Allowed, Scalar};
use rustc_hash::FxHashMap;

use super::describe::describe_content;
use super::facts::{Facts, Read, Write};
use crate::delivery::describe::in_partition;
use crate::delivery::facts::WriteStatus;
use crate::findings::Findings;
use crate::verdict::{Anomaly, AnomalyKind, ObjectKind, Role};
use crate::witness::{Op, say};

/// A record whose place an answer gives.
#[derive(Clone, Copy)]
struct Known<'a> {
    offset: u64,
    value: Option<&'a Scalar>,
    /// The first operation that gives it.
    op: Op,
}

/// A place, as it became known.
struct News<'a> {
    answered: u64,
    partition: u32,
    key: &'a Scalar,
    known: Known<'a>,
}

/// Finds tables that differ from the fold; returns the open questions, by partition.
///
/// `lost` marks the writes that are lost already. If `loss` is allowed, only records that were read count as
/// present.
pub(super) fn differences<'a>(
    facts: &Facts<'a>,
    lost: &[bool],
    loss: Allowed,
    findings: &mut Findings,
) -> Vec<(Option<Scalar>, u64)> {
    let mut news = news(facts, lost, loss).into_iter().peekable();
    let unplaced = unplaced(facts);
    let mut tables: Vec<FxHashMap<&'a Scalar, Known<'a>>> =
        vec![FxHashMap::default(); facts.partitions.len()];
    let mut last: Vec<Option<usize>> = vec![None; facts.partitions.len()];
    let mut open: Vec<u64> = vec![0; facts.partitions.len()];
    let mut reads: Vec<usize> = (0..facts.reads.len()).collect();
    reads.sort_by_key(|at| facts.begun(facts.reads[*at].op));
    for at in reads {
        let read = &facts.reads[at];
        let begun = facts.begun(read.op);
        while let Some(News { partition, key, known, .. }) = news.next_if(|news| news.answered < begun) {
            let furthest = tables[partition as usize].entry(key).or_insert(known);
            if known.offset > furthest.offset {
                *furthest = known;
            }
        }
        last[read.partition as usize] = Some(at);
        let difference = Differences { facts, read, unplaced: &unplaced };
        open[read.partition as usize] = difference.find(&tables[read.partition as usize], findings);
    }
    let mut unplaced = 0;
    for (id, write) in facts.writes.iter().enumerate() {
        if lost[id] || !matches!(write.status, WriteStatus::Acknowledged(_)) || !write.seen.is_empty() {
            continue;
        }
        // Without a place it lies somewhere; a compacted record looks the same as one that never existed.
        let Some((partition, offset)) = write.place else {
            unplaced += 1;
            continue;
        };
        let read = last[partition as usize].map(|at| facts.reads[at]);
        let reached = read.is_some_and(|read| offset < read.read.next.0 && facts.precedes(write.op, read.op));
        open[partition as usize] += u64::from(!reached);
    }
    let named = facts.partitions.iter().map(|partition| Some((*partition).clone())).zip(open);
    named.chain([(None, unplaced)]).filter(|(_, messages)| *messages > 0).collect()
}

/// Returns all records whose place is known, in the order in which it became known.
fn news<'a>(facts: &Facts<'a>, lost: &[bool], loss: Allowed) -> Vec<News<'a>> {
    let mut news = Vec::new();
    for (write, lost) in facts.writes.iter().zip(lost) {
        if let (Some((partition, offset)), Some(answered), false, Allowed::No) =
            (write.place, facts.answered(write.op), *lost, loss)
        {
            let known = Known { offset, value: write.value, op: write.op };
            news.push(News { answered, partition, key: write.key, known });
        }
    }
    for read in &facts.reads {
        let Some(answered) = facts.answered(read.op) else { continue };
        for (key, record) in latest(read.read) {
            let known = Known { offset: record.offset.0, value: record.value.as_ref(), op: read.op };
            news.push(News { answered, partition: read.partition, key, known });
        }
    }
    news.sort_by_key(|news| news.answered);
    news
}

/// Returns the last record of each key.
fn latest(read: &PartitionRead) -> FxHashMap<&Scalar, &TableRecord> {
    let mut latest: FxHashMap<&Scalar, &TableRecord> = FxHashMap::default();
    for record in &read.records {
        let last = latest.entry(&record.key).or_insert(record);
        if record.offset > last.offset {
            *last = record;
        }
    }
    latest
}

/// Returns the writes that may lie at an unknown place, by key and invocation.
fn unplaced<'a, 'b>(facts: &'b Facts<'a>) -> FxHashMap<&'a Scalar, Vec<&'b Write<'a>>> {
    let mut unplaced: FxHashMap<&Scalar, Vec<&Write<'_>>> = FxHashMap::default();
    for write in &facts.writes {
        if write.status != WriteStatus::Failed {
            unplaced.entry(write.key).or_default().push(write);
        }
    }
    unplaced
}

struct Differences<'b, 'a> {
    facts: &'b Facts<'a>,
    read: &'b Read<'a>,
    unplaced: &'b FxHashMap<&'a Scalar, Vec<&'b Write<'a>>>,
}

impl<'a> Differences<'_, 'a> {
    /// Compares the read with the records known before it; returns how many keys are left open.
    fn find(&self, table: &FxHashMap<&'a Scalar, Known<'a>>, findings: &mut Findings) -> u64 {
        let found = latest(self.read.read);
        let next = self.read.read.next.0;
        let mut keys: Vec<(&Scalar, Known<'_>)> = table.iter().map(|(key, known)| (*key, *known)).collect();
        keys.sort_unstable_by_key(|(key, _)| *key);
        let mut open = 0;
        for (key, known) in keys {
            let has = found.get(key).copied();
            // A record beyond the read excuses everything before it, and is counted as not reached.
            if known.offset >= next || has.is_some_and(|has| has.offset.0 >= known.offset) {
                continue;
            }
            let value = has.and_then(|has| has.value.as_ref());
            let kind = match (known.value, value) {
                (_, Some(_)) => AnomalyKind::TableDiverged,
                (Some(_), None) => AnomalyKind::LatestLost,
                (None, None) => continue,
            };
            if self.excused(key) {
                open += 1;
            } else {
                findings.add(kind, || self.explain(key, known, has, kind));
            }
        }
        open
    }

    /// Whether a record of `key` may lie beyond the end of the read.
    fn excused(&self, key: &Scalar) -> bool {
        let Some(answered) = self.facts.answered(self.read.op) else { return true };
        let Read { partition, read, .. } = self.read;
        let beyond = |place: &(u32, u64)| place.0 == *partition && place.1 >= read.next.0;
        let writes = self.unplaced.get(key).map_or(&[][..], Vec::as_slice);
        let begun = writes.iter().take_while(|write| self.facts.begun(write.op) < answered);
        begun.into_iter().any(|write| {
            let known =
                write.seen.iter().map(|(partition, offset, _)| (*partition, *offset)).chain(write.place);
            let mut places = known.peekable();
            if places.peek().is_some() {
                return places.any(|place| beyond(&place));
            }
            !self.nothing_beyond(answered)
        })
    }

    /// Whether an operation found, after the read was answered, that no record lies beyond it.
    fn nothing_beyond(&self, answered: u64) -> bool {
        let Read { partition, read, .. } = self.read;
        let later = |op: Op, other: u32| other == *partition && self.facts.begun(op) > answered;
        let ended = |(op, other, end): &(Op, u32, u64)| later(*op, *other) && *end <= read.next.0;
        self.facts.ends.iter().any(ended)
            || self
                .facts
                .reads
                .iter()
                .any(|again| later(again.op, again.partition) && again.read.next == read.next)
    }

    fn explain(
        &self,
        key: &Scalar,
        known: Known<'a>,
        has: Option<&TableRecord>,
        kind: AnomalyKind,
    ) -> Anomaly {
        let (facts, read) = (self.facts, self.read);
        let partition = facts.partitions[read.partition as usize];
        let offsets = [known.offset].into_iter().chain(has.map(|has| has.offset.0));
        let roles = [(known.op, Role::Evidence), (read.op, Role::Read)];
        let witness = in_partition(facts.operations, partition, roles, offsets);
        let content = describe_content(key, known.value);
        let next = read.read.next;
        let left = match has {
            Some(TableRecord { offset: Offset(offset), value, .. }) => format!(
                "the last record of {key} that it found is {}, at offset {offset}",
                describe_content(key, value.as_ref())
            ),
            None => format!("it found no record of {key}"),
        };
        let steps = vec![
            say(
                format!(
                    "By {}, {content} is at offset {} of {partition}.",
                    witness.named(known.op),
                    known.offset
                ),
                &[known.op],
            ),
            witness.before(known.op, read.op),
            say(
                format!("{} read everything below offset {next}; {left}.", witness.named(read.op)),
                &[read.op],
            ),
            say(
                format!(
                    "No other record of {key} can lie beyond offset {next} and explain the removal of the one at offset {}.",
                    known.offset
                ),
                &[],
            ),
        ];
        let folded = match known.value {
            Some(value) => value.to_string(),
            None => "nothing".to_owned(),
        };
        let table = match has.and_then(|has| has.value.as_ref()) {
            Some(value) => value.to_string(),
            None => "nothing".to_owned(),
        };
        let summary =
            format!("the log that remains gives {key} {table}, and the whole log gives it {folded}");
        witness.anomaly(kind, read.op, summary, steps).about(ObjectKind::Key, key)
    }
}
