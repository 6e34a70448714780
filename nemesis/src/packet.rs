//! Packet faults: what links do to packets that pass.

use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::quantity;
use crate::variant::{Kind, PACKETS, Row, percent};
use duress_arena::{Corrupt, Damage, LinkCounters, LinkPolicy, Probability, Reorder, Train, TrainSeen};
use duress_history::nemesis::Touches;

/// Bytes of headers in front of a datagram's own.
const HEADERS: u64 = 28;
/// How long a packet is held back for others to overtake.
const HOLD: Duration = Duration::from_millis(20);

/// One effect on the packets of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PacketEffect {
    /// Every packet arrives so much later.
    Delay(Duration),
    /// Every packet arrives up to so much later, in order.
    Jitter(Duration),
    /// So many packets are lost.
    Loss(Probability),
    /// So many packets arrive twice.
    Duplicate(Probability),
    /// So many packets are overtaken.
    Reorder(Probability),
    /// So many packets are damaged, and dropped by the receiving kernel.
    Corrupt(Probability),
    /// So many packets are damaged, and reach the application.
    CorruptUndetected(Probability),
    /// The link carries so many bits a second.
    Rate(NonZeroU64),
}

impl Kind for PacketEffect {
    fn rows() -> &'static [Row<Self>] {
        PACKETS
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Delay(_) => "delay",
            Self::Jitter(_) => "jitter",
            Self::Loss(_) => "loss",
            Self::Duplicate(_) => "duplicate",
            Self::Reorder(_) => "reorder",
            Self::Corrupt(_) => "corrupt",
            Self::CorruptUndetected(_) => "corrupt-undetected",
            Self::Rate(_) => "rate",
        }
    }

    fn with(self, parameter: Option<&str>) -> Option<Self> {
        let value = parameter?;
        Some(match self {
            Self::Delay(_) => Self::Delay(quantity::duration(value)?),
            Self::Jitter(_) => Self::Jitter(quantity::duration(value)?),
            Self::Loss(_) => Self::Loss(quantity::probability(value)?),
            Self::Duplicate(_) => Self::Duplicate(quantity::probability(value)?),
            Self::Reorder(_) => Self::Reorder(quantity::probability(value)?),
            Self::Corrupt(_) => Self::Corrupt(quantity::probability(value)?),
            Self::CorruptUndetected(_) => Self::CorruptUndetected(quantity::probability(value)?),
            Self::Rate(_) => Self::Rate(NonZeroU64::new(quantity::rate(value)?)?),
        })
    }

    fn varied(self, rng: &mut impl Rng) -> Self {
        let duration = |rng: &mut _| Duration::from_millis(RngExt::random_range(rng, 10..=100));
        let share = |low: u32, high: u32, rng: &mut _| percent(RngExt::random_range(rng, low..=high));
        match self {
            Self::Delay(_) => Self::Delay(duration(rng)),
            Self::Jitter(_) => Self::Jitter(duration(rng)),
            Self::Loss(_) => Self::Loss(share(10, 40, rng)),
            Self::Duplicate(_) => Self::Duplicate(share(10, 50, rng)),
            Self::Reorder(_) => Self::Reorder(share(10, 40, rng)),
            Self::Corrupt(_) => Self::Corrupt(share(10, 30, rng)),
            Self::CorruptUndetected(_) => Self::CorruptUndetected(share(10, 30, rng)),
            Self::Rate(_) => {
                Self::Rate(NonZeroU64::new(rng.random_range(1..=8) * 250_000).expect("positive"))
            }
        }
    }
}

