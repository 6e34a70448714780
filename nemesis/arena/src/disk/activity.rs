//! How many operations a disk was asked for, and the fsync at which it is to wait: for whatever is to happen at the n-th.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::deferred::Deferred;

/// How long an fsync is held at most, when whatever it was held for does not come.
pub(super) const HELD_AT_MOST: Duration = Duration::from_secs(1);

/// A kind of operation that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// An fsync of a file or a folder.
    Fsync,
    /// A write to a file.
    Write,
    /// A name that is changed.
    Rename,
}

/// What the threads that serve a disk count.
#[derive(Debug, Default)]
pub(super) struct Counts {
    operations: [AtomicU64; 3],
    /// The number of the fsync that is to be held; none where it is 0.
    next: AtomicU64,
    /// Whether one is held.
    holds: AtomicBool,
}

impl Counts {
    /// Counts an operation.
    pub(super) fn count(&self, operation: Counted) {
        self.operations[operation as usize].fetch_add(1, Ordering::SeqCst);
    }

    /// Counts an fsync; whether it is the one to be held.
    pub(super) fn count_fsync(&self) -> bool {
        let number = self.operations[Counted::Fsync as usize].fetch_add(1, Ordering::SeqCst) + 1;
        let held = self.next.compare_exchange(number, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if held {
            self.holds.store(true, Ordering::SeqCst);
        }
        held
    }
}

/// What a disk is doing, to be looked at from any thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Activity {
    counts: Arc<Counts>,
    deferred: Deferred,
}

impl Activity {
    pub(super) fn new(counts: Arc<Counts>, deferred: Deferred) -> Self {
        Self { counts, deferred }
    }

    /// How many operations of this kind the disk was asked for so far, its own probe's included.
    #[must_use]
    pub fn count(&self, operation: Counted) -> u64 {
        self.counts.operations[operation as usize].load(Ordering::SeqCst)
    }

    /// Has the fsync after the next `more` held: it is neither done nor answered until [`Activity::release_held`] is called, a
    /// second at most. Only one is held at a time: a later call takes the place of an earlier one.
    ///
    /// Whatever waits for the disk cannot be ended or stopped before the disk has answered: signals first, then a release.
    pub fn hold_fsync(&self, more: u64) {
        let number = self.count(Counted::Fsync).saturating_add(more).saturating_add(1);
        self.counts.next.store(number, Ordering::SeqCst);
    }

    /// Lets the fsync that is held go on, if one is, with all others that are made to wait, and holds none any more.
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
        // The second from now on.
        counts.next.store(3, Ordering::SeqCst);
        let held: Vec<bool> = (0..4).map(|_| counts.count_fsync()).collect();
        assert_eq!(held, [false, true, false, false]);
    }
}
