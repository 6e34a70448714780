//! The workload `register`: reads, writes, deletes and compare-and-sets over many keys.

pub mod judge;
pub mod mix;
pub mod options;

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use duress_checkers::growing::{ByKey, Growing, Registers};
use duress_history::recorder::RecordError;
use duress_history::register::Register;
use duress_history::{Operation, Promise};

pub use self::options::RegisterOptions;

use self::mix::RegisterMix;
use super::kind::{Ending, Kind};
use super::objects::read_all;
use super::option::WorkloadOption;
use crate::judge::{Judgement, Question};
use crate::plan::range::RangeError;
use crate::run::dispatcher::Dispatcher;

#[async_trait(?Send)]
impl Kind for RegisterOptions {
    type Action = Register;
    type Mix = RegisterMix;

    const NAME: &'static str = "register";
    const DESCRIPTION: &'static str = "\
reads, writes and compare-and-sets, and deletes if asked for, over many keys
Each value written to a key is unique; a key is left for a fresh one after --operations-per-key operations; at the end
every key is read once more through every node.
Checked: does each key keep what the system promises: is it linearizable, or are its writes, and do the replicas agree?";
    const PROMISES: &'static [&'static str] = Promise::OF_REGISTERS;
    const OPTIONS: &'static [WorkloadOption] = options::ON_COMMAND_LINE;
    const FINISH: Duration = Duration::from_secs(15);
    const ROAMS: bool = true;
    const BEARS_LEFTOVERS: bool = true;
    const PREFIX_CLOSED: bool = true;

    fn growing(promise: Promise) -> Option<Box<dyn Growing<Register>>> {
        (promise == Promise::LINEARIZABLE).then(|| Box::new(ByKey::<Registers>::default()) as _)
    }

    fn validate(&self, _: usize) -> Result<(), RangeError> {
        Self::validate(self)
    }

    fn mix(&self, seed: u64) -> RegisterMix {
        RegisterMix::new(*self, seed)
    }

    fn rename(mix: &mut RegisterMix, prefix: &str) {
        mix.rename(prefix);
    }

    async fn finish(
        mix: &mut RegisterMix,
        dispatcher: &mut Dispatcher<Register>,
        deadline: Duration,
    ) -> Result<Ending, RecordError> {
        read_all(mix.keys().all(), dispatcher, deadline).await
    }

    fn judge(operations: &[Operation<Register>], question: &Question, interrupt: &AtomicBool) -> Judgement {
        judge::judge(operations, question, interrupt)
    }
}
