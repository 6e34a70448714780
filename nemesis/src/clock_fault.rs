//! Clock faults: what a node's wall clock does.

use std::fmt;
use std::time::Duration;

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::quantity;

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
        /// What it gains, in nanoseconds a second; negative is slow.
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

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (name, value) = text.split_once('=')?;
        Some(match name {
            "bump" => Self::Bump { delta_ns: quantity::signed_nanos(value)? },
            "drift" => {
                let ppb = quantity::drift(value)?;
                use duress_arena::clock::{DRIFT_MAX_PPB, DRIFT_MIN_PPB};
                (DRIFT_MIN_PPB..=DRIFT_MAX_PPB).contains(&ppb).then_some(Self::Drift { ppb })?
            }
            "strobe" => Self::Strobe { delta_ns: quantity::signed_nanos(value)? },
            _ => return None,
        })
    }

    /// A step of up to a minute, a drift of up to 200 ms/s, or a strobe of up to a second, forth or back.
    pub fn draw(rng: &mut impl Rng) -> Self {
        let sign = if rng.random_bool(0.5) { 1 } else { -1 };
        match rng.random_range(0..3) {
            // Steps of every order of magnitude from 100 ms up.
            0 => Self::Bump { delta_ns: sign * 100_000_000 * (1 << rng.random_range(0..9)) },
            1 => Self::Drift { ppb: sign * rng.random_range(5..=200) * 1_000_000 },
            _ => Self::Strobe { delta_ns: sign * rng.random_range(100..=1000) * 1_000_000 },
        }
    }
}

impl fmt::Display for ClockEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bump { delta_ns } => write!(f, "bump={}", quantity::show_nanos(*delta_ns)),
            Self::Drift { ppb } => write!(f, "drift={}/s", quantity::show_nanos(*ppb)),
            Self::Strobe { delta_ns } => write!(f, "strobe={}", quantity::show_nanos(*delta_ns)),
        }
    }
}
