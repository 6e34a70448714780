//! Counts of a disk's operations, and the fsync to hold, for faults that strike at the n-th operation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::deferred::Deferred;

/// The longest time that an fsync is held if the expected fault does not come.
pub(super) const HELD_AT_MOST: Duration = Duration::from_secs(1);

/// A kind of operation that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// An fsync of a file or a folder.
    Fsync,
    /// A write to a file.
    Write,
    /// A rename.
    Rename,
}

/// The counters shared by the threads that serve a disk.
#[derive(Debug, Default)]
pub(super) struct Counts {
    operations: [AtomicU64; 3],
    /// The number of the fsync to hold; 0 for none.
    next: AtomicU64,
    /// Whether an fsync is held now.
    holds: AtomicBool,
}

impl Counts {
    /// Counts an operation.
    pub(super) fn count(&self, operation: Counted) {
        self.operations[operation as usize].fetch_add(1, Ordering::SeqCst);
    }

    /// Counts an fsync; returns whether it is the one to hold.
    pub(super) fn count_fsync(&self) -> bool {
        let number = self.operations[Counted::Fsync as usize].fetch_add(1, Ordering::SeqCst) + 1;
        let held = self.next.compare_exchange(number, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if held {
            self.holds.store(true, Ordering::SeqCst);
        }
        held
    }
}

/// The activity of a disk, readable from any thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Activity {
    counts: Arc<Counts>,
    deferred: Deferred,
}

impl Activity {
    pub(super) fn new(counts: Arc<Counts>, deferred: Deferred) -> Self {
        Self { counts, deferred }
    }

    /// Returns how many operations of this kind the disk has received so far, including those of its own
    /// probe.
    #[must_use]
    pub fn count(&self, operation: Counted) -> u64 {
        self.counts.operations[operation as usize].load(Ordering::SeqCst)
    }

    /// Holds the fsync after the next `more`: it is neither executed nor answered until
    /// [`Activity::release_held`] is called, for a second at most. Only one fsync is held at a time; a later
    /// call replaces an earlier one.
    ///
    /// A process that waits for the disk ends or stops only when the disk answers, so send signals first and
    /// release then.
    pub fn hold_fsync(&self, more: u64) {
        let number = self.count(Counted::Fsync).saturating_add(more).saturating_add(1);
        self.counts.next.store(number, Ordering::SeqCst);
    }

    /// Releases the held fsync, if any, with all other delayed operations, and cancels a pending hold.
    pub fn release_held(&self) {
        self.counts.next.store(0, Ordering::SeqCst);
        if self.counts.holds.swap(false, Ordering::SeqCst) {
            self.deferred.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fsync_asked_for_is_held_and_no_other() {
        let counts = Counts::default();
        counts.count(Counted::Write);
        assert!(!counts.count_fsync());
        // The second one from now on.
        counts.next.store(3, Ordering::SeqCst);
        let held: Vec<bool> = (0..4).map(|_| counts.count_fsync()).collect();
        assert_eq!(held, [false, true, false, false]);
    }
}
