//! Counters of a node's work since it started, for `INFO`.

use std::sync::atomic::{AtomicU64, Ordering};

/// The counters.
#[derive(Debug, Default)]
pub struct Activity {
    /// Keys that were read for clients.
    pub reads: Counter,
    /// Keys that were written for clients.
    pub writes: Counter,
    /// Reads after which owners were sent a newer version than they had.
    pub repairs: Counter,
    /// Hints that were taken.
    pub hints_taken: Counter,
    /// Hints that their owners have now.
    pub hints_delivered: Counter,
    /// Times that copies were compared with those of every reachable node.
    pub anti_entropy_rounds: Counter,
    /// Keys that anti-entropy changed here or at another node.
    pub anti_entropy_keys: Counter,
}

/// A number that grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }
}

impl Activity {
    /// Returns the counters by name.
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        [
            ("coordinated_reads", &self.reads),
            ("coordinated_writes", &self.writes),
            ("read_repairs", &self.repairs),
            ("hints_taken", &self.hints_taken),
            ("hints_delivered", &self.hints_delivered),
            ("anti_entropy_rounds", &self.anti_entropy_rounds),
            ("anti_entropy_keys", &self.anti_entropy_keys),
        ]
        .map(|(name, counter)| (name, counter.0.load(Ordering::Relaxed).to_string()))
        .to_vec()
    }
}
