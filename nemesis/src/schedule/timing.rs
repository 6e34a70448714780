//! Durations of faults: some well below the target's own time-outs, some around one, some well above.

use std::time::Duration;

use rand::{Rng, RngExt};

use super::millis;
use crate::disk_fault::TargetState;
use crate::fault::Fault;

/// The duration of a fault that is healed at once, in milliseconds.
const SHORT_MS: std::ops::RangeInclusive<u64> = 50..=400;
/// The duration of a fault that lasts about as long as a time-out, in percent of it.
const AROUND: std::ops::RangeInclusive<u64> = 80..=130;
/// The duration of a fault that lasts well beyond a time-out, in percent of it.
const ABOVE: std::ops::RangeInclusive<u64> = 150..=300;
/// The probability that the election time-out, the first one, is used, in percent.
const OF_ELECTIONS: u32 = 70;

/// A duration relative to a time-out of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Band {
    /// Over before most other nodes have noticed.
    Short,
    /// About as long as a time-out.
    Around,
    /// Much longer than a time-out.
    Above,
}

/// The relative frequency of each band.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bands {
    short: u32,
    around: u32,
    above: u32,
}

impl Bands {
    pub(crate) const SHORT: Self = Self { short: 1, around: 0, above: 0 };
    pub(crate) const LONG: Self = Self { short: 0, around: 1, above: 2 };

    /// Returns the frequencies for `fault`.
    ///
    /// A process that returns at once meets nodes that still count on it. A pause or a cut that ends before
    /// the others have noticed changes little. Faults that only slow the target down need time to have an
    /// effect.
    pub(crate) fn of(fault: &Fault) -> Self {
        match fault {
            Fault::Kill { .. } | Fault::Restart { .. } => Self { short: 10, around: 4, above: 6 },
            Fault::Disk { effect, .. } if effect.target_state() == TargetState::DeadNode => {
                Self { short: 10, around: 4, above: 6 }
            }
            Fault::Pause { .. }
            | Fault::Partition { .. }
            | Fault::Membership { .. }
            | Fault::Command { disables: true, .. } => Self { short: 3, around: 6, above: 11 },
            Fault::Packet { .. }
            | Fault::Clock { .. }
            | Fault::Disk { .. }
            | Fault::Resources { .. }
            | Fault::Upgrade { .. }
            | Fault::Command { disables: false, .. } => Self::LONG,
        }
    }

    /// Returns the frequencies for a fault that the user named: other nodes should notice it more often than
    /// not.
    pub(crate) fn longer(self) -> Self {
        Self { above: self.above * 2, ..self }
    }

    fn draw(self, rng: &mut impl Rng) -> Band {
        let Self { short, around, above } = self;
        match rng.random_range(0..short + around + above) {
            at if at < short => Band::Short,
            at if at < short + around => Band::Around,
            _ => Band::Above,
        }
    }
}

/// The target's time-outs, to which durations are relative. The first is the election time-out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing<'a>(pub(crate) &'a [Duration]);

impl Timing<'_> {
    /// Returns the election time-out, in milliseconds.
    pub(crate) fn election_ms(self) -> u64 {
        self.0.first().map_or(1000, |election| millis(*election)).max(1)
    }

    /// Draws a duration in one of `bands`, in milliseconds.
    pub(crate) fn lasts_ms(self, bands: Bands, rng: &mut impl Rng) -> u64 {
        let band = bands.draw(rng);
        let of_elections = self.0.len() < 2 || rng.random_ratio(OF_ELECTIONS, 100);
        let at = if of_elections { 0 } else { rng.random_range(1..self.0.len()) };
        let time_out = self.0.get(at).map_or(1000, |time_out| millis(*time_out)).max(1);
        self.of_ms(band, time_out, rng)
    }

    /// Draws a duration in `band` relative to the election time-out, in milliseconds.
    pub(crate) fn election_band_ms(self, band: Band, rng: &mut impl Rng) -> u64 {
        self.of_ms(band, self.election_ms(), rng)
    }

    fn of_ms(self, band: Band, time_out: u64, rng: &mut impl Rng) -> u64 {
        let lasts = match band {
            // Well below a time-out that is short itself.
            Band::Short => rng.random_range(SHORT_MS).min(time_out / 2),
            Band::Around => time_out * rng.random_range(AROUND) / 100,
            Band::Above => time_out * rng.random_range(ABOVE) / 100,
        };
        lasts.max(1)
    }
}

#[cfg(test)]
mod tests {
    use duress_history::NodeId;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::selector::Targets;

    #[test]
    fn faults_last_below_around_and_above_the_time_out() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let time_outs = [Duration::from_millis(1200)];
        let kill = Fault::Kill { targets: Targets::Nodes(vec![NodeId::new("n1")]) };
        let drawn: Vec<u64> =
            (0..400).map(|_| Timing(&time_outs).lasts_ms(Bands::of(&kill), &mut rng)).collect();
        let share = |within: std::ops::RangeInclusive<u64>| {
            drawn.iter().filter(|lasts| within.contains(lasts)).count() as f64 / drawn.len() as f64
        };
        assert!(share(50..=400) > 0.4, "back at once: {}", share(50..=400));
        assert!(share(960..=1560) > 0.12, "around: {}", share(960..=1560));
        assert!(share(1800..=3600) > 0.2, "above: {}", share(1800..=3600));
        assert!((share(50..=3600) - 1.0).abs() < 1e-9);
    }
}
