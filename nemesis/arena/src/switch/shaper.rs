//! Decides when, how often and in what condition a packet leaves a shaped link: pure decisions, from a seed.

use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::policy::{Damage, LinkPolicy, Probability};

/// How far behind a link with a limited rate may fall before packets are dropped: a short queue, as routers have.
const QUEUE: Duration = Duration::from_millis(200);

/// The shaper's decision on one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShaperVerdict {
    /// The policy loses it.
    Lost,
    /// It is dropped, since the queue of a link with a limited rate is full.
    Overflowed,
    /// It leaves the link.
    Leaves(Departure),
}

/// The departure of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departure {
    /// The time.
    pub at: Instant,
    /// The number of copies sent: 1 or 2.
    pub copies: u8,
    /// The damage to the packet, and a random number that picks the place.
    pub damage: Option<(Damage, u32)>,
}

/// The state of one shaped link.
#[derive(Debug)]
pub struct Shaper {
    policy: LinkPolicy,
    random: ChaCha8Rng,
    /// The last departure of a packet that was not held back: none may leave before it.
    last: Option<Instant>,
    /// When the link has carried everything so far.
    carried: Option<Instant>,
}

impl Shaper {
    /// Returns a link under `policy`; `link` distinguishes links with the same policy.
    pub fn new(policy: LinkPolicy, link: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(policy.seed);
        random.set_stream(link);
        Self { policy, random, last: None, carried: None }
    }

    /// Decides on a packet of `length` bytes that arrives at the link `now`.
    ///
    /// Draws the same number of random numbers for every packet, so that one decision does not shift the others.
    pub fn decide(&mut self, now: Instant, length: usize) -> ShaperVerdict {
        let policy = self.policy;
        let lost = self.happens(policy.loss);
        let twice = self.happens(policy.duplicate);
        let held = self.happens(policy.reorder.map_or(Probability::NEVER, |reorder| reorder.probability));
        let damaged = self.happens(policy.corrupt.map_or(Probability::NEVER, |corrupt| corrupt.probability));
        let share = f64::from(self.random.next_u32()) / f64::from(u32::MAX);
        let place = self.random.next_u32();
        if lost {
            return ShaperVerdict::Lost;
        }
        let Some(carried) = self.carry(now, length) else { return ShaperVerdict::Overflowed };
        let mut at = carried + policy.delay + policy.jitter.mul_f64(share);
        if let Some(last) = self.last {
            at = at.max(last);
        }
        match policy.reorder {
            Some(reorder) if held => at += reorder.hold,
            _ => self.last = Some(at),
        }
        let damage = policy.corrupt.filter(|_| damaged).map(|corrupt| (corrupt.damage, place));
        ShaperVerdict::Leaves(Departure { at, copies: if twice { 2 } else { 1 }, damage })
    }

    fn happens(&mut self, probability: Probability) -> bool {
        // The bias of the remainder is one in four thousand of a millionth: far below what can be measured.
        self.random.next_u32() % Probability::ALWAYS.millionths() < probability.millionths()
    }

    /// When the link has carried `length` more bytes; `None` when its queue is full.
    fn carry(&mut self, now: Instant, length: usize) -> Option<Instant> {
        let Some(rate) = self.policy.bits_per_second else { return Some(now) };
        let begins = self.carried.map_or(now, |carried| carried.max(now));
        if begins - now > QUEUE {
            return None;
        }
        let nanoseconds = (length as u64 * 8).saturating_mul(1_000_000_000) / rate;
        self.carried = Some(begins + Duration::from_nanos(nanoseconds));
        self.carried
    }
}

#[cfg(test)]
mod tests {
    use super::super::policy::{Corrupt, Reorder};
    use super::*;

    const PACKETS: u32 = 20_000;
    const GAP: Duration = Duration::from_micros(100);

    fn chance(millionths: u32) -> Probability {
        Probability::from_millionths(millionths).unwrap()
    }

    /// Returns the verdicts of packets that arrive [`GAP`] apart, beginning at `start`.
    fn verdicts(policy: LinkPolicy, start: Instant) -> Vec<ShaperVerdict> {
        let mut shaper = Shaper::new(policy, 1);
        (0..PACKETS).map(|number| shaper.decide(start + GAP * number, 1000)).collect()
    }

    fn departures(verdicts: &[ShaperVerdict]) -> Vec<Departure> {
        let left = verdicts.iter().filter_map(|verdict| match verdict {
            ShaperVerdict::Leaves(departure) => Some(*departure),
            _ => None,
        });
        left.collect()
    }

    /// Whether `hits` is within four standard deviations of what `millionths` promises: a right program fails
    /// this for one seed in sixteen thousand, and the seed is fixed.
    fn is_plausible(hits: usize, millionths: u32) -> bool {
        let probability = f64::from(millionths) / 1e6;
        let deviation = (f64::from(PACKETS) * probability * (1.0 - probability)).sqrt();
        (hits as f64 - f64::from(PACKETS) * probability).abs() <= 4.0 * deviation
    }

