//! Evidence that a message is lost: a consumer that passed it by, another message in its place, and the final
//! reading.

use crate::delivery::facts::{Facts, Op, Partition, SendId, Sent};
use crate::delivery::marks::{self, Mark};
use crate::delivery::positions::{Jump, Reading};
use crate::delivery::promise::{Gaps, LogOptions};

/// Readings of one partition that are tried as the final one, latest first.
const READINGS_TRIED: usize = 16;

/// Consumers that passed by an offset.
pub(super) struct Passes {
    /// Forward jumps by where they began, each with the number of the one, up to itself, that goes furthest.
    jumps: Vec<(Jump, usize)>,
}

impl Passes {
    pub(super) fn new(jumps: &[Jump], gaps: Gaps) -> Self {
        let proves = |jump: &&Jump| {
            jump.to > jump.next
                && match gaps {
                    Gaps::Never => true,
                    Gaps::BelowStart => jump.is_within(),
                    Gaps::Anywhere => false,
                }
        };
        let mut forward: Vec<(Jump, usize)> = jumps.iter().filter(proves).map(|jump| (*jump, 0)).collect();
        forward.sort_by_key(|(jump, _)| (jump.next, jump.by));
        let mut furthest = 0;
        for at in 0..forward.len() {
            if forward[at].0.to > forward[furthest].0.to {
                furthest = at;
            }
            forward[at].1 = furthest;
        }
        Self { jumps: forward }
    }

    /// Returns a jump over `offset`.
    pub(super) fn over(&self, offset: u64) -> Option<Jump> {
        let begun = self.jumps.partition_point(|(jump, _)| jump.next <= offset);
        let (_, furthest) = self.jumps.get(begun.checked_sub(1)?)?;
        let (jump, _) = self.jumps[*furthest];
        (jump.to > offset).then_some(jump)
    }
}

/// Offsets that answers gave, by when their operations began.
pub(super) struct Later {
    /// The index of the invocation, the send or reader, its offset; by invocation.
    offsets: Vec<(u64, u32, u64)>,
    /// From each of them on, the one with the lowest offset.
    lowest: Vec<usize>,
}

impl Later {
    /// Returns the places of sends.
    pub(super) fn sends(facts: &Facts<'_>, partition: &Partition<'_>) -> Self {
        let placed = |(id, sent): (usize, &Sent<'_>)| {
            sent.lowest().map(|offset| (facts.begun(sent.op), id as SendId, offset))
        };
        Self::new(partition.sends.iter().enumerate().filter_map(placed).collect())
    }

    /// Returns the ends that were answered.
    pub(super) fn ends(facts: &Facts<'_>, partition: &Partition<'_>) -> Self {
        Self::new(partition.ends.iter().map(|(op, end)| (facts.begun(*op), *op, *end)).collect())
    }

    fn new(offsets: Vec<(u64, u32, u64)>) -> Self {
        let mut lowest: Vec<usize> = (0..offsets.len()).collect();
        for at in (0..offsets.len().saturating_sub(1)).rev() {
            if offsets[lowest[at + 1]].2 <= offsets[at].2 {
                lowest[at] = lowest[at + 1];
            }
        }
        Self { offsets, lowest }
    }

    /// Returns one that began after `op` was answered, with an offset of at most `offset`, and that offset.
    pub(super) fn at_or_below(&self, facts: &Facts<'_>, op: Op, offset: u64) -> Option<(u32, u64)> {
        let answered = facts.answered(op)?;
        let after = self.offsets.partition_point(|(begun, ..)| *begun < answered);
        let (_, id, at) = self.offsets[*self.lowest.get(after)?];
        (at <= offset).then_some((id, at))
    }
}

/// The reading that shows the final content of the partition.
pub(super) struct FinalReading<'a> {
    pub(super) reading: &'a Reading,
    /// The latest mark that the reading reached.
    pub(super) mark: Option<Mark>,
    /// By send: whether the reading has it.
    found: Vec<bool>,
}

impl<'a> FinalReading<'a> {
    /// Returns, among the latest readings, the one that reached the latest mark.
    pub(super) fn find(
        facts: &Facts<'_>,
        partition: &Partition<'_>,
        readings: &'a [Reading],
        options: &LogOptions,
    ) -> Option<Self> {
        if options.gaps == Gaps::Anywhere {
            return None;
        }
        let mut best: Option<(u64, &Reading, Option<Mark>)> = None;
        for reading in readings.iter().rev().filter(|reading| !reading.ops.is_empty()).take(READINGS_TRIED) {
            let mark = marks::latest(partition, reading.reached, options.acknowledged);
            let until = mark.map_or(0, |mark| facts.begun(mark.op).min(facts.begun(reading.start)));
            if best.is_none_or(|(before, ..)| until > before) {
                best = Some((until, reading, mark));
            }
        }
        let (_, reading, mark) = best?;
        let mut last = Self { reading, mark, found: vec![false; partition.sends.len()] };
        for record in &partition.records {
            if let Some(send) = record.send.filter(|_| last.gave(record.op)) {
                last.found[send as usize] = true;
            }
        }
        Some(last)
    }

    /// Whether the reading has a message.
    pub(super) fn contains(&self, id: SendId) -> bool {
        self.found[id as usize]
    }

    /// Whether `op` is one of the polls of the reading.
    pub(super) fn gave(&self, op: Op) -> bool {
        self.reading.ops.binary_search(&op).is_ok()
    }
}
