//! The workload `counter`: numbers are added to many counters, and counters are read.

pub mod judge;
pub mod mix;
pub mod options;

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use duress_history::counter::Counter;
use duress_history::recorder::RecordError;
use duress_history::{Operation, Promise};

pub use self::options::CounterOptions;

use self::mix::CounterMix;
use super::kind::{Ending, Kind};
use super::objects::read_all;
use super::option::WorkloadOption;
use crate::judge::{Judgement, Question};
use crate::plan::range::RangeError;
use crate::run::dispatcher::Dispatcher;

#[async_trait(?Send)]
impl Kind for CounterOptions {
    type Action = Counter;
    type Mix = CounterMix;

    const NAME: &'static str = "counter";
    const DESCRIPTION: &'static str = "\
numbers added to many counters, and reads of counters
A counter is left for a fresh one after --operations-per-key operations; at the end every counter is read once more
through every node.
Checked: does every read lie between the sum of the sure adds and that of the possible ones?";
    const PROMISES: &'static [&'static str] = Promise::OF_OBJECTS;
    const OPTIONS: &'static [WorkloadOption] = options::ON_COMMAND_LINE;
    const FINISH: Duration = Duration::from_secs(15);
    const ROAMS: bool = true;
    const BEARS_LEFTOVERS: bool = true;
    const PREFIX_CLOSED: bool = true;

    fn validate(&self, _: usize) -> Result<(), RangeError> {
        Self::validate(self)
    }

    fn mix(&self, seed: u64) -> CounterMix {
        CounterMix::new(*self, seed)
    }

    fn rename(mix: &mut CounterMix, prefix: &str) {
        mix.rename(prefix);
    }

    async fn finish(
        mix: &mut CounterMix,
        dispatcher: &mut Dispatcher<Counter>,
        deadline: Duration,
    ) -> Result<Ending, RecordError> {
        read_all(mix.keys().all(), dispatcher, deadline).await
    }

    fn judge(operations: &[Operation<Counter>], question: &Question, interrupt: &AtomicBool) -> Judgement {
        judge::judge(operations, question, interrupt)
    }
}
