//! One captured packet as the switch thread notes it: a header of fixed size, and the packet's first bytes.
//!
//! Far smaller than the block it becomes in a file, and made without formatting anything: that is left to the thread that
//! writes the file.

use std::fmt;
use std::time::Duration;

/// Length of a record's header in bytes.
pub const HEADER: usize = 48;

/// What became of a packet that came into the switch, or of the packets that a unit of TCP data stands for.
/// Counts saturate, which a unit of 64 KiB cannot make them do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// How many packets this was on a wire.
    pub packets: u16,
    /// Handed on to the destination host, or sent on their way to it.
    pub forwarded: u16,
    /// Dropped because the link is cut.
    pub cut: u16,
    /// Lost because the link's policy said so.
    pub lost: u16,
    /// Dropped because a queue was full; copies of duplicated packets count too.
    pub overflowed: u16,
    /// Of those forwarded: made late by the link's policy, the last of them by [`Outcome::delay`].
    pub delayed: u16,
    /// Of those forwarded: sent twice.
    pub duplicated: u16,
    /// Of those forwarded: damaged, which happened after they were captured.
    pub damaged: u16,
    /// The longest delay.
    pub delay: Duration,
}

/// Why a record was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// A packet came into the switch.
    Entered,
    /// A packet came into the switch that is for no host of the arena, and went no further.
    Unroutable,
    /// A packet that had been sent on its way along a shaped link did not arrive.
    Undelivered,
    /// The caller marked this moment; the bytes are the text.
    Mark,
}

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// When, in nanoseconds since the run began; negative before that.
    pub time: i64,
    /// Why the record was made.
    pub occasion: Occasion,
    /// The interface it stands on, by the position of its host.
    pub interface: u8,
    /// How long the packet was, in bytes from the IP header on.
    pub original: u32,
    /// How many bytes of it follow.
    pub captured: u16,
    /// How many packets of the same interface could not be captured since the last record.
    pub missed: u32,
    /// What became of it.
    pub outcome: Outcome,
}

impl Header {
    /// The length of the whole record in bytes.
    pub fn record_length(&self) -> usize {
        HEADER + usize::from(self.captured)
    }

    /// Writes the header and `bytes`, of which it must say the length, to the beginning of `place`.
    pub fn write(&self, bytes: &[u8], place: &mut [u8]) {
        debug_assert_eq!(bytes.len(), usize::from(self.captured));
        let outcome = &self.outcome;
        place[0..8].copy_from_slice(&self.time.to_ne_bytes());
        // 584 years of delay fit.
        place[8..16].copy_from_slice(&(outcome.delay.as_nanos() as u64).to_ne_bytes());
        place[16..20].copy_from_slice(&self.original.to_ne_bytes());
        place[20..24].copy_from_slice(&self.missed.to_ne_bytes());
        place[24..26].copy_from_slice(&self.captured.to_ne_bytes());
        place[26] = self.occasion as u8;
        place[27] = self.interface;
        for (pair, count) in place[28..44].chunks_exact_mut(2).zip(outcome.counts()) {
            pair.copy_from_slice(&count.to_ne_bytes());
        }
        place[44..HEADER].fill(0);
        place[HEADER..self.record_length()].copy_from_slice(bytes);
    }

    /// Reads the header of the record at the beginning of `place`, which [`Header::write`] has written.
    pub fn read(place: &[u8]) -> Self {
        let pair = |at: usize| u16::from_ne_bytes([place[at], place[at + 1]]);
        let four = |at: usize| u32::from_ne_bytes([place[at], place[at + 1], place[at + 2], place[at + 3]]);
        let eight = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&place[at..at + 8]);
            u64::from_ne_bytes(bytes)
        };
        Self {
            time: eight(0).cast_signed(),
            occasion: match place[26] {
                0 => Occasion::Entered,
                1 => Occasion::Unroutable,
                2 => Occasion::Undelivered,
                _ => Occasion::Mark,
            },
            interface: place[27],
            original: four(16),
            captured: pair(24),
            missed: four(20),
            outcome: Outcome {
                packets: pair(28),
                forwarded: pair(30),
                cut: pair(32),
                lost: pair(34),
                overflowed: pair(36),
                delayed: pair(38),
                duplicated: pair(40),
                damaged: pair(42),
                delay: Duration::from_nanos(eight(8)),
            },
        }
    }
}

