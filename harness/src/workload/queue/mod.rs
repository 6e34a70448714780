//! The workload `queue`: is every message given to a member of the group, and how often?

pub mod finish;
pub mod judge;
pub mod mix;
pub mod options;

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use duress_history::log::Log;
use duress_history::recorder::RecordError;
use duress_history::{Operation, Promise};
use duress_targets::Setup;

pub use self::options::QueueOptions;

use self::finish::Drain;
use self::mix::QueueMix;
use super::kind::{Ending, Kind, listed};
use super::log::{options::topics, read_everything};
use super::option::WorkloadOption;
use crate::judge::{Judgement, Question};
use crate::plan::range::RangeError;
use crate::run::dispatcher::{Dispatcher, Stop};

#[async_trait(?Send)]
impl Kind for QueueOptions {
    type Action = Log;
    type Mix = QueueMix;

    const NAME: &'static str = "queue";
    const DESCRIPTION: &'static str = "\
messages that one group of consumers works off
Half of the processes send, and ask now and then how far the group is, which one of many does all the time; the others are the
group, whose members die and are replaced. At the end the group consumes until it has committed every message, and every partition is polled from its
beginning to its end.
Checked: is every acknowledged message given to a member of the group, and how often?";
    const PROMISES: &'static [&'static str] = Promise::OF_MESSAGES;
    const OPTIONS: &'static [WorkloadOption] = options::ON_COMMAND_LINE;
    const FINISH: Duration = Duration::from_secs(60);

    fn validate(&self, concurrency: usize) -> Result<(), RangeError> {
        Self::validate(self, concurrency)
    }

    fn setup(&self) -> Setup {
        topics(self.topics, self.partitions)
    }

    fn mix(&self, seed: u64) -> QueueMix {
        QueueMix::new(*self, seed)
    }

    async fn finish(
        mix: &mut QueueMix,
        dispatcher: &mut Dispatcher<Log>,
        deadline: Duration,
    ) -> Result<Ending, RecordError> {
        let partitions = mix.partitions();
        let mut drain = Drain::new(partitions.topic_names(), partitions.keys.clone(), deadline);
        dispatcher.run(&mut drain, Stop::Now, async {}).await?;
        let left = drain.left();
        let mut ending = Ending::default();
        if !left.is_empty() {
            ending.undecided.push(format!(
                "at the end the group had not committed everything of {} of {} partitions ({}): a message that it was not given would not be seen",
                left.len(),
                partitions.keys.len(),
                listed(&left)
            ));
        }
        // A message that the group did not receive may be in the log or not: that distinguishes a lost
        // message from a skipped one.
        ending.undecided.extend(read_everything(partitions, dispatcher, deadline).await?);
        Ok(ending)
    }

    fn judge(operations: &[Operation<Log>], question: &Question, interrupt: &AtomicBool) -> Judgement {
        judge::judge(operations, question, interrupt)
    }
}
