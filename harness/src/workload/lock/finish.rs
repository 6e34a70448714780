//! The end of a run: locks are tried while they are held, then released, and then all are tried once more.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use duress_history::fenced_mutex::FencedMutex;
use duress_history::mutex::MutexOp;
use duress_history::{Event, OpType, Process, Scalar};

use super::mix::{LockMix, is_refused};
use crate::workload::generator::{Context, Generator, Next};

/// Has each of some locks tried by a client that does not hold it, until it is acquired or refused, and all that is held
/// released after that. A lock that the system has lost is acquired a second time.
#[derive(Debug)]
pub struct LastTries<'m> {
    mix: &'m mut LockMix,
    deadline: Duration,
    untried: VecDeque<Scalar>,
    /// The locks that are being tried.
    open: BTreeMap<Process, Scalar>,
}

impl<'m> LastTries<'m> {
    /// Has `locks` of `mix` tried, by two processes or more; gives up at `deadline` since clients began.
    pub fn new(mix: &'m mut LockMix, locks: Vec<Scalar>, deadline: Duration) -> Self {
        Self { mix, deadline, untried: locks.into(), open: BTreeMap::new() }
    }

    /// How many locks were neither acquired nor refused.
    #[must_use]
    pub fn left(&self) -> usize {
        self.untried.len() + self.open.len()
    }
}

impl Generator<FencedMutex> for LastTries<'_> {
    fn next(&mut self, context: &Context) -> Next<FencedMutex> {
        let Context { now, process, .. } = *context;
        if now >= self.deadline || (self.left() == 0 && self.mix.held().next().is_none()) {
            return Next::Done;
        }
        if let Some(at) = self.untried.iter().position(|lock| !self.mix.holds(process, lock))
            && let Some(lock) = self.untried.remove(at)
        {
            self.open.insert(process, lock.clone());
            return Next::Op(self.mix.acquisition(lock));
        }
        let is_tried =
            |lock: &Scalar| !self.untried.contains(lock) && !self.open.values().any(|open| open == lock);
        self.mix.release(process, is_tried).map_or(Next::Pending, Next::Op)
    }

    fn update(&mut self, event: &Event<FencedMutex>) {
        self.mix.update(event);
        if event.op_type == OpType::Invoke || event.action.mutex.op == MutexOp::Release {
            return;
        }
        let Some(lock) = self.open.remove(&event.process) else { return };
        if event.op_type != OpType::Ok && !is_refused(event) {
            self.untried.push_back(lock);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::mix::tests::{context, event};
    use super::super::options::LockOptions;
    use super::*;

    /// A mix of two locks, one of which process 0 holds with the token 7.
    fn mix() -> LockMix {
        let mut mix = LockMix::new(LockOptions { locks: 2, ..LockOptions::default() }, 1);
        let acquire = mix.acquisition("l0".into());
        mix.update(&event(0, FencedMutex { fence: Some(7), ..acquire }, OpType::Ok, None));
        mix
    }

    fn asked(tries: &mut LastTries<'_>, process: u64) -> FencedMutex {
        match tries.next(&context(process, 0)) {
            Next::Op(action) => action,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_lock_is_tried_by_another_client_before_its_owner_releases_it() {
        let mut mix = mix();
        let mut tries = LastTries::new(&mut mix, vec!["l0".into()], Duration::from_secs(9));
        assert_eq!(tries.next(&context(0, 0)), Next::Pending, "its owner waits");
        let acquire = asked(&mut tries, 1);
        assert_eq!((acquire.mutex.op, acquire.mutex.lock.clone()), (MutexOp::Acquire, Some("l0".into())));
        assert_eq!(tries.next(&context(0, 0)), Next::Pending, "it is being tried");
        // The answer does not say whether the lock is held.
        tries.update(&event(1, acquire.clone(), OpType::Fail, Some("no-leader")));
        assert_eq!(tries.left(), 1);
        assert_eq!(asked(&mut tries, 1), acquire);
        tries.update(&event(1, acquire, OpType::Fail, Some("precondition")));
        let release = asked(&mut tries, 0);
        assert_eq!((release.mutex.op, release.fence), (MutexOp::Release, Some(7)));
        tries.update(&event(0, release, OpType::Ok, None));
        assert_eq!((tries.next(&context(0, 0)), tries.left()), (Next::Done, 0));
    }

    #[test]
    fn two_owners_release_a_lock_that_was_lost() {
        let mut mix = mix();
        let mut tries = LastTries::new(&mut mix, vec!["l0".into(), "l1".into()], Duration::from_secs(9));
        for process in [1, 0] {
            let acquire = asked(&mut tries, process);
            tries.update(&event(process, FencedMutex { fence: Some(8), ..acquire }, OpType::Ok, None));
        }
        let releases = [0, 0, 1].map(|process| {
            let release = asked(&mut tries, process);
            tries.update(&event(process, release.clone(), OpType::Ok, None));
            (release.mutex.op, release.mutex.lock, release.fence)
        });
        let released = |lock: &str, fence| (MutexOp::Release, Some(lock.into()), Some(fence));
        assert_eq!(releases, [released("l0", 7), released("l1", 8), released("l0", 8)]);
        assert_eq!(tries.next(&context(0, 0)), Next::Done);
    }

    #[test]
    fn what_was_not_tried_is_left_at_the_deadline() {
        let mut mix = mix();
        let mut tries = LastTries::new(&mut mix, vec!["l0".into(), "l1".into()], Duration::ZERO);
        assert_eq!((tries.next(&context(1, 0)), tries.left()), (Next::Done, 2));
    }
}
