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
