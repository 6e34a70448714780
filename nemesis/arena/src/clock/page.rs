//! The parameters of one node's clock, shared with every process of the node.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::sys::segment::{EntryValues, Segment, SlotValues};
use super::sys::stub::{self, ClockClass};

/// The slowest drift, in parts per billion: the clock runs at a tenth of its pace. A clock that stands or
/// runs backwards makes programs spin for ever rather than fail.
pub const DRIFT_MIN_PPB: i64 = -900_000_000;
/// The fastest drift, in parts per billion: the clock runs eleven times as fast.
pub const DRIFT_MAX_PPB: i64 = 10_000_000_000;

/// The latest time a clock may be set to, 2^62 ns after 1970 (the year 2116), so that later drift cannot
/// overflow.
const LATEST_NS: i64 = 1 << 62;

/// How far ahead a change of the monotonic clocks' rate is published. It takes effect at an instant that all
/// readers compare their reading with, so that the clock bends there and does not jump, and in particular
/// never goes back. That holds as long as it is published before the instant, hence a time much longer than a
/// busy machine keeps a thread waiting.
const BEND_AHEAD_NS: i64 = 20_000_000;

/// Whether clocks that count from start-up drift along with the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MonotonicClocks {
    /// They keep their pace, as when a time daemon steers the wall clock.
    KeepPace,
    /// They drift at the same rate, as with a crystal that is off; this begins and ends 20 ms later than the
    /// wall clock's drift. Sleeps and time-outs in the kernel do not.
    Drift,
}

/// What is in force for one node's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockSetting {
    /// Counts the changes since the page was made.
    pub generation: u64,
    /// The machine's wall clock when this was put in force, in nanoseconds since 1970.
    pub since_ns: i64,
    /// How far the node's wall clock is ahead of the machine's at `since_ns`, in nanoseconds; negative when
    /// behind.
    pub offset_ns: i64,
    /// What the node's wall clock gains, in nanoseconds a second (parts per billion).
    pub drift_ppb: i64,
    /// What the node's monotonic clocks were ahead by when their rate last changed. Only drift moves them,
    /// and nothing takes it back: a monotonic clock does not step.
    pub monotonic_offset_ns: i64,
    /// Whether monotonic clocks drift too.
    pub monotonic: MonotonicClocks,
}

impl ClockSetting {
    /// How far ahead the node's wall clock is when the machine's shows `now_ns`.
    #[must_use]
    pub fn offset_at(&self, now_ns: i64) -> i64 {
        self.offset_ns + gained(now_ns - self.since_ns, rate(self.drift_ppb))
    }
}