    #[test]
    fn every_chance_is_the_one_asked_for() {
        let start = Instant::now();
        for millionths in [10_000, 300_000] {
            let asked = chance(millionths);
            let lost = verdicts(LinkPolicy { loss: asked, ..LinkPolicy::OPEN }, start);
            assert!(is_plausible(
                lost.iter().filter(|&&verdict| verdict == ShaperVerdict::Lost).count(),
                millionths
            ));

            let twice = verdicts(LinkPolicy { duplicate: asked, ..LinkPolicy::OPEN }, start);
            let twice = departures(&twice).into_iter().filter(|departure| departure.copies == 2);
            assert!(is_plausible(twice.count(), millionths));

            let corrupt = Some(Corrupt { probability: asked, damage: Damage::BadChecksum });
            let damaged = verdicts(LinkPolicy { corrupt, ..LinkPolicy::OPEN }, start);
            let damaged = departures(&damaged).into_iter().filter(|departure| departure.damage.is_some());
            assert!(is_plausible(damaged.count(), millionths));

            let reorder = Some(Reorder { probability: asked, hold: GAP * 5 });
            let held = departures(&verdicts(LinkPolicy { reorder, ..LinkPolicy::OPEN }, start));
            let held =
                held.iter().zip(0..).filter(|(departure, number)| departure.at > start + GAP * *number);
            assert!(is_plausible(held.count(), millionths));
        }
    }

    #[test]
    fn jitter_keeps_order_and_reordering_does_not() {
        let jitter = Duration::from_millis(10);
        let late = departures(&verdicts(LinkPolicy { jitter, ..LinkPolicy::OPEN }, Instant::now()));
        assert!(late.is_sorted_by_key(|departure| departure.at));

        let reorder = Some(Reorder { probability: chance(10_000), hold: GAP * 5 });
        let mixed = departures(&verdicts(LinkPolicy { reorder, ..LinkPolicy::OPEN }, Instant::now()));
        assert!(!mixed.is_sorted_by_key(|departure| departure.at));
    }

    #[test]
    fn delay_and_jitter_spread_as_asked() {
        let (delay, jitter) = (Duration::from_millis(50), Duration::from_millis(20));
        let policy = LinkPolicy { delay, jitter, ..LinkPolicy::OPEN };
        // Far enough apart that no packet holds up another, so that the draws show as they are.
        let mut shaper = Shaper::new(policy, 1);
        let start = Instant::now();
        let mut late: Vec<Duration> = (0..PACKETS)
            .map(|number| {
                let now = start + jitter * 2 * number;
                match shaper.decide(now, 1000) {
                    ShaperVerdict::Leaves(departure) => departure.at - now,
                    other => panic!("{other:?}"),
                }
            })
            .collect();
        late.sort();
        assert!(late[0] >= delay && late[late.len() - 1] <= delay + jitter);
        for percent in [10, 50, 90] {
            let quantile = late[late.len() * percent / 100];
            let expected = delay + jitter * percent as u32 / 100;
            assert!(quantile.abs_diff(expected) < jitter / 40, "{percent}%: {quantile:?} for {expected:?}");
        }
    }

    #[test]
    fn a_rate_spaces_packets_and_then_drops_them() {
        // 1000 bytes in 8 ms, where 80 arrive.
        let policy = LinkPolicy { bits_per_second: std::num::NonZeroU64::new(1_000_000), ..LinkPolicy::OPEN };
        let start = Instant::now();
        let verdicts = verdicts(policy, start);
        let left = departures(&verdicts);
        assert!(left.windows(2).all(|pair| pair[1].at - pair[0].at >= Duration::from_millis(8)));
        let seconds = (GAP * PACKETS).as_secs_f64() + QUEUE.as_secs_f64();
        let expected = seconds / 0.008;
        assert!((left.len() as f64 - expected).abs() <= 2.0, "{} for {expected}", left.len());
        assert_eq!(
            verdicts.iter().filter(|&&verdict| verdict == ShaperVerdict::Overflowed).count(),
            verdicts.len() - left.len()
        );
    }

    #[test]
    fn chance_comes_from_the_seed_and_the_link_alone() {
        let policy = LinkPolicy { loss: chance(500_000), seed: 7, ..LinkPolicy::OPEN };
        let start = Instant::now();
        let drawn = |policy, link| {
            let mut shaper = Shaper::new(policy, link);
            (0..100).map(|_| shaper.decide(start, 100)).collect::<Vec<_>>()
        };
        assert_eq!(drawn(policy, 1), drawn(policy, 1));
        assert_ne!(drawn(policy, 1), drawn(policy, 2));
        assert_ne!(drawn(policy, 1), drawn(LinkPolicy { seed: 8, ..policy }, 1));
    }
}
