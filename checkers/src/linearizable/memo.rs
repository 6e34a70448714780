//! Configurations that the search has been in.
//!
//! A configuration is what the future depends on: how far in the history, which of the open operations are
//! linearized, the register's value, and how many of each group of crashed operations are used up. One that differs
//! from a known one only in having used up more can do nothing that the known one cannot, and counts as known.
//!
//! Keys are compared in full: a table of fingerprints alone would be smaller, and could pass a bad history.

use std::hash::Hasher;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustc_hash::FxHasher;

/// No entry.
const NONE: u32 = u32::MAX;

/// The first table's size; a power of two.
const BUCKETS_MIN: usize = 1 << 6;

/// What [`Memo::insert`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Insertion {
    /// Not known before; now it is.
    New,
    /// Known, or worse than one that is.
    Known,
    /// There is no more memory for it.
    Full,
}

/// A set of configurations, in one arena of words.
pub(crate) struct Memo<'a> {
    /// Entries of `key_words` words that must be equal, then `used_words` words that must not be less.
    words: Vec<u64>,
    key_words: usize,
    used_words: usize,
    /// For each entry the next one with an equal key.
    next: Vec<u32>,
    /// Open addressing; the first entry with each key.
    buckets: Vec<u32>,
    keys: usize,
    /// Shared by all memos of a check.
    memory_bytes: &'a AtomicUsize,
    memory_bytes_max: usize,
    reserved: usize,
}

impl<'a> Memo<'a> {
    pub(crate) fn new(
        key_words: usize,
        used_words: usize,
        memory_bytes: &'a AtomicUsize,
        memory_bytes_max: usize,
    ) -> Self {
        Self {
            words: Vec::new(),
            key_words,
            used_words,
            next: Vec::new(),
            buckets: vec![NONE; BUCKETS_MIN],
            keys: 0,
            memory_bytes,
            memory_bytes_max,
            reserved: 0,
        }
    }

    /// Adds the configuration with `key` that has used up `used`, both of the lengths given to [`Memo::new`].
    pub(crate) fn insert(&mut self, key: &[u64], used: &[u64]) -> Insertion {
        let mask = self.buckets.len() - 1;
        let mut bucket = hash(key) & mask;
        while self.buckets[bucket] != NONE {
            let head = self.buckets[bucket];
            if self.key(head) == key {
                let mut entry = head;
                loop {
                    if covers(self.used(entry), used) {
                        return Insertion::Known;
                    }
                    match self.next[entry as usize] {
                        NONE => break,
                        next => entry = next,
                    }
                }
                let Some(new) = self.push(key, used) else { return Insertion::Full };
                // Behind the head, so that the bucket need not change.
                self.next[new as usize] = self.next[head as usize];
                self.next[head as usize] = new;
                return Insertion::New;
            }
            bucket = (bucket + 1) & mask;
        }
        let Some(new) = self.push(key, used) else { return Insertion::Full };
        self.buckets[bucket] = new;
        self.keys += 1;
        if self.keys * 4 > self.buckets.len() * 3 && !self.grow() {
            return Insertion::Full;
        }
        Insertion::New
    }

    fn stride(&self) -> usize {
        self.key_words + self.used_words
    }

    fn key(&self, entry: u32) -> &[u64] {
        let start = entry as usize * self.stride();
        &self.words[start..start + self.key_words]
    }

    fn used(&self, entry: u32) -> &[u64] {
        let start = entry as usize * self.stride() + self.key_words;
        &self.words[start..start + self.used_words]
    }

    fn push(&mut self, key: &[u64], used: &[u64]) -> Option<u32> {
        let stride = self.stride();
        let entry = u32::try_from(self.next.len()).ok().filter(|entry| *entry != NONE)?;
        if self.words.len() + stride > self.words.capacity() {
            let more = (self.words.len() / 2).max(64 * stride);
            self.reserve(more * size_of::<u64>() + more / stride * size_of::<u32>())?;
            self.words.reserve_exact(more);
            self.next.reserve_exact(more / stride);
        }
        self.words.extend_from_slice(key);
        self.words.extend_from_slice(used);
        self.next.push(NONE);
        Some(entry)
    }

    fn grow(&mut self) -> bool {
        let size = self.buckets.len() * 2;
        if self.reserve(self.buckets.len() * size_of::<u32>()).is_none() {
            return false;
        }
        let mask = size - 1;
        let mut buckets = vec![NONE; size];
        for head in self.buckets.iter().copied().filter(|head| *head != NONE) {
            let mut bucket = hash(self.key(head)) & mask;
            while buckets[bucket] != NONE {
                bucket = (bucket + 1) & mask;
            }
            buckets[bucket] = head;
        }
        self.buckets = buckets;
        true
    }

    fn reserve(&mut self, bytes: usize) -> Option<()> {
        let before = self.memory_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.reserved += bytes;
        (before.saturating_add(bytes) <= self.memory_bytes_max).then_some(())
    }
}

impl Drop for Memo<'_> {
    fn drop(&mut self) {
        self.memory_bytes.fetch_sub(self.reserved, Ordering::Relaxed);
    }
}

fn hash(key: &[u64]) -> usize {
    let mut hasher = FxHasher::default();
    for word in key {
        hasher.write_u64(*word);
    }
    hasher.finish() as usize
}

/// Whether having used up `known` leaves at least as much as having used up `used`: two counters a word.
fn covers(known: &[u64], used: &[u64]) -> bool {
    known.iter().zip(used).all(|(known, used)| known >> 32 <= used >> 32 && *known as u32 <= *used as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_it_holds_and_what_is_worse() {
        let bytes = AtomicUsize::new(0);
        let mut memo = Memo::new(2, 1, &bytes, usize::MAX);
        for round in 0..10_000_u64 {
            assert_eq!(memo.insert(&[round, round * 7], &[5 << 32 | 5]), Insertion::New);
        }
        for round in 0..10_000_u64 {
            let key = [round, round * 7];
            assert_eq!(memo.insert(&key, &[5 << 32 | 5]), Insertion::Known);
            assert_eq!(memo.insert(&key, &[6 << 32 | 5]), Insertion::Known);
            assert_eq!(memo.insert(&key, &[4 << 32 | 9]), Insertion::New, "less of one, more of the other");
            assert_eq!(memo.insert(&key, &[4 << 32 | 9]), Insertion::Known);
        }
        drop(memo);
        assert_eq!(bytes.load(Ordering::Relaxed), 0, "what was reserved is given back");
    }

    #[test]
    fn stops_at_its_memory() {
        let bytes = AtomicUsize::new(0);
        let mut memo = Memo::new(1, 0, &bytes, 100_000);
        let full = (0..1_000_000_u64).find(|round| memo.insert(&[*round], &[]) == Insertion::Full);
        assert!(full.is_some_and(|round| round > 1_000), "full after {full:?}");
    }
}
