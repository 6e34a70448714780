//! What happens to packets on one directed link.

use serde::{Deserialize, Serialize};

/// The policy of a directed link: what happens to every packet from one host to another. The default is an
/// open link. The way back has a policy of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinkPolicy {
    /// Whether packets pass at all.
    pub passage: Passage,
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
}

impl LinkPolicy {
    /// Packets pass unharmed.
    pub const OPEN: Self = Self { passage: Passage::Open };
    /// Every packet is dropped.
    pub const CUT: Self = Self { passage: Passage::Cut };
}
