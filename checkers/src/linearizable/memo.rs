//! Configurations from which there is no linearization.
//!
//! The search enters one here when it has tried all that can follow. Any that it meets later and that is *no better* is
//! given up at once. Where two agree in the part that must be equal (the `key`: how far in the history, the register's
//! value, which compare-and-sets are linearized), one is no better than the other when it lacks whatever that lacks
//! (the `lacks`: a set of bits), may insert no later in the past (`past`), and has used up at least as many of each
//! group of crashed operations (`used`). Of the configurations with one key only those are kept that no other one
//! makes needless.
//!
//! Keys are compared in full: a table of fingerprints alone would be smaller, and could pass a bad history.

use std::hash::Hasher;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustc_hash::FxHasher;

/// No entry.
const NONE: u32 = u32::MAX;

/// The first table's size; a power of two.
const BUCKETS_MIN: usize = 1 << 6;

/// A configuration, in words.
#[derive(Clone, Debug, Default)]
pub(crate) struct Configuration {
    pub(crate) key: Vec<u64>,
    pub(crate) lacks: Vec<u64>,
    pub(crate) past: u64,
    /// Two groups a word.
    pub(crate) used: Vec<u64>,
}

impl Configuration {
    /// Makes [`Configuration::used`] of a counter for each group.
    pub(crate) fn count(&mut self, used: &[u32]) {
        let pair = |pair: &[u32]| u64::from(pair[0]) << 32 | u64::from(pair.get(1).copied().unwrap_or(0));
        self.used.clear();
        self.used.extend(used.chunks(2).map(pair));
    }
}

/// A set of configurations, in one arena of words.
pub(crate) struct Memo<'a> {
    /// Entries: the key, what it lacks, the past, what is used.
    words: Vec<u64>,
    key_words: usize,
    lacks_words: usize,
    stride: usize,
    /// For each entry the next one with an equal key.
    next: Vec<u32>,
    /// The first of the entries that are free.
    free: u32,
    /// Open addressing; the first entry with each key.
    buckets: Vec<u32>,
    keys: usize,
    /// Shared by all memos of a check.
    memory_bytes: &'a AtomicUsize,
    memory_bytes_max: usize,
    reserved: usize,
}

impl<'a> Memo<'a> {
    /// For configurations with so many words of each kind.
    pub(crate) fn new(
        (key_words, lacks_words, used_words): (usize, usize, usize),
        memory_bytes: &'a AtomicUsize,
        memory_bytes_max: usize,
    ) -> Self {
        Self {
            words: Vec::new(),
            key_words,
            lacks_words,
            stride: key_words + lacks_words + 1 + used_words,
            next: Vec::new(),
            free: NONE,
            buckets: vec![NONE; BUCKETS_MIN],
            keys: 0,
            memory_bytes,
            memory_bytes_max,
            reserved: 0,
        }
    }

    /// Whether `configuration` is no better than one of those entered.
    pub(crate) fn knows(&self, configuration: &Configuration) -> bool {
        let mut entry = self.buckets[self.bucket(&configuration.key)];
        while entry != NONE {
            if self.is_as_good(entry, configuration) {
                return true;
            }
            entry = self.next[entry as usize];
        }
        false
    }

    /// Enters `configuration`, which is better than each of those known; `None` when there is no more memory for it.
    pub(crate) fn enter(&mut self, configuration: &Configuration) -> Option<()> {
        let bucket = self.bucket(&configuration.key);
        let head = self.buckets[bucket];
        let (mut last, mut entry) = (NONE, head);
        while entry != NONE {
            let next = self.next[entry as usize];
            // The head stays, so that the bucket need not change.
            if last != NONE && self.is_no_better(entry, configuration) {
                self.next[last as usize] = next;
                self.next[entry as usize] = self.free;
                self.free = entry;
            } else {
                last = entry;
            }
            entry = next;
        }
        if head != NONE && self.is_no_better(head, configuration) {
            self.write(head, configuration);
            return Some(());
        }
        let new = self.place()?;
        self.write(new, configuration);
        if head == NONE {
            self.next[new as usize] = NONE;
            self.buckets[bucket] = new;
            self.keys += 1;
            if self.keys * 4 > self.buckets.len() * 3 {
                self.grow()?;
            }
        } else {
            self.next[new as usize] = self.next[head as usize];
            self.next[head as usize] = new;
        }
        Some(())
    }

    /// Where `key` is, or where it belongs.
    fn bucket(&self, key: &[u64]) -> usize {
        let mask = self.buckets.len() - 1;
        let mut bucket = hash(key) & mask;
        while self.buckets[bucket] != NONE && self.key(self.buckets[bucket]) != key {
            bucket = (bucket + 1) & mask;
        }
        bucket
    }

    fn entry(&self, entry: u32) -> &[u64] {
        let start = entry as usize * self.stride;
        &self.words[start..start + self.stride]
    }

