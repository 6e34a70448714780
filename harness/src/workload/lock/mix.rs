//! Acquisitions and releases of a few locks.

use duress_history::fenced_mutex::FencedMutex;
use duress_history::mutex::{Mutex, MutexOp};
use duress_history::{Event, OpType, Process, Scalar};
use duress_targets::CauseKind;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::options::LockOptions;
use crate::workload::generator::{Context, Generator, Next, WORKLOAD_STREAM};

/// A lock that a client may have left behind is given up after so many refusals in a row.
const REFUSALS: u32 = 20;

/// Lets clients acquire locks, several each, and release what they hold, endlessly. A lock that is taken is refused at once.
///
/// A client that ends without knowing the outcome of an operation may leave locks behind, which no other client can release. One
/// that then stays taken gives way to a new lock, unless locks have a lease, which runs out.
#[derive(Debug)]
pub struct LockMix {
    options: LockOptions,
    rng: ChaCha8Rng,
    prefix: String,
    /// The locks that clients try to acquire.
    active: Vec<Active>,
    /// How many locks there were.
    begun: u32,
    held: Vec<Held>,
}

/// A lock that clients try to acquire.
#[derive(Clone, Copy, Debug)]
struct Active {
    number: u32,
    /// Whether a client may have left it behind.
    doubtful: bool,
    /// How many acquisitions in a row were refused since then.
    refusals: u32,
}

/// A lock that a client holds, as far as it knows.
#[derive(Clone, Debug)]
struct Held {
    owner: Process,
    lock: Scalar,
    fence: Option<i64>,
}

impl LockMix {
    /// Returns a mix drawn from `seed`; `options` are within their ranges.
    #[must_use]
    pub fn new(options: LockOptions, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(WORKLOAD_STREAM);
        let active =
            (0..options.locks).map(|number| Active { number, doubtful: false, refusals: 0 }).collect();
        Self { options, rng, prefix: String::new(), active, begun: options.locks, held: Vec::new() }
    }

    /// Has the names of its locks begin with `prefix`.
    pub fn rename(&mut self, prefix: &str) {
        prefix.clone_into(&mut self.prefix);
    }

    /// Returns all locks so far.
    pub fn locks(&self) -> impl Iterator<Item = Scalar> {
        (0..self.begun).map(|number| self.lock(number))
    }

    fn lock(&self, number: u32) -> Scalar {
        Scalar::from(format!("{}l{number}", self.prefix).as_str())
    }

    /// Returns the locks that a client holds.
    pub fn held(&self) -> impl Iterator<Item = &Scalar> {
        self.held.iter().map(|held| &held.lock)
    }

    /// Whether `process` holds `lock`.
    #[must_use]
    pub fn holds(&self, process: Process, lock: &Scalar) -> bool {
        self.held.iter().any(|held| held.owner == process && held.lock == *lock)
    }

    /// Returns the acquisition of `lock`.
    #[must_use]
    pub fn acquisition(&self, lock: Scalar) -> FencedMutex {
        let lease_ms = Some(self.options.ttl_ms).filter(|ttl| *ttl > 0);
        FencedMutex { mutex: Mutex { lock: Some(lock), op: MutexOp::Acquire }, fence: None, lease_ms }
    }

    /// Returns the release of the first lock that `process` holds among those that `may`, if there is one.
    pub fn release(&self, process: Process, may: impl Fn(&Scalar) -> bool) -> Option<FencedMutex> {
        self.held.iter().find(|held| held.owner == process && may(&held.lock)).map(Held::release)
    }

    fn draw(&mut self, process: Process) -> FencedMutex {
        let mine = self.held.iter().filter(|held| held.owner == process).count();
        let mut others: Vec<Scalar> = self.active.iter().map(|active| self.lock(active.number)).collect();
        others.retain(|lock| !self.holds(process, lock));
        let LockOptions { acquires, releases, .. } = self.options;
        let releases = if mine == 0 { 0 } else { releases };
        let acquires = if others.is_empty() { 0 } else { acquires };
        if self.rng.random_range(0..acquires + releases) < releases {
            let at = self.rng.random_range(0..mine);
            let held = self.held.iter().filter(|held| held.owner == process).nth(at);
            held.expect("it is one of those").release()
        } else {
            let at = self.rng.random_range(0..others.len());
            self.acquisition(others.swap_remove(at))
        }
    }

    fn forget(&mut self, owner: Process, lock: &Scalar) {
        self.held.retain(|held| held.owner != owner || held.lock != *lock);
    }

