//! Bursts around faults, and quiet stretches between them.

use std::time::Duration;

use duress_history::{Event, NemesisAct, Payload};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Context, Generator, Next, WORKLOAD_STREAM};

/// How long clients are busy after a fault begins, and after a heal does.
const BURST: Duration = Duration::from_millis(800);
/// How long a stretch between faults is, of which each is busy or quiet.
const STRETCH: Duration = Duration::from_millis(600);
/// The share of stretches that are quiet.
const QUIET_SHARE: f64 = 0.3;
/// How far apart operations begin in a quiet stretch.
const QUIET_PERIOD: Duration = Duration::from_millis(25);

/// Lets operations of `inner` begin as fast as processes are free around faults, and in most of the time between them; in the
/// rest one begins now and then. A failure may need many operations under way, or few: that nothing covers up what was lost.
///
/// Which stretches are quiet is drawn from the seed; the sequence of operations is that of `inner`.
#[derive(Debug)]
pub struct Rhythm<G> {
    inner: G,
    rng: ChaCha8Rng,
    /// Until when the last fault or heal keeps clients busy.
    busy_until: Duration,
    stretch: Stretch,
}

/// A stretch between faults.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    until: Duration,
    /// When the next operation is due, where it is quiet.
    quiet: Option<Duration>,
}

impl<G> Rhythm<G> {
    /// The rhythm of `inner`, drawn from `seed`.
    pub fn new(inner: G, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(WORKLOAD_STREAM + 1);
        let stretch = Stretch { until: Duration::ZERO, quiet: None };
        Self { inner, rng, busy_until: BURST, stretch }
    }
}

impl<A: Payload, G: Generator<A>> Generator<A> for Rhythm<G> {
    fn next(&mut self, context: &Context) -> Next<A> {
        let now = context.now;
        while self.stretch.until <= now {
            let quiet = self.rng.random_bool(QUIET_SHARE).then_some(now);
            self.stretch = Stretch { until: self.stretch.until + STRETCH, quiet };
        }
        if now < self.busy_until {
            return self.inner.next(context);
        }
        let Some(due) = self.stretch.quiet else { return self.inner.next(context) };
        if now < due {
            return Next::At(due.min(self.stretch.until));
        }
        let next = self.inner.next(context);
        if matches!(next, Next::Op(_)) {
            self.stretch.quiet = Some(now + QUIET_PERIOD);
        }
        next
    }

    fn update(&mut self, event: &Event<A>) {
        self.inner.update(event);
    }

    fn nemesis(&mut self, now: Duration, act: &NemesisAct) {
        if matches!(act, NemesisAct::Starting { .. } | NemesisAct::Stopping { .. }) {
            self.busy_until = now + BURST;
        }
        self.inner.nemesis(now, act);
    }
}

#[cfg(test)]
mod tests {
    use duress_history::Process;
    use duress_history::nemesis::FaultName;
    use duress_history::register::Register;

    use super::*;
    use crate::workload::register::RegisterOptions;
    use crate::workload::register::mix::RegisterMix;

    /// How many operations begin in each stretch when a process is free every millisecond.
    fn begun(rhythm: &mut Rhythm<RegisterMix>, stretches: u64) -> Vec<u64> {
        let stretch = STRETCH.as_millis() as u64;
        (0..stretches)
            .map(|number| {
                let operations = (number * stretch..(number + 1) * stretch).filter(|ms| {
                    let now = Duration::from_millis(*ms);
                    let context = Context { now, slot: 0, slots: 1, process: Process(0) };
                    matches!(rhythm.next(&context), Next::Op(_))
                });
                operations.count() as u64
            })
            .collect()
    }

    #[test]
    fn some_stretches_are_quiet_and_none_around_a_fault_is() {
        let mix = || RegisterMix::new(RegisterOptions::default(), 1);
        let mut rhythm = Rhythm::new(mix(), 1);
        let begun_without = begun(&mut rhythm, 100);
        let quiet = begun_without.iter().filter(|begun| **begun < 30).count();
        assert!((15..50).contains(&quiet), "{begun_without:?}");
        assert!(begun_without.iter().all(|begun| *begun > 20), "never silent: {begun_without:?}");
        let at = begun_without.iter().skip(2).position(|begun| *begun < 30).unwrap() as u64 + 2;
        let mut rhythm = Rhythm::new(mix(), 1);
        begun(&mut rhythm, 0);
        let fault = FaultName { id: 1, family: "kill".into(), what: "kill".into() };
        let now = STRETCH * u32::try_from(at).unwrap();
        Generator::<Register>::nemesis(&mut rhythm, now, &NemesisAct::Stopping { fault });
        let busy = begun(&mut rhythm, at + 1);
        assert_eq!(busy[at as usize], STRETCH.as_millis() as u64, "{busy:?}");
    }
}
