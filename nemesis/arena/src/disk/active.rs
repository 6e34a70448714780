//! The faults in force on a disk, and what each has touched since it began.

use std::collections::BTreeMap;
use std::time::Duration;

use nix::errno::Errno;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::fault::{FilePattern, IoKind, Lasting, Trigger};
use super::state::PROBE;

/// How an fsync is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SyncAnswer {
    /// As done, without doing it.
    Lie,
    /// After doing it, when so much time has passed.
    Commit(Duration),
}

/// The operations that a lasting fault has touched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct AffectedOperations {
    /// Operations of the node's.
    pub(super) operations: u64,
    /// By how much those were delayed.
    pub(super) delayed: Duration,
    /// Operations of the disk's own probe.
    pub(super) probed: u64,
}

/// The source of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Requester {
    /// The node's.
    Node,
    /// The disk's own probe's.
    Probe,
}

#[derive(Debug)]
struct Errors {
    trigger: Trigger,
    files: FilePattern,
    seen: u64,
}

/// The faults in force.
#[derive(Debug)]
pub(super) struct Active {
    touched: BTreeMap<Lasting, AffectedOperations>,
    errors: BTreeMap<IoKind, Errors>,
    slow: Duration,
    free_bytes: u64,
    random: ChaCha8Rng,
}

impl Active {
    /// Returns a disk without faults; `seed` decides everything that happens by chance.
    pub(super) fn new(seed: u64) -> Self {
        // Not the stream of torn power losses: the draws of one do not change the other.
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(1);
        Self {
            touched: BTreeMap::new(),
            errors: BTreeMap::new(),
            slow: Duration::ZERO,
            free_bytes: 0,
            random,
        }
    }

    /// Whether `fault` is in force.
    pub(super) fn is_active(&self, fault: Lasting) -> bool {
        self.touched.contains_key(&fault)
    }

    /// Returns every fault in force.
    pub(super) fn all(&self) -> Vec<Lasting> {
        self.touched.keys().copied().collect()
    }

    /// Fsyncs lie from now on.
    pub(super) fn lie(&mut self) {
        self.touched.insert(Lasting::LyingFsync, AffectedOperations::default());
    }

    /// Fsyncs take `delay` longer from now on.
    pub(super) fn slow_down(&mut self, delay: Duration) {
        self.slow = delay;
        self.touched.insert(Lasting::SlowFsync, AffectedOperations::default());
    }

    /// Makes operations `on` `files` fail from now on when `trigger` says so.
    pub(super) fn fail(&mut self, on: IoKind, trigger: Trigger, files: FilePattern) {
        self.errors.insert(on, Errors { trigger, files, seen: 0 });
        self.touched.insert(Lasting::Errors(on), AffectedOperations::default());
    }

    /// Files can grow by `free_bytes` from now on.
    pub(super) fn fill(&mut self, free_bytes: u64) {
        self.free_bytes = free_bytes;
        self.touched.insert(Lasting::NoSpace, AffectedOperations::default());
    }

    /// Ends `fault`; returns the operations that it touched, if it was in force.
    pub(super) fn end(&mut self, fault: Lasting) -> Option<AffectedOperations> {
        match fault {
            Lasting::Errors(on) => {
                self.errors.remove(&on);
            }
            Lasting::SlowFsync => self.slow = Duration::ZERO,
            Lasting::LyingFsync | Lasting::NoSpace => {}
        }
        self.touched.remove(&fault)
    }

    /// Returns the operations that `fault` has touched, if it is in force.
    pub(super) fn touched(&self, fault: Lasting) -> Option<AffectedOperations> {
        self.touched.get(&fault).copied()
    }

    /// Whether an operation `on` the file at `path` succeeds, as far as the faults decide.
    ///
    /// # Errors
    /// `EIO` when they decide that it fails.
    pub(super) fn check(&mut self, on: IoKind, path: impl FnOnce() -> Option<String>) -> Result<(), Errno> {
        let Some(errors) = self.errors.get_mut(&on) else { return Ok(()) };
        let Some(path) = path().filter(|path| errors.files.matches(path)) else { return Ok(()) };
        errors.seen += 1;
        let fails = match errors.trigger {
            Trigger::Probability(probability) => self.random.random_bool(probability.clamp(0.0, 1.0)),
            Trigger::Nth(number) => errors.seen == number,
        };
        if fails {
            let by = if path == PROBE { Requester::Probe } else { Requester::Node };
            self.count(Lasting::Errors(on), Duration::ZERO, by);
            return Err(Errno::EIO);
        }
        Ok(())
    }