/// Why a clock could not be made or set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClockPageError {
    /// Clock faults are machine code, and there is none for this architecture.
    #[error("clock faults are not supported on {architecture}")]
    Unsupported {
        /// The architecture this program was built for.
        architecture: &'static str,
    },
    /// The shared memory could not be made.
    #[error("cannot make a clock's shared memory")]
    Segment(#[source] io::Error),
    /// The machine's clocks could not be read.
    #[error("cannot read the machine's clocks")]
    Read(#[source] io::Error),
    /// The clock would show a time before 1970, which the kernel refuses too, or after 2116.
    #[error("a clock moved by {delta_ns} ns would show a time before 1970 or after 2116")]
    OutOfRange {
        /// The step asked for.
        delta_ns: i64,
    },
    /// The rate is outside [`DRIFT_MIN_PPB`] to [`DRIFT_MAX_PPB`].
    #[error("a drift of {drift_ppb} parts per billion is not between {DRIFT_MIN_PPB} and {DRIFT_MAX_PPB}")]
    DriftOutOfRange {
        /// The rate asked for.
        drift_ppb: i64,
    },
}

/// One node's clock. Programs started with it ([`super::Tracer::spawn`]) follow every change at once.
///
/// A page lives as long as it is held here or used by a process; dropping it leaves the node's processes with
/// the last setting.
#[derive(Debug)]
pub struct ClockPage {
    segment: Segment,
    in_force: Mutex<InForce>,
}

#[derive(Clone, Copy, Debug)]
struct InForce {
    values: SlotValues,
    setting: ClockSetting,
}

impl ClockPage {
    /// A clock that agrees with the machine's.
    ///
    /// # Errors
    /// [`ClockPageError`] on an unsupported architecture, or when the kernel gives no shared memory.
    pub fn create() -> Result<Self, ClockPageError> {
        if !cfg!(target_arch = "x86_64") {
            return Err(ClockPageError::Unsupported { architecture: std::env::consts::ARCH });
        }
        let segment = Segment::create(stub::code()).map_err(ClockPageError::Segment)?;
        let setting = ClockSetting {
            generation: segment.generation(),
            since_ns: read(ClockClass::Realtime)?,
            offset_ns: 0,
            drift_ppb: 0,
            monotonic_offset_ns: 0,
            monotonic: MonotonicClocks::KeepPace,
        };
        let in_force = Mutex::new(InForce { values: SlotValues::default(), setting });
        Ok(Self { segment, in_force })
    }

    /// The number of the shared memory segment, which identifies the page.
    #[must_use]
    pub fn id(&self) -> i32 {
        self.segment.id()
    }

    /// What is in force.
    #[must_use]
    pub fn setting(&self) -> ClockSetting {
        self.lock().setting
    }

    /// Steps the node's wall clock by `delta_ns`, keeping its drift. Returns what is in force now.
    ///
    /// # Errors
    /// [`ClockPageError::OutOfRange`] when the clock would leave the years 1970 to 2116; nothing changes
    /// then.
    pub fn bump(&self, delta_ns: i64) -> Result<ClockSetting, ClockPageError> {
        self.change(Change::Bump { delta_ns })
    }

    /// Makes the node's wall clock gain `drift_ppb` nanoseconds every second from now on, instead of whatever
    /// it gained before; 20 ms a second are 20,000,000. It does not step. Returns what is in force now. Waits up
    /// to 20 ms if the pace of monotonic clocks has to change and did so only just before.
    ///
    /// # Errors
    /// [`ClockPageError::DriftOutOfRange`] outside [`DRIFT_MIN_PPB`] to [`DRIFT_MAX_PPB`].
    pub fn drift(&self, drift_ppb: i64, monotonic: MonotonicClocks) -> Result<ClockSetting, ClockPageError> {
        if !(DRIFT_MIN_PPB..=DRIFT_MAX_PPB).contains(&drift_ppb) {
            return Err(ClockPageError::DriftOutOfRange { drift_ppb });
        }
        self.change(Change::Drift { drift_ppb, monotonic })
    }

    /// Makes the node's wall clock agree with the machine's again, in one step, and ends all drift. Monotonic
    /// clocks keep what they gained. Returns what is in force now.
    ///
    /// # Errors
    /// [`ClockPageError::Read`] when the machine's clocks cannot be read.
    pub fn reset(&self) -> Result<ClockSetting, ClockPageError> {
        self.change(Change::Reset)
    }

    fn change(&self, change: Change) -> Result<ClockSetting, ClockPageError> {
        let mut in_force = self.lock();
        loop {
            let next = next(&in_force, change)?;
            self.segment.prepare(&next.values);
            if next.bends_monotonic_clocks(&in_force) && next.monotonic_bend_in_ns()? < BEND_AHEAD_NS / 2 {
                // This thread was kept waiting; the instant is too near to be sure to be in time.
                continue;
            }
            let generation = self.segment.publish();
            *in_force = InForce { setting: ClockSetting { generation, ..next.setting }, ..next };
            return Ok(in_force.setting);
        }
    }

    fn lock(&self) -> MutexGuard<'_, InForce> {
        // A thread that panicked while holding the lock had not changed it yet: it is assigned as a whole.
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InForce {
    /// How long it is until the monotonic clocks' last change of rate takes effect; negative once it has.
    fn monotonic_bend_in_ns(&self) -> Result<i64, ClockPageError> {
        Ok(self.values[ClockClass::Monotonic as usize].reference - read(ClockClass::Monotonic)?)
    }

    fn bends_monotonic_clocks(&self, before: &Self) -> bool {
        let rate = |setting: &Self| setting.values[ClockClass::Monotonic as usize].rate;
        rate(self) != rate(before)
    }
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Bump { delta_ns: i64 },
    Drift { drift_ppb: i64, monotonic: MonotonicClocks },
    Reset,
}

/// What `change` makes of what is in force.
fn next(before: &InForce, change: Change) -> Result<InForce, ClockPageError> {
    let mut setting = before.setting;
    let mut delta_ns = 0;
    match change {
        Change::Bump { delta_ns: asked_ns } => delta_ns = asked_ns,
        Change::Drift { drift_ppb, monotonic } => {
            setting.drift_ppb = drift_ppb;
            setting.monotonic = monotonic;
        }
        Change::Reset => {
            setting.drift_ppb = 0;
            setting.monotonic = MonotonicClocks::KeepPace;
        }
    }
    let wall_rate = rate(setting.drift_ppb);
    let monotonic_rate = match setting.monotonic {
        MonotonicClocks::KeepPace => 0,
        MonotonicClocks::Drift => wall_rate,
    };
    let mut values = before.values;
    for class in [ClockClass::Realtime, ClockClass::Tai] {
        let entry = &mut values[class as usize];
        // Drift so far becomes part of the offset, and the rate counts from now.
        let now = read(class)?;
        let offset = match change {
            Change::Reset => 0,
            _ => step(entry.offset + gained(now - entry.reference, entry.rate), delta_ns, now)?,
        };
        *entry = EntryValues { offset, reference: now, rate: wall_rate, earlier_rate: wall_rate };
    }
    if monotonic_rate != values[ClockClass::Monotonic as usize].rate {
        // An entry joins two lines, not three: the last change of rate has to be past.
        while let bend_in_ns @ 1.. = before.monotonic_bend_in_ns()? {
            std::thread::sleep(Duration::from_nanos(bend_in_ns.unsigned_abs()));
        }
        for class in [ClockClass::Monotonic, ClockClass::Boottime, ClockClass::MonotonicRaw] {
            let entry = &mut values[class as usize];
            let bend = read(class)? + BEND_AHEAD_NS;
            let offset = entry.offset + gained(bend - entry.reference, entry.rate);
            let earlier_rate = entry.rate;
            *entry = EntryValues { offset, reference: bend, rate: monotonic_rate, earlier_rate };
        }
    }
    setting.since_ns = values[ClockClass::Realtime as usize].reference;
    setting.offset_ns = values[ClockClass::Realtime as usize].offset;
    setting.monotonic_offset_ns = values[ClockClass::Monotonic as usize].offset;
    Ok(InForce { values, setting })
}

/// `offset` moved by `delta_ns`, if the clock then shows a time it may show.
fn step(offset: i64, delta_ns: i64, now: i64) -> Result<i64, ClockPageError> {
    let stepped = offset.checked_add(delta_ns);
    stepped
        .filter(|offset| now.checked_add(*offset).is_some_and(|time| (0..=LATEST_NS).contains(&time)))
        .ok_or(ClockPageError::OutOfRange { delta_ns })
}

/// Parts per billion in units of 2^-32, rounded to the nearest.
fn rate(ppb: i64) -> i64 {
    let scaled = i128::from(ppb) << 32;
    ((scaled + 500_000_000 * scaled.signum()) / 1_000_000_000) as i64
}

/// What a clock of this rate gains while the machine's advances by `elapsed_ns`: the machine code's
/// arithmetic.
fn gained(elapsed_ns: i64, rate: i64) -> i64 {
    ((i128::from(elapsed_ns) * i128::from(rate)) >> 32) as i64
}

/// The machine's clock, in nanoseconds.
fn read(class: ClockClass) -> Result<i64, ClockPageError> {
    let id = match class {
        ClockClass::Realtime => ClockId::CLOCK_REALTIME,
        ClockClass::Monotonic => ClockId::CLOCK_MONOTONIC,
        ClockClass::Boottime => ClockId::CLOCK_BOOTTIME,
        ClockClass::Tai => ClockId::CLOCK_TAI,
        ClockClass::MonotonicRaw => ClockId::CLOCK_MONOTONIC_RAW,
    };
    let time = clock_gettime(id).map_err(|errno| ClockPageError::Read(errno.into()))?;
    Ok(time.tv_sec() * 1_000_000_000 + time.tv_nsec())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: i64 = 1_000_000_000;

    #[test]
    fn rates_are_exact_to_a_part_per_billion() {
        for ppb in [0, 1, -1, 20_000_000, -900_000_000, DRIFT_MAX_PPB] {
            let hour = 3600 * SECOND_NS;
            let error = gained(hour, rate(ppb)) - ppb * 3600;
            assert!(error.abs() <= 1 + 3600 / 2, "{ppb} ppb is off by {error} ns an hour");
        }
    }

    #[test]
    fn a_change_of_drift_does_not_step() {
        let page = ClockPage::create().unwrap();
        page.bump(-7 * SECOND_NS).unwrap();
        let before = page.drift(20_000_000, MonotonicClocks::Drift).unwrap();
        let after = page.drift(-20_000_000, MonotonicClocks::KeepPace).unwrap();
        let gained = after.offset_ns - before.offset_ns;
        let elapsed = after.since_ns - before.since_ns;
        assert_eq!(gained, super::gained(elapsed, rate(20_000_000)));
        assert_eq!(after.generation, 3);
    }

    #[test]
    fn reset_keeps_what_monotonic_clocks_gained() {
        let page = ClockPage::create().unwrap();
        page.drift(DRIFT_MAX_PPB, MonotonicClocks::Drift).unwrap();
        let setting = page.reset().unwrap();
        assert_eq!((setting.offset_ns, setting.drift_ppb), (0, 0));
        assert!(setting.monotonic_offset_ns > 0);
        assert_eq!(page.reset().unwrap().monotonic_offset_ns, setting.monotonic_offset_ns);
    }

    #[test]
    fn a_refused_change_changes_nothing() {
        let page = ClockPage::create().unwrap();
        let before = page.setting();
        for delta_ns in [i64::MIN, -100 * 365 * 86_400 * SECOND_NS, i64::MAX] {
            let refused = page.bump(delta_ns);
            assert!(matches!(refused, Err(ClockPageError::OutOfRange { .. })), "{refused:?}");
        }
        let refused = page.drift(-1_000_000_000, MonotonicClocks::KeepPace);
        assert!(matches!(refused, Err(ClockPageError::DriftOutOfRange { .. })), "{refused:?}");
        assert_eq!(page.setting(), before);
    }
}
