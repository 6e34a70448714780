//! How far clocks may be wrong before a promise that rests on them no longer holds.

use std::time::Duration;

use duress_history::ClockBound;
use rand::{Rng, RngExt};

use crate::clock_fault::ClockEffect;
use duress_arena::clock::DRIFT_MIN_PPB;

/// The fewest terms of a lease and its slack that a leader must be cut off for: no other node leads before one is over,
/// the election takes about another, and then there is something to be missed.
const TERMS: u32 = 4;

/// Returns a lease and its slack: before this, no other node takes over.
fn term(bound: ClockBound) -> Duration {
    bound.lease + bound.slack
}

/// How long a leader must be cut off for a broken lease to show.
#[must_use]
pub fn isolation_min(bound: ClockBound) -> Duration {
    term(bound) * TERMS
}

/// Whether a clock under `effect`, in force for `lasts`, may fall behind by more than the promise allows: by its
/// pace, by a step back, or as it is set right at the end.
#[must_use]
pub fn is_exceeded_by(bound: ClockBound, effect: ClockEffect, lasts: Duration) -> bool {
    let slack = nanos(bound.slack);
    match effect {
        ClockEffect::Bump { delta_ns } | ClockEffect::Strobe { delta_ns } => {
            u128::from(delta_ns.unsigned_abs()) > slack
        }
        // A clock that runs at (1 - d) of the pace counts a lease in lease / (1 - d), and is behind by the difference.
        ClockEffect::Drift { ppb } if ppb < 0 => {
            let pace = 1_000_000_000_u128.saturating_sub(u128::from(ppb.unsigned_abs())).max(1);
            let behind = nanos(bound.lease) * u128::from(ppb.unsigned_abs()) / pace;
            behind > slack
        }
        ClockEffect::Drift { ppb } => nanos(lasts) * u128::from(ppb.unsigned_abs()) / 1_000_000_000 > slack,
    }
}

/// Returns an effect on all clocks that goes beyond the bound for long enough to be seen: a slow pace, a step
/// back, or steps back and forth.
pub fn draw_beyond(bound: ClockBound, rng: &mut impl Rng) -> ClockEffect {
    let back = |rng: &mut _| {
        let term = i64::try_from(term(bound).as_nanos()).unwrap_or(i64::MAX / 16);
        -(term * RngExt::random_range(rng, i64::from(TERMS)..=16))
    };
    match rng.random_range(0..3) {
        0 => {
            // A lease that is counted three terms long, or as slowly as a clock can be made to run.
            let share = bound.lease.as_secs_f64() / (term(bound).as_secs_f64() * 3.0);
            let slow = (-((1.0 - share) * 1e9) as i64).max(DRIFT_MIN_PPB);
            ClockEffect::Drift { ppb: rng.random_range(DRIFT_MIN_PPB..=slow) / 1_000_000 * 1_000_000 }
        }
        1 => ClockEffect::Bump { delta_ns: back(rng) },
        _ => ClockEffect::Strobe { delta_ns: back(rng) },
    }
}

fn nanos(duration: Duration) -> u128 {
    duration.as_nanos()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::variant::Kind;

    const BOUND: ClockBound =
        ClockBound { lease: Duration::from_millis(400), slack: Duration::from_millis(300) };

    #[test]
    fn the_bound_is_on_what_a_clock_falls_behind() {
        let beyond = |text: &str| {
            let effect = ClockEffect::parse(text).expect("an effect");
            is_exceeded_by(BOUND, effect, Duration::from_secs(2))
        };
        // At 4/7 of the pace, a lease of 400 ms takes 700 ms.
        assert!(!beyond("drift=-428ms/s") && beyond("drift=-429ms/s"));
        // Fast by 300 ms after two seconds, which is the size of the step back at the end.
        assert!(!beyond("drift=150ms/s") && beyond("drift=151ms/s"));
        assert!(!beyond("bump=-300ms") && beyond("bump=-301ms") && beyond("strobe=301ms"));
    }

    #[test]
    fn what_is_drawn_beyond_is_beyond() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..200 {
            let effect = draw_beyond(BOUND, &mut rng);
            assert!(is_exceeded_by(BOUND, effect, Duration::from_secs(1)), "{effect}");
            let back = match effect {
                ClockEffect::Bump { delta_ns } | ClockEffect::Strobe { delta_ns } => delta_ns,
                ClockEffect::Drift { ppb } => ppb,
            };
            assert!(back < 0, "{effect}");
        }
    }
}
