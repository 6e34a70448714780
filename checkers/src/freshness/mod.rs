//! Freshness: how old are the values that reads of a register return, and are they as fresh as promised?
//!
//! Let a read `r` return the value that a write `w` brought. Each acknowledged write that began after `w` had ended, and
//! that ended before `r` began, makes `r` one *version old*; the *age* of `r` is the time from the end of the first of
//! them to its own beginning. Both are lower bounds, and certain:
//! - of several writes of one value the one that makes the read youngest counts;
//! - a write of unknown outcome may be the one that was read, and replaces nothing;
//! - the initial value was there before every write. Where it is not known, any one value may be it.
//!
//! A compare-and-set that succeeded is a write, and a read of the value that it replaced; one that failed is a read if its
//! error says what it saw. The order of events decides what came before what; only ages need their times.
//!
//! The promises are those of [`Freshness`]: `regular` allows no version, bounded staleness so many, or such an age, and
//! `safe` is `regular` for reads that no write overlaps, and `written` allows any. None of them allows a value that was never written, or only by
//! operations that failed or that began after the read had ended. They speak of each read by itself, so all of this is
//! decided, in time O(n log n). It is not decided whether one order of the writes explains all reads together: a history
//! that keeps to k versions need not be (k + 1)-atomic, and one that is regular need not be linearizable.
//!
//! In reading order: `ages`: each read of a register, and how old it is; `violation`: the proof that one is too old;
//! `report`: all of them summarized.

mod ages;
mod report;
mod violation;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use duress_history::event::Timing;
use duress_history::register::{CasRegister, Register};
use duress_history::{Assumed, Freshness, Initial, Operation};
use rayon::prelude::*;

use crate::linearizable::call::{Call, Problem, Start};
use crate::linearizable::partition::{Partition, cas_register, registers};
use crate::linearizable::source::End;
use crate::linearizable::{Budget, KeyReport, Limits, begin, check_parts};
use crate::verdict::{CheckReport, Reason};
use ages::{Found, Interrupted, Overlapped, reads};
pub use report::{Quantiles, ReadAges, WriteAge};
use violation::Case;

/// Checks each register of `operations`, which are in order of invocation, on its own and in parallel.
///
/// Without their times, a bound on ages is kept for certain only if no read is a version old; else the register is
/// `Unknown`. See [`check_registers`](crate::linearizable::check_registers) for `assumed` and `interrupt`.
#[must_use]
pub fn check_freshness(
    operations: &[Operation<Register>],
    promise: Freshness,
    assumed: &Assumed,
    timing: Timing,
    interrupt: &AtomicBool,
) -> CheckReport {
    // Nothing is searched for: the budget is not used.
    check_parts(&registers(operations, assumed), &Budget::default(), interrupt, |part, limits| {
        check_key(part, promise, timing, limits)
    })
}

/// Measures how old the reads of `operations` are, which are in order of invocation, whatever was promised; `None` if
/// `interrupt` was set before that was known of all of them.
#[must_use]
pub fn read_ages(
    operations: &[Operation<Register>],
    assumed: &Assumed,
    timing: Timing,
    interrupt: &AtomicBool,
) -> Option<ReadAges> {
    measure(|| registers(operations, assumed), timing, interrupt)
}

/// The same for the one register of `operations`, or, where they name several, for all of them.
#[must_use]
pub fn cas_register_ages(
    operations: &[Operation<CasRegister>],
    assumed: &Assumed,
    timing: Timing,
    interrupt: &AtomicBool,
) -> Option<ReadAges> {
    measure(|| cas_register(operations, assumed), timing, interrupt)
}

