//! Packet faults: what links do to packets that pass.

use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::quantity;
use duress_arena::{Corrupt, Damage, LinkCounters, LinkPolicy, Probability, Reorder};

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

impl PacketEffect {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (name, value) = text.split_once('=')?;
        Some(match name {
            "delay" => Self::Delay(quantity::duration(value)?),
            "jitter" => Self::Jitter(quantity::duration(value)?),
            "loss" => Self::Loss(quantity::probability(value)?),
            "duplicate" => Self::Duplicate(quantity::probability(value)?),
            "reorder" => Self::Reorder(quantity::probability(value)?),
            "corrupt" => Self::Corrupt(quantity::probability(value)?),
            "corrupt-undetected" => Self::CorruptUndetected(quantity::probability(value)?),
            "rate" => Self::Rate(NonZeroU64::new(quantity::rate(value)?)?),
            _ => return None,
        })
    }

    /// An effect that a correct system survives: all but undetected damage, which TCP promises cannot happen.
    pub fn draw(rng: &mut impl Rng) -> Self {
        let percent = |low: u32, high: u32, rng: &mut _| {
            let millionths = RngExt::random_range(rng, low..=high) * 10_000;
            Probability::from_millionths(millionths).expect("at most a hundred percent")
        };
        match rng.random_range(0..7) {
            0 => Self::Delay(Duration::from_millis(rng.random_range(10..=100))),
            1 => Self::Jitter(Duration::from_millis(rng.random_range(10..=100))),
            2 => Self::Loss(percent(10, 40, rng)),
            3 => Self::Duplicate(percent(10, 50, rng)),
            4 => Self::Reorder(percent(10, 40, rng)),
            5 => Self::Corrupt(percent(10, 30, rng)),
            _ => Self::Rate(NonZeroU64::new(rng.random_range(1..=8) * 250_000).expect("positive")),
        }
    }

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
        let time = |duration: &Duration| quantity::show_duration(*duration);
        match self {
            Self::Delay(delay) => write!(f, "delay={}", time(delay)),
            Self::Jitter(jitter) => write!(f, "jitter={}", time(jitter)),
            Self::Loss(probability) => write!(f, "loss={}", quantity::show_probability(*probability)),
            Self::Duplicate(probability) => {
                write!(f, "duplicate={}", quantity::show_probability(*probability))
            }
            Self::Reorder(probability) => write!(f, "reorder={}", quantity::show_probability(*probability)),
            Self::Corrupt(probability) => write!(f, "corrupt={}", quantity::show_probability(*probability)),
            Self::CorruptUndetected(probability) => {
                write!(f, "corrupt-undetected={}", quantity::show_probability(*probability))
            }
            Self::Rate(bits) => write!(f, "rate={}kbit", bits.get() as f64 / 1e3),
        }
    }
}
