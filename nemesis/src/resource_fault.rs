//! Resource faults: what is taken away from a node's processes.

use std::fmt;
use std::ops::RangeInclusive;

use rand::{Rng, RngExt};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::variant::{Kind, RESOURCES, Row};

/// One effect on the processes of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResourceEffect {
    /// They have the processor for a share of the time only.
    Cpu {
        /// The share, in percent, from 1 to 95.
        #[serde(deserialize_with = "percent")]
        percent: u8,
    },
}

impl ResourceEffect {
    /// The shares that can be asked for, in percent: beyond, a hold or a run is too short to be observed.
    const PERCENT: RangeInclusive<u8> = 1..=95;
    /// The shares that are drawn.
    const DRAWN: RangeInclusive<u8> = 5..=30;
}

/// Reads a share of a handwritten schedule.
fn percent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    let percent = u8::deserialize(deserializer)?;
    let known = ResourceEffect::PERCENT;
    if known.contains(&percent) {
        return Ok(percent);
    }
    let (least, most) = (known.start(), known.end());
    Err(D::Error::custom(format!("a share of {percent} % cannot be had: give {least} to {most}")))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_a_schedule_is_one_that_can_be_had() {
        let read = |percent: u8| serde_json::from_str(&format!("{{\"cpu\": {{\"percent\": {percent}}}}}"));
        assert_eq!(read(95).ok(), Some(ResourceEffect::Cpu { percent: 95 }));
        for percent in [0, 96] {
            let refused: Result<ResourceEffect, _> = read(percent);
            assert!(refused.is_err_and(|error| error.to_string().contains("give 1 to 95")), "{percent}");
        }
    }
}