    /// How an fsync is to be answered that has not failed.
    pub(super) fn answer_sync(&mut self, by: Requester) -> SyncAnswer {
        if self.is_active(Lasting::LyingFsync) {
            self.count(Lasting::LyingFsync, Duration::ZERO, by);
            return SyncAnswer::Lie;
        }
        if self.is_active(Lasting::SlowFsync) {
            self.count(Lasting::SlowFsync, self.slow, by);
        }
        SyncAnswer::Commit(self.slow)
    }

    /// Takes up to `wanted` bytes of the space that is left. Returns the number taken; a request that finds
    /// no space is refused.
    ///
    /// # Errors
    /// `ENOSPC`.
    pub(super) fn grow(&mut self, wanted: u64, by: Requester) -> Result<u64, Errno> {
        if wanted == 0 || !self.is_active(Lasting::NoSpace) {
            return Ok(wanted);
        }
        let granted = wanted.min(self.free_bytes);
        self.free_bytes -= granted;
        if granted < wanted {
            self.count(Lasting::NoSpace, Duration::ZERO, by);
        }
        if granted == 0 { Err(Errno::ENOSPC) } else { Ok(granted) }
    }

    /// Takes `wanted` bytes of the space that is left, or none.
    ///
    /// # Errors
    /// `ENOSPC`.
    pub(super) fn grow_whole(&mut self, wanted: u64, by: Requester) -> Result<(), Errno> {
        if self.is_active(Lasting::NoSpace) && wanted > self.free_bytes {
            self.count(Lasting::NoSpace, Duration::ZERO, by);
            return Err(Errno::ENOSPC);
        }
        self.grow(wanted, by).map(drop)
    }

    /// Whether a new name can be made, which takes space of a full disk too.
    ///
    /// # Errors
    /// `ENOSPC`.
    pub(super) fn create(&mut self) -> Result<(), Errno> {
        if self.is_active(Lasting::NoSpace) && self.free_bytes == 0 {
            self.count(Lasting::NoSpace, Duration::ZERO, Requester::Node);
            return Err(Errno::ENOSPC);
        }
        Ok(())
    }

    /// Gives `bytes` back to the space that is left.
    pub(super) fn shrink(&mut self, bytes: u64) {
        self.free_bytes = self.free_bytes.saturating_add(bytes);
    }

    /// Returns the space that is left, when it is limited.
    pub(super) fn free_bytes(&self) -> Option<u64> {
        self.is_active(Lasting::NoSpace).then_some(self.free_bytes)
    }

    fn count(&mut self, fault: Lasting, delay: Duration, by: Requester) {
        let Some(touched) = self.touched.get_mut(&fault) else { return };
        match by {
            Requester::Node => {
                touched.operations += 1;
                touched.delayed += delay;
            }
            Requester::Probe => touched.probed += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_operation_on_a_matching_file_fails_and_no_other() {
        let mut active = Active::new(1);
        active.fail(IoKind::Writes, Trigger::Nth(2), FilePattern("*.log".to_owned()));
        let mut write = |path: &str| active.check(IoKind::Writes, || Some(path.to_owned()));
        assert_eq!(write("a.log"), Ok(()));
        assert_eq!(write("a.db"), Ok(()));
        assert_eq!(write("b.log"), Err(Errno::EIO));
        assert_eq!(write("b.log"), Ok(()));
        assert_eq!(
            active.touched(Lasting::Errors(IoKind::Writes)).map(|touched| touched.operations),
            Some(1)
        );
    }

    #[test]
    fn space_is_granted_until_it_is_gone_and_comes_back() {
        let mut active = Active::new(1);
        assert_eq!(active.grow(1 << 40, Requester::Node), Ok(1 << 40));
        active.fill(100);
        assert_eq!(active.grow(60, Requester::Node), Ok(60));
        assert_eq!(active.grow(60, Requester::Node), Ok(40));
        assert_eq!(active.grow(1, Requester::Node), Err(Errno::ENOSPC));
        assert_eq!(active.create(), Err(Errno::ENOSPC));
        active.shrink(10);
        assert_eq!(active.grow_whole(11, Requester::Probe), Err(Errno::ENOSPC));
        assert_eq!(active.grow(10, Requester::Node), Ok(10));
        assert_eq!(active.end(Lasting::NoSpace).map(|touched| touched.operations), Some(3));
        assert_eq!(active.grow(1, Requester::Node), Ok(1));
    }
}