/// The records that stand one after the other in `bytes`.
pub fn records(mut bytes: &[u8]) -> impl Iterator<Item = (Header, &[u8])> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let header = Header::read(bytes);
        let (record, rest) = bytes.split_at(header.record_length());
        bytes = rest;
        Some((header, &record[HEADER..]))
    })
}

impl Outcome {
    fn counts(&self) -> [u16; 8] {
        [
            self.packets,
            self.forwarded,
            self.cut,
            self.lost,
            self.overflowed,
            self.delayed,
            self.duplicated,
            self.damaged,
        ]
    }

    /// Whether there is nothing to say: one packet, forwarded at once and unharmed.
    pub fn is_plain(&self) -> bool {
        *self == Self { packets: 1, forwarded: 1, ..Self::default() }
    }
}

/// "dropped: the link is cut", or for a unit "12 packets: 10 forwarded, 2 lost, 10 delayed by up to 50.2 ms".
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.packets > 1 {
            write!(f, "{} packets: ", self.packets)?;
        }
        let delayed = format!("delayed by {}{:?}", if self.delayed > 1 { "up to " } else { "" }, self.delay);
        let parts = [
            (self.forwarded, "forwarded"),
            (self.cut, "dropped by a cut"),
            (self.lost, "lost by policy"),
            (self.overflowed, "dropped by a full queue"),
            (self.delayed, delayed.as_str()),
            (self.duplicated, "duplicated"),
            (self.damaged, "damaged after this"),
        ];
        let mut separator = "";
        for (count, what) in parts.into_iter().filter(|(count, _)| *count > 0) {
            f.write_str(separator)?;
            if self.packets > 1 {
                write!(f, "{count} ")?;
            }
            f.write_str(what)?;
            separator = ", ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Outcome {
        let delay = Duration::from_micros(50_200);
        Outcome {
            packets: 12,
            forwarded: 8,
            cut: 1,
            lost: 2,
            overflowed: 3,
            delayed: 4,
            duplicated: 5,
            damaged: 6,
            delay,
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let mut place = Vec::new();
        let mut written = Vec::new();
        for (number, occasion) in
            [Occasion::Entered, Occasion::Unroutable, Occasion::Undelivered, Occasion::Mark]
                .into_iter()
                .enumerate()
        {
            let header = Header {
                time: -5 + number as i64,
                occasion,
                interface: 253,
                original: 65_535,
                captured: 3,
                missed: u32::MAX,
                outcome: outcome(),
            };
            let start = place.len();
            place.resize(start + header.record_length(), 0xee);
            header.write(b"abc", &mut place[start..]);
            written.push((header, b"abc".as_slice()));
        }
        assert_eq!(records(&place).collect::<Vec<_>>(), written);
    }

    #[test]
    fn an_outcome_is_told_in_words() {
        let one = Outcome { packets: 1, ..Outcome::default() };
        assert!(Outcome { forwarded: 1, ..one }.is_plain());
        assert!(!Outcome { forwarded: 1, duplicated: 1, ..one }.is_plain());
        assert_eq!(Outcome { cut: 1, ..one }.to_string(), "dropped by a cut");
        let late = Outcome { forwarded: 1, delayed: 1, delay: Duration::from_millis(5), ..one };
        assert_eq!(late.to_string(), "forwarded, delayed by 5ms");
        let all = "12 packets: 8 forwarded, 1 dropped by a cut, 2 lost by policy, 3 dropped by a full queue, \
                   4 delayed by up to 50.2ms, 5 duplicated, 6 damaged after this";
        assert_eq!(outcome().to_string(), all);
    }
}