    /// Takes note that a client may have left `lock` behind.
    fn doubt(&mut self, lock: &Scalar) {
        let is_leased = self.options.ttl_ms > 0;
        if let Some(active) = self.active_named(lock) {
            active.doubtful = !is_leased;
        }
    }

    /// Takes note of an acquisition of `lock` that was refused.
    fn refused(&mut self, lock: &Scalar) {
        let next = self.begun;
        let Some(active) = self.active_named(lock).filter(|active| active.doubtful) else { return };
        active.refusals += 1;
        if active.refusals == REFUSALS {
            *active = Active { number: next, doubtful: false, refusals: 0 };
            self.begun += 1;
        }
    }

    fn active_named(&mut self, lock: &Scalar) -> Option<&mut Active> {
        let at = self.active.iter().position(|active| self.lock(active.number) == *lock)?;
        Some(&mut self.active[at])
    }
}

impl Generator<FencedMutex> for LockMix {
    fn next(&mut self, context: &Context) -> Next<FencedMutex> {
        Next::Op(self.draw(context.process))
    }

    fn update(&mut self, event: &Event<FencedMutex>) {
        let Event { process: owner, action: FencedMutex { mutex, fence, .. }, .. } = event;
        let Some(lock) = &mutex.lock else { return };
        let refused = is_refused(event);
        match (event.op_type, mutex.op) {
            (OpType::Ok, MutexOp::Acquire) => {
                self.held.push(Held { owner: *owner, lock: lock.clone(), fence: *fence });
                if let Some(active) = self.active_named(lock) {
                    active.refusals = 0;
                }
            }
            (OpType::Ok, MutexOp::Release) => self.forget(*owner, lock),
            (OpType::Fail, MutexOp::Acquire) if refused => self.refused(lock),
            // The lease was over, or the system has lost the lock: no release will succeed.
            (OpType::Fail, MutexOp::Release) if refused => {
                self.forget(*owner, lock);
                self.doubt(lock);
            }
            (OpType::Info, _) => {
                self.doubt(lock);
                let is_left = |held: &mut Held| held.owner == *owner;
                let left: Vec<Held> = self.held.extract_if(.., is_left).collect();
                left.iter().for_each(|held| self.doubt(&held.lock));
            }
            (OpType::Invoke | OpType::Fail, _) => {}
        }
    }
}

/// Whether a lock was taken by another client, or not held any more.
pub(super) fn is_refused(event: &Event<FencedMutex>) -> bool {
    let kind = event.error.as_ref().and_then(|error| error.kind.as_deref());
    event.op_type == OpType::Fail && kind == Some(CauseKind::Precondition.name())
}