    fn key(&self, entry: u32) -> &[u64] {
        &self.entry(entry)[..self.key_words]
    }

    /// What `entry` lacks, its past, and what it has used.
    fn parts(&self, entry: u32) -> (&[u64], u64, &[u64]) {
        let (lacks, rest) = self.entry(entry)[self.key_words..].split_at(self.lacks_words);
        (lacks, rest[0], &rest[1..])
    }

    fn is_as_good(&self, entry: u32, other: &Configuration) -> bool {
        let (lacks, past, used) = self.parts(entry);
        past >= other.past && within(lacks, &other.lacks) && at_most(used, &other.used)
    }

    fn is_no_better(&self, entry: u32, other: &Configuration) -> bool {
        let (lacks, past, used) = self.parts(entry);
        past <= other.past && within(&other.lacks, lacks) && at_most(&other.used, used)
    }

    fn write(&mut self, entry: u32, configuration: &Configuration) {
        let Configuration { key, lacks, past, used } = configuration;
        let start = entry as usize * self.stride;
        let words = key.iter().chain(lacks).chain([past]).chain(used);
        for (at, word) in self.words[start..start + self.stride].iter_mut().zip(words) {
            *at = *word;
        }
    }

    /// Room for one more.
    fn place(&mut self) -> Option<u32> {
        if self.free != NONE {
            let entry = self.free;
            self.free = self.next[entry as usize];
            return Some(entry);
        }
        let entry = u32::try_from(self.next.len()).ok().filter(|entry| *entry != NONE)?;
        let stride = self.stride;
        if self.words.len() + stride > self.words.capacity() {
            let more = (self.words.len() / 2).max(64 * stride);
            self.reserve(more * size_of::<u64>() + more / stride * size_of::<u32>())?;
            self.words.reserve_exact(more);
            self.next.reserve_exact(more / stride);
        }
        self.words.resize(self.words.len() + stride, 0);
        self.next.push(NONE);
        Some(entry)
    }

    fn grow(&mut self) -> Option<()> {
        let size = self.buckets.len() * 2;
        self.reserve(self.buckets.len() * size_of::<u32>())?;
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
        Some(())
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

/// Whether every bit of `some` is one of `all`.
fn within(some: &[u64], all: &[u64]) -> bool {
    some.iter().zip(all).all(|(some, all)| some & !all == 0)
}

/// Whether no counter of `some` is above that of `other`: two counters a word.
fn at_most(some: &[u64], other: &[u64]) -> bool {
    some.iter().zip(other).all(|(some, other)| some >> 32 <= other >> 32 && *some as u32 <= *other as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(round: u64, lacks: u64, past: u64, used: &[u32]) -> Configuration {
        let mut configuration =
            Configuration { key: vec![round, round * 7], lacks: vec![lacks], past, used: Vec::new() };
        configuration.count(used);
        configuration
    }

    #[test]
    fn knows_what_it_holds_and_what_is_worse() {
        let bytes = AtomicUsize::new(0);
        let mut memo = Memo::new((2, 1, 1), &bytes, usize::MAX);
        for round in 0..10_000 {
            let first = configuration(round, 0b11, 4, &[5, 5]);
            assert!(!memo.knows(&first));
            memo.enter(&first).expect("there is room");
        }
        for round in 0..10_000 {
            let known =
                |memo: &Memo<'_>, lacks, past, used| memo.knows(&configuration(round, lacks, past, used));
            assert!(known(&memo, 0b11, 4, &[5, 5]));
            assert!(known(&memo, 0b111, 3, &[6, 5]));
            assert!(!known(&memo, 0b101, 4, &[5, 5]), "lacks one thing more and one less");
            assert!(!known(&memo, 0b11, 5, &[5, 5]), "a longer past");
            assert!(!known(&memo, 0b11, 4, &[4, 9]), "less of one, more of the other");
            memo.enter(&configuration(round, 0b11, 4, &[4, 9])).expect("there is room");
            assert!(known(&memo, 0b11, 4, &[4, 9]) && known(&memo, 0b11, 4, &[5, 5]));
            // Better than both: they make room.
            memo.enter(&configuration(round, 0b10, 4, &[4, 5])).expect("there is room");
            assert!(known(&memo, 0b11, 4, &[4, 9]) && known(&memo, 0b11, 4, &[5, 5]));
        }
        assert!(memo.next.len() <= 20_000, "{} entries", memo.next.len());
        drop(memo);
        assert_eq!(bytes.load(Ordering::Relaxed), 0, "what was reserved is given back");
    }

    #[test]
    fn stops_at_its_memory() {
        let bytes = AtomicUsize::new(0);
        let mut memo = Memo::new((2, 1, 0), &bytes, 100_000);
        let full = (0..1_000_000).find(|round| memo.enter(&configuration(*round, 0, 0, &[])).is_none());
        assert!(full.is_some_and(|round| round > 1_000), "full after {full:?}");
    }
}
