//! The workload `long-fork`: keys that are written once, and reads of groups of them, which must fit one order of the writes.

pub mod mix;
pub mod options;

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use duress_checkers::long_fork::check_long_fork;
use duress_history::recorder::RecordError;
use duress_history::txn::RwRegister;
use duress_history::{ConsistencyModel, Operation, Promise};

pub use self::options::LongForkOptions;

use self::mix::LongForkMix;
use super::kind::{Ending, Kind};
use super::models::found;
use super::objects::read_all;
use super::option::WorkloadOption;
use crate::judge::{Judgement, Question};
use crate::plan::range::RangeError;
use crate::run::dispatcher::Dispatcher;

#[async_trait(?Send)]
impl Kind for LongForkOptions {
    type Action = RwRegister;
    type Mix = LongForkMix;

    const NAME: &'static str = "long-fork";
    const DESCRIPTION: &'static str = "\
registers that are written once, each by a transaction of its own, and transactions that read groups of them
Several groups are written and read at a time, and give way to new ones; at the end every group is read once more through every
node.
Checked: do all reads of a group fit one order of its writes? Snapshot isolation promises that, parallel snapshot isolation does
not.";
    const PROMISES: &'static [&'static str] = Promise::OF_TRANSACTIONS;
    const OPTIONS: &'static [WorkloadOption] = options::ON_COMMAND_LINE;
    const FINISH: Duration = Duration::from_secs(15);
    const ROAMS: bool = true;
    const BEARS_LEFTOVERS: bool = true;
    const PREFIX_CLOSED: bool = true;

    fn validate(&self, _: usize) -> Result<(), RangeError> {
        Self::validate(self)
    }

    fn mix(&self, seed: u64) -> LongForkMix {
        LongForkMix::new(*self, seed)
    }

    fn rename(mix: &mut LongForkMix, prefix: &str) {
        mix.rename(prefix);
    }

    async fn finish(
        mix: &mut LongForkMix,
        dispatcher: &mut Dispatcher<RwRegister>,
        deadline: Duration,
    ) -> Result<Ending, RecordError> {
        read_all(mix.groups().collect(), dispatcher, deadline).await
    }

    fn judge(operations: &[Operation<RwRegister>], question: &Question, _: &AtomicBool) -> Judgement {
        let promised = question.promise.transactions();
        let report = check_long_fork(operations, promised);
        let model = match promised {
            ConsistencyModel::StrictSerializable => Self::NAME.to_owned(),
            weaker => format!("{} --promise {weaker}", Self::NAME),
        };
        found(report, &model, "free of long forks", "the reads of each group fit one order of its writes")
    }
}
