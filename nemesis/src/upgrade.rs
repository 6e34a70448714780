//! Changes of the program that nodes run.

use std::fmt;

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::variant::{Kind, Row, UPGRADES};

/// How long nodes run the second program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Upgrade {
    /// From then on. The other nodes follow, at the latest when all faults are healed.
    Rolling,
    /// Until the fault is healed.
    Rollback,
}

impl Kind for Upgrade {
    fn rows() -> &'static [Row<Self>] {
        UPGRADES
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Rolling => "rolling",
            Self::Rollback => "rollback",
        }
    }

    fn with(self, parameter: Option<&str>) -> Option<Self> {
        parameter.is_none().then_some(self)
    }

    fn varied(self, _: &mut impl Rng) -> Self {
        self
    }
}

impl fmt::Display for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The programs that nodes can be started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Programs {
    /// One for ever.
    One,
    /// One, and another build of it.
    Two,
}
