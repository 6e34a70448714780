//! Packet faults: what links do to packets that pass.

use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::quantity;
use crate::variant::{Kind, PACKETS, Row, percent};
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