impl PacketEffect {
    /// `policy` with this effect added.
    #[must_use]
    pub fn onto(self, policy: LinkPolicy) -> LinkPolicy {
        match self {
            Self::Delay(delay) => LinkPolicy { delay: policy.delay + delay, ..policy },
            Self::Jitter(jitter) => LinkPolicy { jitter: policy.jitter + jitter, ..policy },
            Self::Loss(loss) => LinkPolicy { loss: policy.loss.max(loss), ..policy },
            Self::Duplicate(duplicate) => LinkPolicy { duplicate: policy.duplicate.max(duplicate), ..policy },
            Self::Reorder(probability) => {
                LinkPolicy { reorder: Some(Reorder { probability, hold: HOLD }), ..policy }
            }
            Self::Corrupt(probability) => {
                let damage = Damage::BadChecksum;
                LinkPolicy { corrupt: Some(Corrupt { probability, damage }), ..policy }
            }
            Self::CorruptUndetected(probability) => {
                let damage = Damage::Undetected;
                LinkPolicy { corrupt: Some(Corrupt { probability, damage }), ..policy }
            }
            Self::Rate(bits) => {
                let slowest = policy.bits_per_second.map_or(bits, |before| before.min(bits));
                LinkPolicy { bits_per_second: Some(slowest), ..policy }
            }
        }
    }

    /// Which packets it touches.
    pub(crate) fn touches(self) -> Touches {
        match self {
            Self::Delay(_) | Self::Jitter(_) | Self::Rate(_) => Touches::Every,
            Self::Loss(_)
            | Self::Duplicate(_)
            | Self::Reorder(_)
            | Self::Corrupt(_)
            | Self::CorruptUndetected(_) => Touches::Some,
        }
    }

    /// What to send along a link at a time, where it may be so late, to see whether it has this effect.
    pub(crate) fn train(self, patience: Duration) -> Train {
        let (datagrams, bytes) = match self {
            Self::Delay(_) => (3, 64),
            // Enough that the one in the middle is late by half of it, all but surely.
            Self::Jitter(_) => (13, 64),
            // Four of them are expected to be struck by chance, so that one train shows it on most links.
            Self::Loss(likely)
            | Self::Duplicate(likely)
            | Self::Reorder(likely)
            | Self::Corrupt(likely)
            | Self::CorruptUndetected(likely) => {
                ((4_000_000 / likely.millionths().max(1)).clamp(20, 200), 64)
            }
            Self::Rate(bits) => {
                // As many full packets as it carries in a thirtieth of a second; on the slowest links, few small ones.
                let bytes = (bits.get() / 8 / 50).saturating_sub(HEADERS).clamp(16, 1400);
                let count = bits.get() / 30 / 8 / (bytes + HEADERS);
                (u32::try_from(count).unwrap_or(u32::MAX).clamp(5, 300), bytes as usize)
            }
        };
        Train { datagrams, bytes, patience }
    }

    /// Whether what was `seen` of a `train` shows this effect.
    pub(crate) fn shows(self, seen: &TrainSeen, train: Train) -> bool {
        let lost = seen.arrived < seen.sent;
        // Nothing was heard for as long as it was waited, and nothing dropped.
        let silent = seen.sent > 0 && seen.arrived == 0 && seen.dropped == 0;
        match self {
            Self::Delay(delay) => match seen.fastest {
                Some(fastest) => fastest >= delay,
                None => silent && train.patience < delay,
            },
            Self::Jitter(jitter) => match seen.median {
                Some(median) => median >= jitter / 2,
                None => silent && train.patience < jitter / 2,
            },
            Self::Loss(_) => lost && seen.dropped > 0,
            Self::Duplicate(_) => seen.repeated > 0,
            Self::Reorder(_) => seen.overtaken > 0,
            Self::Corrupt(_) => lost && seen.refused > 0,
            Self::CorruptUndetected(_) => seen.damaged > 0,
            Self::Rate(bits) => {
                let allowed = bits.get() + bits.get() / 50;
                seen.bits_per_second(train.bytes).is_some_and(|measured| measured <= allowed)
            }
        }
    }

    /// How many packets met this effect, going by a link's counters before and after.
    #[must_use]
    pub fn met(self, before: &LinkCounters, after: &LinkCounters) -> u64 {
        let delayed = after.delayed_packets.saturating_sub(before.delayed_packets);
        match self {
            Self::Delay(_) | Self::Jitter(_) | Self::Reorder(_) => delayed,
            Self::Rate(_) => {
                delayed
                    + after.overflowed_packets.saturating_sub(before.overflowed_packets)
                    + after.dropped_packets.saturating_sub(before.dropped_packets)
            }
            Self::Loss(_) => after.dropped_packets.saturating_sub(before.dropped_packets),
            Self::Duplicate(_) => after.duplicated_packets.saturating_sub(before.duplicated_packets),
            Self::Corrupt(_) | Self::CorruptUndetected(_) => {
                after.damaged_packets.saturating_sub(before.damaged_packets)
            }
        }
    }
}

