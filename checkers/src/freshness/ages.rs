//! Each read of one register, and how old it is.
//!
//! A sweep over the events counts, in a Fenwick tree over the writes by invocation, those that have ended: the writes that
//! made a read old are those of them that began after the one that was read had ended. Of these, the first to end is the
//! first to end of all that began after it.

use crate::linearizable::call::{Call, Effect, INITIAL, Start, State};

/// The end of a write that has none: it may take effect at any later time.
const NEVER: u32 = u32::MAX;

/// The origin of the value that a read returned. Operations are numbered as the calls of the problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A write that none had replaced for certain, or the initial value.
    Fresh {
        read: usize,
        /// The last write to end before the read began, if any did.
        newest: Option<usize>,
    },
    /// A value that at least `versions` writes had replaced.
    Old {
        read: usize,
        /// The write that brought it, the last to end of several; `None` is the initial value.
        write: Option<usize>,
        versions: u64,
        /// The first of those writes to end.
        first: usize,
        /// The last write to end before the read began.
        newest: usize,
    },
    /// The register cannot have held it by the end of the read.
    Nowhere {
        read: usize,
        /// A read of another value that had to be the initial one; `None` if that is known.
        other: Option<usize>,
    },
}

/// Whether reads count that are concurrent with a write other than their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overlapped {
    Counted,
    LeftOut,
}

/// The answered reads before an interruption.
#[derive(Debug)]
pub(super) struct Interrupted {
    pub(super) reads: Vec<Found>,
    /// The first operation that was not looked at.
    pub(super) next: usize,
}

/// So many operations are looked at between two looks at the interrupt.
const LOOK_EVERY: usize = 1 << 12;

/// Returns the answered reads of a register, by invocation. Expects calls by invocation, as a partition has them once it
/// is interned; `start` is what the register held at first.
///
/// # Errors
/// [`Interrupted`] once `interrupted` says so.
pub(super) fn reads(
    calls: &[Call],
    start: Start,
    overlapped: Overlapped,
    interrupted: impl Fn() -> bool,
) -> Result<Vec<Found>, Interrupted> {
    let writes: Vec<usize> = (0..calls.len()).filter(|at| calls[*at].effect.produced().is_some()).collect();
    // How many writes had begun before the event of this rank.
    let begun = |rank: u32| writes.partition_point(|at| calls[*at].invoke < rank);
    let origins = Origins::new(calls, &writes);

    // For each write, the first to end among it and the writes that began later.
    let mut first_of: Vec<(u32, usize)> =
        writes.iter().map(|at| (calls[*at].complete.unwrap_or(NEVER), *at)).collect();
    let mut ends: Vec<(u32, usize)> = first_of.iter().enumerate().map(|(at, (end, _))| (*end, at)).collect();
    ends.retain(|(end, _)| *end != NEVER);
    ends.sort_unstable();
    for at in (1..first_of.len()).rev() {
        first_of[at - 1] = first_of[at - 1].min(first_of[at]);
    }

    let mut ended = Fenwick::new(writes.len());
    let mut next = 0;
    // The first read that only the initial value explains, where that is unknown.
    let mut initial: Option<(State, usize)> = None;
    let mut reads = Vec::new();
    for (read, call) in calls.iter().enumerate() {
        if read.is_multiple_of(LOOK_EVERY) && interrupted() {
            return Err(Interrupted { reads, next: read });
        }
        let (Some(complete), Some(value)) = (call.complete, call.effect.observed()) else { continue };
        while let Some((_, write)) = ends.get(next).filter(|(end, _)| *end < call.invoke) {
            ended.add(*write);
            next += 1;
        }
        let own = usize::from(matches!(call.effect, Effect::Cas(..)));
        if overlapped == Overlapped::LeftOut && begun(complete) > next + own {
            continue;
        }
        let origin = origins.last(value, complete);
        let found = match (origin, start) {
            (None, Start::Known(start)) if start != value => Found::Nowhere { read, other: None },
            (None, Start::Any) if initial.is_some_and(|(held, _)| held != value) => {
                Found::Nowhere { read, other: initial.map(|(_, other)| other) }
            }
            _ => {
                if origin.is_none() {
                    initial.get_or_insert((value, read));
                }
                // A write that began before this one had ended did not replace its value for certain. No write did if this one never ended.
                let before = origin.map_or(0, |(end, _)| begun(end));
                let newest = next.checked_sub(1).map(|last| writes[ends[last].1]);
                match first_of.get(before).filter(|(end, _)| *end < call.invoke) {
                    Some((_, first)) => Found::Old {
                        read,
                        write: origin.map(|(_, write)| write),
                        versions: (next - ended.below(before)) as u64,
                        first: *first,
                        newest: newest.unwrap_or(*first),
                    },
                    None => Found::Fresh { read, newest },
                }
            }
        };
        reads.push(found);
    }
    Ok(reads)
}

