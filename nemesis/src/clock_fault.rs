//! Clock faults: the movements of a node's wall clock.

use std::fmt;
use std::time::Duration;

use duress_arena::clock::{DRIFT_MAX_PPB, DRIFT_MIN_PPB};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::quantity;
use crate::variant::{CLOCKS, Kind, Row};

/// One effect on a wall clock. Monotonic clocks keep their pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClockEffect {
    /// One step.
    Bump {
        /// How far, in nanoseconds; negative is back.
        delta_ns: i64,
    },
    /// Another pace.
    Drift {
        /// The gain, in nanoseconds a second; negative is slow.
        ppb: i64,
    },
    /// A step there and back again, over and over.
    Strobe {
        /// How far, in nanoseconds.
        delta_ns: i64,
    },
}

impl ClockEffect {
    /// How long a strobing clock stays on either side.
    pub const STROBE_PERIOD: Duration = Duration::from_millis(100);
}

impl Kind for ClockEffect {
    fn rows() -> &'static [Row<Self>] {
        CLOCKS
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Bump { .. } => "bump",
            Self::Drift { .. } => "drift",
            Self::Strobe { .. } => "strobe",
        }
    }

    fn with(self, parameter: Option<&str>) -> Option<Self> {
        let value = parameter?;
        Some(match self {
            Self::Bump { .. } => Self::Bump { delta_ns: quantity::signed_nanos(value)? },
            Self::Drift { .. } => {
                let ppb = quantity::drift(value)?;
                (DRIFT_MIN_PPB..=DRIFT_MAX_PPB).contains(&ppb).then_some(Self::Drift { ppb })?
            }
            Self::Strobe { .. } => Self::Strobe { delta_ns: quantity::signed_nanos(value)? },
        })
    }

    /// Returns a step of up to a minute, a drift of up to 200 ms/s, or a strobe of up to a second, forth or
    /// back.
    fn varied(self, rng: &mut impl Rng) -> Self {
        let sign = if rng.random_bool(0.5) { 1 } else { -1 };
        match self {
            // Steps of every order of magnitude from 100 ms up.
            Self::Bump { .. } => Self::Bump { delta_ns: sign * 100_000_000 * (1 << rng.random_range(0..9)) },
            Self::Drift { .. } => Self::Drift { ppb: sign * rng.random_range(5..=200) * 1_000_000 },
            Self::Strobe { .. } => Self::Strobe { delta_ns: sign * rng.random_range(100..=1000) * 1_000_000 },
        }
    }
}

impl fmt::Display for ClockEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=", self.name())?;
        match self {
            Self::Bump { delta_ns } | Self::Strobe { delta_ns } => {
                f.write_str(&quantity::show_nanos(*delta_ns))
            }
            Self::Drift { ppb } => write!(f, "{}/s", quantity::show_nanos(*ppb)),
        }
    }
}
