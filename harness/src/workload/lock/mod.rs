//! The workload `lock`: does each lock have one owner at a time, and do its fencing tokens grow?

pub mod finish;
pub mod mix;
pub mod options;

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use duress_checkers::linearizable::Budget;
use duress_checkers::lock::{Reentry, check_fenced_lease, check_fenced_mutex};
use duress_history::Operation;
use duress_history::fenced_mutex::FencedMutex;
use duress_history::recorder::RecordError;

pub use self::options::LockOptions;

use self::finish::LastTries;
use self::mix::LockMix;
use super::kind::{Ending, Kind};
use super::option::WorkloadOption;
use super::register::judge::linearizability;
use crate::judge::{Judgement, Question};
use crate::plan::range::RangeError;
use crate::run::dispatcher::{Dispatcher, Stop};

#[async_trait(?Send)]
impl Kind for LockOptions {
    type Action = FencedMutex;
    type Mix = LockMix;

    const NAME: &'static str = "lock";
    const DESCRIPTION: &'static str = "\
locks: clients acquire them, are answered with fencing tokens, and release them
A lock that is taken is refused at once. A lock that a client may have left behind gives way to a new one; with --ttl the owner
loses its lock after so long instead. At the end clients try to acquire the locks that others hold, all are released, and each
lock is tried once more.
Checked: does each lock have one owner at a time, and do its tokens grow? With --ttl only the tokens must.";
    // Acquisitions and releases are all changes: where only reads may be old, a lock has one owner too.
    const PROMISES: &'static [&'static str] = &["linearizable", "stale-reads"];
    const OPTIONS: &'static [WorkloadOption] = options::ON_COMMAND_LINE;
    const FINISH: Duration = Duration::from_secs(15);
    const ROAMS: bool = true;
    const BEARS_LEFTOVERS: bool = true;
    const PREFIX_CLOSED: bool = true;

    fn validate(&self, concurrency: usize) -> Result<(), RangeError> {
        Self::validate(self, concurrency)
    }

    fn mix(&self, seed: u64) -> LockMix {
        LockMix::new(*self, seed)
    }

    fn rename(mix: &mut LockMix, prefix: &str) {
        mix.rename(prefix);
    }

    async fn finish(
        mix: &mut LockMix,
        dispatcher: &mut Dispatcher<FencedMutex>,
        deadline: Duration,
    ) -> Result<Ending, RecordError> {
        let held = mix.held().cloned().collect();
        let all: Vec<_> = mix.locks().collect();
        let mut ending = Ending::default();
        for (locks, what) in [(held, "that were held"), (all, "that there were")] {
            let asked = locks.len();
            let mut tries = LastTries::new(mix, locks, deadline);
            dispatcher.run(&mut tries, Stop::Now, async {}).await?;
            let left = tries.left();
            if left > 0 {
                ending.undecided.push(format!(
                    "{left} of {asked} locks {what} were not tried at the end: one that was lost would not be seen"
                ));
            }
        }
        Ok(ending)
    }

    /// Judges the operations on locks, by whether they were asked for with a lease.
    fn judge(operations: &[Operation<FencedMutex>], _: &Question, interrupt: &AtomicBool) -> Judgement {
        if operations.iter().any(|operation| operation.action.lease_ms.is_some()) {
            let report = check_fenced_lease(operations);
            let anomalies = report.verdict.anomalies().len();
            return Judgement {
                property: "a lease with fencing tokens".to_owned(),
                holds: "tokens grow in the order of the acquisitions".to_owned(),
                broken: format!("the tokens of {anomalies} of {} locks do not grow", report.keys),
                ..linearizability(report, Self::NAME)
            };
        }
        let report = check_fenced_mutex(operations, Reentry::Refused, &Budget::default(), interrupt);
        linearizability(report, Self::NAME)
    }
}