impl Held {
    fn release(&self) -> FencedMutex {
        let mutex = Mutex { lock: Some(self.lock.clone()), op: MutexOp::Release };
        FencedMutex { mutex, fence: self.fence, lease_ms: None }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use duress_history::OpError;

    use super::*;

    /// An event of `action`, refused or failed otherwise with [`OpType::Fail`] and these words.
    pub(crate) fn event(
        process: u64,
        action: FencedMutex,
        op_type: OpType,
        kind: Option<&'static str>,
    ) -> Event<FencedMutex> {
        let error =
            |kind: &'static str| OpError { kind: Some(kind.into()), text: kind.to_owned(), saw: None };
        let error = kind.map(error).map(Box::new);
        Event { index: 0, time: 0, process: Process(process), op_type, action, node: None, error }
    }

    pub(crate) fn context(process: u64, slot: usize) -> Context {
        Context { now: Duration::ZERO, slot, slots: 2, process: Process(process) }
    }

    fn asked(mix: &mut LockMix, process: u64) -> FencedMutex {
        let Next::Op(action) = mix.next(&context(process, 0)) else {
            panic!("there is always something to do")
        };
        action
    }

    fn mix(options: LockOptions) -> LockMix {
        let mut mix = LockMix::new(options, 1);
        mix.rename("p-");
        mix
    }

    const ONE: LockOptions = LockOptions { locks: 1, ttl_ms: 0, acquires: 1, releases: 1 };

    #[test]
    fn a_client_releases_what_it_acquired_with_its_token() {
        let mut mix = mix(ONE);
        let acquire = asked(&mut mix, 0);
        assert_eq!(acquire, mix.acquisition("p-l0".into()));
        mix.update(&event(0, FencedMutex { fence: Some(7), ..acquire.clone() }, OpType::Ok, None));
        // The other client tries nevertheless.
        assert_eq!(asked(&mut mix, 1), acquire);
        let release = asked(&mut mix, 0);
        assert_eq!((release.mutex.op, release.fence), (MutexOp::Release, Some(7)));
        // The client tries a release again that certainly did not happen; a refused one shows that the lock is lost.
        mix.update(&event(0, release.clone(), OpType::Fail, Some("refused")));
        assert_eq!(asked(&mut mix, 0), release);
        mix.update(&event(0, release.clone(), OpType::Fail, Some("precondition")));
        assert_eq!(asked(&mut mix, 0), acquire);
        mix.update(&event(0, FencedMutex { fence: Some(8), ..acquire.clone() }, OpType::Ok, None));
        let release = asked(&mut mix, 0);
        assert_eq!(release.fence, Some(8));
        mix.update(&event(0, release, OpType::Ok, None));
        assert_eq!(asked(&mut mix, 0), acquire);
    }

    #[test]
    fn a_lock_that_may_be_left_behind_and_stays_taken_gives_way_unless_it_has_a_lease() {
        for (ttl_ms, name) in [(0, "p-l1"), (100, "p-l0")] {
            let mut mix = mix(LockOptions { ttl_ms, ..ONE });
            let acquire = asked(&mut mix, 0);
            assert_eq!(acquire.lease_ms, Some(ttl_ms).filter(|ttl| *ttl > 0));
            let refused = |mix: &mut LockMix, times| {
                for _ in 0..times {
                    let acquire = asked(mix, 9);
                    mix.update(&event(9, acquire, OpType::Fail, Some("precondition")));
                }
            };
            // Its owner is alive.
            mix.update(&event(0, FencedMutex { fence: Some(1), ..acquire.clone() }, OpType::Ok, None));
            refused(&mut mix, 2 * REFUSALS);
            assert_eq!(asked(&mut mix, 9), acquire);
            // It ends in the midst of its release.
            let release = mix.release(Process(0), |_| true).unwrap();
            mix.update(&event(0, release, OpType::Info, Some("timeout")));
            assert_eq!(mix.held().count(), 0);
            refused(&mut mix, REFUSALS - 1);
            assert_eq!(asked(&mut mix, 9), acquire);
            refused(&mut mix, 1);
            assert_eq!(asked(&mut mix, 9).mutex.lock, Some(name.into()));
        }
    }

    #[test]
    fn a_client_that_ends_leaves_all_its_locks_behind() {
        let mut mix = mix(LockOptions { locks: 2, ..ONE });
        let [one, other] = ["p-l0", "p-l1"].map(|lock| mix.acquisition(lock.into()));
        mix.update(&event(0, one.clone(), OpType::Ok, None));
        mix.update(&event(0, other, OpType::Info, Some("timeout")));
        for _ in 0..REFUSALS {
            mix.update(&event(1, one.clone(), OpType::Fail, Some("precondition")));
        }
        let locks: Vec<Scalar> = mix.active.iter().map(|active| mix.lock(active.number)).collect();
        assert_eq!(locks, ["p-l2".into(), "p-l1".into()]);
        assert_eq!(mix.locks().count(), 3);
    }

    #[test]
    fn the_seed_and_the_answers_decide_every_operation() {
        let drawn = |seed| {
            let mut mix = LockMix::new(LockOptions::default(), seed);
            let mut done = Vec::new();
            for process in (0..3).cycle().take(3000) {
                let action = asked(&mut mix, process);
                let others = (0..3).filter(|other| *other != process).map(Process);
                let lock = action.mutex.lock.as_ref().unwrap();
                let taken = others.into_iter().any(|other| mix.holds(other, lock));
                let refused = taken && action.mutex.op == MutexOp::Acquire;
                let (end, kind) =
                    if refused { (OpType::Fail, Some("precondition")) } else { (OpType::Ok, None) };
                mix.update(&event(process, action.clone(), end, kind));
                done.push((action.mutex, end == OpType::Ok));
            }
            done
        };
        let done = drawn(1);
        assert_eq!(done, drawn(1));
        assert_ne!(done, drawn(2));
        let refused = done.iter().filter(|(_, ok)| !ok).count();
        let released = done.iter().filter(|(mutex, _)| mutex.op == MutexOp::Release).count();
        assert!(refused > 300 && released > 600, "{refused} refused, {released} released");
    }
}
