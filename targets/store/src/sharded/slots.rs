//! The hash slots of Redis Cluster, and sets of them.
//!
//! A key's slot is the CRC16 of the key modulo 16384. If the key has a `{` and a `}` after it with something in between, only what
//! is between the first such pair counts: keys with the same *hash tag* are in one slot.
//!
//! Source: redis.io, "Redis cluster specification", "Key distribution model" and "Hash tags".

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// The number of slots.
pub const SLOTS: u16 = 16_384;

const WORDS: usize = SLOTS as usize / 64;

/// Returns the CRC16 of XMODEM: polynomial 0x1021, beginning with 0, nothing reflected or inverted.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| match crc & 0x8000 {
            0 => crc << 1,
            _ => crc << 1 ^ 0x1021,
        })
    })
}

/// Returns the slot of a key.
pub fn slot_of(key: &[u8]) -> u16 {
    let place = |bytes: &[u8], byte| bytes.iter().position(|other| *other == byte);
    let tag = place(key, b'{').and_then(|open| {
        let rest = &key[open + 1..];
        place(rest, b'}').filter(|close| *close > 0).map(|close| &rest[..close])
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

/// A set of slots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotSet(Vec<u64>);

impl Default for SlotSet {
    fn default() -> Self {
        Self(vec![0; WORDS])
    }
}

impl FromIterator<u16> for SlotSet {
    fn from_iter<I: IntoIterator<Item = u16>>(slots: I) -> Self {
        let mut set = Self::default();
        for slot in slots {
            set.0[usize::from(slot) / 64] |= 1 << (slot % 64);
        }
        set
    }
}

impl SlotSet {
    /// Returns all slots.
    pub fn all() -> Self {
        (0..SLOTS).collect()
    }

    /// Whether a slot is among them.
    pub fn contains(&self, slot: u16) -> bool {
        self.0[usize::from(slot) / 64] >> (slot % 64) & 1 == 1
    }

    /// Adds those of `other`.
    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word |= other);
    }

    /// Removes those of `other`.
    pub fn remove(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word &= !other);
    }

    /// Returns how many there are.
    pub fn len(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Returns them, from the lowest.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        (0..SLOTS).filter(|slot| self.contains(*slot))
    }

    /// Returns them as ranges, as few as possible, from the lowest.
    pub fn ranges(&self) -> Vec<RangeInclusive<u16>> {
        let mut ranges: Vec<RangeInclusive<u16>> = Vec::new();
        for slot in self.iter() {
            match ranges.last_mut() {
                Some(last) if *last.end() + 1 == slot => *last = *last.start()..=slot,
                _ => ranges.push(slot..=slot),
            }
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        for (key, slot) in
            [("", 0), ("foo", 12_182), ("bar", 5_061), ("somekey", 11_058), ("foo{hash_tag}", 2_515)]
        {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
        for (key, same) in
            [("{user1000}.following", "user1000"), ("foo{bar}{zap}", "bar"), ("foo{{bar}}zap", "{bar")]
        {
            assert_eq!(slot_of(key.as_bytes()), slot_of(same.as_bytes()), "{key}");
        }
        for whole in ["foo{}{bar}", "foo{bar", "foo}bar{"] {
            assert_eq!(slot_of(whole.as_bytes()), crc16(whole.as_bytes()) % SLOTS, "{whole}");
        }
    }

    #[test]
    fn a_set_is_its_ranges() {
        let mut set: SlotSet = (0..=63).chain(65..=65).chain(SLOTS - 1..SLOTS).collect();
        assert_eq!(set.ranges(), [0..=63, 65..=65, SLOTS - 1..=SLOTS - 1]);
        assert_eq!(set.len(), 66);
        set.remove(&(1..=64).collect());
        assert_eq!(set.ranges(), [0..=0, 65..=65, SLOTS - 1..=SLOTS - 1]);
        set.add(&(1..SLOTS).collect());
        assert_eq!(set, SlotSet::all());
    }
}
