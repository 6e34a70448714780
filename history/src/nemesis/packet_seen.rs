//! Results of probes on links with an effect on packets.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The packets that an effect touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Touches {
    /// Every packet: each link must show it.
    Every,
    /// Some, by chance: it must show somewhere.
    Some,
}

/// The results of probes on links: figures, and on how many of the links the effect was met.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketsSeen {
    /// On how many directed links probes were sent.
    pub links: usize,
    /// On how many of them they met the effect.
    pub met: usize,
    /// How many probes were sent.
    pub sent: u64,
    /// How many arrived, unharmed.
    pub arrived: u64,
    /// How many the switch dropped by its policy.
    pub dropped: u64,
    /// How many arrived once more.
    pub repeated: u64,
    /// How many arrived behind one that had been sent after them.
    pub overtaken: u64,
    /// How many arrived with other bytes than were sent.
    pub damaged: u64,
    /// How many the receiving kernels refused for their checksum.
    pub refused: u64,
    /// How long the fastest took, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fastest_us: Option<u64>,
    /// How long the slowest took, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slowest_us: Option<u64>,
    /// At how many bits a second the fastest of the links carried them, where that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits_per_second: Option<u64>,
}

impl fmt::Display for PacketsSeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} probes arrived", self.arrived, self.sent)?;
        if let (Some(fastest), Some(slowest)) = (self.fastest_us, self.slowest_us) {
            write!(f, " in {:.1} to {:.1} ms", fastest as f64 / 1e3, slowest as f64 / 1e3)?;
        }
        let counts = [
            (self.dropped, "were dropped"),
            (self.repeated, "arrived twice"),
            (self.overtaken, "were overtaken"),
            (self.damaged, "were damaged"),
            (self.refused, "were refused for their checksum"),
        ];
        for (count, what) in counts.iter().filter(|(count, _)| *count > 0) {
            write!(f, ", {count} {what}")?;
        }
        if let Some(bits) = self.bits_per_second {
            write!(f, ", at {} kbit/s at the most", bits / 1000)?;
        }
        Ok(())
    }
}