/// The writes of each value, by invocation, each with the last to end of it and those before.
struct Origins {
    /// The value, the invocation, and the last end so far with its write.
    writes: Vec<(State, u32, u32, usize)>,
}

impl Origins {
    fn new(calls: &[Call], writes: &[usize]) -> Self {
        let origin = |at: &usize| {
            let call = &calls[*at];
            (call.effect.produced().unwrap_or(INITIAL), call.invoke, call.complete.unwrap_or(NEVER), *at)
        };
        let mut writes: Vec<_> = writes.iter().map(origin).collect();
        writes.sort_unstable();
        for at in 1..writes.len() {
            let (before, this) = (writes[at - 1], &mut writes[at]);
            if before.0 == this.0 && before.2 > this.2 {
                (this.2, this.3) = (before.2, before.3);
            }
        }
        Self { writes }
    }

    /// Returns the last to end of the writes of `value` that had begun before the event of rank `before`, with its end.
    fn last(&self, value: State, before: u32) -> Option<(u32, usize)> {
        let after = self.writes.partition_point(|(state, invoke, ..)| (*state, *invoke) < (value, before));
        let (state, _, end, write) = *self.writes.get(after.checked_sub(1)?)?;
        (state == value).then_some((end, write))
    }
}

/// Counts of places, summed up to any of them in logarithmic time (Fenwick, "A new data structure for cumulative frequency
/// tables", 1994).
struct Fenwick {
    sums: Vec<u32>,
}

impl Fenwick {
    fn new(places: usize) -> Self {
        Self { sums: vec![0; places + 1] }
    }

    fn add(&mut self, place: usize) {
        let mut at = place + 1;
        while at < self.sums.len() {
            self.sums[at] += 1;
            at += at & at.wrapping_neg();
        }
    }

    /// How many were added at places before `place`.
    fn below(&self, place: usize) -> usize {
        let (mut at, mut sum) = (place, 0);
        while at > 0 {
            sum += self.sums[at] as usize;
            at &= at - 1;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::linearizable::call::Duty;

    #[test]
    fn an_interruption_keeps_the_reads_before_it() {
        let call = |number: u32| Call {
            effect: if number == 0 { Effect::Write(1) } else { Effect::Read(1) },
            invoke: 2 * number,
            complete: Some(2 * number + 1),
            duty: Duty::Required,
            source: number,
        };
        let calls: Vec<Call> = (0..3 * LOOK_EVERY as u32).map(call).collect();
        let start = Start::Known(INITIAL);
        let looks = Cell::new(0);
        let third = || looks.replace(looks.get() + 1) == 2;
        let Interrupted { reads: before, next } =
            reads(&calls, start, Overlapped::Counted, third).expect_err("it was interrupted");
        let fresh = (1..2 * LOOK_EVERY).map(|read| Found::Fresh { read, newest: Some(0) });
        assert_eq!(before, fresh.collect::<Vec<_>>(), "the first operation is a write");
        assert_eq!(next, 2 * LOOK_EVERY);
        let all = reads(&calls, start, Overlapped::Counted, || false).expect("it was not");
        assert_eq!(all.len(), calls.len() - 1);
    }
}
