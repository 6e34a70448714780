//! The policy of a directed link.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// The policy of a directed link: what happens to every packet from one host to another. The default is an
/// open link. The way back has a policy of its own.
/// Large units of TCP data are split into their packets before any of this but [`LinkPolicy::passage`] is
/// decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinkPolicy {
    /// Whether packets pass at all.
    pub passage: Passage,
    /// How much later every packet arrives.
    pub delay: Duration,
    /// How much later still a packet may arrive: a uniform draw from zero to this. Packets keep their order, so
    /// that a late one holds up those behind it.
    pub jitter: Duration,
    /// How likely a packet is lost.
    pub loss: Probability,
    /// How likely a packet arrives twice.
    pub duplicate: Probability,
    /// Packets that are held back while those behind them overtake.
    pub reorder: Option<Reorder>,
    /// Packets that are damaged on the way.
    pub corrupt: Option<Corrupt>,
    /// How many bits a second the link carries; packets wait for their turn in a queue of a fifth of a second.
    pub bits_per_second: Option<std::num::NonZeroU64>,
    /// From what chance on this link is drawn: the same policy treats the same packets alike.
    pub seed: u64,
}

/// Whether packets pass a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Passage {
    /// Packets pass.
    #[default]
    Open,
    /// Every packet is dropped, silently, as by a broken cable.
    Cut,
    /// A loose contact: by turns cut and open, each for half of this period, beginning cut when the policy comes into
    /// force.
    Flapping(Duration),
}

impl Passage {
    /// Whether packets are dropped now, `since` the policy came into force.
    pub(super) fn is_cut(self, since: Instant) -> bool {
        match self {
            Self::Open => false,
            Self::Cut => true,
            Self::Flapping(period) => {
                let half = (period / 2).max(Duration::from_nanos(1));
                (since.elapsed().as_nanos() / half.as_nanos()).is_multiple_of(2)
            }
        }
    }
}

/// How likely something is, in millionths: an exact value, so that policies can be compared and saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Probability(u32);

/// A probability above one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a probability of {millionths} millionths is above one")]
pub struct ProbabilityError {
    millionths: u32,
}

impl Probability {
    /// It never happens.
    pub const NEVER: Self = Self(0);
    /// It always happens.
    pub const ALWAYS: Self = Self(1_000_000);

    /// So many times in a million.
    ///
    /// # Errors
    /// [`ProbabilityError`] when that is more than a million times.
    pub const fn from_millionths(millionths: u32) -> Result<Self, ProbabilityError> {
        if millionths > Self::ALWAYS.0 { Err(ProbabilityError { millionths }) } else { Ok(Self(millionths)) }
    }

    /// So many times in a million.
    #[must_use]
    pub fn millionths(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Probability {
    type Error = ProbabilityError;

    fn try_from(millionths: u32) -> Result<Self, ProbabilityError> {
        Self::from_millionths(millionths)
    }
}

impl From<Probability> for u32 {
    fn from(probability: Probability) -> Self {
        probability.0
    }
}

/// Packets that are held back while those behind them overtake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reorder {
    /// How likely a packet is held back.
    pub probability: Probability,
    /// For how long.
    pub hold: Duration,
}

/// Damaged packets: one bit of the payload is flipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Corrupt {
    /// How likely a packet is damaged.
    pub probability: Probability,
    /// Whether the receiver can notice.
    pub damage: Damage,
}

/// Whether the receiver can notice damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Damage {
    /// The checksum does not match, and the receiving kernel drops the packet.
    BadChecksum,
    /// The checksum matches the damaged data, which reaches the application. Packets without a payload pass.
    Undetected,
}

impl LinkPolicy {
    /// Packets pass unharmed.
    pub const OPEN: Self = Self {
        passage: Passage::Open,
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        loss: Probability::NEVER,
        duplicate: Probability::NEVER,
        reorder: None,
        corrupt: None,
        bits_per_second: None,
        seed: 0,
    };
    /// Every packet is dropped.
    pub const CUT: Self = Self { passage: Passage::Cut, ..Self::OPEN };

    /// Whether anything happens to packets that pass.
    pub(super) fn is_shaped(&self) -> bool {
        Self { passage: Passage::Open, seed: 0, ..*self } != Self::OPEN
    }
}
