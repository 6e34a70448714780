//! The counters of each directed link, readable while the switch runs.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts for one directed link since the arena was built. TCP data counts as the segments it would be on a wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Packets handed to the destination host.
    pub forwarded_packets: u64,
    /// Their length in bytes, from the IP header on.
    pub forwarded_bytes: u64,
    /// Packets dropped because the link's policy said so.
    pub dropped_packets: u64,
    /// Packets dropped because a queue was full, the destination host's or a rate-limited link's: congestion.
    pub overflowed_packets: u64,
    /// Packets that the link's policy made late.
    pub delayed_packets: u64,
    /// Packets that arrived twice because the link's policy said so.
    pub duplicated_packets: u64,
    /// Packets that were damaged because the link's policy said so.
    pub damaged_packets: u64,
    /// The dropped-by-policy packets that a probe had sent.
    pub dropped_probes: u64,
}

/// The same as the switch thread keeps them: written by it alone, read by anyone.
#[derive(Debug, Default)]
pub(super) struct LinkTally {
    pub forwarded_packets: Tally,
    pub forwarded_bytes: Tally,
    pub dropped_packets: Tally,
    pub overflowed_packets: Tally,
    pub delayed_packets: Tally,
    pub duplicated_packets: Tally,
    pub damaged_packets: Tally,
    pub dropped_probes: Tally,
}

impl LinkTally {
    pub fn read(&self) -> LinkCounters {
        LinkCounters {
            forwarded_packets: self.forwarded_packets.read(),
            forwarded_bytes: self.forwarded_bytes.read(),
            dropped_packets: self.dropped_packets.read(),
            overflowed_packets: self.overflowed_packets.read(),
            delayed_packets: self.delayed_packets.read(),
            duplicated_packets: self.duplicated_packets.read(),
            damaged_packets: self.damaged_packets.read(),
            dropped_probes: self.dropped_probes.read(),
        }
    }
}

/// A counter with one writer.
#[derive(Debug, Default)]
pub(super) struct Tally(AtomicU64);

impl Tally {
    /// Adds `amount`. Only the switch thread calls this, so that a load and a store do for a costlier addition.
    pub fn add(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed) + amount, Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