impl fmt::Display for PacketEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=", self.name())?;
        match self {
            Self::Delay(time) | Self::Jitter(time) => f.write_str(&quantity::show_duration(*time)),
            Self::Loss(probability)
            | Self::Duplicate(probability)
            | Self::Reorder(probability)
            | Self::Corrupt(probability)
            | Self::CorruptUndetected(probability) => f.write_str(&quantity::show_probability(*probability)),
            Self::Rate(bits) => f.write_str(&quantity::show_rate(bits.get())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variant::{Row, percent};

    /// What is seen of a train on a link that does nothing to packets.
    fn unharmed(train: Train) -> TrainSeen {
        let quick = Some(Duration::from_micros(80));
        TrainSeen {
            sent: u64::from(train.datagrams),
            arrived: u64::from(train.datagrams),
            fastest: quick,
            median: quick,
            slowest: quick,
            took: Some(Duration::from_micros(10) * train.datagrams),
            ..TrainSeen::default()
        }
    }

    /// The same, as `effect` changes it.
    fn under(effect: PacketEffect, train: Train) -> TrainSeen {
        let mut seen = unharmed(train);
        match effect {
            PacketEffect::Delay(delay) => seen.fastest = Some(delay),
            PacketEffect::Jitter(jitter) => seen.median = Some(jitter / 2),
            PacketEffect::Loss(_) => (seen.arrived, seen.dropped) = (seen.sent - 1, 1),
            PacketEffect::Duplicate(_) => seen.repeated = 1,
            PacketEffect::Reorder(_) => seen.overtaken = 1,
            PacketEffect::Corrupt(_) => (seen.arrived, seen.refused) = (seen.sent - 1, 1),
            PacketEffect::CorruptUndetected(_) => (seen.arrived, seen.damaged) = (seen.sent - 1, 1),
            PacketEffect::Rate(bits) => {
                let sent = (train.bytes as u64 + HEADERS) * 8 * u64::from(train.datagrams);
                seen.took = Some(Duration::from_secs_f64(sent as f64 / bits.get() as f64));
            }
        }
        seen
    }

    fn fastest_rate() -> PacketEffect {
        PacketEffect::Rate(NonZeroU64::new(100_000_000).expect("positive"))
    }

    #[test]
    fn each_effect_is_shown_by_its_own_figures_and_by_no_others() {
        let slowest = PacketEffect::Rate(NonZeroU64::new(8_000).expect("positive"));
        let effects: Vec<PacketEffect> =
            PACKETS.iter().map(Row::kind).copied().chain([slowest, fastest_rate()]).collect();
        for effect in &effects {
            let train = effect.train(Duration::from_millis(100));
            assert!(effect.shows(&under(*effect, train), train), "{effect}");
            assert!(!effect.shows(&unharmed(train), train), "{effect} on a link that does nothing");
            assert!(!effect.shows(&TrainSeen::default(), train), "{effect} where nothing could be sent");
            let all_lost = TrainSeen { sent: 9, dropped: 9, ..TrainSeen::default() };
            let is_loss = matches!(effect, PacketEffect::Loss(_));
            assert_eq!(effect.shows(&all_lost, train), is_loss, "{effect} on a link that is cut");
        }
        // What is later than it was waited for is shown by silence.
        let (short, silent) = (Duration::from_millis(100), TrainSeen { sent: 3, ..TrainSeen::default() });
        let late = PacketEffect::Delay(Duration::from_secs(60));
        assert!(late.shows(&silent, late.train(short)));
        assert!(!PacketEffect::Delay(short / 2).shows(&silent, late.train(short)));
    }

    #[test]
    fn trains_are_as_long_as_their_effect_is_rare_and_no_longer() {
        let loss = |percents| PacketEffect::Loss(percent(percents)).train(Duration::ZERO).datagrams;
        assert_eq!((loss(100), loss(10), loss(1)), (20, 40, 200));
        let train = fastest_rate().train(Duration::ZERO);
        assert_eq!((train.datagrams, train.bytes), (291, 1400));
    }
}
