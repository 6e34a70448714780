//! Resource faults: what is taken away from a node's processes.

use std::fmt;
use std::ops::RangeInclusive;

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::variant::{Kind, RESOURCES, Row};

/// One effect on the processes of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResourceEffect {
    /// They have the processor for a share of the time only.
    Cpu {
        /// The share, in percent.
        percent: u8,
    },
}

impl ResourceEffect {
    /// The shares that can be asked for, in percent: beyond, a hold or a run is too short to be observed.
    const PERCENT: RangeInclusive<u8> = 1..=95;
    /// The shares that are drawn.
    const DRAWN: RangeInclusive<u8> = 5..=30;
}

impl Kind for ResourceEffect {
    fn rows() -> &'static [Row<Self>] {
        RESOURCES
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Cpu { .. } => "cpu",
        }
    }

    fn with(self, parameter: Option<&str>) -> Option<Self> {
        let value = parameter?;
        Some(match self {
            Self::Cpu { .. } => {
                let percent = value.strip_suffix('%')?.parse().ok()?;
                Self::PERCENT.contains(&percent).then_some(Self::Cpu { percent })?
            }
        })
    }

    fn varied(self, rng: &mut impl Rng) -> Self {
        match self {
            Self::Cpu { .. } => Self::Cpu { percent: rng.random_range(Self::DRAWN) },
        }
    }
}

impl fmt::Display for ResourceEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu { percent } => write!(f, "{}={percent}%", self.name()),
        }
    }
}
