//! Lost write: a message that was acknowledged, or that was read, is not in its partition.
//!
//! A message that was never read is not thereby lost: perhaps no consumer has come that far. It is lost when
//! one of these holds.
//!
//! It was never read, it was acknowledged, and
//! - *overwritten*: a poll returned another message at its offset, and an offset holds one message;
//! - *passed by*: a consumer at or before its offset next received a message beyond it;
//! - *reused*: a message that was sent after the acknowledgement was put at its offset or before, and appends
//!   come after all existing messages;
//! - *beyond the end*: an end that was reported later lies at its offset or before, and ends do not lag
//!   behind ([`Acknowledged::Readable`]);
//! - *not in the final reading*: the acknowledgement had no offset, and a consumer read from the beginning up
//!   to a mark without finding it.
//!
//! Or it was read, and *vanished*: the final reading, which began after all this, received another message at
//! its offset, or came to an end before it. (A final reading that merely left it out has skipped it; see
//! [`polls`](super::polls).)
//!
//! [`marks`](super::marks) defines marks. A final phase sends one message more to each partition, and then
//! reads each from the beginning until it has that.
//!
//! Otherwise an acknowledged message that was not read is *unseen*, and undecided. Jepsen's lost write needs
//! any poll of a higher offset; as consumers here also seek, it must be one of a consumer that passed by.
//!
//! Departures for logs that lose messages by design: if retention removes the oldest, a consumer may be moved
//! forward, so passing by from one operation to the next proves nothing, and a reading begins with its first
//! message; if compaction removes any, only overwritten or reused messages are lost.

mod evidence;
mod explain;

use super::facts::{Facts, Op, Partition, SendId, Sent};
use super::positions::{Jump, Positions};
use super::promise::{Acknowledged, LogOptions};
use crate::findings::Findings;
use crate::verdict::AnomalyKind;
use evidence::{FinalReading, Later, Passes};
pub(super) use explain::position;

/// The known losses of one partition.
#[derive(Debug)]
pub(super) struct Losses {
    /// By send: whether it is lost.
    pub(super) lost: Vec<bool>,
    /// How many acknowledged messages were never read, without being lost.
    pub(super) unseen: u64,
}

/// Finds the lost messages of every partition, in their order.
///
/// Time O(n log n) in the sends and the messages read.
pub(super) fn lost_writes(
    facts: &Facts<'_>,
    positions: &Positions,
    options: &LogOptions,
    findings: &mut Findings,
) -> Vec<Losses> {
    let mut losses = Vec::with_capacity(facts.partitions.len());
    for (at, partition) in facts.partitions.iter().enumerate() {
        if partition.repeated.is_some() {
            losses.push(Losses { lost: vec![false; partition.sends.len()], unseen: 0 });
            continue;
        }
        let search = Search {
            facts,
            partition,
            options,
            passes: Passes::new(&positions.jumps[at], options.gaps),
            later: Later::sends(facts, partition),
            ends: Later::ends(facts, partition),
            last: FinalReading::find(facts, partition, &positions.readings[at], options),
        };
        losses.push(search.all(findings));
    }
    losses
}

/// Why a message is lost.
enum Proof {
    /// This poll gave another message at its offset.
    Overwritten(Op),
    /// This consumer passed it by.
    PassedBy(Jump),
    /// This send, which began later, was put at this offset.
    Reused(SendId, u64),
    /// By a later answer, the partition ends before it, at this offset.
    Beyond(Op, u64),
    /// It is not in the final reading, although it must lie below the mark.
    NotRead,
    /// It was read by this poll, and lies beyond the end of the final reading, although it must lie below the mark.
    Ended(Op),
    /// It was read by the first poll; the second, of the final reading, gave another message at its offset.
    Replaced(Op, Op),
}

struct Search<'a, 'b> {
    facts: &'a Facts<'b>,
    partition: &'a Partition<'b>,
    options: &'a LogOptions,
    passes: Passes,
    later: Later,
    ends: Later,
    last: Option<FinalReading<'a>>,
}

impl<'b> Search<'_, 'b> {
    fn all(&self, findings: &mut Findings) -> Losses {
        let mut losses = Losses { lost: vec![false; self.partition.sends.len()], unseen: 0 };
        for (id, sent) in self.partition.sends.iter().enumerate() {
            let id = id as SendId;
            let proof = match sent.seen {
                None if sent.is_acknowledged() => self.never_read(sent),
                None => continue,
                Some(_) => self.vanished(id, sent),
            };
            match proof {
                Some(proof) => {
                    losses.lost[id as usize] = true;
                    findings.add(AnomalyKind::LostWrite, || self.explain(sent, &proof));
                }
                None => losses.unseen += u64::from(sent.seen.is_none()),
            }
        }
        losses
    }

    fn never_read(&self, sent: &Sent<'b>) -> Option<Proof> {
        if let Some(offset) = sent.acknowledged_at() {
            if let Some(record) = self.partition.at(offset).first() {
                return Some(Proof::Overwritten(record.op));
            }
            if let Some(jump) = self.passes.over(offset) {
                return Some(Proof::PassedBy(jump));
            }
            if let Some((reuser, at)) = self.later.at_or_below(self.facts, sent.op, offset) {
                return Some(Proof::Reused(reuser, at));
            }
        }
        if let (Some(offset), Acknowledged::Readable) = (sent.acknowledged_at(), self.options.acknowledged)
            && let Some((op, end)) = self.ends.at_or_below(self.facts, sent.op, offset)
        {
            return Some(Proof::Beyond(op, end));
        }
        let last = self.last.as_ref()?;
        let mark = last.mark.as_ref()?;
        if !self.facts.precedes(sent.op, last.reading.start) || !self.facts.precedes(sent.op, mark.op) {
            return None;
        }
        // With an offset, another message is there, or it was passed by, or it lies beyond all that was read.
        // Without one it may have been removed from below, if anything was.
        (sent.acknowledged_at().is_none() && last.reading.low == 0).then_some(Proof::NotRead)
    }

    fn vanished(&self, id: SendId, sent: &Sent<'b>) -> Option<Proof> {
        let (last, seen) = (self.last.as_ref()?, sent.seen?);
        // A duplicate has its own anomaly; a message that was never acknowledged may be read and vanish if
        // that is allowed.
        if last.contains(id) || seen.low != seen.high || !sent.stays(self.options.promise.unsettled_reads) {
            return None;
        }
        let start = last.reading.start;
        let records = || self.partition.at(seen.low).iter().filter(|record| record.send == Some(id));
        // A poll that gave it while the final reading went on, or after it, shows that it is there.
        if seen.low < last.reading.low || !records().all(|record| self.facts.precedes(record.op, start)) {
            return None;
        }
        let read = records().next()?.op;
        if let Some(other) = self.partition.at(seen.low).iter().find(|record| last.gave(record.op)) {
            return Some(Proof::Replaced(read, other.op));
        }
        let mark = last.mark.as_ref()?;
        let below = records().all(|record| self.facts.precedes(record.op, mark.op));
        (seen.low >= last.reading.reached && below).then_some(Proof::Ended(read))
    }
}