fn measure<'a>(
    parts: impl FnOnce() -> Vec<Partition<'a>>,
    timing: Timing,
    interrupt: &AtomicBool,
) -> Option<ReadAges> {
    let interrupted = || interrupt.load(Ordering::Relaxed);
    // Taking a large history apart takes a while too.
    if interrupted() {
        return None;
    }
    let of_key = |part: &Partition<'_>| {
        if interrupted() {
            return None;
        }
        let mut aged = Aged::default();
        let Some(interned) = part.intern() else { return Some(aged) };
        let Problem { calls, start, .. } = &interned.problem;
        let reads = reads(calls, *start, Overlapped::Counted, interrupted).ok()?;
        aged.reads = reads.len() as u64;
        for found in reads {
            let (read, newest) = match found {
                Found::Old { read, versions, first, newest, .. } => {
                    aged.old.push((versions, nanos(part, calls, first, read)));
                    (read, Some(newest))
                }
                Found::Fresh { read, newest } => (read, newest),
                Found::Nowhere { .. } => continue,
            };
            let is_old = matches!(found, Found::Old { .. });
            aged.after_writes.extend(newest.map(|write| (nanos(part, calls, write, read), is_old)));
        }
        Some(aged)
    };
    let by_key: Vec<Aged> = parts().par_iter().map(of_key).collect::<Option<_>>()?;
    let has_times = timing == Timing::Recorded;
    let by_write_age = match has_times {
        true => WriteAge::count(by_key.iter().flat_map(|key| key.after_writes.iter().copied())),
        false => Vec::new(),
    };
    let reads = by_key.iter().map(|key| key.reads).sum();
    let (versions, ages): (Vec<u64>, Vec<u64>) = by_key.into_iter().flat_map(|key| key.old).unzip();
    Some(ReadAges {
        reads,
        old: versions.len() as u64,
        versions: Quantiles::of(versions),
        age_ns: Quantiles::of(ages).filter(|_| has_times),
        by_write_age,
    })
}

/// The reads of one register. Times are in nanoseconds.
#[derive(Default)]
struct Aged {
    reads: u64,
    /// How many versions old those are that are, and how long.
    old: Vec<(u64, u64)>,
    /// How long after the last write to end each read began that followed one, and whether it is old.
    after_writes: Vec<(u64, bool)>,
}

/// Returns the time from the end of the call `first` to the beginning of the call `read`, in nanoseconds.
fn nanos(part: &Partition<'_>, calls: &[Call], first: usize, read: usize) -> u64 {
    let source = |call: usize| part.operations.get(calls[call].source as usize);
    match source(first).end {
        End::Ok { time, .. } => source(read).time.saturating_sub(time),
        End::Fail { .. } | End::Info { .. } => 0,
    }
}

/// Checks the reads of one register.
pub(crate) fn check_key(
    part: &Partition<'_>,
    promise: Freshness,
    timing: Timing,
    limits: Limits<'_>,
) -> KeyReport {
    let (interned, mut report) = begin(part, limits);
    let Some(interned) = interned else { return report };
    report.statistics.keys_by_chains = 1;
    let Problem { calls, start, .. } = &interned.problem;
    let (start, overlapped) = match promise {
        // A read that may return anything does not show what the register held at first.
        Freshness::Safe if part.assumed.initial == Initial::Any => (Start::Any, Overlapped::LeftOut),
        Freshness::Safe => (*start, Overlapped::LeftOut),
        Freshness::Regular | Freshness::Versions(_) | Freshness::Age(_) | Freshness::Written => {
            (*start, Overlapped::Counted)
        }
    };
    // Each read is judged by itself: also those before an interruption.
    let reads = reads(calls, start, overlapped, || limits.interrupted()).unwrap_or_else(|stopped| {
        let Interrupted { reads, next } = stopped;
        let index = part.operations.get(calls[next].source as usize).index;
        report.reasons.push(Reason::ReadsLeft { key: part.key.cloned(), reads: reads.len() as u64, index });
        reads
    });
    let case = Case { part, interned: &interned, promise, timing };
    report.anomalies.extend(reads.iter().find_map(|found| case.nowhere(found)));
    // The oldest of the reads that are too old; the first, if several are as old.
    let mut oldest: Option<(u64, &Found)> = None;
    let mut no_times = false;
    for found in &reads {
        let Found::Old { read, versions, first, .. } = *found else { continue };
        let (size, too_old) = match promise {
            Freshness::Regular | Freshness::Safe => (versions, true),
            Freshness::Versions(most) => (versions, versions > most),
            Freshness::Written => continue,
            Freshness::Age(_) if timing == Timing::Incomplete => {
                no_times = true;
                continue;
            }
            Freshness::Age(most) => {
                let nanos = nanos(part, calls, first, read);
                (nanos, Duration::from_nanos(nanos) > most)
            }
        };
        if too_old && oldest.is_none_or(|(most, _)| size > most) {
            oldest = Some((size, found));
        }
    }
    report.reasons.extend(no_times.then(|| Reason::NoTimes { key: part.key.cloned() }));
    report.anomalies.extend(oldest.and_then(|(_, found)| case.old(found)));
    report
}
