//! The workload `set`: elements are added to many sets, and each set is read whole.

pub mod judge;
pub mod mix;
pub mod options;

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use duress_checkers::growing::{ByKey, Growing, Sets};
use duress_history::recorder::RecordError;
use duress_history::set::Set;
use duress_history::{Operation, Promise};

pub use self::options::SetOptions;

use self::mix::SetMix;
use super::kind::{Ending, Kind};
use super::objects::read_all;
use super::option::WorkloadOption;
use crate::judge::{Judgement, Question};
use crate::plan::range::RangeError;
use crate::run::dispatcher::Dispatcher;

#[async_trait(?Send)]
impl Kind for SetOptions {
    type Action = Set;
    type Mix = SetMix;

    const NAME: &'static str = "set";
    const DESCRIPTION: &'static str = "\
elements added to many sets, and reads of whole sets
Each element is added to its set once; a set is left for a fresh one after --operations-per-key operations; at the end
every set is read once more through every node.
Checked: is every acknowledged element in its set, once, from when it was acknowledged, and nothing else?";
    const PROMISES: &'static [&'static str] = Promise::OF_OBJECTS;
    const OPTIONS: &'static [WorkloadOption] = options::ON_COMMAND_LINE;
    const FINISH: Duration = Duration::from_secs(15);
    const ROAMS: bool = true;
    const BEARS_LEFTOVERS: bool = true;
    const PREFIX_CLOSED: bool = true;

    fn growing(promise: Promise) -> Option<Box<dyn Growing<Set>>> {
        (promise == Promise::LINEARIZABLE).then(|| Box::new(ByKey::<Sets>::default()) as _)
    }

    fn validate(&self, _: usize) -> Result<(), RangeError> {
        Self::validate(self)
    }

    fn mix(&self, seed: u64) -> SetMix {
        SetMix::new(*self, seed)
    }

    fn rename(mix: &mut SetMix, prefix: &str) {
        mix.rename(prefix);
    }

    async fn finish(
        mix: &mut SetMix,
        dispatcher: &mut Dispatcher<Set>,
        deadline: Duration,
    ) -> Result<Ending, RecordError> {
        read_all(mix.keys().all(), dispatcher, deadline).await
    }

    fn judge(operations: &[Operation<Set>], question: &Question, interrupt: &AtomicBool) -> Judgement {
        judge::judge(operations, question, interrupt)
    }
}
