//! The workload `stream`: is every input processed exactly once, and is the table in the outputs the one that was kept?

pub mod finish;
pub mod judge;
pub mod mix;
pub mod options;

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use duress_history::recorder::RecordError;
use duress_history::stream::Stream;
use duress_history::{Operation, Promise};
use duress_targets::{Keeps, STREAM_INPUTS, STREAM_OUTPUTS, Setup, Topic};

pub use self::options::StreamOptions;

use self::finish::{Drain, FinalReads};
use self::mix::StreamMix;
use super::kind::{Ending, Kind, listed};
use super::option::WorkloadOption;
use crate::judge::{Judgement, Question};
use crate::plan::range::RangeError;
use crate::run::dispatcher::{Dispatcher, Stop};

#[async_trait(?Send)]
impl Kind for StreamOptions {
    type Action = Stream;
    type Mix = StreamMix;

    const NAME: &'static str = "stream";
    const DESCRIPTION: &'static str = "\
consume, transform, produce: workers count the keys of messages, and write each count to another topic
A third of the processes send inputs; a third are workers, one group, which give up or die now and then; a third read the
committed outputs. At the end the workers process what is left, and all outputs are read from their beginning to their end.
Checked: has every acknowledged input one output, in order, and is the table in the outputs the one that was kept?";
    const PROMISES: &'static [&'static str] = Promise::OF_MESSAGES;
    const OPTIONS: &'static [WorkloadOption] = options::ON_COMMAND_LINE;
    const FINISH: Duration = Duration::from_secs(60);

    fn validate(&self, concurrency: usize) -> Result<(), RangeError> {
        Self::validate(self, concurrency)
    }

    fn setup(&self) -> Setup {
        let topics = [STREAM_INPUTS, STREAM_OUTPUTS].map(|name| Topic {
            name: name.to_owned(),
            partitions: self.partitions,
            keeps: Keeps::Everything,
        });
        Setup { topics: topics.to_vec() }
    }

    fn mix(&self, seed: u64) -> StreamMix {
        StreamMix::new(*self, seed)
    }

    async fn finish(
        mix: &mut StreamMix,
        dispatcher: &mut Dispatcher<Stream>,
        deadline: Duration,
    ) -> Result<Ending, RecordError> {
        let mut drain = Drain::new(mix.attempts(), deadline);
        dispatcher.run(&mut drain, Stop::Now, async {}).await?;
        mix.attempted(drain.attempts());
        let mut ending = Ending::default();
        if let Some(left) = drain.left() {
            ending.undecided.push(format!(
                "at the end the workers had not committed everything{}: an input without an output would not be seen",
                listed_if_any(&left)
            ));
        }
        let mut finals = FinalReads::new(deadline);
        dispatcher.run(&mut finals, Stop::Now, async {}).await?;
        if let Some(left) = finals.left() {
            ending.undecided.push(format!(
                "at the end the outputs were not read to where they ended{}: what is lost there would not be seen",
                listed_if_any(&left)
            ));
        }
        Ok(ending)
    }

    fn judge(operations: &[Operation<Stream>], question: &Question, interrupt: &AtomicBool) -> Judgement {
        judge::judge(operations, question, interrupt)
    }
}

/// ` (in-0, in-2)`; nothing without partitions.
fn listed_if_any(partitions: &[duress_history::Scalar]) -> String {
    if partitions.is_empty() { String::new() } else { format!(" ({})", listed(partitions)) }
}
